"""Decoders for samples of 16 bits, which Pillow would narrow to 8."""

from typing import Any

import numpy as np
from PIL import Image

from rescale.errors import InputError, UnsupportedError
from rescale.io import png_chunks, tiff_samples
from rescale.io.picture import Pixels


def samples(name: str, image: Image.Image, data: bytes) -> Pixels | None:
    """Decode (H, W[, 2 to 4]) of an image opened from these bytes, or None where Pillow itself keeps all.

    Raises: UnsupportedError for depths, colour spaces and kinds of alpha that have no place in a Picture.
    """
    ways = {"PNG": _png, "TIFF": tiff_samples.colour_of_16_bits, "PPM": _ppm}
    way = ways.get(image.format or "") if data else None
    return way(name, image, data) if way else None


def _png(name: str, image: Image.Image, data: bytes) -> Pixels | None:
    if data[24] < 16 or data[25] == 0:
        return None
    import imagecodecs

    image.load()  # Pillow narrows to 8 bits, but is the better judge of damage
    pixels: Pixels = imagecodecs.png_decode(png_chunks.bare(data))
    return pixels


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
