"""Pictures of strangers: whatever is done to their bytes, they are read or raise one of our errors, and soon."""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import psutil
import pytest
from conftest import PHOTO
from hostile import IS_THOROUGH, Calls, watched
from test_images import SRGB, rich_exif, saved, tiff
from test_rare_files import bmp
from waiting import no_hang

from rescale.errors import RescaleError
from rescale.io import images
from rescale.io.images import Picture

TRIALS = 10_000 if IS_THOROUGH else 1_000
"""Of all formats together."""
MOST_CALLS = 100_000
"""To read and write one file; of those 10,000 none takes more than a fifth of that."""


def victims() -> dict[str, bytes]:
    photo = images.read(PHOTO)
    small = Picture(photo.pixels[:40, :40], icc=SRGB, exif=rich_exif(), xmp=b"<x/>", dpi=(72.0, 72.0))
    deep = replace(small, pixels=small.pixels.astype(np.uint16) * 257)
    files = {
        format: images.encode(format, small)[0]
        for format in ("PNG", "JPEG", "WEBP", "AVIF", "JXL", "TIFF", "BMP", "PPM")
    }
    files |= {f"{format}-16": images.encode(format, deep)[0] for format in ("PNG", "TIFF")}
    image = images.to_pil(Picture(small.pixels))
    files["GIF"] = saved(image, "GIF")
    files["CMYK"] = saved(image.convert("CMYK"), "JPEG", progressive=True)
    files["PPM-16"] = b"P6 40 40 65535 " + deep.pixels.astype(">u2").tobytes()
    files["LZW"] = tiff(deep.pixels, photometric="rgb", compression="lzw")
    files["PNG-in-TIFF"] = tiff(
        deep.pixels, photometric="rgb", compression="png", extratags=[(65000, 7, 9, b"private__", True)]
    )
    files["BMP-4444"] = bmp(16, (0xF00, 0xF0, 0xF, 0xF000), list(range(0, 65536, 41)), height=799)
    return files


VICTIMS = [
    "PNG",
    "JPEG",
    "WEBP",
    "AVIF",
    "TIFF",
    "BMP",
    "PPM",
    "PNG-16",
    "TIFF-16",
    "GIF",
    "CMYK",
    "PPM-16",
    "LZW",
    "JXL",
    "PNG-in-TIFF",
    "BMP-4444",
]


def cut(data: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    return data[: int(rng.integers(0, len(data)))]


def change_bytes(data: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    made = np.frombuffer(data, np.uint8).copy()
    at = rng.integers(0, len(made), int(rng.integers(1, 12)))
    made[at] = rng.integers(0, 256, len(at))
    return made.tobytes()


def flip_in_header(data: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    made = np.frombuffer(data, np.uint8).copy()
    at = rng.integers(0, min(len(made), 300), int(rng.integers(1, 5)))
    made[at] ^= np.uint8(1) << rng.integers(0, 8, len(at), dtype=np.uint8)
    return made.tobytes()


def extreme_number(data: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    at = int(rng.integers(0, min(len(data) - 4, 300)))
    return data[:at] + [b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff", b"\x80\0\0\0"][rng.integers(4)] + data[at + 4 :]


def lose_a_piece(data: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    at = int(rng.integers(0, len(data) - 20))
    return data[:at] + data[at + int(rng.integers(1, 20)) :]


def splice(data: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    return data[: int(rng.integers(0, len(data)))] + other[int(rng.integers(0, len(other))) :]


def repeat_a_piece(data: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    first, last = sorted(int(at) for at in rng.integers(0, len(data), 2))
    return data[:last] + data[first:]


WAYS = [cut, change_bytes, flip_in_header, extreme_number, lose_a_piece, splice, repeat_a_piece]


def with_sums(data: bytes) -> bytes:
    """A PNG with checksums that are right again, so that what was changed reaches the decoder."""
    made, at = data[:8], 8
    while at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4])
        if length > len(data):
            break
        body = data[at + 4 : at + 8 + length]
        made += data[at : at + 4] + body + struct.pack(">I", zlib.crc32(body))
        at += 12 + length
    return made + data[at:]


def mutations(format: str, count: int) -> Iterator[bytes]:
    rng, all_of_them = np.random.default_rng(VICTIMS.index(format)), victims()
    for trial in range(count):
        other = all_of_them[VICTIMS[int(rng.integers(len(VICTIMS)))]]
        made = WAYS[trial % len(WAYS)](all_of_them[format], other, rng)
        made = WAYS[int(rng.integers(len(WAYS)))](made, other, rng) if trial % 3 == 0 and len(made) > 30 else made
        yield with_sums(made) if format.startswith("PNG") and trial % 4 else made


@pytest.mark.parametrize("format", VICTIMS)
def test_damaged_files_read_or_raise_one_of_ours(format, tmp_path):
    file = tmp_path / f"x.{format.lower()}"
    read = most = 0
    before = psutil.Process().memory_info().rss
    for data in mutations(format, TRIALS // len(VICTIMS) + 1):
        file.write_bytes(data)
        try:
            with no_hang(), Calls() as calls:
                with watched() as seen:
                    found = images.read(file)
                images.encode("PNG", found)
                images.encode("TIFF", found)
            read += 1
        except RescaleError as error:
            assert "\n" not in str(error) and len(str(error)) < 500
        most = max(most, calls.count)
        assert seen.opened <= {str(file)} and not seen.others
    assert read > 0, "no mutation was harmless: what is tested is the guard at the door only"
    assert most < MOST_CALLS and psutil.Process().memory_info().rss - before < 300e6
