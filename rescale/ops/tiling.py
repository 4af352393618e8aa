"""Tiling of images larger than memory: each tile is processed with enough context that no seam can show."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from rescale.geometry import Size

Window = tuple[slice, slice]
TensorFunction = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Tile:
    """One tile of a plan, in pixels."""

    top: int
    left: int
    bottom: int
    right: int
    """Bounds of the tile's own pixels, whose plan covers every pixel once."""
    halo: tuple[int, int, int, int]
    """Context on each side: top, left, bottom, right; less at the image's border."""

    @property
    def own(self) -> Window:
        """The tile's own pixels, as a window."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    @property
    def seen(self) -> Window:
        """The tile's own pixels with the halo."""
        above, before, below, behind = self.halo
        return slice(self.top - above, self.bottom + below), slice(self.left - before, self.right + behind)

    @property
    def inner(self) -> Window:
        """The tile's own pixels, in coordinates of `seen`."""
        above, before = self.halo[:2]
        return slice(above, above + self.bottom - self.top), slice(before, before + self.right - self.left)


@dataclass(frozen=True)
class TileCall:
    """One call of a network."""

    source: Window
    """Window of the source that the call reads."""
    inner: Window
    """Window of the call's output that is kept."""
    target: Window
    """Window of the result that it fills."""
    function: TensorFunction


def plan(size: Size, side: int, halo: int, cell: int = 1) -> Iterator[Tile]:
    """Yield tiles of about `side`, all nearly alike, that cover `size` (height, width) once, in reading order.

    They begin at multiples of `cell`, and so do their halos where those are such multiples.
    """
    high, wide = (-(-length // -(-length // side) // cell) * cell for length in size)
    for top in range(0, size[0], high):
        for left in range(0, size[1], wide):
            bottom, right = min(top + high, size[0]), min(left + wide, size[1])
            around = (min(halo, top), min(halo, left), min(halo, size[0] - bottom), min(halo, size[1] - right))
            yield Tile(top, left, bottom, right, around)


def downscale_tiles(
    function: TensorFunction, size: Size, by: int, *, side: int, halo: int, cell: int = 1
) -> Iterator[TileCall]:
    """Split a function that downscales an image of `size`, a multiple of `by`, by that factor into calls on tiles.

    Args:
        function: (1, C, h·by, w·by) -> (1, C', h, w).
        size: height and width of the source.
        by: the factor.
        side: side of a tile, in pixels of the result.
        halo: context around a tile, in pixels of the result.
        cell: as of `plan`, in pixels of the result.
    """
    for tile in plan((size[0] // by, size[1] // by), side, halo, cell):
        yield TileCall(_times(tile.seen, by), tile.inner, tile.own, function)


def upscale_tiles(
    function: TensorFunction, size: Size, by: int, *, side: int, halo: int, cell: int = 1
) -> Iterator[TileCall]:
    """Split an upscaling function into calls, as `downscale_tiles` does; tiles and halo in pixels of the source."""
    for tile in plan(size, side, halo, cell):
        yield TileCall(tile.seen, _times(tile.inner, by), _times(tile.own, by), function)


def whole(function: TensorFunction, source: Size, size: Size) -> TileCall:
    """Return a single call, from an image of one size to one of another."""
    result = slice(0, size[0]), slice(0, size[1])
    return TileCall((slice(0, source[0]), slice(0, source[1])), result, result, function)


def tiled(
    pieces: Iterable[TileCall], source: Tensor, size: Size, *, load: Callable[[Tensor], Tensor], store: TensorFunction
) -> Tensor:
    """Make the calls one by one, and stitch their results.

    Args:
        pieces: calls that cover the result.
        source: (1, C, H, W) of any dtype.
        size: height and width of the result.
        load: converts a part of `source` to the input of a function; only a tile at a time is ever so large.
        store: converts a result to the form that is kept, say bytes.
    Returns: (1, C', *size) in the form of `store`.
    """
    result: Tensor | None = None
    for piece in pieces:
        out = store(piece.function(load(source[..., piece.source[0], piece.source[1]]))[..., *piece.inner])
        if result is None:
            result = torch.empty((1, out.shape[1], *size), dtype=out.dtype, device=out.device)
        result[..., piece.target[0], piece.target[1]] = out
    assert result is not None, "a picture has at least one pixel"
    return result


def _times(window: Window, by: int) -> Window:
    rows, columns = window
    return slice(rows.start * by, rows.stop * by), slice(columns.start * by, columns.stop * by)
