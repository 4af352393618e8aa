"""Background: what shows through is laid on a colour where a format holds no transparency, and only there."""

import numpy as np
import pytest
from conftest import PHOTO
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from rescale import RescaleOptions, downscale_file, upscale_file
from rescale.errors import UnsupportedError, UsageError
from rescale.io import background, images
from rescale.io.images import Picture

levels = st.integers(0, 255)


@pytest.fixture
def clear(tmp_path):
    """A photograph that fades away to the right, as PNG."""
    with Image.open(PHOTO) as photo:
        image = photo.convert("RGB").crop((60, 40, 108, 72))
    ramp = np.tile(np.linspace(255, 0, 48).round().astype(np.uint8), (32, 1))
    image.putalpha(Image.fromarray(ramp))
    image.save(tmp_path / "clear.png")
    return tmp_path / "clear.png"


@given(
    st.tuples(levels, levels, levels), st.sampled_from([np.uint8, np.uint16]), st.sampled_from([1, 3]), st.integers()
)
def test_opaque_stays_and_transparent_becomes_the_colour(colour, dtype, channels, seed):
    rng, top = np.random.default_rng(abs(seed)), np.iinfo(dtype).max
    pixels = rng.integers(0, top, (5, 7, channels), dtype=dtype, endpoint=True)
    alpha = rng.choice(np.array([0, top // 2, top], dtype), (5, 7))
    flat = background.flatten(Picture(pixels, alpha), colour)
    wide = pixels if flat.pixels.shape[2] == channels else pixels.repeat(3, axis=2)
    behind = np.array(colour[: flat.pixels.shape[2]]) * (top // 255)
    assert flat.alpha is None and flat.pixels.dtype == dtype
    assert (flat.pixels[alpha == top] == wide[alpha == top]).all()
    assert (flat.pixels[alpha == 0] == behind).all()
    exact = (wide.astype(float) * alpha[..., None] + behind * (float(top) - alpha[..., None])) / top
    assert np.abs(flat.pixels - exact).max() <= 0.5


def test_grey_stays_grey_on_grey_alone():
    grey = Picture(np.full((2, 2, 1), 9, np.uint8), np.zeros((2, 2), np.uint8), icc=bytes(16) + b"GRAY")
    flat = background.flatten(grey, (7, 7, 7))
    assert flat.is_grey and flat.icc and (flat.pixels == 7).all() and not flat.notes
    flat = background.flatten(grey, (255, 0, 0))
    assert flat.pixels[0, 0].tolist() == [255, 0, 0] and flat.icc is None and "profile for grey" in flat.notes[0]


@pytest.mark.parametrize("colour", ["white", "WHITE", "#fff", "#ffffff", "#ffffffff", "rgb(255, 255, 255)"])
def test_colours_as_css_writes_them(colour):
    assert background.parse(colour) == (255, 255, 255)


@pytest.mark.parametrize("colour", ["", "whiet", "#ff", "#ffffff80", "255,255,255", "transparent", "x" * 200])
def test_what_is_no_colour_is_refused_at_once(colour):
    with pytest.raises(UsageError, match="expected a colour"):
        RescaleOptions(background=colour)


@pytest.mark.parametrize("suffix", ["jpg", "bmp", "ppm"])
def test_a_restored_image_is_laid_on_the_colour(clear, tmp_path, suffix):
    small, back, flat = (tmp_path / name for name in ("s.png", "back.png", f"flat.{suffix}"))
    downscale_file("bicubic-x2", clear, small)
    upscale_file(small, back)
    with pytest.raises(UnsupportedError, match="holds no transparency; write PNG") as caught:
        upscale_file(small, flat)
    assert "background='white'" in caught.value.hint and not flat.exists()
    done = upscale_file(small, flat, options=RescaleOptions(background="#0f0"))
    assert [note for note in done.notes if "laid on #0f0" in note]
    wanted = background.flatten(images.read(back), (0, 255, 0)).pixels.astype(int)
    assert np.abs(images.read(flat).pixels - wanted).mean() < (3 if suffix == "jpg" else 1e-9)


def test_a_small_jpeg_is_laid_on_the_colour_and_restores(clear, tmp_path):
    small, back = tmp_path / "s.jpg", tmp_path / "back.png"
    with pytest.raises(UnsupportedError, match="holds no transparency"):
        downscale_file("bicubic-x2", clear, small)
    done = downscale_file("bicubic-x2", clear, small, options=RescaleOptions(background="white"))
    assert [note for note in done.notes if "laid on white" in note]
    upscale_file(small, back)
    restored = images.read(back)
    assert restored.alpha is None and restored.pixels[:, -1].min() > 240


def test_where_alpha_is_held_nothing_is_laid_on_anything(clear, tmp_path):
    downscale_file("bicubic-x2", clear, tmp_path / "a.webp")
    done = downscale_file("bicubic-x2", clear, tmp_path / "b.webp", options=RescaleOptions(background="red"))
    assert (tmp_path / "a.webp").read_bytes() == (tmp_path / "b.webp").read_bytes() and not done.notes


def test_an_alpha_that_hides_nothing_is_no_objection(tmp_path):
    """Screenshots have one, and it comes back where there is place for it."""
    with Image.open(PHOTO) as photo:
        photo.convert("RGBA").crop((60, 40, 108, 72)).save(tmp_path / "a.png")
    downscale_file("bicubic-x2", tmp_path / "a.png", tmp_path / "s.jpg")
    upscale_file(tmp_path / "s.jpg", tmp_path / "back.png")
    assert images.read(tmp_path / "s.jpg").alpha is None and (images.read(tmp_path / "back.png").alpha == 255).all()
    downscale_file("bicubic-x2", tmp_path / "a.png", tmp_path / "s.png")
    upscale_file(tmp_path / "s.png", tmp_path / "back.jpg")
    assert images.read(tmp_path / "back.jpg").size == (32, 48)


def test_on_the_command_line(call, clear, tmp_path):
    code, _, err = call("down", clear, "-m", "bicubic-x2", "-o", tmp_path / "s.jpg")
    assert code == 3 and err.count("\n") == 1 and "--background white" in err
    code, _, err = call("down", clear, "-m", "bicubic-x2", "-o", tmp_path / "s.jpg", "--background", "whiet")
    assert code == 2 and err.count("\n") == 1 and "expected a colour" in err
    code, _, err = call("down", clear, "-m", "bicubic-x2", "-o", tmp_path / "s.jpg", "--background", "white")
    assert code == 0 and "laid on white" in err
