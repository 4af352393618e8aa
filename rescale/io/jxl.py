"""JPEG XL: samples by imagecodecs; size, depth and colours from the header; EXIF and XMP in boxes beside them."""

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np

from rescale.errors import UnsupportedError
from rescale.io import bmff
from rescale.io.metadata import Metadata, colour_chunks
from rescale.io.picture import Pixels

_BARE = b"\xff\x0a"
_CONTAINER = b"\0\0\0\x0cJXL \r\n\x87\n"
MARKS = (_BARE, _CONTAINER)
_MOST_BYTES = 2**23
_RATIOS = ((1, 1), (1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))
_D65, _DCI = 1, 11


class _Bits:
    """Bits of a codestream, the lowest of each byte first."""

    def __init__(self, data: bytes) -> None:
        self.value, self.at = int.from_bytes(data[:64], "little"), 0

    def take(self, count: int) -> int:
        found = (self.value >> self.at) & ((1 << count) - 1)
        self.at += count
        return found

    def choose(self, *ways: tuple[int, int]) -> int:
        """Read a number that one of four (bits, offset) codes."""
        count, offset = ways[self.take(2)]
        return self.take(count) + offset

    def enum(self) -> int:
        return self.choose((0, 0), (0, 1), (4, 2), (6, 18))


@dataclass(frozen=True)
class Header:
    """Facts of the first image."""

    size: tuple[int, int]
    """Width and height, before the orientation is applied."""
    bits: int = 8
    is_float: bool = False
    is_animated: bool = False
    has_profile: bool = False
    colours: tuple[int, int] | None = None
    """Primaries and transfer of H.273; none for sRGB, and where they are not known."""


def header(data: bytes) -> Header:
    """Read the header of a file."""
    bits = _Bits(_codestream(data)[2:])
    size = _size(bits)
    if bits.take(1):  # all as usual
        return Header(size)
    is_animated = False
    if bits.take(1):
        bits.take(3)  # orientation, which the decoder applies
        if bits.take(1):
            _size(bits)
        if bits.take(1):  # a preview: what follows is not looked at
            return Header(size, 16)
        is_animated = bool(bits.take(1))
        if is_animated:
            return Header(size, is_animated=True)
    is_float = bool(bits.take(1))
    depth = (
        bits.choose((0, 32), (0, 16), (0, 24), (6, 1)) if is_float else bits.choose((0, 8), (0, 10), (0, 12), (6, 1))
    )
    if is_float:
        return Header(size, depth, is_float=True)
    bits.take(1)
    extra = bits.choose((0, 0), (0, 1), (4, 2), (12, 1))
    if extra > 1 or (extra and not bits.take(1)):  # channels of other kinds than plain alpha
        return Header(size, depth)
    bits.take(1)
    return Header(size, depth, **_colours(bits))


def _size(bits: _Bits) -> tuple[int, int]:
    is_small = bits.take(1)
    height = _side(bits, is_small)
    ratio = bits.take(3)
    across, down = _RATIOS[ratio]
    return (height * across // down if ratio else _side(bits, is_small)), height


def _side(bits: _Bits, is_small: int) -> int:
    return 8 * (bits.take(5) + 1) if is_small else bits.choose((9, 1), (13, 1), (18, 1), (30, 1))


def _colours(bits: _Bits) -> dict[str, Any]:
    if bits.take(1):  # sRGB
        return {}
    if bits.take(1):
        return {"has_profile": True}
    space = bits.enum()
    white = bits.enum()
    if space > 1 or white not in (_D65, _DCI):  # not RGB or grey, or of an unusual white
        return {"has_profile": True}
    primaries = bits.enum() if space == 0 else 1
    if primaries not in (1, 9, 11) or bits.take(1):  # of the file's own, or a plain power
        return {"has_profile": True}
    code = 12 if primaries == 11 and white == _D65 else primaries
    return {"colours": (code, bits.enum())}


def _codestream(data: bytes) -> bytes:
    if data.startswith(_BARE):
        return data
    found = list(bmff.boxes(data))
    whole = next((box.body for box in found if box.kind == b"jxlc"), None)
    return whole if whole is not None else b"".join(box.body[4:] for box in found if box.kind == b"jxlp")


def read(name: str, data: bytes, facts: Header) -> Pixels:
    """Decode (H, W[, 2 to 4]), upright. Raises: UnsupportedError for animations and floats."""
    import imagecodecs

    if facts.is_animated:
        raise UnsupportedError(f"{name}: expected one picture, got several frames; split it first")
    if facts.is_float or facts.bits > 16:
        raise UnsupportedError(f"{name}: expected 8 to 16 bits a channel in this JPEG XL, got {facts.bits} or floats")
    pixels: Pixels = imagecodecs.jpegxl_decode(data)
    if pixels.ndim > 3 or (pixels.ndim == 3 and pixels.shape[2] > 4) or pixels.dtype not in (np.uint8, np.uint16):
        raise UnsupportedError(f"{name}: expected grey or RGB, with alpha or none, got {pixels.dtype} {pixels.shape}")
    top = 2**facts.bits - 1
    if pixels.dtype == np.uint16 and top < 65535:
        pixels = (pixels * (65535 / top)).round().astype(np.uint16)
    return pixels


def metadata(data: bytes, facts: Header) -> Metadata:
    """Read EXIF, XMP and colours."""
    found = Metadata(turn=1, colour_chunks=colour_chunks(facts.colours))
    if facts.has_profile:
        found.left.append("colour profile of JPEG XL")
    for box in bmff.boxes(data) if data.startswith(_CONTAINER) else ():
        kind, body = box.kind, box.body
        if kind == b"brob":
            kind, body = body[:4], _unbrotli(body[4:])
        if kind == b"Exif" and len(body) > 8:
            found.exif = body[4 + int.from_bytes(body[:4]) :]
        elif kind == b"xml ":
            found.xmp = body
        elif kind in (b"jumb", b"jhgm"):
            found.left.append({b"jumb": "content credentials (JUMBF)", b"jhgm": "gain map"}[kind])
    return found


def _unbrotli(data: bytes) -> bytes:
    import imagecodecs

    try:
        return bytes(imagecodecs.brotli_decode(data, out=_MOST_BYTES))
    except imagecodecs.BrotliError:
        return b""


def encode(samples: Pixels, *, exif: bytes | None, xmp: bytes | None) -> bytes:
    """Write without loss, with EXIF and XMP in boxes behind the image."""
    import imagecodecs

    plain = imagecodecs.jpegxl_encode(samples.squeeze(2) if samples.shape[2] == 1 else samples, lossless=True)
    boxes = list(bmff.boxes(bytes(plain))) if plain[:2] != _BARE else []
    parts = [(box.kind, box.body) for box in boxes[1:]] or [(b"ftyp", b"jxl \0\0\0\0jxl "), (b"jxlc", bytes(plain))]
    parts += [(b"Exif", bytes(4) + exif.removeprefix(b"Exif\0\0"))] if exif else []
    parts += [(b"xml ", xmp)] if xmp else []
    return _CONTAINER + b"".join(struct.pack(">I4s", 8 + len(body), kind) + body for kind, body in parts)
