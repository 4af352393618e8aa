"""A picture larger than memory: worked on tile by tile, each with so much around it that no seam can show."""

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
    """What the tile is for; tiles cover all pixels once."""
    halo: tuple[int, int, int, int]
    """How much more is looked at on each side: top, left, bottom, right; less at the picture's border."""

    @property
    def own(self) -> Window:
        """What the tile is for, as a window."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    @property
    def seen(self) -> Window:
        """The same with its halo."""
        above, before, below, behind = self.halo
        return slice(self.top - above, self.bottom + below), slice(self.left - before, self.right + behind)

    @property
    def inner(self) -> Window:
        """Where its own pixels are among those seen."""
        above, before = self.halo[:2]
        return slice(above, above + self.bottom - self.top), slice(before, before + self.right - self.left)


@dataclass(frozen=True)
class TileCall:
    """One call of a network."""

    source: Window
    """What it reads."""
    inner: Window
    """What of its result is kept."""
    target: Window
    """Where that belongs."""
    function: TensorFunction


def plan(size: Size, side: int, halo: int, cell: int = 1) -> Iterator[Tile]:
    """Tiles of about `side`, all nearly alike, that cover `size` (height, width) once, in reading order.

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
    """Pieces of a function that makes a picture of `size`, a multiple of `by`, smaller by that factor.

    Args:
        function: (1, C, h·by, w·by) -> (1, C', h, w).
        size: height and width of the source.
        by: the factor.
        side: of a tile, in pixels of the result.
        halo: around a tile, in pixels of the result.
        cell: as of `plan`, in pixels of the result.
    """
    for tile in plan((size[0] // by, size[1] // by), side, halo, cell):
        yield TileCall(_times(tile.seen, by), tile.inner, tile.own, function)


def upscale_tiles(
    function: TensorFunction, size: Size, by: int, *, side: int, halo: int, cell: int = 1
) -> Iterator[TileCall]:
    """The opposite of `shrinking`; tiles and halo are in pixels of the source."""
    for tile in plan(size, side, halo, cell):
        yield TileCall(tile.seen, _times(tile.inner, by), _times(tile.own, by), function)


def whole(function: TensorFunction, source: Size, size: Size) -> TileCall:
    """All in one piece, from a picture of one size to one of another."""
    result = slice(0, size[0]), slice(0, size[1])
    return TileCall((slice(0, source[0]), slice(0, source[1])), result, result, function)


def tiled(
    pieces: Iterable[TileCall], source: Tensor, size: Size, *, load: Callable[[Tensor], Tensor], store: TensorFunction
) -> Tensor:
    """Call piece by piece.

    Args:
        pieces: that cover the result.
        source: (1, C, H, W) of any dtype.
        size: height and width of the result.
        load: makes a part of `source` what a function takes; only a tile at a time is ever so large.
        store: makes a result what is kept, say bytes.
    Returns: (1, C', *size) of what `store` makes.
    """
    result: Tensor | None = None
    for piece in pieces:
        out = store(piece.function(load(source[..., piece.source[0], piece.source[1]]))[..., *piece.inner])
        if result is None:
            result = torch.empty((1, out.shape[1], *size), dtype=out.dtype)
        result[..., piece.target[0], piece.target[1]] = out
    assert result is not None, "a picture has at least one pixel"
    return result


def _times(window: Window, by: int) -> Window:
    rows, columns = window
    return slice(rows.start * by, rows.stop * by), slice(columns.start * by, columns.stop * by)
