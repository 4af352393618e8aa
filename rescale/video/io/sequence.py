"""Pictures numbered one after the other, as frame%04d.png: read as one stream of bytes, so that FFmpeg opens none."""

import io
import os
import re
import stat
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

from rescale.errors import InputError
from rescale.io.formats import PATTERN, is_sequence


class Sequence(io.RawIOBase):
    """Files read as if they were one.

    Args:
        paths: the files, in their order.
    """

    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths
        ends = [0]
        for path in paths:
            ends.append(ends[-1] + path.stat().st_size)
        self.starts, self.length = ends[:-1], ends[-1]
        self._at = self._index = 0
        self._file: BinaryIO | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self.length}[whence]
        return self._at

    def read(self, size: int = -1) -> bytes:
        """Read up to `size` bytes, of one file or of several."""
        left = self.length - self._at if size is None or size < 0 else size
        parts = []
        while left > 0 and (part := self._part(left)):
            parts.append(part)
            left -= len(part)
            self._at += len(part)
        return b"".join(parts)

    def close(self) -> None:
        """Close the file that is open."""
        if self._file:
            self._file.close()
        super().close()

    def _part(self, size: int) -> bytes:
        """Read from the one file in which the place lies; nothing behind the last."""
        if self._at >= self.length:
            return b""
        index = max(k for k in self._near() if self.starts[k] <= self._at)
        if self._file is None or index != self._index:
            if self._file:
                self._file.close()
            self._file, self._index = self.paths[index].open("rb"), index
        self._file.seek(self._at - self.starts[index])
        return self._file.read(size)

    def _near(self) -> range:
        """Indices among which the file of the place is: this one and the next, else all."""
        here = self._index
        is_next = self.starts[here] <= self._at and (here + 2 >= len(self.paths) or self._at < self.starts[here + 2])
        return range(here, min(here + 2, len(self.paths))) if is_next else range(len(self.paths))


def numbered(pattern: Path) -> list[Path]:
    """List the files that a pattern names, by their numbers.

    Raises: InputError where there are none, a number is missing, or one is no regular file.
    """
    found = dict(sorted(_matches(pattern)))
    if not found:
        raise InputError(f"{pattern}: no such pictures")
    numbers = list(found)
    gap = next((number for number, after in pairwise(numbers) if after != number + 1), None)
    if gap is not None:
        raise InputError(f"{pattern}: expected numbers without a gap, and {gap + 1} is missing")
    strange = next((path for path in found.values() if not stat.S_ISREG(path.stat().st_mode)), None)
    if strange:
        raise InputError(f"{strange}: expected a regular file")
    return list(found.values())


def _matches(pattern: Path) -> Iterator[tuple[int, Path]]:
    """Yield the files of a folder whose names fit, with their numbers."""
    head, padded, width, tail = re.split(PATTERN, pattern.name)
    least = int(width or 1) if padded else 1
    name = re.compile(f"{re.escape(head)}({'[0-9]' if padded else '[1-9]'}[0-9]{{{least - 1},}}|0){re.escape(tail)}")
    try:
        entries = list(pattern.parent.iterdir())
    except OSError as error:
        raise InputError(f"{pattern}: {error.strerror}") from error
    for path in entries:
        match = name.fullmatch(path.name)
        if match and len(match[1]) >= least:
            yield int(match[1]), path


def files_of(source: Path) -> list[Path]:
    """List the files that a source consists of: itself, or the pictures of a sequence."""
    return numbered(source) if is_sequence(source) else [source]
