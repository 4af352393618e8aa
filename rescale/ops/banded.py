"""Banded matrices that act along one axis of an image: stored in chunks of rows, applied whole or to a window."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

CHUNK = 128
"""Rows of a chunk: short chunks skip nearly all zeros."""


@dataclass(frozen=True)
class BandedMatrix:
    """A banded matrix in chunks of `CHUNK` rows, each with the first column that it reads."""

    chunks: tuple[tuple[int, Tensor], ...]

    @classmethod
    def of(cls, chunks: Iterable[tuple[int, Tensor]], *, least: float = 0.0) -> Self:
        """Build from chunks of rows with their first columns; entries not above `least` at their ends are left out."""
        with torch.inference_mode(mode=False):  # bands are kept, and may be learned through later
            return cls(tuple(_trimmed(first, rows, least) for first, rows in chunks))

    def reads(self, start: int, stop: int) -> tuple[int, int]:
        """Return the columns, from and to, that the rows `start` .. `stop` read."""
        parts = self._rows(start, stop)
        return min(first for first, _ in parts), max(first + rows.shape[1] for first, rows in parts)

    def down(self, x: Tensor, start: int, stop: int, at: int = 0) -> Tensor:
        """Multiply rows `start` .. `stop` with the columns of x (..., length, W), of which the first is `at`."""
        return torch.cat(
            [w.to(x) @ x[..., first - at : first - at + w.shape[1], :] for first, w in self._rows(start, stop)], dim=-2
        )

    def across(self, x: Tensor, start: int, stop: int, at: int = 0) -> Tensor:
        """Multiply the same along the rows of x (..., H, length)."""
        return torch.cat(
            [x[..., first - at : first - at + w.shape[1]] @ w.to(x).T for first, w in self._rows(start, stop)], dim=-1
        )

    def _rows(self, start: int, stop: int) -> list[tuple[int, Tensor]]:
        parts = []
        for index in range(start // CHUNK, -(-stop // CHUNK)):
            first, rows = self.chunks[index]
            inner = slice(max(start - index * CHUNK, 0), min(stop - index * CHUNK, CHUNK))
            parts.append((first, rows) if rows[inner].shape == rows.shape else _trimmed(first, rows[inner], 0.0))
        return parts


def _trimmed(first: int, rows: Tensor, least: float) -> tuple[int, Tensor]:
    """Trim the columns at both ends that none of the rows reads."""
    used = (rows.abs().amax(dim=0) > least).nonzero()
    left, right = int(used[0]), int(used[-1]) + 1
    return first + left, rows[:, left:right].contiguous()
