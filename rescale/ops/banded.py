"""Banded matrices that act along one axis of an image: stored in chunks of rows, applied whole or to a window."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Self, cast

import torch
from torch import Tensor

CHUNK = 128
"""Rows of a chunk: short chunks skip nearly all zeros."""


@dataclass(frozen=True)
class BandedMatrix:
    """A banded matrix in chunks of `CHUNK` rows, each with the first column that it reads."""

    chunks: tuple[tuple[int, Tensor], ...]
    _placed: dict[tuple[torch.device, torch.dtype], list[Tensor]] = field(default_factory=dict, compare=False)
    """Copies of the chunks in the memory of devices: made once, as copying would have the host wait each time."""

    @classmethod
    def of(cls, chunks: Iterable[tuple[int, Tensor]], *, least: float = 0.0) -> Self:
        """Build from chunks of rows with their first columns; entries not above `least` at their ends are left out."""
        with torch.inference_mode(mode=False):  # bands are kept, and may be learned through later
            return cls(tuple(_trimmed(first, rows, least) for first, rows in chunks))

    def reads(self, start: int, stop: int) -> tuple[int, int]:
        """Return the columns, from and to, that the rows `start` .. `stop` read."""
        parts = [part for _, part in self._parts(start, stop)]
        return min(part.first for part in parts), max(part.first + part.length for part in parts)

    def down(self, x: Tensor, start: int, stop: int, at: int = 0) -> Tensor:
        """Multiply rows `start` .. `stop` with the columns of x (..., length, W), of which the first is `at`."""
        return torch.cat(
            [w @ x[..., first - at : first - at + w.shape[1], :] for first, w in self._rows(start, stop, x)], dim=-2
        )

    def across(self, x: Tensor, start: int, stop: int, at: int = 0) -> Tensor:
        """Multiply the same along the rows of x (..., H, length)."""
        return torch.cat(
            [x[..., first - at : first - at + w.shape[1]] @ w.T for first, w in self._rows(start, stop, x)], dim=-1
        )

    def _parts(self, start: int, stop: int) -> list[tuple[int, "_Part"]]:
        """Return the parts of chunks that hold the rows `start` .. `stop`, with the chunks' numbers."""
        parts = []
        for index in range(start // CHUNK, -(-stop // CHUNK)):
            first, rows = self.chunks[index]
            inner = slice(max(start - index * CHUNK, 0), min(stop - index * CHUNK, CHUNK))
            is_whole = rows[inner].shape == rows.shape
            used = slice(0, rows.shape[1]) if is_whole else _used(rows[inner], 0.0)
            parts.append((index, _Part(first + used.start, inner, used)))
        return parts

    def _rows(self, start: int, stop: int, like: Tensor) -> list[tuple[int, Tensor]]:
        """Return the rows `start` .. `stop` with their first columns, of a tensor's type and where it lies."""
        chunks = self._on(like)
        return [
            (part.first, chunks[index][part.rows, part.columns].contiguous().to(like))
            for index, part in self._parts(start, stop)
        ]

    def _on(self, like: Tensor) -> Sequence[Tensor]:
        if like.device.type == "cpu":
            return [rows for _, rows in self.chunks]
        key = like.device, like.dtype
        if key not in self._placed:
            with torch.inference_mode(mode=False):
                self._placed[key] = [like.new_empty(rows.shape).copy_(rows) for _, rows in self.chunks]
        return self._placed[key]


class _Part(NamedTuple):
    """A part of a chunk."""

    first: int
    """Column of the matrix that its first column is."""
    rows: slice
    columns: slice

    @property
    def length(self) -> int:
        return cast(int, self.columns.stop - self.columns.start)


def _used(rows: Tensor, least: float) -> slice:
    """Return the columns from the first to the last that any of the rows reads."""
    used = (rows.abs().amax(dim=0) > least).nonzero()
    return slice(int(used[0]), int(used[-1]) + 1)


def _trimmed(first: int, rows: Tensor, least: float) -> tuple[int, Tensor]:
    """Trim the columns at both ends that none of the rows reads."""
    used = _used(rows, least)
    return first + used.start, rows[:, used].contiguous()
