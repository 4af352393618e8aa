"""Metadata of a PNG, from its chunks: all texts, a profile of any size, EXIF and XMP wherever programs have put them.

Ours by decision: Pillow keeps one text a keyword, and refuses a whole file for a text or profile of more than 1 MiB.
"""

import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from itertools import accumulate

from PIL.PngImagePlugin import iTXt

from rescale.io import png_chunks
from rescale.io.metadata import Metadata

XMP_KEY = "XML:com.adobe.xmp"
MOST_BYTES = 2**23
"""The most that a text or a profile is decompressed to; larger ones are named and left out."""
_MOST_TEXT_BYTES = 2**25
"""The most that all texts hold together."""
_RAW = re.compile(r"Raw profile type (exif|app1|xmp)", re.IGNORECASE)
_DIGITS = re.compile(r"[0-9a-fA-F\s]*")


def read(chunks: Sequence[tuple[bytes, bytes]]) -> Metadata:
    """Read the metadata of chunks; what is damaged or too large costs itself only."""
    found = Metadata(colour_chunks=tuple(chunk for chunk in chunks if chunk[0] in png_chunks.COLOUR))
    for kind, body in chunks:
        if kind == b"iCCP" and found.icc is None:
            found.icc = _profile(body, found.left)
        elif kind == b"eXIf":
            found.exif = body
        elif kind == b"pHYs":
            found.dpi = _resolution(body)
        elif kind in png_chunks.TEXT:
            _add_text(found, kind, body)
    _limited(found)
    found.left += sorted({f"PNG chunk {kind.decode('latin-1')}" for kind, _ in chunks if kind not in png_chunks.KNOWN})
    return found


def _add_text(found: Metadata, kind: bytes, body: bytes) -> None:
    for key, value in _texts(kind, body, found.left):
        raw = _RAW.fullmatch(key)
        content = _unhexed(value) if raw else None
        if key == XMP_KEY and found.xmp is None:
            found.xmp = value.encode("utf-8", "surrogateescape")
        elif content is not None and content.startswith((b"Exif\0\0", b"II", b"MM")):
            found.exif = found.exif or content
        elif content is not None:
            found.xmp = found.xmp or content.removeprefix(b"http://ns.adobe.com/xap/1.0/\0")
        else:
            found.text.append((key, value))


def _limited(found: Metadata) -> None:
    """Leave out the texts that are too many."""
    ends = list(accumulate(len(value) for _, value in found.text))
    kept = sum(end <= _MOST_TEXT_BYTES for end in ends)
    if kept < len(ends):
        found.left.append(f"{len(ends) - kept} texts beyond {_MOST_TEXT_BYTES:,} bytes")
        del found.text[kept:]


def _texts(kind: bytes, body: bytes, left: list[str]) -> Iterator[tuple[str, str]]:
    """Yield key and value of a text chunk, or nothing, with a name of what is lost."""
    key, mark, rest = body.partition(b"\0")
    name = key.decode("latin-1")
    if not mark:
        left.append(f"text {name!r}, which is damaged")
    elif kind == b"tEXt":
        yield name, rest.decode("latin-1")
    elif kind == b"zTXt":
        value = _inflated(rest[1:], f"text {name!r}", left)
        yield from [] if value is None else [(name, value.decode("latin-1"))]
    else:
        yield from _international(name, rest, left)


def _international(name: str, rest: bytes, left: list[str]) -> Iterator[tuple[str, str]]:
    language, _, translated = rest[2:].partition(b"\0")
    word, _, value = translated.partition(b"\0")
    plain = _inflated(value, f"text {name!r}", left) if rest[:1] == b"\1" else value
    if plain is not None:
        errors = "surrogateescape" if name == XMP_KEY else "replace"
        text = plain.decode("utf-8", errors)
        named = iTXt(text, language.decode("latin-1"), word.decode("utf-8", "replace"))
        yield name, named if language or word else text


def _profile(body: bytes, left: list[str]) -> bytes | None:
    _, _, rest = body.partition(b"\0")
    return _inflated(rest[1:], "its colour profile", left)


def _inflated(data: bytes, name: str, left: list[str]) -> bytes | None:
    """Decompress; None for what is damaged or too long, whose name goes to the rest."""
    machine = zlib.decompressobj()
    try:
        plain = machine.decompress(data, MOST_BYTES)
    except zlib.error:
        left.append(f"{name}, which is damaged")
        return None
    if machine.unconsumed_tail or not machine.eof:
        too_long = len(plain) >= MOST_BYTES
        left.append(f"{name}, which {f'has more than {MOST_BYTES:,} bytes' if too_long else 'is damaged'}")
        return None
    return plain


def _resolution(body: bytes) -> tuple[float, float] | None:
    if len(body) != 9 or body[8] != 1:
        return None
    across, down = struct.unpack(">II", body[:8])
    return (across * 0.0254, down * 0.0254) if across and down else None


def _unhexed(value: str) -> bytes | None:
    """Decode a raw profile as ImageMagick writes it: name, length, hexadecimal digits."""
    _, _, digits = value.lstrip("\n").partition("\n")
    _, _, digits = digits.partition("\n")
    if not digits or not _DIGITS.fullmatch(digits):
        return None
    try:
        return bytes.fromhex(digits)
    except ValueError:
        return None
