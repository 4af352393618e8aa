"""HEIC: read by pillow-heif with all it holds, and named where that is not installed."""

import io
import sys

import numpy as np
import pytest
from conftest import PHOTO
from PIL import Image
from test_images import SRGB, facts_of, rich_exif

from rescale.errors import InputError, MachineError, RefusedError, RescaleError, UnsupportedError
from rescale.io import heif, images

SMALLEST = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"


def test_heic_is_named_where_it_cannot_be_read(monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(MachineError, match=r"x.heic: HEIC needs one more package: pip install 'rescale\[formats\]'"):
        images.decode(SMALLEST, "x.heic")


@pytest.mark.parametrize(
    ("brands", "is_heif"),
    [("heicmif1heic", True), ("mif1mif1heic", True), ("avifavifmif1", False), ("mif1mif1avif", False),
     ("isomisommp42", False)],
)  # fmt: skip
def test_brands_tell_heic_from_avif_and_video(brands, is_heif):
    data = b"\0\0\0\x18ftyp" + brands[:4].encode() + bytes(4) + brands[4:].encode()
    assert heif.is_heif(data) is is_heif


@pytest.fixture
def photo():
    return Image.open(PHOTO).convert("RGB").crop((0, 0, 64, 48))


@pytest.fixture
def saved():
    library = pytest.importorskip("pillow_heif", reason="the extra `formats` is not installed")

    def save(image: Image.Image, **options) -> bytes:
        out = io.BytesIO()
        library.from_pillow(image).save(out, quality=95, chroma=444, **options)
        return out.getvalue()

    return save


def test_pixels_profile_exif_and_xmp_are_read(photo, saved):
    photo.info["icc_profile"] = SRGB
    found = images.decode(saved(photo, exif=rich_exif(), xmp=b"<x/>"), "x")
    assert np.abs(found.pixels.astype(int) - np.array(photo)).mean() < 3
    assert (found.icc, found.xmp) == (SRGB, b"<x/>") and facts_of(found.exif) == facts_of(rich_exif())


def test_alpha_is_read(photo, saved):
    photo.putalpha(Image.linear_gradient("L").resize(photo.size))
    assert np.abs(images.decode(saved(photo), "x").alpha.astype(int) - np.array(photo)[..., 3]).mean() < 3


def test_10_bits_become_16_from_end_to_end():
    library = pytest.importorskip("pillow_heif", reason="the extra `formats` is not installed")
    levels = np.linspace(0, 65535, 64).astype(np.uint16)
    samples = np.ascontiguousarray(np.broadcast_to(levels[None, :, None], (48, 64, 3)))
    out = io.BytesIO()
    library.from_bytes("RGB;16", (64, 48), samples.tobytes()).save(out, quality=100, chroma=444)
    found = images.decode(out.getvalue(), "x")
    assert found.depth == 16 and found.pixels.max() > 65300 and found.pixels.min() < 200
    assert np.abs(found.pixels.astype(int) - samples).mean() < 300


def test_the_limit_holds_before_any_pixel(photo, saved):
    with pytest.raises(RefusedError, match="64x48"):
        images.decode(saved(photo), "x", max_pixels=3000)


def test_damage_is_one_sentence(photo, saved):
    data = saved(photo)
    for length in (24, 100, 300, len(data) - 50):
        with pytest.raises(InputError):
            images.decode(data[:length], "x")
    for at in range(0, 400, 7):
        try:
            images.decode(data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :], "x")
        except RescaleError as error:
            assert "\n" not in str(error)


def test_heic_is_not_written():
    picture = images.Picture(np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(UnsupportedError, match="HEIC is not written; write PNG"):
        images.encode("HEIF", picture)
