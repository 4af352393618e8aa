"""Resampling against MATLAB's own pictures, against Pillow, and by its laws."""

import numpy as np
import pytest
import torch
from conftest import shared
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from rescale.errors import UsageError
from rescale.io.images import find, read
from rescale.ops.resample import matrix, resample

PILLOW = {
    "cubic": Image.Resampling.BICUBIC,
    "lanczos3": Image.Resampling.LANCZOS,
    "box": Image.Resampling.BOX,
    "linear": Image.Resampling.BILINEAR,
}


def levels(x: torch.Tensor) -> torch.Tensor:
    return (x + 0.5).floor().clamp(0, 255)


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("name", ["Set5", "Set14"])
def test_bit_exact_with_matlab(name, scale):
    """Old MATLAB: rows first, rounded to 8 bits between the passes, the edge pixel repeated."""
    for file in find(shared(f"oracles/matlab_bicubic_lr/{name}/x{scale}")):
        expected = torch.from_numpy(read(file).pixels.astype(np.int64)).permute(2, 0, 1)
        height, width = expected.shape[1:]
        hr = read(shared(f"data/test/{name}") / file.name).pixels[: height * scale, : width * scale]
        hr = torch.from_numpy(hr.astype(np.float64)).permute(2, 0, 1)
        rows = levels(resample(hr, (height, hr.shape[2]), edges="replicate"))
        assert torch.equal(levels(resample(rows, (height, width), edges="replicate")).long(), expected), file
        # Without rounding and clipping in between, and with the newer edges, all but overshoots stay within a level.
        plain = levels(resample(hr, (height, width))).long()
        assert ((plain - expected)[:, 2:-2, 2:-2].abs() <= 1).float().mean() > 0.98, file


@pytest.mark.parametrize("kernel", PILLOW)
@pytest.mark.parametrize("size", [(13, 9), (40, 61), (7, 200)])
def test_pillow_agrees(noise, kernel, size):
    image = noise(37, 53).astype(np.float32)
    theirs = np.asarray(Image.fromarray(image).resize(size[::-1], PILLOW[kernel]))
    ours = resample(torch.from_numpy(image), size, kernel=kernel, edges="cut").numpy()
    assert np.abs(ours - theirs).max() <= 1e-3


@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from(["cubic", "lanczos3", "linear", "box"]))
def test_constants_stay_constant(length, size, kernel):
    assert torch.allclose(matrix(length, size, kernel=kernel).sum(dim=1), torch.ones(size, dtype=torch.float64))


@given(st.integers(1, 400))
def test_same_size_is_the_identity(length):
    assert torch.allclose(matrix(length, length), torch.eye(length, dtype=torch.float64), atol=1e-12)


def test_mirroring_commutes():
    x = torch.rand(1, 3, 300, 41, dtype=torch.float64)
    assert torch.allclose(resample(x.flip(-1, -2), (70, 90)), resample(x, (70, 90)).flip(-1, -2), atol=1e-12)


def test_long_sides_equal_the_plain_matrix():
    """The matrix is cut into bands; together they are the matrix."""
    x = torch.rand(5, 1000, dtype=torch.float64)
    assert torch.allclose(resample(x, (5, 700)), x @ matrix(1000, 700).T, atol=1e-12)


def test_gradients_are_the_transposed_matrix():
    x = torch.rand(6, 8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda t: resample(t, (3, 5)), x)


@pytest.mark.parametrize(("x", "size"), [(torch.zeros(4, 4), (0, 3)), (torch.zeros(4, 4, dtype=torch.uint8), (2, 2))])
def test_bad_arguments_are_named(x, size):
    with pytest.raises(UsageError, match="floating-point tensor and a size of at least 1x1"):
        resample(x, size)


def test_autocast_does_not_touch_it():
    x = torch.rand(1, 3, 20, 20)
    with torch.autocast("cpu", torch.bfloat16):
        inside = resample(x, (7, 9))
    assert torch.equal(inside, resample(x, (7, 9)))
