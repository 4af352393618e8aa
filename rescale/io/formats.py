"""Image and video formats by suffix, and what each can hold."""

from rescale.errors import RefusedError, UsageError
from rescale.io.object_store import Place

FORMATS = {
    ".png": "PNG", ".apng": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".jfif": "JPEG", ".webp": "WEBP", ".avif": "AVIF",
    ".tif": "TIFF", ".tiff": "TIFF", ".bmp": "BMP", ".ppm": "PPM", ".pgm": "PPM", ".pnm": "PPM", ".pbm": "PPM",
    ".gif": "GIF",
}  # fmt: skip
"""Image format of each suffix."""


def format_of(path: Place) -> str:
    """Return the image format of a suffix."""
    try:
        return FORMATS[path.suffix.lower()]
    except KeyError:
        raise UsageError(f"expected one of {' '.join(sorted(FORMATS))}, got {path.name!r}") from None


def carrier(target: Place) -> str:
    """Return the format of an LR image. Raises: RefusedError where it has no place for a record."""
    format = format_of(target)
    if format in ("BMP", "PPM", "GIF"):
        raise RefusedError(
            f"{format} cannot carry the record that restoring needs; write PNG, WebP, AVIF, TIFF or JPEG"
        )
    return format


SUFFIXES = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}
"""Containers that are written, by the target's suffix, under FFmpeg's names."""


def is_video(path: Place) -> bool:
    """Tell whether a name is that of a video that can be read and written."""
    return path.suffix.lower() in SUFFIXES
