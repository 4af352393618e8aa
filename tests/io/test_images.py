"""Picture files: what goes out comes back the same, and what comes in is kept, named in a note, or refused."""

import io
import os
import struct
import zlib
from dataclasses import replace
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
import torch
from conftest import PHOTO, shared
from hostile import Calls, Memory, watched
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image, ImageCms, ImageFile
from waiting import no_hang

from rescale.errors import InputError, MachineError, RefusedError, UnsupportedError, UsageError
from rescale.io import images, sixteen_bit, storage
from rescale.io.images import Picture

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
ORIENTATION = 0x0112
EXACT = {"PNG": (1, 2, 3, 4), "TIFF": (1, 2, 3, 4), "WEBP": (3, 4), "BMP": (1, 3), "PPM": (1, 3)}


def picture(samples: np.ndarray, **facts) -> Picture:
    """(H, W, 1 to 4) -> Picture."""
    has_alpha = samples.shape[2] % 2 == 0
    return Picture(samples[..., :-1] if has_alpha else samples, samples[..., -1] if has_alpha else None, **facts)


def pillow(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def saved(image: Image.Image, format: str, **options) -> bytes:
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def tiff(samples: np.ndarray, **options) -> bytes:
    out = io.BytesIO()
    tifffile.imwrite(out, samples, metadata=None, **options)
    return out.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, depth: int, colour: int, rows: bytes, *extra: bytes) -> bytes:
    """A PNG written by hand: rows hold a filter byte each."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(extra) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def rich_exif(**tags) -> bytes:
    exif = Image.Exif()
    exif[271], exif[272], exif[ORIENTATION] = "Maker", "Model", tags.get("turn", 1)
    exif.get_ifd(0x8769).update({0x829A: 0.01, 0x927C: tags.get("note", b"maker\0note")})
    exif.get_ifd(0x8825).update({1: "N", 2: (1.0, 2.0, 3.5)})
    return exif.tobytes()


def facts_of(exif: bytes) -> list[dict]:
    loaded = Image.Exif()
    loaded.load(exif)
    top = {tag: loaded[tag] for tag in (271, 272)}
    return [top, dict(loaded.get_ifd(0x8769)), dict(loaded.get_ifd(0x8825))]


def same(a: Picture, b: Picture) -> bool:
    alphas = (a.alpha is None and b.alpha is None) or np.array_equal(a.alpha, b.alpha)
    return a.depth == b.depth and np.array_equal(a.pixels, b.pixels) and alphas


# ---------------------------------------------------------------------------------------------- round trips


@given(
    arrays.arrays(
        st.sampled_from([np.uint8, np.uint16]),
        st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 4)),
        elements={},
    )
)
def test_png_and_tiff_give_back_every_level(samples):
    for format in ("PNG", "TIFF"):
        original = picture(samples)
        back = images.decode(images.encode(format, original)[0], format)
        if format == "TIFF" and original.depth == 16 and original.is_grey and original.alpha is not None:
            assert not back.is_grey  # no reader knows 16-bit grey with alpha, so it is stored as colour
            original = replace(original, pixels=original.pixels.repeat(3, axis=2))
        assert same(back, original)


@pytest.mark.parametrize(("format", "channels"), [(f, c) for f, kinds in EXACT.items() for c in kinds])
@pytest.mark.parametrize("size", [(1, 1), (1, 7), (31, 17), (256, 3)])
def test_lossless_formats_give_back_every_level(format, channels, size, noise):
    original = picture(noise(*size, channels))
    data, notes = images.encode(format, original)
    back = images.decode(data, format)
    assert same(back, original)
    assert not notes and not back.notes


@pytest.mark.parametrize("channels", [1, 2])
def test_webp_stores_grey_as_colour(channels, noise):
    original = picture(noise(5, 7, channels))
    back = images.decode(images.encode("WEBP", original)[0], "WEBP")
    assert same(back, replace(original, pixels=original.pixels.repeat(3, axis=2)))


@pytest.mark.parametrize("format", ["JPEG", "WEBP", "AVIF"])
@pytest.mark.parametrize("size", [(64, 48), (33, 41)])
def test_lossy_formats_come_near(format, size):
    original = images.read(PHOTO)
    original = Picture(original.pixels[: size[0], : size[1]])
    back = images.decode(images.encode(format, original, quality=95)[0], format)
    assert back.size == size
    assert np.abs(back.pixels.astype(int) - original.pixels).mean() < 4


def test_large_tiff_has_many_strips_that_pillow_reads(noise):
    original = picture(noise(700, 701, 3))
    file = pillow(images.encode("TIFF", original)[0])
    assert len(file.tag_v2[273]) > 1
    assert np.array_equal(np.array(file), original.pixels)


def test_tiff_of_16_bits_is_read_alike_by_tifffile(noise):
    samples = noise(300, 401, 4, dtype=np.uint16)
    assert np.array_equal(tifffile.imread(io.BytesIO(images.encode("TIFF", picture(samples))[0])), samples)


@given(st.integers(1, 5), st.integers(1, 5), st.sampled_from([8, 16]), st.sampled_from([1, 3]))
def test_tensors_give_back_every_level(height, width, depth, channels):
    dtype = np.uint8 if depth == 8 else np.uint16
    pixels = np.random.default_rng(height).integers(0, 2**depth, (height, width, channels), dtype=dtype)
    assert np.array_equal(images.to_pixels(images.to_tensor(pixels), depth), pixels)
    assert Picture(pixels).rgb.shape == (1, 3, height, width)


def test_to_pixels_rounds_and_clamps():
    x = torch.tensor([-1.0, 0.4 / 255, 0.6 / 255, 2.0]).view(1, 1, 1, 4)
    assert images.to_pixels(x, 8).flatten().tolist() == [0, 0, 1, 255]


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_pillow_and_back(channels, noise):
    original = picture(noise(5, 7, channels), icc=SRGB, exif=rich_exif(), xmp=b"<x/>", dpi=(72.0, 72.0))
    back = images.from_pil(images.to_pil(original))
    assert same(back, original)
    assert (back.xmp, back.dpi) == (b"<x/>", (72.0, 72.0))
    assert back.icc[16:20] == b"GRAY" if channels < 3 else back.icc == SRGB


def test_the_callers_pillow_image_stays_as_it_was():
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    for format in ("JPEG", "PNG"):
        image = pillow(saved(Image.new("RGB", (8, 4)), format, exif=exif))
        assert [images.from_pil(image).size for _ in range(2)] == [(8, 4), (8, 4)]
        assert image.size == (8, 4) and image.getexif()[ORIENTATION] == 6


def test_pillow_and_16_bits(noise):
    grey = picture(noise(5, 7, 1, dtype=np.uint16))
    assert same(images.from_pil(images.to_pil(grey)), grey)
    with pytest.raises(UnsupportedError, match="16-bit"):
        images.to_pil(picture(noise(5, 7, 3, dtype=np.uint16)))


# ---------------------------------------------------------------------------------------------- what files hold


@pytest.mark.parametrize(
    ("format", "depth"), [("PNG", 8), ("PNG", 16), ("TIFF", 8), ("TIFF", 16), ("JPEG", 8), ("WEBP", 8), ("AVIF", 8)]
)
def test_metadata_is_kept(format, depth, noise):
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"></x:xmpmeta>'
    samples = noise(16, 16, 3, dtype=np.uint8 if depth == 8 else np.uint16)
    original = picture(samples, icc=SRGB, exif=rich_exif(turn=1), xmp=xmp, dpi=(96.0, 144.0))
    data, notes = images.encode(format, original)
    back = images.decode(data, format)
    assert (back.icc, back.xmp) == (SRGB, xmp)
    assert back.dpi == pytest.approx((96, 144), abs=0.02)
    assert facts_of(back.exif) == facts_of(original.exif)
    assert not notes and not back.notes


@pytest.mark.parametrize("format", ["PNG", "TIFF", "JPEG", "WEBP", "AVIF", "BMP"])
def test_resolution_alone_is_kept(format, noise):
    data, notes = images.encode(format, picture(noise(4, 4, 3), dpi=(300.0, 300.0)))
    assert images.decode(data, format).dpi == pytest.approx((300, 300), abs=0.02)
    assert not notes


@pytest.mark.parametrize("format", ["JPEG", "WEBP", "AVIF", "TIFF", "BMP", "PPM"])
def test_what_a_format_cannot_hold_is_said_in_one_sentence(format, noise):
    original = picture(noise(4, 4, 3), text=(("Title", "x"),), colour_chunks=((b"gAMA", struct.pack(">I", 100_000)),))
    if format in ("BMP", "PPM"):
        original = replace(original, icc=SRGB, exif=rich_exif(), xmp=b"<x/>", dpi=(72.0, 72.0))
    (note,) = images.encode(format, original)[1]
    assert "PNG text" in note
    assert ("colour profile, EXIF, XMP" in note) == (format in ("BMP", "PPM"))
    assert ("PNG colour chunks" in note) == (format not in ("BMP", "PPM"))  # beside a profile they say nothing
    assert ("resolution" in note) == (format == "PPM")


def test_png_text_and_colour_chunks_are_kept(noise):
    colour = ((b"gAMA", struct.pack(">I", 45455)), (b"cICP", bytes([9, 16, 0, 1])))
    text = (("Title", "a b c"), ("Größe", "日本"))
    original = picture(noise(3, 3, 3), text=text, colour_chunks=colour)
    back = images.decode(images.encode("PNG", original)[0], "x")
    assert (back.text, back.colour_chunks) == (text, colour)


def test_unknown_png_chunks_are_named():
    data = png(1, 1, 8, 0, b"\0\7", chunk(b"prVt", b"secret"), chunk(b"tIME", bytes(7)))
    assert images.decode(data, "x").notes == ("x: not kept: PNG chunk prVt",)


def test_jpeg_comment_is_named(noise):
    assert "comment" in images.decode(saved(Image.new("RGB", (8, 8)), "JPEG", comment="hello"), "x").notes[0]


def test_damaged_exif_costs_the_exif_only():
    whole = saved(Image.new("RGB", (8, 8)), "JPEG", exif=rich_exif())
    at, rng = whole.find(b"Exif\0\0") + 6, np.random.default_rng(0)
    for _ in range(40):
        data = bytearray(whole)
        data[at + (where := int(rng.integers(100))) : at + where + 4] = rng.bytes(4)
        found = images.decode(bytes(data), "x")
        assert found.size == (8, 8)
        images.encode("TIFF", found)


@pytest.mark.parametrize("format", ["PNG", "WEBP", "AVIF", "TIFF"])
def test_exif_of_any_size_is_written(format, noise):
    original = picture(noise(4, 4, 3), exif=rich_exif(note=bytes(80_000)))
    back = images.decode(images.encode(format, original)[0], "x")
    assert facts_of(back.exif)[1][0x927C] == bytes(80_000)


def test_exif_beyond_64_kb_is_left_out_of_jpeg_with_a_note(noise):
    data, notes = images.encode("JPEG", picture(noise(4, 4, 3), exif=rich_exif(note=bytes(80_000))))
    assert images.decode(data, "x").exif is None
    assert notes == ["not kept, as it has more bytes than JPEG can hold: EXIF"]


def test_exif_with_a_thumbnail_is_written_without_it(noise):
    thumbnail = saved(Image.new("RGB", (16, 16), "red"), "JPEG")
    first = struct.pack("<HHHIIHHIII", 2, 271, 2, 4, int.from_bytes(b"abc\0", "little"), ORIENTATION, 3, 1, 6, 38)
    second = struct.pack("<HHHIIHHIII", 2, 513, 4, 1, 68, 514, 4, 1, len(thumbnail), 0)
    exif = b"Exif\0\0II*\0\x08\0\0\0" + first + second + thumbnail
    data = saved(Image.new("RGB", (16, 8)), "JPEG", exif=exif)
    back = images.decode(data, "x")
    assert back.size == (16, 8)
    assert thumbnail not in back.exif
    for format in ("PNG", "TIFF", "JPEG", "WEBP", "AVIF"):
        again = images.decode(images.encode(format, back)[0], "x")
        assert Image.Exif().load(again.exif) is None and again.size == (16, 8)


def test_profiles_pass_through_every_format():
    for file in sorted(shared("data/robust/wide_gamut").glob("*.png")):
        original = images.read(file)
        original = replace(original, pixels=original.pixels[:20, :20], alpha=None)
        with Image.open(file) as image:
            assert original.icc == image.info.get("icc_profile")
        for format in ("PNG", "TIFF") + (("JPEG", "WEBP", "AVIF") if original.depth == 8 else ()):
            assert images.decode(images.encode(format, original)[0], "x").icc == original.icc


# ---------------------------------------------------------------------------------------------- orientation


@pytest.mark.parametrize("kind", ["Landscape", "Portrait"])
@pytest.mark.parametrize("turn", range(9))
def test_pictures_come_upright(kind, turn):
    folder = shared("data/robust/exif_orientation")
    upright, turned = images.read(folder / f"{kind}_1.jpg"), images.read(folder / f"{kind}_{turn}.jpg")
    assert turned.size == upright.size
    assert np.abs(turned.pixels[::8, ::8].astype(int) - upright.pixels[::8, ::8]).mean() < 6
    loaded = Image.Exif()
    loaded.load(turned.exif)
    assert loaded[531] == 1 and ORIENTATION not in loaded


@pytest.mark.parametrize(
    ("format", "mode"),
    [("PNG", "RGB"), ("PNG", "P"), ("TIFF", "RGB"), ("TIFF", "P"), ("TIFF", "CMYK"), ("JPEG", "RGB"),
     ("JPEG", "CMYK"), ("WEBP", "RGB"), ("AVIF", "RGB")],
)  # fmt: skip
@pytest.mark.parametrize("turn", [1, 3, 6, 7])
def test_orientation_of_every_format_and_mode(format, mode, turn):
    exif = Image.Exif()
    exif[271], exif[ORIENTATION] = "Maker", turn
    image = Image.new("RGB", (32, 16), "white")
    image.paste("black", (0, 0, 16, 8))
    back = images.decode(saved(image.convert(mode), format, exif=exif), "x")
    dark = {1: (0, 0), 3: (1, 1), 6: (0, 1), 7: (1, 1)}[turn]
    height, width = back.size
    assert (height, width) == ((16, 32) if turn < 5 else (32, 16))
    assert back.pixels[height // 4 + dark[0] * height // 2, width // 4 + dark[1] * width // 2].max() < 65
    loaded = Image.Exif()
    loaded.load(back.exif)
    assert loaded[271] == "Maker" and ORIENTATION not in loaded
    assert same(images.decode(images.encode("PNG", back)[0], "x"), back)


def test_orientation_in_xmp_is_applied_once():
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf tiff:Orientation="6" a="b"/></x:xmpmeta>'
    once = images.decode(saved(Image.new("RGB", (8, 4)), "JPEG", xmp=xmp), "x")
    assert once.size == (8, 4)
    assert b"Orientation" not in once.xmp and b'a="b"' in once.xmp
    assert images.decode(images.encode("PNG", once)[0], "x").size == (8, 4)


def test_orientation_of_16_bit_pictures(noise):
    samples = noise(4, 8, 3, dtype=np.uint16)
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    data = images.encode("PNG", picture(samples, exif=exif.tobytes()))[0]
    assert np.array_equal(images.decode(data, "x").pixels, np.rot90(samples, -1))
    data = tiff(samples, photometric="rgb", extratags=[(ORIENTATION, "H", 1, 6, True)])
    assert np.array_equal(images.decode(data, "x").pixels, np.rot90(samples, -1))


# ---------------------------------------------------------------------------------------------- modes


def test_pngsuite():
    """The damaged ones are refused; the others hold what libpng by itself sees in them."""
    for file in sorted(shared("data/robust/pngsuite").glob("*.png")):
        if file.name.startswith("x"):
            with pytest.raises(InputError):
                images.read(file)
            continue
        found, data = images.read(file), file.read_bytes()
        expected = imagecodecs.png_decode(data)
        assert found.depth == (16 if data[24] == 16 else 8)
        assert np.array_equal(found.samples.squeeze(), expected.squeeze()), file.name


def test_wide_formats_of_mozjpeg():
    folder = shared("data/robust/mozjpeg")
    assert images.read(folder / "monkey16.ppm").depth == 16
    with pytest.raises(InputError, match="12-bit"):
        images.read(folder / "testorig12.jpg")
    for file in [*folder.glob("*.bmp"), folder / "testorig.ppm", folder / "testimgint.jpg"]:
        with Image.open(file) as image:
            assert np.array_equal(images.read(file).pixels, np.array(image.convert("RGB")))


@pytest.mark.parametrize(
    ("depth", "rows", "key", "alpha"),
    [
        (1, b"\0\x80", 1, [0, 255]),
        (4, b"\0\xf1", 15, [0, 255]),
        (8, b"\0\x07\x08", 8, [255, 0]),
        (16, b"\0\x01\x02\x03\x04", 0x0304, [65535, 0]),
    ],
)
def test_one_transparent_grey_level_becomes_alpha(depth, rows, key, alpha):
    found = images.decode(png(2, 1, depth, 0, rows, chunk(b"tRNS", struct.pack(">H", key))), "x")
    assert found.is_grey and found.alpha.tolist() == [alpha]
    assert same(images.decode(images.encode("PNG", found)[0], "x"), found)


@pytest.mark.parametrize("depth", [8, 16])
def test_one_transparent_colour_becomes_alpha(depth):
    kind = f">u{depth // 8}"
    rows = b"\0" + np.array([1, 2, 3, 1, 2, 4], kind).tobytes()
    found = images.decode(png(2, 1, depth, 2, rows, chunk(b"tRNS", struct.pack(">HHH", 1, 2, 4))), "x")
    assert found.alpha.tolist() == [[2**depth - 1, 0]]
    assert found.pixels.tolist() == [[[1, 2, 3], [1, 2, 4]]]


def test_palettes_become_plain_colours(noise):
    colours = Image.fromarray(noise(9, 9, 3)).quantize(16)
    for format in ("PNG", "GIF", "TIFF", "BMP"):
        found = images.decode(saved(colours, format), "x")
        assert np.array_equal(found.pixels, np.array(colours.convert("RGB")))
        assert "palette" in found.notes[0]
    for format, clear in (("PNG", bytes(range(16))), ("GIF", 3)):
        found = images.decode(saved(colours, format, transparency=clear), "x")
        assert found.alpha.min() < 255


def test_one_bit_becomes_grey():
    found = images.decode(saved(Image.new("1", (4, 4), 1), "PNG"), "x")
    assert found.pixels.min() == 255 and "1 bit" in found.notes[0]


@pytest.mark.parametrize("mode", ["La", "RGBa", "RGBX", "HSV", "LAB", "YCbCr", "F", "I"])
def test_odd_pillow_modes_are_refused_by_name(mode):
    with pytest.raises(UnsupportedError, match=mode):
        images.from_pil(Image.new(mode, (2, 2)))


def test_palette_with_alpha_is_taken():
    assert images.from_pil(Image.new("PA", (2, 2))).alpha is not None


@pytest.mark.parametrize("format", ["TIFF", "PPM", "PNG", "JPEG"])
def test_lazily_opened_pillow_images_are_taken(format, noise):
    data = saved(Image.fromarray(noise(64, 64, 3)), format)
    assert same(images.from_pil(pillow(data)), images.decode(data, "x"))
    with pytest.raises(InputError):
        images.from_pil(pillow(data[: len(data) - 60]))


@pytest.mark.parametrize("profile", [None, b"nonsense"])
def test_cmyk_jpeg_becomes_srgb(profile):
    """Pillow writes CMYK as Adobe does, inverted."""
    image = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    data = saved(image, "JPEG", **({"icc_profile": profile} if profile else {}))
    if profile:
        with pytest.raises(UnsupportedError, match="profile"):
            images.decode(data, "x")
        return
    found = images.decode(data, "x")
    assert np.abs(found.pixels[4, 4].astype(int) - (237, 28, 36)).max() < 6, "the red of coated paper"
    assert "CMYK became sRGB, taken as SWOP" in found.notes[0] and found.icc[36:40] == b"acsp"


@pytest.mark.parametrize(
    "options",
    [{}, {"planarconfig": "separate"}, {"compression": "lzw", "predictor": True}, {"byteorder": ">"},
     {"tile": (16, 16), "compression": "zlib"}],
)  # fmt: skip
@pytest.mark.parametrize("channels", [3, 4])
def test_16_bit_tiff_of_every_layout(options, channels, noise):
    samples = noise(7, 5, channels, dtype=np.uint16)
    raw = np.moveaxis(samples, -1, 0) if "planarconfig" in options else samples
    extra = ["unassalpha"] if channels == 4 else None
    found = images.decode(tiff(raw, photometric="rgb", extrasamples=extra, **options), "x")
    assert np.array_equal(found.samples, samples)


def test_16_bit_tiff_one_pixel_high(noise):
    samples = noise(1, 3, 3, dtype=np.uint16)
    assert np.array_equal(images.decode(tiff(samples, photometric="rgb"), "x").pixels, samples)


def test_grey_tiff_of_both_polarities_and_byte_orders(noise):
    samples = noise(6, 5, dtype=np.uint16)
    for order in "<>":
        found = images.decode(tiff(samples, byteorder=order), "x")
        assert np.array_equal(found.pixels[..., 0], samples)
    assert np.array_equal(images.decode(tiff(samples, photometric="miniswhite"), "x").pixels[..., 0], 65535 - samples)


def test_odd_tiffs_are_refused_by_name(noise):
    rgba, grey = noise(5, 6, 4, dtype=np.uint16), noise(5, 6, dtype=np.uint16)
    odd = [
        tiff(np.float32(grey)),
        tiff(np.float32(rgba[..., :3]), photometric="rgb"),
        tiff(grey.astype(np.uint32)),
        tiff(grey.astype(np.int16)),
        tiff(noise(5, 6, 3), photometric="cielab"),
        tiff(rgba, photometric="rgb", extrasamples=["assocalpha"]),
        tiff(rgba, photometric="separated"),
    ]
    for data in odd:
        with pytest.raises(InputError, match=r"x: expected"):
            images.decode(data, "x")


def test_extra_channels_are_named(noise):
    found = images.decode(tiff(noise(5, 6, 4), photometric="rgb", extrasamples=["unspecified"]), "x")
    assert found.alpha is None and "extra channel" in found.notes[0]


def test_deep_avif_is_named(noise):
    data = imagecodecs.avif_encode(noise(16, 16, 3, dtype=np.uint16) >> 6, level=90, bitspersample=10)
    assert "10 or 12 bits" in images.decode(data, "x").notes[0]


def test_bmp_of_32_bits_has_alpha_where_its_header_says_so(noise):
    samples = noise(5, 6, 4)
    image = Image.fromarray(samples)
    plain = saved(image, "BMP")
    assert np.array_equal(images.decode(plain, "x").samples, samples[..., :3])
    masks = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    facts = struct.pack("<IiiHHIIiiII", 108, 6, 5, 1, 32, 3, 120, 0, 0, 0, 0) + masks + bytes(52)
    data = b"BM" + struct.pack("<IHHI", 14 + 108 + 120, 0, 0, 14 + 108) + facts + plain[-120:]
    assert np.array_equal(images.decode(data, "x").samples, samples)


@pytest.mark.parametrize("top", [1023, 65535])
def test_ppm_of_16_bits_is_stretched(top):
    levels = np.array([0, top // 2, top] * 2, ">u2")
    found = images.decode(b"P6\n# made by hand\n2 1\n%d\n" % top + levels.tobytes(), "x")
    assert found.pixels.flatten().tolist() == [0, round(top // 2 * 65535 / top), 65535] * 2
    grey = images.decode(b"P5\n3 2\n%d\n" % top + levels.tobytes(), "x")
    assert grey.pixels.dtype == np.uint16 and grey.pixels.max() == 65535


def test_deep_ppm_that_cannot_be_read_is_refused():
    for data in (
        b"P3 1 1 65535 1 2 3",
        b"P6 1 1 1023 \xff\xff\xff\xff\xff\xff",
        b"P6 9 9 65535 \0\0",
        b"PF 1 1 1.0 " + bytes(12),
    ):
        with pytest.raises(InputError):
            images.decode(data, "x")


# ---------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "TIFF", "AVIF"])
def test_several_frames_are_counted_and_refused(format):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "green", "blue")]
    data = saved(frames[0], format, save_all=True, append_images=frames[1:])
    with pytest.raises(UnsupportedError, match="3 frames or pages") as caught:
        images.decode(data, "x")
    assert ("video" in caught.value.hint) == (format != "TIFF")


def test_a_tiff_of_endless_pages_is_refused_in_time():
    entries = [(256, 4, 1, 1), (257, 4, 1, 1), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 0),
               (277, 3, 1, 1), (279, 4, 1, 1)]  # fmt: skip
    page = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries)
    length = len(page) + 4
    data = b"II*\0\x08\0\0\0" + b"".join(page + struct.pack("<I", 8 + (n + 1) * length) for n in range(50_000))
    with no_hang(), Calls() as calls, pytest.raises(UnsupportedError, match="1000 frames or pages"):
        images.decode(data, "x")
    assert calls.count < 2_000_000, "each page takes a few hundred, and there are 50,000"


def test_a_tiff_without_some_strips_is_damaged(noise):
    data = bytearray(tiff(noise(30, 30, 3, dtype=np.uint16), photometric="rgb", rowsperstrip=10, compression="zlib"))
    at = data.find(struct.pack("<HHI", 279, 3, 3))
    at = at if at > 0 else data.find(struct.pack("<HHI", 279, 4, 3))
    data[at + 4 : at + 8] = struct.pack("<I", 1)
    with pytest.raises(InputError):
        images.decode(bytes(data), "x")


def test_first_picture_of_an_mpo_is_taken():
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    found = images.decode(saved(frames[0], "MPO", save_all=True, append_images=frames[1:]), "x")
    assert found.pixels[0, 0, 0] > 200 and "the other 1" in found.notes[0]


def bombs() -> list[bytes]:
    header = png(60_000, 60_000, 8, 2, b"")
    return [
        header,
        png(60_000, 60_000, 16, 6, b""),
        b"P6 100000 100000 255 ",
        b"BM" + struct.pack("<IIIIiiHHIIIIII", 100, 0, 54, 40, 60_000, 60_000, 1, 24, 0, 0, 0, 0, 0, 0),
        b"GIF89a\xff\xff\xff\xff\0\0\0\x2c\0\0\0\0\xff\xff\xff\xff\0\x02\0;",
    ]


@pytest.mark.parametrize("index", range(5))
def test_bombs_are_refused_before_decoding(index, monkeypatch):
    for owner, decoder in ((ImageFile.ImageFile, "load"), (Image.Image, "load"), (sixteen_bit, "samples")):
        monkeypatch.setattr(owner, decoder, lambda *_: pytest.fail("a pixel was asked for"))
    with no_hang(), pytest.raises(RefusedError, match="pixels, more than the limit"):
        images.decode(bombs()[index], "x")


def test_the_limit_is_the_callers():
    assert images.decode(png(4, 4, 8, 0, bytes(20)), "x", max_pixels=16).size == (4, 4)
    with pytest.raises(RefusedError, match="16 pixels, more than the limit of 15"):
        images.decode(png(4, 4, 8, 0, bytes(20)), "x", max_pixels=15)


@pytest.mark.parametrize("kind", [b"zTXt", b"iCCP", b"iTXt"])
def test_text_bombs_do_no_harm(kind):
    bomb = zlib.compress(bytes(200_000_000), 9)
    body = b"key\0\1\0\0\0" + bomb if kind == b"iTXt" else b"key\0\0" + bomb
    data = png(4, 4, 8, 0, bytes(20), chunk(kind, body))
    with no_hang(), Memory() as memory:
        found = images.decode(data, "x")
    assert memory.most < 20e6, "the text is 200 MB long"
    assert "more than 8,388,608 bytes" in found.notes[0] and not found.text and found.icc is None


def test_a_jpeg_of_endless_scans_is_refused():
    data = saved(Image.new("RGB", (64, 64)), "JPEG", progressive=True)
    at = data.rfind(b"\xff\xda")
    with pytest.raises(RefusedError, match="scans"):
        images.decode(data[:at] + data[at:-2] * 200 + data[-2:], "x")


@pytest.mark.parametrize("progressive", [False, True])
def test_a_video_behind_a_photograph_is_no_scan(progressive):
    """Motion photographs of telephones: whatever follows the picture's end is not counted."""
    data = saved(Image.open(PHOTO), "JPEG", progressive=progressive)
    assert images.decode(data + b"\xff\xda" * 5000, "x").size == (400, 600)


def test_no_regular_file(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("hello, I am no picture")
    (tmp_path / "dangling.png").symlink_to("nowhere")
    for name, words in (
        ("pipe.png", "a pipe"), ("folder.png", "a folder"), ("empty.png", "something else"), ("missing.png", "No such"),
        ("text.png", "something else"), ("dangling.png", "No such"), ("a" * 300 + ".png", "too long"),
        ("nul\0.png", "null"), ("empty.png/x.png", "Not a directory"),
    ):  # fmt: skip
        with no_hang(), watched() as seen, pytest.raises(InputError, match=words):
            images.read(tmp_path / name)
        assert not seen.opened or name in ("empty.png", "text.png"), "a pipe is never opened"
    with no_hang(), watched() as seen, pytest.raises(InputError, match="a device"):
        images.read(Path("/dev/zero"))
    assert not seen.opened


def test_endless_files_are_refused_unread(tmp_path):
    with (tmp_path / "sparse.png").open("wb") as file:
        file.truncate(10**11)
    with pytest.raises(RefusedError, match="bytes"):
        images.read(tmp_path / "sparse.png")


@pytest.fixture
def nobody():
    """Without the rights of root, who may read and write all."""
    if os.geteuid() == 0:
        os.seteuid(65534)
        yield
        os.seteuid(0)
    else:
        yield


def test_forbidden_files_are_the_machines_fault(tmp_path, nobody):
    with pytest.raises(MachineError, match="Permission denied"):
        images.read(Path("/proc/1/environ") if os.getuid() == 0 else _forbidden(tmp_path))


def _forbidden(folder: Path) -> Path:
    file = folder / "secret.png"
    file.touch(mode=0)
    return file


def test_the_suffix_may_lie(tmp_path, noise):
    original = picture(noise(5, 5, 3))
    (tmp_path / "really-a-png.jpg").write_bytes(images.encode("PNG", original)[0])
    assert same(images.read(tmp_path / "really-a-png.jpg"), original)


# ---------------------------------------------------------------------------------------------- writing


@pytest.mark.parametrize(
    ("format", "shape", "dtype", "words"),
    [
        ("JPEG", (4, 4, 4), np.uint8, "no transparency"),
        ("PPM", (4, 4, 2), np.uint8, "no transparency"),
        ("BMP", (4, 4, 4), np.uint8, "no transparency"),
        ("WEBP", (4, 4, 3), np.uint16, "8 bits"),
        ("AVIF", (4, 4, 1), np.uint16, "8 bits"),
        ("GIF", (4, 4, 3), np.uint8, "256 colours"),
        ("WEBP", (1, 16_384, 3), np.uint8, "sides up to 16383"),
        ("JPEG", (65_501, 1, 3), np.uint8, "sides up to 65500"),
    ],
)
def test_what_a_format_cannot_show_is_refused(format, shape, dtype, words):
    with pytest.raises(UnsupportedError, match=words):
        images.encode(format, picture(np.zeros(shape, dtype)))


@pytest.mark.parametrize("quality", [0, 101, -1])
def test_quality_out_of_range_is_refused(quality, noise):
    with pytest.raises(UsageError, match="1 to 100"):
        images.encode("JPEG", picture(noise(4, 4, 3)), quality=quality)


def test_write_then_read(tmp_path, noise):
    original = picture(noise(5, 5, 4, dtype=np.uint16))
    assert images.write(tmp_path / "a.PNG", original) == []
    assert same(images.read(tmp_path / "a.PNG"), original)
    with pytest.raises(UsageError, match="expected one of"):
        images.write(tmp_path / "a.xyz", original)
    assert [file.name for file in tmp_path.iterdir()] == ["a.PNG"]


def test_nothing_is_replaced_unasked(tmp_path):
    file = tmp_path / "a.bin"
    storage.publish(file, b"one")
    with pytest.raises(RefusedError, match="overwrite=True"):
        storage.publish(file, b"two")
    assert file.read_bytes() == b"one"
    storage.publish(file, b"two", overwrite=True)
    assert file.read_bytes() == b"two"
    assert list(tmp_path.iterdir()) == [file]


def test_a_name_as_long_as_can_be_is_written(tmp_path):
    file = tmp_path / ("a" * 251 + ".png")
    storage.publish(file, b"x")
    assert file.read_bytes() == b"x"


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_cannot_be_written_leaves_nothing_behind(overwrite, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "dangling").symlink_to("nowhere/at/all")
    for name in ("a" * 256, "missing/a.png", "nul\0", "folder" if overwrite else "dangling"):
        with pytest.raises((MachineError, RefusedError)):
            storage.publish(tmp_path / name, b"x", overwrite=overwrite)
    with pytest.raises(MachineError):
        storage.publish(Path("/proc/a.png"), b"x", overwrite=overwrite)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["dangling", "folder"]
    assert not list((tmp_path / "folder").iterdir())


def test_a_full_disk_leaves_the_old_file():
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full here")
    with pytest.raises((MachineError, RefusedError)):
        storage.publish(full, b"x")


def test_find(tmp_path):
    (tmp_path / "b").mkdir()
    for name in ("b/1.JPG", "a.png", "c.txt", "b/d.webp"):
        (tmp_path / name).touch()
    found = [str(file.relative_to(tmp_path)) for file in images.find(tmp_path)]
    assert found == ["a.png", "b/1.JPG", "b/d.webp"]
    assert images.find(tmp_path / "c.txt") == [tmp_path / "c.txt"]
