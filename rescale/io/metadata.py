"""Metadata of a file: what may travel on with its pixels, and names of what may not."""

import re
from dataclasses import dataclass, field
from typing import Any

from rescale.io import exif, icc, jpeg_segments, xmp

_SRGB_CODES = ({1, 2}, {2, 13})
_ORIENTATION_IN_XMP = re.compile(rb"""tiff:Orientation(?:\s*=\s*["']|>)([1-8])""")


@dataclass
class Metadata:
    """What a file holds beside its samples, as it stands there."""

    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    dpi: tuple[float, float] | None = None
    text: list[tuple[str, str]] = field(default_factory=list)
    colour_chunks: tuple[tuple[bytes, bytes], ...] = ()
    turn: int | None = None
    """Orientation that is still to be applied, where a decoder knows better than the EXIF."""
    notes: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    """Names of what is not kept."""
    trailer: bytes = b""

    def fields(self) -> tuple[int, dict[str, Any]]:
        """Return the orientation to apply, and the fields of a Picture with all notes."""
        found = exif.parse(self.exif)
        turn = self.turn or found.turn or _turn_in_xmp(self.xmp)
        packet, claims = xmp.cleaned(self.xmp or b"")
        profile = self.icc if self.icc and icc.is_profile(self.icc) else None
        notes = [*self.notes, *found.notes]
        notes += ["its colour profile is damaged and was not kept"] if self.icc and not profile else []
        left = [*self.left, *found.left, *claims, *jpeg_segments.about_trailer(self.trailer, claims)]
        notes += [f"not kept: {', '.join(dict.fromkeys(left))}"] if left else []
        return turn, {
            "icc": profile, "exif": found.block, "xmp": packet or None, "text": tuple(self.text),
            "dpi": self.dpi or exif.resolution(found.directory), "colour_chunks": self.colour_chunks,
            "notes": tuple(notes),
        }  # fmt: skip


def _turn_in_xmp(packet: bytes | None) -> int:
    found = _ORIENTATION_IN_XMP.search(packet or b"")
    return int(found[1]) if found else 1


def colour_chunks(codes: tuple[int, int] | None) -> tuple[tuple[bytes, bytes], ...]:
    """Write H.273 primaries and transfer as a PNG chunk; none for sRGB, which a reader assumes."""
    if codes is None or all(code in usual for code, usual in zip(codes, _SRGB_CODES, strict=True)):
        return ()
    primaries, transfer = (code if code != 2 else usual for code, usual in zip(codes, (1, 13), strict=True))
    return ((b"cICP", bytes([primaries & 255, transfer & 255, 0, 1])),)
