"""Rotation and mirroring that a video asks its player for, applied to the planes of its frames."""

import struct
from typing import NamedTuple

from torch import Tensor

from rescale.geometry import Size


class Orientation(NamedTuple):
    """Quarter turns and mirror images: the planes are transposed first, then mirrored."""

    is_transposed: bool = False
    is_upside_down: bool = False
    is_mirrored: bool = False

    def turned(self, plane: Tensor) -> Tensor:
        """Turn a plane: (h, w) -> (h, w) or (w, h)."""
        plane = plane.T if self.is_transposed else plane
        axes = [axis for axis, is_flipped in enumerate(self[1:]) if is_flipped]
        return plane.flip(axes) if axes else plane

    def turned_size(self, size: Size) -> Size:
        """Return the size of a plane of `size` once it is turned."""
        height, width = size
        return (width, height) if self.is_transposed else size

    def turned_offsets(self, offsets: tuple[float, float], size: Size, chroma: tuple[int, int]) -> tuple[float, float]:
        """Return where chroma sits in turned planes.

        Args:
            offsets: of chroma from the middle of its luma samples, down and across, before turning; in luma samples.
            size: of the luma plane before turning.
            chroma: luma samples for one of chroma, down and across, before turning.
        """
        beyond = [-length % by for length, by in zip(size, chroma, strict=True)]  # chroma reaches over an odd side
        pairs = list(zip(offsets, beyond, strict=True))
        if self.is_transposed:
            pairs.reverse()
        down, across = (
            -offset - over if is_flipped else offset for (offset, over), is_flipped in zip(pairs, self[1:], strict=True)
        )
        return down, across


def orientation(matrix: bytes | None) -> Orientation:
    """Read a display matrix; an angle between quarter turns becomes the nearest of them.

    Source: FFmpeg's display.h, where (x, y) is shown at (a x + c y, b x + d y) for a matrix that begins a, b, u, c, d.
    """
    if matrix is None or len(matrix) < 36:
        return Orientation()
    a, b, _, c, d = struct.unpack_from("<5i", matrix)
    if abs(b) + abs(c) > abs(a) + abs(d):
        return Orientation(True, b < 0, c < 0)
    return Orientation(False, d < 0, a < 0)
