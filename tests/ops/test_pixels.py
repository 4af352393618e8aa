"""Laws of the pure functions."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rescale import ops
from rescale.ops.pixels import mirrored_indices

SIDES = st.integers(1, 17)


def test_quantize_is_idempotent_and_lands_on_levels():
    x = torch.linspace(-0.2, 1.2, 1001)
    once = ops.quantize(x)
    assert torch.equal(ops.quantize(once), once)
    assert torch.equal(once, ops.from_bytes(ops.to_bytes(x)))


def test_quantize_passes_gradients_even_through_the_clamp():
    x = torch.tensor([-0.5, 0.3, 1.5], requires_grad=True)
    y = ops.quantize(x)
    y.sum().backward()
    assert torch.equal(x.grad, torch.ones(3))
    assert torch.allclose(y, torch.tensor([0, round(0.3 * 255) / 255, 1]))


@given(SIDES, SIDES, st.sampled_from([1, 2, 3, 4, 8]))
def test_crop_undoes_pad(height, width, multiple):
    x = torch.rand(1, 2, height, width)
    padded = ops.pad(x, multiple)
    assert padded.shape[-2] % multiple == padded.shape[-1] % multiple == 0
    assert padded.shape[-2] - height < multiple
    assert torch.equal(ops.crop(padded, (height, width)), x)


def test_pad_mirrors_without_repeating_the_edge():
    row = torch.tensor([[1.0, 2.0, 3.0]])
    assert ops.pad(row[None, None], 8)[0, 0, 0].tolist() == [1, 2, 3, 2, 1, 2, 3, 2]


@given(SIDES, st.integers(0, 40), st.integers(0, 40), st.booleans())
def test_mirrored_indices_walk_as_numpy_pads(length, before, after, repeats_edge):
    mode = "symmetric" if repeats_edge else "reflect"
    found = mirrored_indices(length, before, after, torch.device("cpu"), repeats_edge=repeats_edge)
    assert found.tolist() == np.pad(np.arange(length), (before, after), mode=mode).tolist()


@given(st.sampled_from([255, 65535]))
def test_every_level_survives_floats(top):
    levels = torch.arange(top + 1)
    assert torch.equal(ops.to_levels(levels.float() / top, top), levels.float())


def test_full_range_luma_of_grey_is_grey():
    grey = torch.linspace(0, 1, 9, dtype=torch.float64)[None, None, None].expand(1, 3, 1, 9)
    assert torch.allclose(ops.full_range_luma(grey), grey[:, :1], atol=1e-5)


def test_luma_of_known_colours():
    colours = torch.tensor([[0, 0, 0], [1, 1, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1]], dtype=torch.float64)
    y = ops.luma(colours[:, :, None, None]).flatten() * 255
    assert torch.allclose(y, torch.tensor([16, 235, 81.481, 144.553, 40.966], dtype=torch.float64))


def test_ycbcr_there_and_back():
    x = torch.rand(2, 3, 5, 7, dtype=torch.float64)
    assert torch.allclose(ops.from_ycbcr(ops.to_ycbcr(x)), x, atol=1e-12)
    grey = torch.full((1, 3, 1, 1), 0.4, dtype=torch.float64)
    assert torch.allclose(ops.to_ycbcr(grey)[:, 1:], torch.tensor(128 / 255, dtype=torch.float64), atol=1e-4)


@pytest.mark.parametrize("border", [0, 1, 3])
def test_shave_takes_from_all_sides(border):
    x = torch.arange(100.0).reshape(1, 1, 10, 10)
    assert torch.equal(ops.shave(x, border), x[..., border : 10 - border, border : 10 - border])


def test_autocast_does_not_touch_colours():
    x = torch.rand(1, 3, 5, 7)
    with torch.autocast("cpu", torch.bfloat16):
        inside = ops.from_ycbcr(ops.to_ycbcr(x))
    assert torch.allclose(inside, x, atol=1e-5)
