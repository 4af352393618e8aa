"""A picture on the grid of its small one: n x n samples to each LR pixel, and exactly back.

Along each axis `spread` interpolates the picture to n samples for each LR pixel, n being the scale or a little more.
Interpolating to more samples loses nothing, so that `gather`, its inverse of least squares, undoes it exactly, but for
the finest detail next to the largest scale. On
that grid a picture looks alike whatever its scale: one network serves all of them.
"""

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from rescale.bands import CHUNK, Bands
from rescale.errors import UsageError
from rescale.geometry import Size
from rescale.ops import full_precision
from rescale.resample import chunk

Window = tuple[slice, slice]
"""Rows and columns, each from and to."""

MOST = 4
"""The largest scale of an axis, and the most samples."""
_ROOM = 1.06
_MARGIN = 64  # HR pixels around a chunk in which its least squares are solved: what is beyond matters less than 1e-7
_REACH = 4  # HR pixels that a sample reads on each side of its own place, at most
_LEAST = 1e-7  # smaller weights of the solution are left out


def samples(length: int, size: int) -> int:
    """n, how many samples along an axis of `length` go into each of the `size` LR pixels.

    It is the scale, if that is whole. Else there are at least 6% more samples than pixels: where they outnumber the
    pixels by a hair, they fall between them for long somewhere, and the finest detail is lost there. Only next to the
    largest scale there is no n left.
    """
    return length // size if length % size == 0 else min(int(-(-_ROOM * length // size)), MOST)


@dataclass(frozen=True)
class Grids:
    """The pixels of a picture and those of its small one, by their height and width.

    Raises: UsageError for a scale beyond 1 .. 4.
    """

    full: Size
    size: Size

    def __post_init__(self) -> None:
        if not all(0 < small <= large <= MOST * small for large, small in zip(self.full, self.size, strict=True)):
            raise UsageError(
                f"expected a small picture of 1 to 1/{MOST} the width and height, "
                f"got {self.size[1]}x{self.size[0]} for {self.full[1]}x{self.full[0]}"
            )

    @property
    def cell(self) -> Size:
        """Rows and columns of samples for each LR pixel: (1, 1) for the picture itself, else at least two of each.

        No network learns an axis of scale 1 beside another; as one of two samples a pixel it is like all others.
        """
        least = 1 if self.full == self.size else 2
        rows, columns = (max(samples(*axis), least) for axis in zip(self.full, self.size, strict=True))
        return rows, columns

    @property
    def all_small(self) -> Window:
        """All of the small picture."""
        return slice(0, self.size[0]), slice(0, self.size[1])

    @property
    def all_full(self) -> Window:
        """All of the large picture."""
        return slice(0, self.full[0]), slice(0, self.full[1])

    def spread(self, hr: Tensor, window: Window) -> Tensor:
        """What `read_by` says of a picture (N, C, ., .) -> the samples of the LR pixels in the window."""
        (rows, columns), (a, b) = window, self.cell
        top, left = (part.start for part in self.read_by(window))
        with full_precision(hr):
            x = spread(self.full[0], a * self.size[0]).down(hr, a * rows.start, a * rows.stop, top)
            return spread(self.full[1], b * self.size[1]).across(x, b * columns.start, b * columns.stop, left)

    def gather(self, x: Tensor, window: Window, at: Size = (0, 0)) -> Tensor:
        """The opposite: samples from the LR pixel `at` on -> the pixels in a window of the large picture."""
        (rows, columns), (a, b) = window, self.cell
        with full_precision(x):
            y = gather(self.full[0], a * self.size[0]).down(x, rows.start, rows.stop, a * at[0])
            return gather(self.full[1], b * self.size[1]).across(y, columns.start, columns.stop, b * at[1])

    def read_by(self, window: Window) -> Window:
        """The part of the large picture that the samples in a window of the small one are made of."""
        (rows, columns), (a, b) = window, self.cell
        height = spread(self.full[0], a * self.size[0]).reads(a * rows.start, a * rows.stop)
        width = spread(self.full[1], b * self.size[1]).reads(b * columns.start, b * columns.stop)
        return slice(*height), slice(*width)

    def needed_for(self, window: Window) -> Window:
        """The part of the small picture whose samples a window of the large one is made of."""
        (rows, columns), (a, b) = window, self.cell
        height = gather(self.full[0], a * self.size[0]).reads(rows.start, rows.stop)
        width = gather(self.full[1], b * self.size[1]).reads(columns.start, columns.stop)
        return slice(height[0] // a, -(-height[1] // a)), slice(width[0] // b, -(-width[1] // b))

    def made_from(self, window: Window) -> Window:
        """The part of the large picture that needs samples of a window of the small one only."""
        parts = []
        for part, n, length, size in zip(window, self.cell, self.full, self.size, strict=True):
            bands = gather(length, n * size)
            start, stop = part.start * length // size, -(-part.stop * length // size)
            while start < stop and bands.reads(start, start + 1)[0] < n * part.start:
                start += 1
            while stop > start and bands.reads(stop - 1, stop)[1] > n * part.stop:
                stop -= 1
            parts.append(slice(start, stop))
        return parts[0], parts[1]


@lru_cache(maxsize=32)
def spread(length: int, total: int) -> Bands:
    """The (total, length) matrix that interpolates an axis to `total` samples."""
    return Bands.of(_rows(length, total, start, min(start + CHUNK, total)) for start in range(0, total, CHUNK))


@lru_cache(maxsize=32)
def gather(length: int, total: int) -> Bands:
    """The (length, total) matrix that is the left inverse of `spread`, of least squares.

    Where samples are scarce, between x3.78 and x4, it is not exact for detail as fine as two pixels.
    """
    starts = range(0, length, CHUNK)
    return Bands.of((_inverse(length, total, start, min(start + CHUNK, length)) for start in starts), least=_LEAST)


def _inverse(length: int, total: int, start: int, stop: int) -> tuple[int, Tensor]:
    """Rows `start` .. `stop` of the inverse, from the samples that read nothing beyond a margin around them."""
    left, right = max(start - _MARGIN, 0), min(stop + _MARGIN, length)
    low = 0 if left == 0 else -(-(left + _REACH) * total // length)
    high = total if right == length else (right - _REACH) * total // length
    first, rows = _rows(length, total, low, high)
    seen = rows.new_zeros(high - low, right - left)
    seen[:, first - left : first - left + rows.shape[1]] = rows
    square = seen.T @ seen + 1e-9 * torch.eye(right - left, dtype=seen.dtype)
    if length < total < _ROOM * length:
        square += _finest(right - left)
    return low, torch.linalg.solve(square, seen.T)[start - left : stop - left]


def _finest(length: int) -> Tensor:
    """Where samples are scarce a plain inverse would blow up the finest detail, which is nearly lost: a price on that.

    It is one of fourth differences: of 0.02 for what changes sign from pixel to pixel, of nearly none for all else.
    """
    rows = torch.eye(length, dtype=torch.float64)
    for _ in range(4):
        rows = rows.diff(dim=0) / 2
    return 0.02 * rows.T @ rows


def _rows(length: int, total: int, start: int, stop: int) -> tuple[int, Tensor]:
    return chunk(length, total, start, stop, kernel="lanczos3", antialias=False)
