"""Samples of TIFF files that Pillow does not read: rare compressions, 16-bit grey with alpha."""

import logging
import math
from io import BytesIO
from typing import Any

import numpy as np

from rescale.errors import InputError, UnsupportedError
from rescale.io.picture import Pixels
from rescale.io.tags import Directory

_NAMES = {
    33003: "JPEG 2000", 33005: "JPEG 2000", 34712: "JPEG 2000", 34887: "LERC", 34892: "lossy JPEG", 34925: "LZMA",
    34933: "PNG", 34934: "JPEG XR", 22610: "JPEG XR", 50000: "Zstandard", 50001: "WebP", 50002: "JPEG XL",
    52546: "JPEG XL", 34661: "JBIG", 34676: "SGI LogLuv", 34677: "SGI LogLuv",
}  # fmt: skip
_RARE = {33003, 33005, 34712, 34887, 34892, 34933, 34934, 22610, 50001, 50002, 52546}
"""Compressions that libtiff in Pillow's wheels does not know."""
_PALETTE, _YCBCR = 3, 6
_MEANINGS = {0: "grey", 1: "grey", 2: "RGB", 3: "palette", 4: "mask", 5: "CMYK", 6: "YCbCr", 8: "CIELab", 9: "ICCLab",
             10: "ITULab", 32803: "colour filter array", 32844: "LogL", 32845: "LogLuv", 34892: "raw"}  # fmt: skip


def is_rare(directory: Directory) -> bool:
    """Tell whether Pillow will not read it."""
    code, meaning = directory.number(259, 1), directory.number(262, 1)
    has_odd_bits = bool(set(directory.numbers(258)) - {1, 2, 4, 8, 16, 32})
    has_cut_tiles = meaning < _PALETTE and directory.number(256, 0) % max(directory.number(322, 1), 1) > 0
    return code in _RARE or has_odd_bits or (code == 1 and (meaning == _YCBCR or has_cut_tiles))


def size(directory: Directory) -> tuple[int, int]:
    """Return width and height."""
    return directory.number(256, 0), directory.number(257, 0)


def read(name: str, directory: Directory, data: bytes) -> Pixels:
    """Decode (H, W, 1 to 4), alpha last, uint8 or uint16.

    Raises: UnsupportedError for kinds that are not read, by name; InputError for a damaged one.
    """
    _check(name, directory)
    width, height = size(directory)
    pixels = page(name, data, (height, width, directory.number(277, 1)))
    pixels = _stretched(pixels, directory.number(258, 1))
    if directory.number(262, 1) == 0:
        pixels = np.iinfo(pixels.dtype).max - pixels
    extra = directory.numbers(338)
    return pixels[..., :-1] if extra and extra[0] == 0 else pixels


def _stretched(pixels: Pixels, bits: int) -> Pixels:
    """Stretch levels of fewer bits to 8 or 16."""
    dtype = np.uint8 if bits <= 8 else np.uint16
    top = np.iinfo(dtype).max
    return pixels if bits in (8, 16) else (pixels * (top / (2**bits - 1))).round().astype(dtype)


def kind(directory: Directory) -> str:
    """Describe how a TIFF stores its samples."""
    meaning = _MEANINGS.get(directory.number(262, 1), "unknown colour")
    bits = "/".join(dict.fromkeys(f"{n:g}" for n in directory.numbers(258))) or "1"
    form = {2: "signed ", 3: "floating-point "}.get(directory.number(339, 1), "")
    code = directory.number(259, 1)
    inside = f", {_NAMES[code]} inside" if code in _NAMES else ""
    return f"{bits}-bit {form}{meaning} of {directory.number(277, 1)} channels{inside}"


def _check(name: str, directory: Directory) -> None:
    bits, channels, extra = directory.numbers(258), directory.number(277, 1), directory.numbers(338)
    colours = channels - len(extra)
    meaning, code = directory.number(262, 1), directory.number(259, 1)
    is_known = colours == {0: 1, 1: 1, 2: 3, 6: 3 if code in _RARE else 0}.get(meaning, 0)
    is_whole = len(set(bits)) == 1 and 1 <= bits[0] <= 16 and directory.number(339, 1) == 1
    if not is_known or not is_whole or extra not in ((), (0,), (2,)):
        raise UnsupportedError(f"{name}: expected up to 16 bits of grey or RGB in this TIFF, got {kind(directory)}")


def page(name: str, data: bytes, shape: tuple[int, int, int]) -> Pixels:
    """Decode the first page, which must have this shape (height, width, channels)."""
    import tifffile

    logging.getLogger("tifffile").addHandler(logging.NullHandler())  # or it talks of damage on the terminal
    with tifffile.TiffFile(BytesIO(data)) as file:
        first = file.pages.first
        is_planar = first.shape == (shape[2], *shape[:2]) != shape
        flat = first.shape if len(first.shape) == 3 else (*first.shape, 1)
        if not is_planar and flat != shape:  # checked before any pixel: a TIFF can lie in many tags
            raise InputError(f"{name}: damaged: expected samples of shape {shape}, got {first.shape}")
        if len(first.dataoffsets) != math.prod(first.chunked) or not all(first.databytecounts):
            raise InputError(f"{name}: damaged: some of its strips are missing")
        pixels: Pixels = first.asarray()
    return np.moveaxis(pixels, 0, -1) if is_planar else pixels.reshape(shape)


def colour_of_16_bits(name: str, image: Any, data: bytes) -> Pixels | None:
    """Decode colour of 16 bits, which Pillow narrows to 8, and grey where Pillow forgets to invert it."""
    bits, photometric = image.tag_v2.get(258, (1,)), image.tag_v2.get(262)
    if max(bits) not in (1, 2, 4, 8, 16, 32):
        raise UnsupportedError(f"{name}: expected 8 or 16 bits a channel, got {max(bits)}")
    if image.mode.startswith("I;16"):
        return 65535 - np.array(image).astype(np.uint16) if photometric == 0 else None
    if len(bits) == 1 or max(bits) < 16:
        return None
    extra = image.tag_v2.get(338, ())
    if photometric != 2 or set(bits) != {16} or (len(bits), extra) not in ((3, ()), (4, ()), (4, (2,))):
        raise UnsupportedError(
            f"{name}: expected 16-bit RGB in this TIFF, with straight alpha or none, got another kind"
        )
    return page(name, data, (image.tag_v2[257], image.tag_v2[256], len(bits)))


def count_pages(data: bytes, most: int) -> int:
    """Count the pages, at most so many."""
    import tifffile

    with tifffile.TiffFile(BytesIO(data)) as file:
        return sum(1 for _, _ in zip(range(most), file.pages, strict=False))
