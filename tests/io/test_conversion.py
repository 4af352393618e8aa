"""Pillow, numpy and torch in, the same out; anything else is one sentence."""

import numpy as np
import pytest
import torch
from PIL import Image

from rescale.errors import UsageError
from rescale.io import conversion
from rescale.io.images import to_pil


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_pillow_comes_back(noise, mode):
    channels = len(mode) if mode != "L" else 0
    image = Image.fromarray(noise(5, 7, *[channels] * bool(channels)))
    back = conversion.from_picture(conversion.to_picture(image), image)
    assert back.mode == mode and back.tobytes() == image.tobytes()


def test_deep_grey_pillow_comes_back(noise):
    image = Image.fromarray(noise(5, 7, dtype=np.uint16))
    back = conversion.from_picture(conversion.to_picture(image), image)
    assert back.mode == image.mode == "I;16" and (np.asarray(back) == np.asarray(image)).all()


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 1), (5, 7, 2), (5, 7, 3), (5, 7, 4), (1, 1)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_levels_come_back(noise, shape, dtype):
    array = noise(*shape, dtype=dtype)
    assert conversion.is_levels(array)
    back = conversion.from_picture(conversion.to_picture(array), array)
    assert back.dtype == dtype and back.shape == shape and (back == array).all()


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 1), (5, 7, 3), (1, 1)])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_float_arrays_come_back(shape, dtype):
    array = np.random.default_rng(1).random(shape).astype(dtype)
    batch = conversion.to_batch(array)
    assert batch.shape == (1, 3, *shape[:2]) and batch.dtype == torch.float32
    back = conversion.from_batch(batch, array, is_grey=conversion.is_grey(array))
    assert back.dtype == dtype and back.shape == shape
    assert np.allclose(back, array, atol=1e-3 if dtype == np.float16 else 1e-6)


@pytest.mark.parametrize("shape", [(3, 5, 7), (1, 3, 5, 7), (4, 3, 5, 7)])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_tensors_come_back(shape, dtype):
    tensor = torch.rand(shape).to(dtype)
    assert not conversion.is_levels(tensor)
    back = conversion.from_batch(conversion.to_batch(tensor), tensor, is_grey=conversion.is_grey(tensor))
    assert back.dtype == dtype and torch.equal(back, tensor)


def test_views_and_read_only_arrays_are_taken(noise):
    """What numpy makes of a Pillow image cannot be written to, and a flipped array runs backwards."""
    frozen = np.asarray(Image.fromarray(noise(5, 7, 3)))
    for array in (frozen, frozen[::-1, ::2], (frozen / 255)[:, ::-1], np.broadcast_to(np.float32(0.5), (4, 4))):
        if conversion.is_levels(array):
            torch.from_numpy(conversion.to_picture(array).pixels)
            assert (conversion.to_picture(array).pixels == array).all()
        else:
            assert conversion.to_batch(array).shape[-2:] == array.shape[:2]


def test_nothing_given_is_changed(noise):
    array = noise(5, 7, 3)
    before = array.copy()
    conversion.to_picture(array)
    conversion.to_batch(array / 255)
    assert (array == before).all()


@pytest.mark.parametrize(
    "image",
    [
        "photo.png", None, 3, b"bytes", [[0.5]],
        np.array(0.5), np.zeros(3), np.zeros((2, 2, 2)), np.zeros((2, 2, 4)), np.zeros((1, 3, 4, 4)), np.zeros((0, 3)),
        np.zeros((2, 2), bool), np.zeros((2, 2), complex), np.zeros((2, 2), object), np.zeros((2, 2), "U1"),
        np.zeros((2, 2), np.longdouble),
        torch.zeros(()), torch.zeros(3), torch.zeros(2, 2), torch.zeros(1, 2, 2), torch.zeros(4, 2, 2),
        torch.zeros(2, 4, 2, 2), torch.zeros(1, 1, 3, 2, 2), torch.zeros(3, 0, 2), torch.zeros(0, 3, 2, 2),
        torch.zeros(3, 2, 2, dtype=torch.uint8), torch.zeros(3, 2, 2, dtype=torch.complex64),
    ],
    ids=lambda image: f"{type(image).__name__}{getattr(image, 'dtype', '')}{list(getattr(image, 'shape', []))}",
)  # fmt: skip
def test_what_is_no_picture_is_one_sentence(image):
    with pytest.raises(UsageError, match="expected"):
        conversion.to_batch(image)


@pytest.mark.parametrize("value", [255.0, -1.0, float("nan"), float("inf")])
def test_floats_beyond_the_range_are_refused(value):
    image = torch.full((3, 4, 4), 0.5)
    image[1, 2, 3] = value
    for kind in (image, image.permute(1, 2, 0).numpy()):
        with pytest.raises(UsageError, match=r"expected floats in \[0, 1\]"):
            conversion.to_batch(kind)


@pytest.mark.parametrize("shape", [(), (3,), (2, 2, 5), (1, 2, 2, 3), (0, 2, 3), (2, 2, 0)])
def test_arrays_that_are_no_picture_are_refused(shape):
    with pytest.raises(UsageError, match="expected an array of shape"):
        conversion.to_picture(np.zeros(shape, np.uint8))


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int64, np.uint32])
def test_other_integers_are_refused(dtype):
    with pytest.raises(UsageError, match="uint8, uint16"):
        conversion.to_picture(np.zeros((2, 2), dtype))


def test_only_pillow_remembers_a_text(noise):
    image = to_pil(conversion.to_picture(noise(2, 2, 3)))
    assert conversion.with_info(image, "key", "value").info["key"] == "value"
    array = noise(2, 2)
    assert conversion.with_info(array, "key", "value") is array
