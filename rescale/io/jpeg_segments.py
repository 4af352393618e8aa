"""Segments of a JPEG: what stands beside the image, extended XMP, and what follows its end."""

import hashlib
import struct
from dataclasses import dataclass
from functools import cached_property

from rescale.io import xmp as packets

XMP = b"http://ns.adobe.com/xap/1.0/\0"
_EXTENSION = b"http://ns.adobe.com/xmp/extension/\0"
_GAIN_MAP = b"urn:iso:std:iso:ts:21496:-1\0"
_KNOWN = {
    0xE0: (b"JFIF\0", b"JFXX\0"), 0xE1: (b"Exif\0\0", XMP, _EXTENSION), 0xE2: (b"ICC_PROFILE\0", b"MPF\0"),
    0xEC: (b"Ducky",), 0xED: (b"Photoshop 3.0\0",), 0xEE: (b"Adobe",),
}  # fmt: skip
"""Application segments that are read, or that a note names elsewhere; Ducky holds a quality only."""
_NAMES = {(0xE2, _GAIN_MAP): "gain map", (0xEB, b"JP"): "content credentials (JUMBF)", (0xE1, XMP[:-1]): "XMP"}
_TRAILERS = {b"ftyp": "a video", b"\xff\xd8\xff": "another picture", b"MotionPhoto_Data": "a video"}
_PIECE_BYTES = 65_400
_MOST_EXTENDED_BYTES = 2**26


@dataclass(frozen=True)
class Segments:
    """Segments up to the end of the first image: (marker, body)."""

    parts: list[tuple[int, bytes]]
    scans: int
    trailer: bytes
    """What follows the end of the image."""

    def bodies(self, marker: int, start: bytes) -> list[bytes]:
        """Return what follows this start in the segments of a marker."""
        return [body[len(start) :] for kind, body in self.parts if kind == marker and body.startswith(start)]

    @cached_property
    def xmp(self) -> tuple[bytes | None, list[str]]:
        """XMP with its extended part, and notes."""
        main = next(iter(self.bodies(0xE1, XMP)), None)
        pieces = self.bodies(0xE1, _EXTENSION)
        if not pieces:
            return main, []
        whole = _assembled(pieces, packets.extension_of(main or b""))
        both = packets.joined(main, whole) if main and whole else None
        return (both, []) if both else (main, ["the extended part of its XMP is incomplete and was not kept"])

    def left(self) -> list[str]:
        """Names of segments that are not read."""
        names = set[str]()
        for marker, body in self.parts:
            if 0xE0 <= marker <= 0xEF and not body.startswith(_KNOWN.get(marker, ())):
                names.add(_name(marker, body))
        return sorted(names)


def read(data: bytes) -> Segments:
    """Walk through a JPEG marker by marker up to its end: a phone may have appended a video."""
    parts, scans, at = [], 0, 2
    while (at := data.find(b"\xff", at)) >= 0 and data[at + 1 : at + 2] != b"\xd9":
        kind = data[at + 1] if at + 1 < len(data) else 0
        scans += kind == 0xDA
        if kind == 0xFF:  # filling before a marker
            at += 1
            continue
        length = int.from_bytes(data[at + 2 : at + 4]) if kind >= 0xC0 and not 0xD0 <= kind <= 0xD8 else 0
        if 0xE0 <= kind <= 0xEF:
            parts.append((kind, data[at + 4 : at + 2 + length]))
        at += 2 + length
    return Segments(parts, scans, data[at + 2 :].strip(b"\0\xff\r\n ") if at >= 0 else b"")


def _name(marker: int, body: bytes) -> str:
    for (kind, start), name in _NAMES.items():
        if kind == marker and body.startswith(start):
            return name
    label = body[:24].partition(b"\0")[0].decode("ascii", "replace")
    known = f" ({label})" if label.isprintable() and label.isascii() and label else ""
    return f"JPEG segment APP{marker - 0xE0}{known}"


def _assembled(pieces: list[bytes], digest: bytes) -> bytes | None:
    """Put the pieces of one extended packet together; None where some are missing."""
    mine = [piece for piece in pieces if len(piece) > 40 and piece[:32] == (digest or pieces[0][:32])]
    total = struct.unpack(">I", mine[0][32:36])[0] if mine else 0
    if not 0 < total <= min(_MOST_EXTENDED_BYTES, sum(map(len, mine))):
        return None
    out, filled = bytearray(total), 0
    for piece in sorted(mine, key=lambda piece: piece[36:40]):
        at = int.from_bytes(piece[36:40])
        if at != filled:
            return None
        out[at : at + len(piece) - 40] = piece[40:]
        filled = at + len(piece) - 40
    return bytes(out) if filled == total else None


def extended(xmp: bytes) -> bytes:
    """Write XMP that is too long for one segment: a main packet with the record, and the rest in pieces."""
    main, digest, rest = packets.divided(xmp, _digest)
    starts = range(0, len(rest), _PIECE_BYTES)
    pieces = [digest + struct.pack(">II", len(rest), at) + rest[at : at + _PIECE_BYTES] for at in starts]
    bodies = [XMP + main, *(_EXTENSION + piece for piece in pieces)]
    return b"".join(b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body for body in bodies)


def _digest(xmp: bytes) -> bytes:
    return hashlib.md5(xmp, usedforsecurity=False).hexdigest().upper().encode()


def about_trailer(trailer: bytes, claims: list[str]) -> list[str]:
    """Name what follows the image, unless its XMP or its frames have named it."""
    if not trailer or claims:
        return []
    kind = next((words for mark, words in _TRAILERS.items() if mark in trailer[:64]), "other data")
    return [f"{kind} of {len(trailer):,} bytes behind the image"]
