"""Verified LR files: what they restore is compared with the original before anything is written."""

from dataclasses import replace

import numpy as np
import pytest
from conftest import PHOTO
from drawing import drawn, page

from rescale import RescaleOptions, load
from rescale.errors import RefusedError, UsageError
from rescale.inference import files
from rescale.inference.verify import BLOCK, compare
from rescale.io import images
from rescale.io.images import Picture
from rescale.metrics import psnr
from rescale.ops import luma


@pytest.fixture(scope="module")
def rescaler():
    return load("irn-x2-small", device="cpu")


def spoilt(picture: Picture, rows: slice, columns: slice, by: int) -> Picture:
    pixels = picture.pixels.copy()
    pixels[rows, columns] ^= by
    return replace(picture, pixels=pixels)


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_figures_are_those_of_psnr_and_the_worst_block_is_found(noise, depth, channels):
    dtype = {8: np.uint8, 16: np.uint16}[depth]
    picture = Picture(noise(150, 201, channels, dtype=dtype))
    other = spoilt(spoilt(picture, slice(None), slice(None), 1), slice(70, 75), slice(130, 135), 2 ** (depth - 2))
    found = compare(other, picture)
    y = (lambda x: x[:, :1]) if channels == 1 else luma
    assert found.psnr_rgb == pytest.approx(psnr(other.rgb, picture.rgb).item(), abs=1e-3)
    assert found.psnr_y == pytest.approx(psnr(y(other.rgb), y(picture.rgb)).item(), abs=1e-3)
    block = (..., slice(BLOCK, 2 * BLOCK), slice(2 * BLOCK, 3 * BLOCK))
    assert found.worst_rgb == pytest.approx(psnr(other.rgb[block], picture.rgb[block]).item(), abs=1e-3)


def test_an_exact_image_is_at_100_db_and_what_nobody_sees_does_not_count(noise):
    picture = Picture(noise(70, 90, 3), np.zeros((70, 90), np.uint8))
    picture.alpha[:, :40] = 255
    assert set(vars(compare(picture, picture)).values()) == {100.0}
    assert compare(spoilt(picture, slice(None), slice(40, None), 255), picture).psnr_rgb == 100.0
    assert compare(spoilt(picture, slice(None), slice(39, None), 255), picture).psnr_rgb < 25


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_what_is_told_is_what_the_file_restores(rescaler, tmp_path, suffix):
    done = files.downscale_file(rescaler, PHOTO, tmp_path / f"s.{suffix}", options=RescaleOptions(verify=True))
    files.upscale_file(done.target, tmp_path / "r.png")
    assert done.verified == compare(images.read(tmp_path / "r.png"), images.read(PHOTO))
    assert done.notes[-1].startswith(f"verified: restores at {done.verified.psnr_y:.2f} dB on Y")
    assert done.verified.worst_rgb < done.verified.psnr_rgb


def test_nobody_is_told_who_has_not_asked(rescaler, tmp_path):
    done = files.downscale_file(rescaler, PHOTO, tmp_path / "s.png")
    assert (done.verified, done.notes) == (None, ())


def test_what_would_restore_badly_is_refused_before_a_file_exists(rescaler, tmp_path):
    chance = np.random.default_rng(1)
    images.write(tmp_path / "noise.png", Picture(chance.integers(0, 256, (96, 96, 3), dtype=np.uint8)))
    drawn(page).save(tmp_path / "text.png")
    for name in ("noise", "text"):
        with pytest.raises(RefusedError, match=r"would restore at \d+\.\d\d dB on RGB, less than the 60 asked for"):
            files.downscale_file(
                rescaler, tmp_path / f"{name}.png", tmp_path / "s.png", options=RescaleOptions(min_psnr=60)
            )
        assert not (tmp_path / "s.png").exists()
    badly = files.downscale_file(
        rescaler, tmp_path / "noise.png", tmp_path / "s.png", options=RescaleOptions(verify=True)
    )
    assert "WebP or AVIF at full size would keep it better" in badly.notes[-1]
    kept = files.downscale_file(rescaler, PHOTO, tmp_path / "p.png", options=RescaleOptions(min_psnr=20))
    assert kept.verified.psnr_rgb > 20


@pytest.mark.parametrize("options", [{"min_psnr": 38, "verify": False}, {"min_psnr": 0}, {"min_psnr": float("nan")}])
def test_options_that_contradict_are_refused(options):
    with pytest.raises(UsageError, match="expected"):
        RescaleOptions(**options)


def test_on_the_command_line(call, tmp_path):
    code, out, err = call("down", PHOTO, "-o", tmp_path / "s.png", "--scale", "2", "--verify", "--json")
    assert code == 0 and '"verified": {"psnr_y": ' in out
    code, _, err = call("down", PHOTO, "-o", tmp_path / "t.png", "--scale", "2", "--min-psnr", "99")
    assert code == 4 and "less than the 99 asked for; a smaller --scale or another --model may reach it" in err
    assert not (tmp_path / "t.png").exists()
