"""PNG chunks: read them, and insert metadata into a finished PNG, whichever encoder wrote its pixels.

Ours by decision: Pillow writes no 16-bit colour and keeps no chunk that it does not know, and the encoder that writes
16-bit colour, of imagecodecs, writes no metadata.
"""

import struct
import zlib
from collections.abc import Iterator, Sequence

SIGNATURE = b"\x89PNG\r\n\x1a\n"
COLOUR = (b"gAMA", b"cHRM", b"sRGB", b"cICP", b"mDCV", b"cLLI")
"""Chunks that define how samples are displayed; a decoder that ignores them still shows the image."""
TEXT = (b"tEXt", b"zTXt", b"iTXt")
KNOWN = (
    *COLOUR, *TEXT, b"IHDR", b"PLTE", b"IEND", b"tRNS", b"iCCP", b"pHYs", b"eXIf", b"sBIT", b"hIST", b"tIME",
    b"acTL", b"fcTL", b"fdAT",
)  # fmt: skip
"""Chunks that are read, those of animations by Pillow; some describe the old samples, and nobody misses them."""
_PIXELS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")


def read(data: bytes) -> list[tuple[bytes, bytes]]:
    """Read (type, body) of every chunk but the pixels. Raises: ValueError for a broken one, wherever it stands."""
    found = [(kind, body) for kind, body in _walk(data) if kind != b"IDAT"]
    if found[0][0] != b"IHDR" or len(found[0][1]) != 13:
        raise ValueError("a PNG without a header")
    return found


def bare(data: bytes) -> bytes:
    """Remove the metadata, about which libpng would print warnings; the pixels stay."""
    return SIGNATURE + b"".join(_pack(*chunk) for chunk in _walk(data) if chunk[0] in _PIXELS)


def without_metadata(data: bytes) -> bytes:
    """Remove profile, EXIF and texts, for which Pillow would refuse the image; see `png_metadata`."""
    gone = (*TEXT, b"iCCP", b"eXIf")
    return SIGNATURE + b"".join(_pack(*chunk) for chunk in _walk(data) if chunk[0] not in gone)


def _walk(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at, kind = len(SIGNATURE), b""
    while kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", data, at)
        body, end = data[at + 8 : at + 8 + length], at + 8 + length
        if data[end : end + 4] != _checksum(kind, body):
            raise ValueError(f"the checksum of PNG chunk {kind.decode('latin-1')!r} is wrong")
        yield kind, body
        at = end + 4


def insert(png: bytes, new: Sequence[tuple[bytes, bytes]]) -> bytes:
    """Insert chunks right after the header, where all of these types may stand."""
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
    """Encode metadata as chunks. A profile and sRGB exclude each other by the standard, so the profile wins."""
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
        language, word = (getattr(value, name, None) or "" for name in ("lang", "tkey"))  # of Pillow's iTXt
        head = key.encode("latin-1", "replace")[:79] + b"\0\0\0" + str(language).encode("ascii", "replace")
        yield b"iTXt", head + b"\0" + str(word).encode() + b"\0" + value.encode()


def _pack(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + _checksum(kind, body)


def _checksum(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", zlib.crc32(body, zlib.crc32(kind)))
