"""Profiles belong to their pixels: grey and RGB of one curve, and the grey one comes back; CICP is never lost."""

import io
import struct
import zlib

import imagecodecs
import numpy as np
import pytest
from conftest import PHOTO
from PIL import Image, ImageCms
from test_images import SRGB, chunk, picture, png, saved

from rescale import load
from rescale.inference import files
from rescale.io import bmff, icc, images


def grey_profile(power: float = 1.75) -> bytes:
    """A grey profile with a curve of its own, as Dot Gain 20% has."""
    curve = struct.pack(">256H", *(int(65535 * (i / 255) ** power) for i in range(256)))
    tags = {
        b"desc": b"desc\0\0\0\0\0\0\0\5grey\0" + bytes(78), b"cprt": b"text\0\0\0\0CC0\0",
        b"wtpt": b"XYZ \0\0\0\0" + struct.pack(">3i", 63190, 65536, 54061),
        b"kTRC": b"curv\0\0\0\0" + struct.pack(">I", 256) + curve,
    }  # fmt: skip
    return icc._profile(SRGB, b"GRAY", tags)


GREY = grey_profile()


def srgb_levels(image: Image.Image, profile: bytes) -> np.ndarray:
    to = ImageCms.createProfile("sRGB")
    made = ImageCms.profileToProfile(image, io.BytesIO(profile), to, outputMode="RGB")
    return np.array(made).astype(int)


def test_the_rgb_profile_looks_as_the_grey_one_did():
    ramp = Image.linear_gradient("L")
    fitted = icc.fitted(GREY, is_grey=False)
    assert icc.space(fitted.profile) == b"RGB " and not fitted.note
    wanted, found = srgb_levels(ramp, GREY), srgb_levels(ramp.convert("RGB"), fitted.profile)
    assert np.abs(wanted - found).max() <= 2 and np.abs(found - np.array(ramp)[..., None]).max() > 20


def test_the_grey_profile_comes_back_byte_for_byte():
    assert icc.fitted(icc.fitted(GREY, is_grey=False).profile, is_grey=True).profile == GREY


def test_an_rgb_profile_of_one_curve_becomes_grey():
    ramp, fitted = Image.linear_gradient("L"), icc.fitted(SRGB, is_grey=True)
    assert icc.space(fitted.profile) == b"GRAY"
    assert np.abs(srgb_levels(ramp, fitted.profile) - np.array(ramp)[..., None]).max() <= 2


@pytest.mark.parametrize("space", [b"CMYK", b"Lab "])
def test_a_profile_without_an_equal_is_named(space):
    other = SRGB[:16] + space + SRGB[20:]
    for is_grey in (False, True):
        profile, note = icc.fitted(other, is_grey=is_grey)
        assert profile is None and space.decode().strip() in note


def test_a_grey_profile_without_a_curve_is_named():
    profile, note = icc.fitted(GREY.replace(b"kTRC", b"A2B0"), is_grey=False)
    assert profile is None and "GRAY" in note


def test_what_is_no_profile_is_named():
    found = images.decode(saved(Image.new("RGB", (8, 8)), "JPEG", icc_profile=b"nonsense" * 30), "x")
    assert found.icc is None and found.notes == ("x: its colour profile is damaged and was not kept",)


@pytest.mark.parametrize("format", ["PNG", "WEBP", "TIFF", "JPEG", "AVIF"])
@pytest.mark.parametrize("has_alpha", [False, True])
def test_profile_and_pixels_are_of_one_space_both_ways(format, has_alpha):
    if has_alpha and format == "JPEG":
        return
    crop = Image.open(PHOTO).convert("L").crop((0, 0, 40, 32))
    image = Image.merge("LA", (crop, crop)) if has_alpha else crop
    rescaler = load("irn-x4-small", device="cpu")
    small = files.downscale_bytes(rescaler, saved(image, "PNG", icc_profile=GREY), "x", format)
    found = images.decode(small.data, "x")
    assert not found.is_grey and icc.space(found.icc) == b"RGB "
    restored = images.decode(files.upscale_bytes(small.data, "x", "PNG", model=rescaler).data, "x")
    assert restored.is_grey and restored.icc == GREY


@pytest.mark.parametrize("format", ["WEBP", "AVIF"])
def test_formats_that_store_grey_as_rgb_get_a_profile_of_rgb(format, noise):
    found = images.decode(images.encode(format, picture(noise(16, 16, 1), icc=GREY))[0], "x")
    assert not found.is_grey and icc.space(found.icc) == b"RGB "


def test_16_bit_grey_with_alpha_in_tiff_is_rgb(noise):
    samples = noise(4, 4, 2, dtype=np.uint16)
    found = images.decode(images.encode("TIFF", picture(samples, icc=GREY))[0], "x")
    assert not found.is_grey and icc.space(found.icc) == b"RGB "


def test_the_pillow_result_has_a_fitting_profile():
    image = Image.open(io.BytesIO(saved(Image.linear_gradient("L").resize((32, 32)), "PNG", icc_profile=GREY)))
    small = load("irn-x4-small", device="cpu").downscale(image)
    assert small.mode == "RGB" and icc.space(small.info["icc_profile"]) == b"RGB "


# ---------------------------------------------------------------------------------------------- CICP


def avif(primaries: int, transfer: int, **options) -> bytes:
    pixels = np.array(Image.open(PHOTO).convert("RGB").crop((0, 0, 32, 32)))
    return bytes(imagecodecs.avif_encode(pixels, level=95, primaries=primaries, transfer=transfer, **options))


@pytest.mark.parametrize("codes", [(12, 13), (9, 13), (9, 16), (9, 18), (1, 8)])
def test_colours_of_avif_become_cicp_in_png(codes):
    found = images.decode(avif(*codes, matrix=6), "x")
    assert found.colour_chunks == ((b"cICP", bytes([*codes, 0, 1])),)
    assert images.decode(images.encode("PNG", found)[0], "x").colour_chunks == found.colour_chunks


def test_srgb_of_avif_is_nothing_to_speak_of():
    assert not images.decode(avif(1, 13, matrix=6), "x").colour_chunks


@pytest.mark.parametrize("format", ["WEBP", "JPEG", "TIFF", "AVIF"])
def test_colours_become_a_profile_where_there_is_no_cicp(format):
    data, notes = images.encode(format, images.decode(avif(12, 13, matrix=6), "x"))
    found = images.decode(data, "x")
    assert icc.space(found.icc) == b"RGB " and not notes
    wide = srgb_levels(Image.new("RGB", (1, 1), (200, 120, 80)), found.icc)[0, 0]
    assert wide[0] > 205 and wide[2] < 80, "P3 is more colourful than sRGB"


@pytest.mark.parametrize("format", ["WEBP", "JPEG", "TIFF", "AVIF"])
def test_hdr_is_named_where_it_cannot_be_kept(format):
    _, notes = images.encode(format, images.decode(avif(9, 16, matrix=9), "x"))
    assert "colour" in notes[0]


def test_the_profile_of_srgb_code_points_is_srgb():
    ramp = Image.merge("RGB", [Image.linear_gradient("L"), Image.radial_gradient("L"), Image.new("L", (256, 256), 90)])
    assert np.abs(srgb_levels(ramp, icc.of_cicp(1, 13)) - np.array(ramp)).max() <= 1


def test_hostile_boxes_are_no_harm():
    whole = avif(12, 13, matrix=6)
    for at in range(0, 300):
        for value in (0, 1, 255):
            bmff.cicp(whole[:at] + bytes([value]) + whole[at + 1 :])
            bmff.companions(whole[:at] + bytes([value]) + whole[at + 1 :])
        bmff.cicp(whole[:at])


# ---------------------------------------------------------------------------------------------- PNG


def with_profile(profile: bytes) -> bytes:
    return png(1, 1, 8, 2, b"\0\1\2\3", chunk(b"iCCP", b"name\0\0" + zlib.compress(profile, 1)))


@pytest.mark.parametrize("format", ["PNG", "WEBP", "TIFF", "JPEG", "AVIF"])
def test_a_profile_of_several_megabytes_comes_back(format, noise):
    profile = SRGB + np.random.default_rng(0).bytes(3_000_000)
    data, notes = images.encode(format, picture(noise(8, 8, 3), icc=profile))
    assert images.decode(data, "x").icc == profile
    assert ["1 MiB" in note for note in notes] == [True] * (format == "PNG"), "other programs cannot open it"


def test_a_profile_too_large_for_the_reader_is_named_by_the_writer(noise):
    data, notes = images.encode("PNG", picture(noise(8, 8, 3), icc=SRGB + bytes(2**23)))
    assert images.decode(data, "x").icc is None and "profile" in notes[0]
    assert not images.decode(data, "x").notes


def test_a_profile_too_large_for_jpeg_is_named(noise):
    _, notes = images.encode("JPEG", picture(noise(8, 8, 3), icc=SRGB + bytes(17_000_000)))
    assert notes == ["not kept, as it has more bytes than JPEG can hold: colour profile"]


def test_a_broken_profile_costs_itself_only():
    found = images.decode(png(1, 1, 8, 0, b"\0\7", chunk(b"iCCP", b"name\0\0broken")), "x")
    assert found.pixels.item() == 7 and "its colour profile, which is damaged" in found.notes[0]
    assert images.decode(with_profile(SRGB), "x").icc == SRGB
