"""JPEG XL: every level, EXIF and XMP come back; the header says size, depth, colours; hostile bytes raise by name."""

import struct

import imagecodecs
import numpy as np
import pytest
from test_images import facts_of, picture, rich_exif, same

from rescale.errors import InputError, RefusedError, UnsupportedError
from rescale.io import images, jxl


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [(1, 1), (8, 16), (31, 17), (300, 400)])
def test_every_level_comes_back(channels, size, noise):
    original = picture(noise(*size, channels), exif=rich_exif(), xmp=b"<x/>", dpi=(300.0, 300.0))
    data, notes = images.encode("JXL", original)
    found = images.decode(data, "x")
    assert same(found, original) and not notes and not found.notes
    assert facts_of(found.exif) == facts_of(original.exif)
    assert found.xmp == b"<x/>" and found.dpi == pytest.approx((300, 300))
    assert not found.colour_chunks, "sRGB is nothing to speak of"


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (40, 30), (256, 8), (200, 100), (511, 513), (1, 9000), (9000, 1)])
@pytest.mark.parametrize("bits", [8, 10, 12, 16])
def test_the_header_says_size_and_depth(size, bits):
    samples = np.zeros((*size, 3), np.uint8 if bits == 8 else np.uint16)
    data = imagecodecs.jpegxl_encode(samples, lossless=True, bitspersample=bits)
    found = jxl.header(bytes(data))
    assert found.size == size[::-1] and found.bits == bits and not found.is_float and not found.is_animated


@pytest.mark.parametrize("bits", [10, 12, 16])
def test_more_than_8_bits_are_stretched_to_16(bits):
    levels = np.array([[0, 1, 2 ** (bits - 1), 2**bits - 1]] * 4, np.uint16)
    data = bytes(imagecodecs.jpegxl_encode(levels, lossless=True, bitspersample=bits))
    assert images.decode(data, "x").pixels[0, :, 0].tolist() == [
        round(int(n) * 65535 / (2**bits - 1)) for n in levels[0]
    ]


def test_floats_and_animations_are_named():
    with pytest.raises(UnsupportedError, match="floats"):
        images.decode(bytes(imagecodecs.jpegxl_encode(np.zeros((8, 8, 3), np.float32))), "x")
    with pytest.raises(UnsupportedError, match="several frames"):
        jxl.read("x", b"", jxl.Header((1, 1), is_animated=True))


def test_metadata_that_is_compressed_is_read():
    body = bytes(imagecodecs.brotli_encode(b"<x/>"))
    plain = images.encode("JXL", picture(np.zeros((4, 4, 3), np.uint8)))[0]
    packed = plain + struct.pack(">I", 12 + len(body)) + b"brobxml " + body
    assert images.decode(packed, "x").xmp == b"<x/>"
    bomb = bytes(imagecodecs.brotli_encode(bytes(200_000_000)))
    assert images.decode(plain + struct.pack(">I", 12 + len(bomb)) + b"brobxml " + bomb, "x").xmp is None


def test_the_size_is_checked_before_any_pixel():
    data = images.encode("JXL", picture(np.zeros((40, 50, 3), np.uint8)))[0]
    with pytest.raises(RefusedError, match="50x40 is 2,000 pixels"):
        images.decode(data, "x", max_pixels=1999)


def test_damage_is_one_sentence(noise):
    data = images.encode("JXL", picture(noise(40, 50, 3), exif=rich_exif()))[0]
    rng = np.random.default_rng(0)
    for length in range(0, len(data) // 2, 97):
        with pytest.raises(InputError):
            images.decode(data[:length], "x")
    for _ in range(100):
        made = bytearray(data)
        made[int(rng.integers(12, 200))] ^= int(rng.integers(1, 256))
        try:
            images.decode(bytes(made), "x")
        except (InputError, RefusedError) as error:
            assert "\n" not in str(error)


def test_what_it_does_not_hold_is_named(noise):
    _, notes = images.encode("JXL", picture(noise(4, 4, 3), icc=b"x" * 200))
    assert notes == ["not kept, as JPEG XL cannot hold it: colour profile"]
    with pytest.raises(UnsupportedError, match="8 bits a channel"):
        images.encode("JXL", picture(noise(4, 4, 3, dtype=np.uint16)))
