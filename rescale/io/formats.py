"""Image and video formats by suffix, and what each can hold."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from rescale.errors import RefusedError, UsageError
from rescale.io.object_store import Place
from rescale.io.peek import moves

_COMMON = ("icc", "exif", "xmp", "dpi")


@dataclass(frozen=True)
class ImageFormat:
    """All that the package knows of an image format."""

    name: str
    """As Pillow calls it."""
    suffixes: tuple[str, ...]
    holds: tuple[str, ...]
    """Fields of `Picture` that a file keeps beside the samples."""
    label: str = ""
    """Spelling in a sentence, where Pillow's is another."""
    has_alpha: bool = False
    depths: tuple[int, ...] = (8,)
    """Bits per channel that can be written."""
    max_side: int | None = None
    is_written: bool = True
    is_lossless: bool = True
    """Whether a file written without a quality is read back exactly."""
    takes_quality: bool = False
    has_grey: bool = True
    """Whether grey is stored as one channel, not as RGB."""

    def __str__(self) -> str:
        return self.label or self.name

    @property
    def is_exact(self) -> bool:
        """Whether every file is read back exactly."""
        return self.is_lossless and not self.takes_quality

    @property
    def has_text(self) -> bool:
        """Whether a file keeps text by key."""
        return "text" in self.holds

    @property
    def carries_record(self) -> bool:
        """Whether a file can carry the record of a low-resolution image, as text or in XMP."""
        return self.has_text or "xmp" in self.holds


_ROWS = (
    ImageFormat("PNG", (".png", ".apng"), (*_COMMON, "text", "colour_chunks"), has_alpha=True, depths=(8, 16)),
    ImageFormat("JPEG", (".jpg", ".jpeg", ".jfif"), _COMMON, max_side=65_500, is_lossless=False, takes_quality=True),
    ImageFormat(
        "WEBP", (".webp",), _COMMON, "WebP", has_alpha=True, max_side=16_383, takes_quality=True, has_grey=False
    ),
    ImageFormat(
        "AVIF",
        (".avif",),
        _COMMON,
        has_alpha=True,
        max_side=65_536,
        is_lossless=False,
        takes_quality=True,
        has_grey=False,
    ),
    ImageFormat("JXL", (".jxl",), ("exif", "xmp", "dpi"), "JPEG XL", has_alpha=True),
    ImageFormat("TIFF", (".tif", ".tiff"), _COMMON, has_alpha=True, depths=(8, 16)),
    ImageFormat("BMP", (".bmp",), ("dpi",)),
    ImageFormat("PPM", (".ppm", ".pgm", ".pnm", ".pbm"), ()),
    ImageFormat("GIF", (".gif",), (), is_written=False, is_lossless=False),
    ImageFormat("HEIF", (".heic", ".heif", ".hif"), (), "HEIC", is_written=False, is_lossless=False),
)
FORMATS = {row.name: row for row in _ROWS}
"""The image formats that can be read, by Pillow's name."""
FORMAT_OF_SUFFIX = {suffix: row.name for row in _ROWS for suffix in row.suffixes}
"""Image format of each suffix."""


def format_of(path: Place) -> str:
    """Return the image format of a suffix."""
    try:
        return FORMAT_OF_SUFFIX[path.suffix.lower()]
    except KeyError:
        raise UsageError(f"expected one of {' '.join(sorted(FORMAT_OF_SUFFIX))}, got {path.name!r}") from None


def listed(rows: Iterable[ImageFormat]) -> str:
    """Name formats in a sentence, as alternatives; those with transparency come first."""
    *names, last = (str(row) for row in sorted(rows, key=lambda row: not row.has_alpha))
    return f"{', '.join(names)} or {last}"


def carrier(target: Place) -> str:
    """Return the format of an LR image. Raises: RefusedError where it has no place for a record."""
    return carrying(format_of(target))


def carrying(format: str) -> str:
    """Return the format. Raises: RefusedError where it has no place for a record."""
    if not FORMATS[format].carries_record:
        carriers = listed(row for row in _ROWS if row.carries_record)
        raise RefusedError(f"{format} cannot carry the record that restoring needs; write {carriers}")
    return format


SUFFIXES = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}
"""Containers that are written, by the target's suffix, under FFmpeg's names."""


READ_ONLY = (
    ".3g2", ".3gp", ".3gpp", ".asf", ".avi", ".divx", ".dv", ".evo", ".f4v", ".flv", ".ivf", ".m1v", ".m2p", ".m2t",
    ".m2ts", ".m2v", ".mpeg", ".mpg", ".mts", ".mxf", ".ogm", ".ogv", ".qt", ".ts", ".vob", ".wmv", ".y4m",
)  # fmt: skip
"""Suffixes of videos that are read, and written as MKV."""
PATTERN = re.compile(r"%(0?)(\d*)d")
"""Number in the name of a sequence of pictures, as FFmpeg has it: frame%04d.png"""
_PICTURES = {".png", ".jpg", ".jpeg", ".bmp", ".ppm", ".pgm", ".dpx"}


def is_video(path: Place) -> bool:
    """Tell whether a place is that of a video that can be read: by its name, or as an animation or a sequence."""
    suffix = path.suffix.lower()
    return suffix in SUFFIXES or suffix in READ_ONLY or is_sequence(path) or is_animation(path)


def is_animation(path: Place) -> bool:
    """Tell whether a file is a GIF or an APNG that moves."""
    return isinstance(path, Path) and path.suffix.lower() in (".gif", ".apng") and moves(path)


def is_sequence(path: Place) -> bool:
    """Tell whether a name is a pattern of numbered pictures, and not of a file that has such a name."""
    has_number = len(PATTERN.findall(path.name)) == 1 and path.suffix.lower() in _PICTURES
    return has_number and isinstance(path, Path) and not path.exists()
