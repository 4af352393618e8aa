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

    def widened(self, by: int) -> "Tile":
        """The tile with so many pixels of its halo as its own, where it has a halo."""
        above, before, below, behind = taken = [min(by, side) for side in self.halo]
        top, left, bottom, right = (side - part for side, part in zip(self.halo, taken, strict=True))
        around = (top, left, bottom, right)
        return Tile(self.top - above, self.left - before, self.bottom + below, self.right + behind, around)


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
    overlap: tuple[int, int, int] = (0, 0, 0)
    """Pixels of the target that it shares with the calls above, before and behind it, and fades over."""


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
    function: TensorFunction, size: Size, by: int, *, side: int, halo: int, cell: int = 1, blend: int = 0
) -> Iterator[TileCall]:
    """Split an upscaling function into calls, as `downscale_tiles` does; tiles and halo in pixels of the source.

    With `blend`, tiles are so much wider on each side, and fade into each other linearly: for functions that see
    further than the halo. That is at most `halo`, and half of the side of a tile.
    """
    for tile in plan(size, side, halo, cell):
        wide = tile.widened(blend)
        above = tile.top and min(tile.top + blend, size[0]) - wide.top
        before = tile.left and min(tile.left + blend, size[1]) - wide.left
        behind = wide.right - max(tile.right - blend, 0) if tile.right < size[1] else 0
        overlap = above * by, before * by, behind * by
        yield TileCall(wide.seen, _times(wide.inner, by), _times(wide.own, by), function, overlap)


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
        spot = result[..., piece.target[0], piece.target[1]]
        spot.copy_(_faded(spot, out, piece.overlap) if any(piece.overlap) else out)
    assert result is not None, "a picture has at least one pixel"
    return result


def _faded(below: Tensor, tile: Tensor, overlap: tuple[int, int, int]) -> Tensor:
    """Lay a tile over what is there of those above and before it, so that all shares are linear and sum to 1.

    Where four tiles meet, the one behind comes later and takes its share of all, so this one is laid on more strongly.
    """
    above, before, behind = overlap
    height, width = tile.shape[-2:]
    down, across = _ramp(height, above, tile.device)[:, None], _ramp(width, before, tile.device)
    later = 1 - _ramp(width, behind, tile.device).flip(0)
    share = down * across * (1 - later) / (1 - down * later)
    mixed = torch.lerp(below.float(), tile.float(), share)
    mixed = mixed if tile.is_floating_point() else mixed.round()
    return torch.where(share < 1, mixed.to(tile.dtype), tile)  # where nothing is yet, anything may lie


def _ramp(length: int, rise: int, device: torch.device) -> Tensor:
    """Return (length,) shares that rise from 0 to 1 over the first pixels, neither included, and then stay."""
    return (torch.arange(1, length + 1, device=device) / (rise + 1)).clamp_max(1)


def _times(window: Window, by: int) -> Window:
    rows, columns = window
    return slice(rows.start * by, rows.stop * by), slice(columns.start * by, columns.stop * by)
