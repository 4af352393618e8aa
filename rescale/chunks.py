"""PNG chunks: read them all, and put metadata into a finished PNG, whichever encoder made its pixels."""

import struct
import zlib
from collections.abc import Iterator, Sequence

SIGNATURE = b"\x89PNG\r\n\x1a\n"
COLOUR = (b"gAMA", b"cHRM", b"sRGB", b"cICP", b"mDCV", b"cLLI", b"sBIT")
"""Chunks that say how the numbers look; a decoder that knows none of them still shows the picture."""


def read(data: bytes) -> list[tuple[bytes, bytes]]:
    """(type, body) of every chunk up to the end or the first broken one; checksums are the decoder's business."""
    found, at = [], len(SIGNATURE)
    while at + 12 <= len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        if len(body) < length:
            break
        if kind != b"IDAT":
            found.append((kind, body))
        at += 12 + length
    return found


def insert(png: bytes, new: Sequence[tuple[bytes, bytes]]) -> bytes:
    """The same PNG with chunks added right after its header, where all of these types may stand."""
    at = len(SIGNATURE) + 25  # IHDR is always first and always 13 bytes long
    return png[:at] + b"".join(_pack(kind, body) for kind, body in new) + png[at:]


def describe(
    icc: bytes | None,
    exif: bytes | None,
    xmp: bytes | None,
    dpi: tuple[float, float] | None,
    text: Sequence[tuple[str, str]],
    colour: Sequence[tuple[bytes, bytes]],
) -> Iterator[tuple[bytes, bytes]]:
    """Metadata as chunks. A profile and sRGB exclude each other by the standard, so the profile wins."""
    yield from (chunk for chunk in colour if not (icc and chunk[0] == b"sRGB"))
    if icc:
        yield b"iCCP", b"ICC profile\0\0" + zlib.compress(icc)
    if dpi:
        yield b"pHYs", struct.pack(">IIB", *(round(d / 0.0254) for d in dpi), 1)
    if exif:
        yield b"eXIf", exif.removeprefix(b"Exif\0\0")
    if xmp:
        yield b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp
    for key, value in text:
        yield b"iTXt", key.encode("latin-1", "replace")[:79] + b"\0\0\0\0\0" + value.encode()


def _pack(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
