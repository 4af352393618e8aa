"""Oversampling of an HR image on the grid of its LR image: four samples to each LR pixel along each axis, and back.

`interpolate` resizes the HR image to four times the size of the LR image, whatever the scale. More samples lose
nothing, so `reconstruct`, its least-squares inverse, undoes it exactly, but for the finest detail next
to the largest scale. On that grid an image looks alike whatever its scale: one network serves all of them.
"""

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from rescale.geometry import MAX_SCALE, Size, check_scales
from rescale.ops import full_precision
from rescale.ops.banded import CHUNK, BandedMatrix
from rescale.ops.resample import chunk

Window = tuple[slice, slice]
"""Rows and columns, each from and to."""
_ROOM = 1.06  # samples to a pixel from which on the plain inverse is tame
_MARGIN = 64  # HR pixels around a chunk in which its least squares are solved: what is beyond matters less than 1e-7
_REACH = 4  # HR pixels that a sample reads on each side of its own place, at most
_LEAST = 1e-7  # smaller weights of the solution are left out


@dataclass(frozen=True)
class OversampledGrid:
    """The grids of an HR image and of its LR image, by their height and width.

    Raises: UsageError for a scale beyond 1 .. 4.
    """

    full: Size
    size: Size

    def __post_init__(self) -> None:
        check_scales(self.full, self.size)

    @property
    def all_small(self) -> Window:
        """The window that covers the LR image."""
        return slice(0, self.size[0]), slice(0, self.size[1])

    @property
    def all_full(self) -> Window:
        """The window that covers the HR image."""
        return slice(0, self.full[0]), slice(0, self.full[1])

    def interpolate(self, hr: Tensor, window: Window) -> Tensor:
        """Interpolate the part given by `read_by` -> the samples (N, C, 4·h, 4·w) of a window of h x w LR pixels."""
        (down, across), (rows, columns), (top, left) = self._spread, window, self.read_by(window)
        with full_precision(hr):
            x = down.down(hr, MAX_SCALE * rows.start, MAX_SCALE * rows.stop, top.start)
            return across.across(x, MAX_SCALE * columns.start, MAX_SCALE * columns.stop, left.start)

    def reconstruct(self, x: Tensor, window: Window, at: Size = (0, 0)) -> Tensor:
        """Reconstruct the pixels in a window of the HR image from samples that begin at the LR pixel `at`."""
        (down, across), (rows, columns) = self._gather, window
        with full_precision(x):
            y = down.down(x, rows.start, rows.stop, MAX_SCALE * at[0])
            return across.across(y, columns.start, columns.stop, MAX_SCALE * at[1])

    def read_by(self, window: Window) -> Window:
        """Return the part of the HR image from which the samples in a window of the LR image are made."""
        rows, columns = (
            slice(*bands.reads(MAX_SCALE * part.start, MAX_SCALE * part.stop))
            for bands, part in zip(self._spread, window, strict=True)
        )
        return rows, columns

    def needed_for(self, window: Window) -> Window:
        """Return the part of the LR image whose samples a window of the HR image is made of."""
        reads = (bands.reads(part.start, part.stop) for bands, part in zip(self._gather, window, strict=True))
        rows, columns = (slice(first // MAX_SCALE, -(-last // MAX_SCALE)) for first, last in reads)
        return rows, columns

    def made_from(self, window: Window) -> Window:
        """Return the part of the HR image that needs samples of a window of the LR image only."""
        parts = []
        for bands, part, length, size in zip(self._gather, window, self.full, self.size, strict=True):
            start, stop = part.start * length // size, -(-part.stop * length // size)
            while start < stop and bands.reads(start, start + 1)[0] < MAX_SCALE * part.start:
                start += 1
            while stop > start and bands.reads(stop - 1, stop)[1] > MAX_SCALE * part.stop:
                stop -= 1
            parts.append(slice(start, stop))
        return parts[0], parts[1]

    @property
    def _spread(self) -> tuple[BandedMatrix, BandedMatrix]:
        return interpolation_matrix(self.full[0], self.size[0]), interpolation_matrix(self.full[1], self.size[1])

    @property
    def _gather(self) -> tuple[BandedMatrix, BandedMatrix]:
        return reconstruction_matrix(self.full[0], self.size[0]), reconstruction_matrix(self.full[1], self.size[1])


@lru_cache(maxsize=32)
def interpolation_matrix(length: int, size: int) -> BandedMatrix:
    """Return the (4·size, length) matrix that interpolates an axis."""
    total = MAX_SCALE * size
    return BandedMatrix.of(_rows(length, total, start, min(start + CHUNK, total)) for start in range(0, total, CHUNK))


@lru_cache(maxsize=32)
def reconstruction_matrix(length: int, size: int) -> BandedMatrix:
    """Return the (length, 4·size) matrix that is the least-squares left inverse of `interpolation_matrix`.

    Between x3.78 and x4 it is not exact for detail as fine as two pixels: where samples outnumber the pixels by a
    hair, they fall between them for long somewhere, and such detail is nearly lost there.
    """
    starts = range(0, length, CHUNK)
    return BandedMatrix.of(
        (_inverse(length, MAX_SCALE * size, at, min(at + CHUNK, length)) for at in starts), least=_LEAST
    )


def _inverse(length: int, total: int, start: int, stop: int) -> tuple[int, Tensor]:
    """Return rows `start` .. `stop` of the inverse, from the samples that read nothing beyond a margin around them."""
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
    """Return a penalty on the finest detail, which a plain inverse would blow up where samples are scarce.

    It is on fourth differences: 0.02 for what changes sign from pixel to pixel, nearly none for all else.
    """
    rows = torch.eye(length, dtype=torch.float64)
    for _ in range(4):
        rows = rows.diff(dim=0) / 2
    return 0.02 * rows.T @ rows


def _rows(length: int, total: int, start: int, stop: int) -> tuple[int, Tensor]:
    return chunk(length, total, start, stop, kernel="lanczos3", antialias=False)
