"""The inference object with the shipped weights: kinds, sizes, tiles, and pictures that come back."""

import numpy as np
import pytest
import torch
from conftest import PHOTO, shake, shared
from PIL import Image

import rescale
from rescale.errors import RecordError, RescaleError, UsageError
from rescale.inference import tiled
from rescale.io import images
from rescale.io.images import Picture
from rescale.models import IRN, IRNConfig, weights, zoo


@pytest.fixture(scope="module", params=["irn-x2-small", "irn-x4-small"])
def irn(request):
    return rescale.load(request.param, device="cpu")


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return 10 * np.log10(255**2 / np.mean((a.astype(float) - b.astype(float)) ** 2))


def test_a_photograph_comes_back_far_better_than_bicubic(irn):
    photo = Image.open(PHOTO).convert("RGB").crop((100, 100, 356, 356))
    small = irn.downscale(photo)
    assert small.size == (256 // irn.scale,) * 2
    bicubic = photo.resize(small.size, Image.Resampling.BICUBIC).resize(photo.size, Image.Resampling.BICUBIC)
    gain = psnr(np.asarray(irn.upscale(small)), np.asarray(photo)) - psnr(np.asarray(bicubic), np.asarray(photo))
    assert gain > 3, f"only {gain:.2f} dB over bicubic"


def test_all_sizes_from_one_pixel_up(irn):
    """The bar: 1..17 x 1..17 down and up, every size exact."""
    for height in range(1, 18):
        for width in range(1, 18):
            picture = Picture(np.full((height, width, 3), 90, np.uint8) + np.arange(width, dtype=np.uint8)[:, None])
            small = irn.downscale_picture(picture)
            assert small.size == irn.sizes.small((height, width))
            assert irn.upscale_picture(small, size=(height, width)).size == (height, width)


@pytest.mark.parametrize("shape", [(9, 13), (9, 13, 1), (9, 13, 2), (9, 13, 3), (9, 13, 4)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_arrays_give_arrays(irn, noise, shape, dtype):
    """The small picture of a grey one is RGB, as the network hides detail between the channels."""
    is_grey = shape[2:] in ((), (1,), (2,))
    small = irn.downscale(noise(*shape, dtype=dtype))
    large = irn.upscale(small, size=(9, 13), grey=is_grey)
    assert small.dtype == large.dtype == dtype
    assert small.shape[2] == 3 + (shape[2:] in ((2,), (4,)))
    assert large.shape[:2] == (9, 13) and large.shape[2:] in (shape[2:], (1,))
    assert irn.upscale(small, size=(9, 13)).shape == (9, 13, small.shape[2])


@pytest.mark.parametrize("shape", [(9, 13), (9, 13, 1), (9, 13, 3)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_float_arrays_lie_on_the_levels_of_a_file(irn, shape, dtype):
    small = irn.downscale(np.random.default_rng(1).random(shape).astype(dtype))
    assert small.dtype == dtype and small.shape[2:] == (3,)
    assert np.allclose(small * 255, (small * 255).round(), atol=1e-3)
    assert irn.upscale(small, size=(9, 13)).shape == (9, 13, 3)
    assert irn.upscale(small, size=(9, 13), grey=True).shape == (9, 13)


@pytest.mark.parametrize("shape", [(9, 13), (9, 13, 1)])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_super_resolution_of_grey_is_grey(noise, shape, dtype):
    model = rescale.load("espcn-x2", device="cpu")
    image = noise(*shape) if dtype == np.uint8 else np.random.default_rng(1).random(shape).astype(dtype)
    assert model.upscale(image).shape == (18, 26, *shape[2:])
    assert model.downscale(image).shape == (5, 7, *shape[2:])


def test_grey_comes_back_far_better_than_through_one_plane(irn):
    photo = Image.open(PHOTO).convert("L").crop((100, 100, 228, 228))
    small = irn.downscale(photo)
    assert small.mode == "RGB"
    restored = irn.upscale(small)
    assert restored.mode == "L"
    flat = irn.upscale(np.asarray(small.convert("L").convert("RGB")), grey=True)[..., 0]
    assert psnr(np.asarray(restored), np.asarray(photo)) > psnr(flat, np.asarray(photo)) + 1


@pytest.mark.parametrize("shape", [(3, 9, 13), (2, 3, 9, 13)])
def test_tensors_give_tensors(irn, shape):
    x = torch.rand(shape)
    small = irn.downscale(x)
    assert torch.allclose(small * 255, (small * 255).round(), atol=1e-3)
    large = irn.upscale(small, size=(9, 13))
    assert large.shape == x.shape and large.min() >= 0 and large.max() <= 1
    if len(shape) == 4:
        assert torch.allclose(irn.upscale(small[1], size=(9, 13)), large[1], atol=1e-5)


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_pillow_images_come_back_in_kind(irn, mode):
    image = Image.open(PHOTO).convert("RGB").resize((31, 22)).convert(mode)
    small = irn.downscale(image)
    large = irn.upscale(small)
    assert large.size == image.size, "the record in `info` keeps the odd size"
    assert large.mode == mode
    assert small.mode == {"RGBA": "RGBA", "LA": "RGBA"}.get(mode, "RGB")


@pytest.mark.parametrize(("mode", "kept"), [("1", "L"), ("P", "RGB"), ("CMYK", "RGB")])
def test_pillow_images_that_cannot_stay_what_they_are_warn(irn, mode, kept):
    image = Image.open(PHOTO).convert("RGB").resize((31, 22)).convert(mode)
    with pytest.warns(UserWarning, match="became"):
        small = irn.downscale(image)
    assert irn.upscale(small).mode == kept


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tiff", ".jpg", ".avif"])
def test_pillow_images_from_files_restore_by_their_record(irn, tmp_path, suffix):
    photo = Picture(images.read(PHOTO).pixels[:33, :47])
    images.write(tmp_path / "photo.png", photo)
    rescale.downscale_file(irn, tmp_path / "photo.png", tmp_path / f"small{suffix}")
    with Image.open(tmp_path / f"small{suffix}") as small:
        large = irn.upscale(small)
    assert large.size == (47, 33)
    assert b"rescale" not in large.info.get("xmp", b"") and "rescale" not in large.info


def test_an_image_changed_since_is_refused(irn):
    small = irn.downscale(Image.open(PHOTO).convert("RGB").resize((64, 64)))
    for changed in (small.transpose(Image.Transpose.ROTATE_180), small.resize((9, 9))):
        with pytest.raises(RecordError, match=r"edited|another size"):
            irn.upscale(changed)
    assert irn.upscale(np.asarray(small.resize((9, 9)))).shape == (9 * irn.scale, 9 * irn.scale, 3)


def test_the_same_numbers_through_every_kind(irn, noise):
    array = noise(24, 32, 3)
    expected = irn.downscale(array)
    assert np.array_equal(np.asarray(irn.downscale(Image.fromarray(array))), expected)
    x = torch.from_numpy(array).permute(2, 0, 1) / 255
    assert np.array_equal((irn.downscale(x) * 255).round().byte().permute(1, 2, 0).numpy(), expected)


NO_PICTURES = {
    "five channels": np.zeros((4, 4, 5), np.uint8),
    "no pixel": np.zeros((0, 4), np.uint8),
    "64-bit integers": np.zeros((4, 4), np.int64),
    "a matrix": torch.zeros(4, 4),
    "four planes": torch.zeros(1, 4, 8, 8),
    "integers": torch.zeros(3, 8, 8, dtype=torch.int32),
    "a name": "photo.png",
    "nothing": None,
}


@pytest.mark.parametrize("bad", NO_PICTURES.values(), ids=NO_PICTURES.keys())
def test_what_is_no_picture_is_named(irn, bad):
    with pytest.raises(UsageError, match="expected"):
        irn.downscale(bad)


def test_sizes_and_scales_that_do_not_fit_are_named(irn, noise):
    image = noise(16, 16, 3)
    with pytest.raises(UsageError, match="works at x"):
        irn.downscale(image, scale=3)
    with pytest.raises(UsageError, match="makes"):
        irn.downscale(image, size=(5, 5))
    with pytest.raises(UsageError, match="is no small picture of 5x5 at x"):
        irn.upscale(image, size=(5, 5))
    for size in (5, (5.5, 7), (0, 4), "5x5"):
        with pytest.raises(UsageError, match="expected a size of"):
            irn.upscale(image, size=size)
    with pytest.raises(UsageError, match="got '4y'"):
        irn.downscale(image, scale="4y")


def test_another_models_picture_is_refused(noise):
    small = rescale.load("irn-x2-small", device="cpu").downscale(Image.fromarray(noise(16, 16, 3)))
    with pytest.raises(RecordError, match="irn-x2-small"):
        rescale.load("irn-x4-small", device="cpu").upscale(small)


def test_opaque_alpha_stays_opaque_and_grey_stays_grey(irn, noise):
    picture = Picture(noise(20, 20, 1), alpha=np.full((20, 20), 255, np.uint8))
    small = irn.downscale_picture(picture)
    assert (small.alpha == 255).all() and not small.is_grey
    large = irn.upscale_picture(small, is_grey=True)
    assert (large.alpha == 255).all() and large.is_grey


@pytest.mark.parametrize(
    ("name", "scale"),
    [(name, entry.scale) for name, entry in zoo.manifest().items() if entry.scale]
    + [("iarn-small", scale) for scale in (1.3, 2, 2.7, 4, (1.5, 4))],
)
def test_tiled_equals_whole(name, scale, monkeypatch):
    """Bit for bit: each tile sees all that its pixels can depend on, and no sum's order depends on its size."""
    model = rescale.load(name, device="cpu")
    photo = images.read(PHOTO)
    photo = Picture(photo.pixels[:384, :576])
    size = model.sizes.small(photo.size, scale)
    monkeypatch.setattr(tiled, "tile_sides", lambda *_: [4096])
    small = model.downscale_picture(photo, size)
    large = model.upscale_picture(small, size=photo.size)
    monkeypatch.setattr(tiled, "tile_sides", lambda *_: [256])
    down, up = model.downscale_picture(photo, size), model.upscale_picture(small, size=photo.size)
    assert (down.pixels == small.pixels).all()
    assert (up.pixels == large.pixels).all()


def test_numbers_that_are_not_finite_are_an_error(noise):
    model = shake(IRN(IRNConfig(2, (1,), 4, 2)))
    next(model.parameters()).data.fill_(float("inf"))
    broken = rescale.Rescaler(weights.Weights("broken", "0" * 64, model, {}))
    with pytest.raises(RescaleError, match="not finite"):
        broken.downscale(noise(8, 8, 3))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "title"), [(n, t) for n, entry in zoo.manifest().items() for t in entry.scores if "Set5" in t]
)
def test_shipped_scores_hold(name, title):
    """The rows of the manifest, computed again: float32's, but for the order of sums, on every processor."""
    from rescale.evaluation.protocol import evaluate, means

    scale = title.partition(" x")[2] or None
    rescaler = rescale.load(name, device="cpu", precision="float32")
    (mean,) = means(evaluate(rescaler, shared("data/test/Set5"), scale=scale))
    psnr_y, ssim_y = zoo.manifest()[name].scores[title].partition(",")[0].split(" / ")
    assert mean.psnr_y == pytest.approx(float(psnr_y), abs=0.007)
    assert mean.ssim_y == pytest.approx(float(ssim_y), abs=1e-4)


def test_unknown_devices_are_named():
    with pytest.raises(UsageError, match="device"):
        rescale.load("irn-x2-small", device="warp")
