"""Image files: the one door in (`read`) and the one door out (`write`), for every allowed format.

Nothing is dropped silently: depth, alpha, colour profile, EXIF, XMP, resolution and PNG colour chunks travel
in the `Picture`; what cannot travel is named in its notes, or the file is refused.
"""

from pathlib import Path

from rescale.io.decode import MAX_PIXELS, decode, from_pil
from rescale.io.encode import encode
from rescale.io.folders import check_readable, walk
from rescale.io.formats import format_of
from rescale.io.object_store import Place
from rescale.io.picture import Picture, Pixels, to_pil, to_pixels, to_tensor
from rescale.io.storage import check_folder, publish, published, read_bytes, sha256, sweep

__all__ = [
    "MAX_PIXELS", "Picture", "Pixels", "check_folder", "decode", "encode", "fetch", "find", "format_of",
    "from_pil", "max_bytes", "publish", "published", "read", "read_bytes", "sha256", "sweep", "to_pil", "to_pixels",
    "to_tensor", "write",
]  # fmt: skip

_METADATA_BYTES = 2**28  # the most that is read of a file beside 8 bytes for each pixel, which are 16-bit RGBA


def find(path: Path) -> list[Path]:
    """List the image files under a folder, by suffix, sorted, without hidden ones; a file is itself.

    Raises: MachineError for a folder that cannot be read.
    """
    if not path.is_dir():
        return [path]
    found = walk(path)
    for folder in found.unreadable:
        check_readable(folder)
    return found.images


def read(path: Place, *, max_pixels: int = MAX_PIXELS) -> Picture:
    """Decode an image file, whatever its suffix says.

    Raises: InputError for what is no readable image; UnsupportedError for several frames, and for modes and
        depths that cannot be kept; RefusedError above `max_pixels`, before any pixel is decoded.
    """
    return decode(fetch(path, max_pixels=max_pixels), path.name, max_pixels=max_pixels)


def fetch(path: Place, *, max_pixels: int = MAX_PIXELS) -> bytes:
    """Read all bytes of an image file, or of what may be one. Raises: as `read`."""
    return read_bytes(path, max_bytes=max_bytes(max_pixels))


def max_bytes(max_pixels: int) -> int:
    """Return the most bytes that are read of an image file, or of what may be one."""
    return _METADATA_BYTES + 8 * max_pixels


def write(path: Place, picture: Picture, *, overwrite: bool = False, quality: int | None = None) -> list[str]:
    """Encode an image into the format of the path's suffix; the file appears complete, or not at all.

    Args:
        path: its suffix decides the format.
        picture: the image to write.
        overwrite: replace an existing file.
        quality: quality of lossy formats, 1 to 100; if not given, WebP is lossless, JPEG and AVIF are written at 95.
    Returns: notes on what the format could not hold, one sentence each.
    Raises: UsageError for an unknown suffix; UnsupportedError for alpha, depth or sides that the format lacks;
        RefusedError where the file exists; MachineError where it cannot be written.
    """
    data, notes = encode(format_of(path), picture, quality=quality)
    publish(path, data, overwrite=overwrite)
    return notes
