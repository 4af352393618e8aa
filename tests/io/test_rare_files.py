"""Rare but sound files are read, or refused by name; none is called damaged, and nobody else speaks on stderr."""

import io
import logging
import struct
import warnings

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image
from test_images import chunk, picture, png, saved, tiff

from rescale import load
from rescale.errors import InputError, UnsupportedError
from rescale.inference import files
from rescale.io import cmyk, images

# ---------------------------------------------------------------------------------------------- TIFF


@pytest.mark.parametrize("compression", ["webp", "jpegxl", "jpeg2000", "png", "jpegxr", "lerc", "zstd", "lzma", "lzw"])
def test_tiff_with_another_format_inside(compression, noise):
    samples = noise(20, 24, 3)
    options = {"compressionargs": {"lossless": True}} if compression == "webp" else {}
    found = images.decode(tiff(samples, photometric="rgb", compression=compression, **options), "x")
    assert np.array_equal(found.pixels, samples)


@pytest.mark.parametrize("compression", ["jpegxl", "jpeg2000", "png"])
def test_tiff_of_16_bits_with_another_format_inside(compression, noise):
    samples = noise(20, 24, 3, dtype=np.uint16)
    found = images.decode(tiff(samples, photometric="rgb", compression=compression), "x")
    assert np.array_equal(found.pixels, samples)


@pytest.mark.parametrize("options", [{}, {"compression": "lzw", "tile": (16, 16)}, {"byteorder": ">"}])
def test_16_bit_grey_with_alpha(options, noise):
    samples = noise(20, 24, 2, dtype=np.uint16)
    kind = {"photometric": "minisblack", "extrasamples": ["unassalpha"], "planarconfig": "contig"}
    assert np.array_equal(images.decode(tiff(samples, **kind, **options), "x").samples, samples)


@pytest.mark.parametrize("bits", [3, 5, 6, 7, 9, 10, 12, 14, 15])
@pytest.mark.parametrize("is_white_zero", [False, True])
def test_tiff_of_odd_depths_is_stretched(bits, is_white_zero):
    levels = np.array([[0, 1, 2**bits // 2, 2**bits - 1]], np.uint8 if bits <= 8 else np.uint16)
    top = 255 if bits <= 8 else 65535
    wanted = (levels * (top / (2**bits - 1))).round().astype(int)
    found = images.decode(packed(levels, bits, 0 if is_white_zero else 1), "x")
    assert found.pixels[..., 0].tolist() == (top - wanted if is_white_zero else wanted).tolist()


def packed(levels: np.ndarray, bits: int, photometric: int) -> bytes:
    """A grey TIFF of one row, its samples packed bit by bit."""
    row = "".join(f"{int(level):0{bits}b}" for level in levels[0])
    raw = int(row.ljust(-(-len(row) // 8) * 8, "0"), 2).to_bytes(-(-len(row) // 8))
    entries = [(256, levels.shape[1]), (257, 1), (258, bits), (259, 1), (262, photometric), (273, 8), (277, 1),
               (278, 1), (279, len(raw))]  # fmt: skip
    table = b"".join(struct.pack("<HHII", tag, 3, 1, value) for tag, value in entries)
    raw = raw.ljust(32, b"\0")
    return (
        b"II*\0" + struct.pack("<I", 8 + len(raw)) + raw + struct.pack("<H", len(entries)) + table + bytes(4)
    )  # fmt: skip


def test_uncompressed_tiles_that_reach_beyond_the_edge(noise):
    samples = noise(40, 50, 3)
    assert np.array_equal(images.decode(tiff(samples, photometric="rgb", tile=(16, 32)), "x").pixels, samples)


@pytest.mark.parametrize(
    ("samples", "options", "words"),
    [
        (np.zeros((4, 4, 3), np.float32), {"photometric": "rgb"}, "32-bit floating-point RGB"),
        (np.zeros((4, 4, 3), np.int16), {"photometric": "rgb"}, "16-bit signed RGB"),
        (np.zeros((4, 4, 3), np.uint32), {"photometric": "rgb"}, "32-bit RGB"),
        (np.zeros((4, 4, 3), np.uint8), {"photometric": "ycbcr", "extratags": [(530, 3, 2, (1, 1), True)]}, "YCbCr"),
    ],
)  # fmt: skip
def test_what_is_not_read_is_named(samples, options, words):
    with pytest.raises(UnsupportedError, match=words) as caught:
        images.decode(tiff(samples, **options), "x")
    assert "damaged" not in str(caught.value)


@pytest.mark.parametrize("compression", ["webp", "png"])
def test_several_pages_of_a_rare_kind_are_counted(compression, noise):
    out = io.BytesIO()
    with tifffile.TiffWriter(out) as writer:
        for _ in range(3):
            writer.write(noise(16, 16, 3), photometric="rgb", compression=compression)
    with pytest.raises(UnsupportedError, match="3 frames or pages"):
        images.decode(out.getvalue(), "x")


@pytest.mark.parametrize("compression", ["lzw", "zlib", "jpeg", "packbits", "webp"])
def test_libtiff_is_silent_about_damage(compression, noise, capfd, caplog):
    data = tiff(noise(64, 64, 3), photometric="rgb", compression=compression)
    with caplog.at_level(logging.CRITICAL), pytest.raises(InputError):
        images.decode(data[: len(data) // 2] + bytes(len(data) // 2 - 400) + data[-400:][:10], "x")
    assert capfd.readouterr().err == ""


def test_metadata_of_a_rare_tiff_is_kept(noise):
    options = {"photometric": "rgb", "compression": "webp", "compressionargs": {"lossless": True}}
    data = tiff(noise(16, 24, 3), extratags=[(274, 3, 1, 6, True), (271, 2, 3, "Me", True)], **options)
    found = images.decode(data, "x")
    assert found.size == (24, 16) and b"Me\0" in found.exif


# ---------------------------------------------------------------------------------------------- BMP


def bmp(bits: int, masks: tuple[int, ...], words: list[int], *, height: int = 1, length: int = 56) -> bytes:
    body = struct.pack(f"<{len(words)}{'H' if bits == 16 else 'I'}", *words)
    head = struct.pack("<IiiHHIIiiII", length, 2, height, 1, bits, 3, len(body), 0, 0, 0, 0)
    head += struct.pack("<4I", *masks)[: 16 if length > 40 else 12]
    return b"BM" + struct.pack("<IHHI", 14 + len(head) + len(body), 0, 0, 14 + len(head)) + head + body


@pytest.mark.parametrize(
    ("bits", "masks", "word", "colour"),
    [
        (16, (0xF00, 0xF0, 0xF, 0xF000), 0x8F50, [255, 85, 0, 136]),
        (16, (0x7C00, 0x3E0, 0x1F, 0x8000), 0xFC1F, [255, 0, 255, 255]),
        (16, (0xF, 0xF0, 0xF00, 0), 0x05F, [255, 85, 0]),
        (32, (0x3FF00000, 0xFFC00, 0x3FF, 0), 0x3FF00000 | 512, [255, 0, 128]),
        (32, (0xFF000000, 0xFF0000, 0xFF00, 0xFF), 0x01020304, [1, 2, 3, 4]),
        (32, (0, 0xFF00, 0, 0), 0x7700, [0, 119, 0]),
    ],
)
def test_bmp_of_any_masks(bits, masks, word, colour):
    found = images.decode(bmp(bits, masks, [word, 0]), "x")
    assert found.samples[0, 0].tolist() == colour


def test_bmp_rows_run_both_ways():
    masks = (0xF00, 0xF0, 0xF, 0)
    up, down = (images.decode(bmp(16, masks, [0xF00, 0, 0xF, 0], height=n), "x").pixels for n in (2, -2))
    assert up[0, 0].tolist() == [0, 0, 255] and np.array_equal(up, down[::-1])


def test_a_short_bmp_is_damaged():
    with pytest.raises(InputError, match="damaged or truncated: expected 400 bytes of pixels, got 4"):
        images.decode(bmp(16, (0xF00, 0xF0, 0xF, 0), [0, 0], height=100), "x")


def test_bmp_of_jpeg_is_rare_not_damaged():
    data = bytearray(bmp(32, (1, 2, 4, 0), [0, 0]))
    data[30] = 4
    with pytest.raises(UnsupportedError, match="rare kind"):
        images.decode(bytes(data), "x")


# ---------------------------------------------------------------------------------------------- CMYK


def test_ink_without_a_profile_is_that_of_coated_paper():
    ink = np.array([[[0, 0, 0, 0], [255, 0, 0, 0], [0, 0, 0, 255], [0, 255, 255, 0], [255] * 4]], np.uint8)
    wanted = [[255, 255, 255], [0, 174, 239], [35, 31, 32], [237, 28, 36]]
    found = cmyk.to_rgb(ink)[0].tolist()
    assert found[:4] == wanted and max(found[4]) < 10


def test_more_ink_is_never_lighter():
    steps = np.arange(0, 256, 15, dtype=np.uint8)
    for channel in range(4):
        ink = np.zeros((1, len(steps), 4), np.uint8)
        ink[0, :, channel] = steps
        assert (np.diff(cmyk.to_rgb(ink).astype(int), axis=1) <= 0).all()


def test_large_images_are_converted_like_small_ones(noise):
    ink = noise(150, 3, 4)
    assert np.array_equal(cmyk.to_rgb(ink), np.concatenate([cmyk.to_rgb(row[None]) for row in ink]))


def test_the_profile_of_converted_ink_has_no_time_of_its_own():
    found = images.decode(saved(Image.new("CMYK", (8, 8)), "JPEG"), "x")
    assert found.icc[24:36] == struct.pack(">6H", 2026, 1, 1, 0, 0, 0)


# ---------------------------------------------------------------------------------------------- EXIF


WORDS = {0x010E: "Straße am Café", 0x013B: "山田", 0x8298: "© Zoë Müller"}


def exif_of(words: dict[int, bytes], order: str = "<") -> bytes:
    at, table, body = 8 + 2 + 12 * len(words) + 4, b"", b""
    for tag, raw in sorted(words.items()):
        table += struct.pack(order + "HHII", tag, 2, len(raw), at + len(body))
        body += raw + b"\0" * (len(raw) % 2)
    mark = b"II*\0\x08\0\0\0" if order == "<" else b"MM\0*\0\0\0\x08"
    return b"Exif\0\0" + mark + struct.pack(order + "H", len(words)) + table + bytes(4) + body


@pytest.mark.parametrize("format", ["PNG", "WEBP", "TIFF", "JPEG", "AVIF", "JXL"])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("coding", ["utf-8", "latin-1", "shift-jis"])
def test_text_of_exif_is_kept_byte_for_byte(format, order, coding):
    words = {tag: text.encode(coding, "ignore") + b" long\0" for tag, text in WORDS.items()}
    data = saved(Image.new("RGB", (32, 32)), "JPEG", exif=exif_of(words, order), dpi=(300, 300))
    rescaler = load("bicubic-x4", device="cpu")
    small = files.downscale_bytes(rescaler, data, "x", format)
    restored = files.upscale_bytes(small.data, "x", format, model=rescaler)
    assert all(raw in small.data and raw in restored.data for raw in words.values())


def test_exif_that_a_caller_changed_is_taken():
    image = Image.open(io.BytesIO(saved(Image.new("RGB", (8, 8)), "JPEG", exif=exif_of({271: b"before\0"}))))
    assert b"before" in images.from_pil(image).exif
    image.getexif()[271] = "after"
    assert b"after" in images.from_pil(image).exif


# ---------------------------------------------------------------------------------------------- Pillow


def deep_png() -> bytes:
    rows = b"".join(b"\0" + struct.pack(">24H", *(1000 * n + 77 for n in range(24))) for _ in range(8))
    return png(8, 8, 16, 2, rows)


def deep_tiff() -> bytes:
    return tiff(np.arange(192, dtype=np.uint16).reshape(8, 8, 3) * 300, photometric="rgb")


@pytest.mark.parametrize("make", [deep_png, deep_tiff, lambda: b"P6 8 8 65535\n" + bytes(8 * 8 * 6)])
@pytest.mark.parametrize("is_read", [False, True])
def test_16_bits_that_pillow_narrows_are_named(make, is_read, tmp_path):
    (tmp_path / "deep").write_bytes(make())
    image = Image.open(tmp_path / "deep")
    if is_read:
        image.load()
    if is_read and image.format == "PPM":
        return  # of which nothing is left to see
    with pytest.warns(UserWarning, match="16 bits a channel became 8"):
        load("bicubic-x4", device="cpu").downscale(image)


def test_8_bits_are_not_warned_about():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        images.from_pil(Image.open(io.BytesIO(saved(Image.new("RGB", (8, 8)), "PNG"))))


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("is_read", [False, True])
def test_the_transparent_level_of_an_open_image(bits, is_read, tmp_path):
    key = 2**bits - 1
    data = png(
        2, 1, bits, 0, b"\0" + (b"\xff\0" if bits == 8 else b"\xf0"[: 8 // 8]), chunk(b"tRNS", b"\0" + bytes([key]))
    )
    (tmp_path / "key.png").write_bytes(data)
    image = Image.open(tmp_path / "key.png")
    if is_read:
        image.load()
    assert np.array_equal(images.from_pil(image).alpha, images.decode(data, "x").alpha)
    assert images.from_pil(image).alpha.min() == 0


def test_an_open_image_gives_what_its_file_gives(noise):
    texts = [chunk(b"tEXt", b"Author\0" + name) for name in (b"Ann", b"Ben")]
    data = saved(Image.fromarray(noise(8, 8, 3)), "PNG")
    data = data[:33] + b"".join(texts) + data[33:]
    image = Image.open(io.BytesIO(data))
    assert images.from_pil(image).text == images.decode(data, "x").text == (("Author", "Ann"), ("Author", "Ben"))
    image.load()
    assert np.array_equal(np.array(image), images.decode(data, "x").pixels), "Pillow can still read it"


def test_an_open_avif_gives_its_colours():
    data = bytes(imagecodecs.avif_encode(np.zeros((16, 16, 3), np.uint8), primaries=12, transfer=13, matrix=6))
    assert images.from_pil(Image.open(io.BytesIO(data))).colour_chunks


def test_picture_without_metadata(noise):
    full = picture(noise(2, 2, 3), exif=b"x", xmp=b"y", text=(("a", "b"),), icc=b"z", dpi=(72.0, 72.0))
    bare = full.without_metadata()
    assert (bare.exif, bare.xmp, bare.text) == (None, None, ()) and (bare.icc, bare.dpi) == (b"z", (72.0, 72.0))
