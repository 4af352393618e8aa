"""Container access: the one door to video files, with allow-listed formats and demuxers, and no other file or URL."""

import io
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rescale.errors import InputError, MachineError, UsageError
from rescale.io.formats import SUFFIXES, is_sequence
from rescale.io.object_store import Place
from rescale.video.io.demuxers import HEAD, LABELS, demuxer, picture_demuxer
from rescale.video.io.sequence import Sequence, numbered


def library() -> Any:
    """Import PyAV. Raises: MachineError where it is not installed."""
    try:
        import av
    except ImportError as error:
        raise MachineError("video needs PyAV: pip install 'rescale[video]'") from error
    return av


def format_of(path: Place) -> str:
    """Return the container for a target's suffix. Raises: UsageError for another suffix."""
    try:
        return SUFFIXES[path.suffix.lower()]
    except KeyError:
        raise UsageError(f"expected one of {' '.join(SUFFIXES)}, got {path.name!r}") from None


def check_small(target: Place, codec: str | None) -> None:
    """Check a target for lossless LR frames. Raises: UsageError where it cannot hold them."""
    if format_of(target) != "matroska" and codec in (None, "ffv1"):
        raise UsageError(f"expected a target that ends in .mkv for lossless small frames, got {target.name}")


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """Open a video file for reading, as PyAV's container.

    The file is passed as bytes, to a demuxer that its first bytes decide: no name is ever taken for a URL,
    and no playlist is followed.

    Raises: InputError for what is no such file, or breaks while it is read; MachineError without PyAV.
    """
    av = library()
    with readable(path) as file:
        head = file.read(HEAD)
        file.seek(0)
        kind = (picture_demuxer if is_sequence(path) else demuxer)(head)
        if kind is None:
            raise InputError(f"{path}: expected a video ({LABELS}), got something else")
        safe = {"protocol_whitelist": "file", "format_whitelist": f"{kind},srt,ass"}
        safe |= {"enable_drefs": "0"} if kind == "mov" else {}
        try:
            with av.open(file, format=kind, options=safe, metadata_errors="replace") as container:
                yield container
        except (av.FFmpegError, EOFError) as error:
            raise InputError(f"{path}: damaged, or not a video: {reason(error)}") from error


@contextmanager
def in_memory(container: str) -> Iterator[Any]:
    """Open a container for writing that is no file, to try what it takes."""
    with io.BytesIO() as file, library().open(file, "w", format=container) as made:
        yield made


@contextmanager
def readable(path: Path) -> Iterator[Any]:
    """Open a regular file, or a sequence of them, as bytes. Raises: InputError for anything else."""
    if is_sequence(path):
        with Sequence(numbered(path)) as files:
            yield files
        return
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise InputError(f"{path}: expected a regular file")
        file = path.open("rb")
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: {getattr(error, 'strerror', None) or error}") from error
    with file:
        yield file


def reason(error: BaseException) -> str:
    """Return FFmpeg's message for an error, without its numbers."""
    return str(getattr(error, "strerror", None) or error).strip().lower() or type(error).__name__
