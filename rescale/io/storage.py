"""Local files: read whole, written under a temporary name and moved into place; stale temporary files are removed."""

import hashlib
import os
import re
import shutil
import stat
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, BinaryIO

from rescale.errors import InputError, MachineError, RefusedError, RescaleError, machine_error
from rescale.io import object_store
from rescale.io.object_store import Place, Url

try:
    import fcntl
except ImportError:  # Windows, which moves no open file, and where nobody sweeps
    fcntl = None  # type: ignore[assignment]


_TEMPORARY = re.compile(r"\.rescale-[0-9a-f]{32}\.tmp")


def publish(path: Place, data: bytes, *, overwrite: bool = False) -> None:
    """Write bytes to a path, see `published`, or to a URL, see `object_store.publish`."""
    if isinstance(path, Url):
        object_store.publish(path, data, overwrite=overwrite)
    else:
        with published(path, overwrite=overwrite) as file:
            file.write(data)


@contextmanager
def published(path: Path, *, overwrite: bool = False) -> Iterator[BinaryIO]:
    """Yield a file that appears at its path when complete: written under a temporary name, flushed, moved in one step.

    Raises: RefusedError where the path exists; DiskFullError, MachineError where it cannot be written.
    """
    try:
        if path.exists() and not overwrite:
            raise FileExistsError
        with _temporary(path.absolute().parent) as (temporary, file):
            yield file
            file.flush()
            os.fsync(file.fileno())
            if fcntl is None:
                file.close()
            (Path.replace if overwrite else _move_to_free_name)(temporary, path)
    except RescaleError:
        raise
    except FileExistsError as error:
        raise RefusedError(f"{path} exists", hint="pass overwrite=True to replace it") from error
    except (OSError, ValueError) as error:
        raise machine_error(f"cannot write {path}", error) from error


@contextmanager
def _temporary(folder: Path) -> Iterator[tuple[Path, BinaryIO]]:
    """Make a new file, locked as long as it is open, which tells `sweep` that its writer lives."""
    is_ours = False
    while not is_ours:  # whoever sweeps may have come between opening and locking
        path = folder / f".rescale-{uuid.uuid4().hex}.tmp"  # not from a result's name, which may be as long as can be
        try:
            with path.open("x+b") as file:
                is_ours = _locked(file, wait=True) and path.exists()
                if is_ours:
                    yield path, file
        finally:
            path.unlink(missing_ok=True)


@contextmanager
def spooled(stream: IO[bytes], folder: Path) -> Iterator[Path]:
    """Yield a temporary file with all bytes of a stream. Raises: DiskFullError, MachineError."""
    try:
        with _temporary(folder.absolute()) as (path, file):
            shutil.copyfileobj(stream, file)
            file.flush()
            yield path
    except RescaleError:
        raise
    except OSError as error:
        raise machine_error(f"cannot write into {folder}", error) from error


def sweep(folder: Path) -> None:
    """Remove temporary files that killed writers left in a folder; those of a living writer stay."""
    for path in folder.glob(".rescale-*.tmp"):
        with suppress(OSError):
            if _TEMPORARY.fullmatch(path.name) and path.is_file() and not path.is_symlink():
                with path.open("r+b") as file:
                    if fcntl and _locked(file, wait=False):
                        path.unlink()


def _locked(file: BinaryIO, *, wait: bool) -> bool:
    """Tell whether this process got the lock of the file, or the file system has no locks."""
    try:
        if fcntl:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        return wait
    return True


def check_folder(folder: Path) -> None:
    """Check, before any work, that files can be made in a folder. Raises: MachineError."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise MachineError(f"cannot write into {folder}: {error.strerror}") from error


def _move_to_free_name(temporary: Path, path: Path) -> None:
    """Move to a name that must be free: unlike a rename, a link fails if somebody took the name meanwhile."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        temporary.replace(path)


def read_bytes(path: Place, *, max_bytes: int) -> bytes:
    """Read all of a regular file: no folder, pipe or device, and none that is too large. Raises: as `read`."""
    if isinstance(path, Url):
        return object_store.read_bytes(path, max_bytes=max_bytes)
    try:
        facts = path.stat()
        if not stat.S_ISREG(facts.st_mode):
            raise InputError(f"{path}: expected a regular file, got {_kind(facts.st_mode)}")
        if facts.st_size > max_bytes:
            raise RefusedError(f"{path}: {facts.st_size:,} bytes, more than the {max_bytes:,} that are read here")
        return path.read_bytes()
    except PermissionError as error:
        raise MachineError(f"cannot read {path}: {error.strerror}") from error
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {str(path)!r}: {_reason(error)}") from error


def sha256(path: Place) -> str:
    """Compute the digest of a file, however large, or of an object. Raises: OSError; as `read` of an object."""
    if isinstance(path, Url):
        return hashlib.sha256(object_store.read_bytes(path, max_bytes=sys.maxsize)).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def stamp(path: Path) -> tuple[int, ...]:
    """Return numbers that change with a file's content: its inode, size and time; none where there is no such file."""
    with suppress(OSError, ValueError):
        facts = path.stat()
        return facts.st_ino, facts.st_size, facts.st_mtime_ns
    return ()


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def _kind(mode: int) -> str:
    kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
    return kinds.get(stat.S_IFMT(mode), "a device")
