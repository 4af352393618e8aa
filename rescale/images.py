"""Picture files: the one door in (`read`) and the one door out (`write`), for every format that is let through.

Nothing is dropped in silence: depth, alpha, colour profile, EXIF, XMP, resolution and PNG colour chunks travel
in the `Picture`; what cannot travel is named in its notes, or the file is refused.
"""

import os
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from rescale import storage
from rescale.decoding import MAX_PIXELS, decode, from_pil
from rescale.encoding import encode
from rescale.errors import EnvironmentFault, InputError, RefusedError, RescaleError, UsageError
from rescale.picture import Picture, Pixels, to_pil, to_pixels, to_tensor
from rescale.storage import Place, Url

__all__ = [
    "FORMATS", "MAX_PIXELS", "Picture", "Pixels", "decode", "encode", "find", "format_of", "from_pil", "most_bytes",
    "publish", "published", "read", "read_bytes", "to_pil", "to_pixels", "to_tensor", "write",
]  # fmt: skip

FORMATS = {
    ".png": "PNG", ".apng": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".jfif": "JPEG", ".webp": "WEBP", ".avif": "AVIF",
    ".tif": "TIFF", ".tiff": "TIFF", ".bmp": "BMP", ".ppm": "PPM", ".pgm": "PPM", ".pnm": "PPM", ".pbm": "PPM",
    ".gif": "GIF",
}  # fmt: skip
"""The format that a suffix stands for."""
_METADATA_BYTES = 2**28  # the most that is read of a file beside 8 bytes for each pixel, which are 16-bit RGBA


def find(path: Path) -> list[Path]:
    """The picture files under a folder, by suffix, sorted; a file is itself."""
    if not path.is_dir():
        return [path]
    return sorted(p for p in path.rglob("*") if p.suffix.lower() in FORMATS and p.is_file())


def read(path: Place, *, max_pixels: int = MAX_PIXELS) -> Picture:
    """Decode a picture file, whatever its suffix says.

    Raises: InputError for what is no readable picture; UnsupportedError for several frames, and for modes and
        depths that cannot be kept; RefusedError above `max_pixels`, before any pixel is decoded.
    """
    return decode(read_bytes(path, max_bytes=most_bytes(max_pixels)), path.name, max_pixels=max_pixels)


def write(path: Place, picture: Picture, *, overwrite: bool = False, quality: int | None = None) -> list[str]:
    """Encode a picture into the format of the path's suffix; all of it appears at once, or nothing does.

    Args:
        path: its suffix decides the format.
        picture: what to write.
        overwrite: replace an existing file.
        quality: of lossy formats, 1 to 100; if not given, WebP is written without loss, JPEG and AVIF at 95.
    Returns: what the format could not hold, one sentence each.
    Raises: UsageError for an unknown suffix; UnsupportedError for alpha, depth or sides that the format has not;
        RefusedError where the file exists; EnvironmentFault where the disk says no.
    """
    data, notes = encode(format_of(path), picture, quality=quality)
    publish(path, data, overwrite=overwrite)
    return notes


def most_bytes(max_pixels: int) -> int:
    """The largest file that is read for a picture of so many pixels."""
    return _METADATA_BYTES + 8 * max_pixels


def format_of(path: Place) -> str:
    """The format that a suffix stands for."""
    try:
        return FORMATS[path.suffix.lower()]
    except KeyError:
        raise UsageError(f"expected one of {' '.join(sorted(FORMATS))}, got {path.name!r}") from None


def publish(path: Place, data: bytes, *, overwrite: bool = False) -> None:
    """Put bytes at a path, see `published`, or at a URL, see `storage.publish`."""
    if isinstance(path, Url):
        storage.publish(path, data, overwrite=overwrite)
    else:
        with published(path, overwrite=overwrite) as file:
            file.write(data)


@contextmanager
def published(path: Path, *, overwrite: bool = False) -> Iterator[BinaryIO]:
    """A file to write that appears at its path when all is done: under another name, flushed, moved in one step.

    Raises: RefusedError where the path exists; EnvironmentFault where the disk says no.
    """
    try:
        if path.exists() and not overwrite:
            raise FileExistsError
        temporary = path.absolute().with_name(
            f".{uuid.uuid4().hex}.tmp"
        )  # not from the name, which may be as long as can be
        try:
            with temporary.open("x+b") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            (Path.replace if overwrite else _move_to_free_name)(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except RescaleError:
        raise
    except FileExistsError as error:
        raise RefusedError(f"{path} exists; pass --overwrite to replace it") from error
    except (OSError, ValueError) as error:
        raise EnvironmentFault(f"cannot write {path}: {_reason(error)}") from error


def _move_to_free_name(temporary: Path, path: Path) -> None:
    """Unlike a rename, a link fails if somebody took the name meanwhile."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        temporary.replace(path)


def read_bytes(path: Place, *, max_bytes: int) -> bytes:
    """All of a regular file: no folder, pipe or device, and none that is too large. Raises: as `read`."""
    if isinstance(path, Url):
        return storage.read_bytes(path, max_bytes=max_bytes)
    try:
        facts = path.stat()
        if not stat.S_ISREG(facts.st_mode):
            raise InputError(f"{path}: expected a regular file, got {_kind(facts.st_mode)}")
        if facts.st_size > max_bytes:
            raise RefusedError(f"{path}: {facts.st_size:,} bytes, more than the {max_bytes:,} that are read here")
        return path.read_bytes()
    except PermissionError as error:
        raise EnvironmentFault(f"cannot read {path}: {error.strerror}") from error
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {str(path)!r}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def _kind(mode: int) -> str:
    kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
    return kinds.get(stat.S_IFMT(mode), "a device")
