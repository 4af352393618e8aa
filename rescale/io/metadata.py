"""Metadata of an opened file, by format: what may travel on with its pixels, and names of what may not."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from rescale.io import bmff, exif, icc, jpeg_segments, png_chunks, png_metadata, tags, xmp

_SRGB_CODES = ({1, 2}, {2, 13})
_ORIENTATION_IN_XMP = re.compile(rb"""tiff:Orientation(?:\s*=\s*["']|>)([1-8])""")
_LEFT = {"comment": "comment", "photoshop": "IPTC and Photoshop data", "aspect": "pixel aspect ratio"}


@dataclass
class Metadata:
    """What a file holds beside its samples, as it stands there."""

    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    dpi: tuple[float, float] | None = None
    text: tuple[tuple[str, str], ...] = ()
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
            "icc": profile, "exif": found.block, "xmp": packet or None, "text": self.text,
            "dpi": self.dpi or exif.resolution(found.directory), "colour_chunks": self.colour_chunks,
            "notes": tuple(notes),
        }  # fmt: skip


def read(image: Image.Image, data: bytes) -> Metadata:
    """Read the metadata of an image that Pillow opened from these bytes; without them, what Pillow knows."""
    ways: dict[str, Callable[[Image.Image, bytes], Metadata]] = {
        "PNG": _png, "JPEG": _jpeg, "MPO": _jpeg, "TIFF": _tiff, "AVIF": _avif,
    }  # fmt: skip
    way = ways.get(image.format or "") if data else None
    found = way(image, data) if way else _pillow(image)
    found.left = [words for key, words in _LEFT.items() if image.info.get(key)] + found.left
    return found


def _turn_in_xmp(packet: bytes | None) -> int:
    found = _ORIENTATION_IN_XMP.search(packet or b"")
    return int(found[1]) if found else 1


def _pillow(image: Image.Image) -> Metadata:
    """Read from Pillow's own fields, whose EXIF the caller may have changed."""
    packet = image.info.get("xmp") or image.info.get(png_metadata.XMP_KEY) or b""
    return Metadata(
        icc=image.info.get("icc_profile") or None,
        exif=_pillow_exif(image),
        xmp=packet.encode() if isinstance(packet, str) else packet,
        dpi=_dpi(image),
        text=tuple(item for item in getattr(image, "text", {}).items() if item[0] not in _READ_ALREADY),
        turn=image.getexif().get(exif.ORIENTATION, 1),
    )


_READ_ALREADY = (png_metadata.XMP_KEY, "Raw profile type exif")  # by Pillow, as XMP and EXIF


def _pillow_exif(image: Image.Image) -> bytes | None:
    """Return the EXIF as it stands in the file, which Pillow's own writer would damage, unless it was changed."""
    block, current = image.info.get("exif"), image.getexif()
    try:
        if isinstance(block, bytes):
            original = Image.Exif()
            original.load(block)
            if dict(original) == {tag: value for tag, value in current.items() if tag in original or tag != 274}:
                return block
        return current.tobytes() if len(current) else None
    except Exception:  # strangers' tags of strangers' types
        return block if isinstance(block, bytes) else b"damaged"


def _dpi(image: Image.Image) -> tuple[float, float] | None:
    try:
        across, down = (float(value) for value in image.info.get("dpi") or ())
        return (across, down) if 0 < across < 1e6 and 0 < down < 1e6 else None
    except (TypeError, ValueError):  # a tag of another type, or none
        return None


def _png(image: Image.Image, data: bytes) -> Metadata:
    chunks = png_chunks.read(data)
    found = png_metadata.read(chunks)
    colour = tuple(chunk for chunk in chunks if chunk[0] in png_chunks.COLOUR)
    return Metadata(
        found.icc, found.exif, found.xmp, found.dpi, tuple(found.text), colour, left=found.left
    )  # fmt: skip


def _jpeg(image: Image.Image, data: bytes) -> Metadata:
    segments = jpeg_segments.read(data)
    packet, notes = segments.xmp
    profile = image.info.get("icc_profile") or None
    if profile is None and segments.bodies(0xE2, b"ICC_PROFILE\0"):
        notes = [*notes, "its colour profile is incomplete and was not kept"]
    trailer = segments.trailer if getattr(image, "n_frames", 1) == 1 else b""
    return Metadata(
        profile, image.info.get("exif"), packet, _dpi(image), notes=notes, left=segments.left(), trailer=trailer
    )


def _tiff(image: Image.Image, data: bytes) -> Metadata:
    turn = image.getexif().get(exif.ORIENTATION, 1)  # after the pixels: Pillow turns a TIFF itself, and then says so
    return of_tiff(data, turn=turn, dpi=_dpi(image))


def of_tiff(data: bytes, *, turn: int | None = None, dpi: tuple[float, float] | None = None) -> Metadata:
    """Read the metadata of a TIFF from its own tags."""
    found = tags.parse(data).tags
    profile, packet = (found[tag].data if tag in found else None for tag in (34675, 700))
    return Metadata(profile, data, packet, dpi, turn=turn)


def _avif(image: Image.Image, data: bytes) -> Metadata:
    found = _pillow(image)
    found.colour_chunks = colour_chunks(None if found.icc else bmff.cicp(data))
    found.left = bmff.companions(data)
    return found


def colour_chunks(codes: tuple[int, int] | None) -> tuple[tuple[bytes, bytes], ...]:
    """Write H.273 primaries and transfer as a PNG chunk; none for sRGB, which a reader assumes."""
    if codes is None or all(code in usual for code, usual in zip(codes, _SRGB_CODES, strict=True)):
        return ()
    primaries, transfer = (code if code != 2 else usual for code, usual in zip(codes, (1, 13), strict=True))
    return ((b"cICP", bytes([primaries & 255, transfer & 255, 0, 1])),)
