"""Decoders for samples of 16 bits, which Pillow would narrow to 8."""

import logging
import math
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

from rescale.errors import InputError, UnsupportedError
from rescale.io import png_chunks
from rescale.io.picture import Pixels


def samples(name: str, image: Image.Image, data: bytes) -> Pixels | None:
    """Decode (H, W[, 2 to 4]) of an image opened from these bytes, or None where Pillow itself keeps all.

    Raises: UnsupportedError for depths, colour spaces and kinds of alpha that have no place in a Picture.
    """
    ways = {"PNG": _png, "TIFF": _tiff, "PPM": _ppm}
    way = ways.get(image.format or "") if data else None
    return way(name, image, data) if way else None


def _png(name: str, image: Image.Image, data: bytes) -> Pixels | None:
    if data[24] < 16 or data[25] == 0:
        return None
    import imagecodecs

    image.load()  # Pillow narrows to 8 bits, but is the better judge of damage
    pixels: Pixels = imagecodecs.png_decode(png_chunks.bare(data))
    return pixels


def _tiff(name: str, image: Any, data: bytes) -> Pixels | None:
    """Decode colour of 16 bits, and grey where Pillow forgets to invert it."""
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
    return _tiff_page(name, data, (image.tag_v2[257], image.tag_v2[256], len(bits)))


def _tiff_page(name: str, data: bytes, shape: tuple[int, int, int]) -> Pixels:
    import tifffile

    logging.getLogger("tifffile").addHandler(logging.NullHandler())  # or it talks of damage on the terminal
    with tifffile.TiffFile(BytesIO(data)) as file:
        page = file.pages.first
        is_planar = page.shape == (shape[2], *shape[:2]) != shape
        if not is_planar and page.shape != shape:  # checked before any pixel: a TIFF can lie in many tags
            raise InputError(f"{name}: damaged: expected samples of shape {shape}, got {page.shape}")
        if len(page.dataoffsets) != math.prod(page.chunked) or not all(page.databytecounts):
            raise InputError(f"{name}: damaged: some of its strips are missing")
        pixels = page.asarray()
    return np.moveaxis(pixels, 0, -1) if is_planar else pixels


def _ppm(name: str, image: Any, data: bytes) -> Pixels | None:
    """Decode colour of more than 8 bits, stretched to 16."""
    codec, _, offset, args = image.tile[0]
    if image.mode != "RGB" or not isinstance(args, tuple) or args[1] < 256:
        return None
    if codec != "ppm":
        raise UnsupportedError(f"{name}: 16-bit colour in a PPM of plain text is not read; use a binary one")
    raw = np.frombuffer(data, ">u2", 3 * image.width * image.height, offset).reshape(image.height, image.width, 3)
    if raw.max() > args[1]:
        raise InputError(f"{name}: damaged: expected levels up to {args[1]}, got {raw.max()}")
    return (raw * (65535 / args[1])).round().astype(np.uint16)
