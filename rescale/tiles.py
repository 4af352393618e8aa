"""A picture larger than memory: worked on tile by tile, each with so much around it that no seam can show."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

HALO = 16
"""LR pixels around a tile at most. Trained networks look less far than they could: with 12 already, tiles of 192
HR pixels differ from the whole picture by one level in three of a million samples; the tests hold each model to it."""


@dataclass(frozen=True)
class Tile:
    """One tile of a plan, in pixels of the source."""

    top: int
    left: int
    bottom: int
    right: int
    """What the result takes from this tile."""
    halo: tuple[int, int, int, int]
    """How much more is read on each side: top, left, bottom, right; less at the picture's border."""


def plan(size: tuple[int, int], side: int, halo: int) -> Iterator[Tile]:
    """Tiles of at most `side` that cover `size` (height, width) once, in reading order."""
    for top in range(0, size[0], side):
        for left in range(0, size[1], side):
            bottom, right = min(top + side, size[0]), min(left + side, size[1])
            around = (min(halo, top), min(halo, left), min(halo, size[0] - bottom), min(halo, size[1] - right))
            yield Tile(top, left, bottom, right, around)


def tiled(
    function: Callable[[Tensor], Tensor],
    source: Tensor,
    *,
    ratio: tuple[int, int],
    side: int,
    halo: int,
    load: Callable[[Tensor], Tensor],
    store: Callable[[Tensor], Tensor],
) -> Tensor:
    """Apply a function that resizes by `ratio`, tile by tile.

    Args:
        function: (1, C, h, w) -> (1, C', h·up/down, w·up/down).
        source: (1, C, H, W) of any dtype, sides multiples of `down`.
        ratio: (up, down).
        side: of a tile, in source pixels, a multiple of `down`.
        halo: around a tile, in source pixels, a multiple of `down`.
        load: makes a tile of `source` what `function` takes; only a tile at a time is ever so large.
        store: makes a result what is kept, say bytes.
    Returns: (1, C', H·up/down, W·up/down) of what `store` makes.
    """
    up, down = ratio
    result: Tensor | None = None
    for tile in plan((source.shape[-2], source.shape[-1]), side, halo):
        above, before, below, behind = tile.halo
        part = source[..., tile.top - above : tile.bottom + below, tile.left - before : tile.right + behind]
        y0, y1, x0, x1 = (v * up // down for v in (tile.top, tile.bottom, tile.left, tile.right))
        inner_top, inner_left = above * up // down, before * up // down
        out = store(function(load(part))[..., inner_top : inner_top + y1 - y0, inner_left : inner_left + x1 - x0])
        if result is None:
            height, width = (length * up // down for length in source.shape[-2:])
            result = torch.empty((1, out.shape[1], height, width), dtype=out.dtype)
        result[..., y0:y1, x0:x1] = out
    assert result is not None, "a picture has at least one pixel"
    return result
