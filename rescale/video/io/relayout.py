"""Change of layout in front of an encoder: RGB to luma and chroma, other chroma subsampling, other depths."""

from dataclasses import replace

import torch
from torch import Tensor

from rescale.ops.resample import phased
from rescale.video.io.colour import Colours, Levels, from_rgb, guessed_matrix, to_rgb
from rescale.video.io.frames import StreamInfo
from rescale.video.io.layouts import LAYOUTS, base, told

_SRGB = (1, 13)
"""Primaries and transfer of RGB that does not say, by H.273: those of screens."""


def relaid(facts: StreamInfo, layout: str) -> tuple[StreamInfo, list[str]]:
    """Describe frames that are brought to another layout.

    Returns: their properties, and notes for the user.
    """
    if layout == facts.layout:
        return facts, []
    (chroma, depth), colours, tags = LAYOUTS[layout], facts.colours, facts.tags
    note = f"{told(facts.layout)} is written as {told(layout)}"
    if colours.matrix == 0 and not layout.startswith("gbrp"):
        matrix = guessed_matrix(facts.size)
        primaries, transfer = (of if of not in (0, 2) else own for of, own in zip(tags[1:3], _SRGB, strict=True))
        tags = (1, primaries, transfer, matrix)
        colours = Colours(Levels(depth), matrix, chroma)
    else:
        colours = replace(colours, levels=Levels(depth, colours.levels.is_full), chroma=chroma)
    return replace(facts, layout=layout, colours=colours, tags=tags), [note]


def relay(planes: list[Tensor], given: StreamInfo, wanted: StreamInfo) -> list[Tensor]:
    """Bring planes to another layout. A plane of alpha stays behind them."""
    if given.layout == wanted.layout:
        return planes
    count = 1 if given.layout.startswith("gray") else 3
    before, after = given.colours, wanted.colours
    if before.matrix == 0 and after.matrix != 0:
        made = from_rgb(to_rgb(planes[:3], before), after)
    else:
        luma, *chroma = (_at_depth(plane, before.levels, after.levels) for plane in planes[:count])
        made = [luma, *_chroma(luma, chroma, given, wanted)]
    made += [_at_depth(plane, Levels(before.levels.depth, True), Levels(after.levels.depth, True))
             for plane in planes[count:]]  # fmt: skip
    dtype = torch.uint8 if after.levels.depth == 8 else torch.int32
    return [after.levels.rounded(plane).to(dtype) for plane in made]


def _at_depth(plane: Tensor, before: Levels, after: Levels) -> Tensor:
    times = after.top / before.top if before.is_full else 2.0 ** (after.depth - before.depth)
    return plane.float() * times


def _chroma(luma: Tensor, chroma: list[Tensor], given: StreamInfo, wanted: StreamInfo) -> list[Tensor]:
    """Bring chroma to another subsampling; grey gets neutral chroma, and what becomes grey has none."""
    colours = wanted.colours
    if base(wanted.layout) == "gray":
        return []
    if not chroma:
        size = [-(-side // by) for side, by in zip(luma.shape, colours.chroma, strict=True)]
        return [luma.new_full(size, colours.black(3)[1]) for _ in range(2)]
    if given.colours.chroma == colours.chroma:
        return chroma
    both = torch.stack(chroma)
    for axis, length in enumerate(luma.shape):
        both = _moved(both, axis, length, given.colours, colours)
    return list(both)


def _moved(chroma: Tensor, axis: int, length: int, before: Colours, after: Colours) -> Tensor:
    """Resample one axis, by way of a sample for each of luma; a sample stays where it sits."""
    was, by = before.chroma[axis], after.chroma[axis]
    if was == by:
        return chroma
    if was > 1:
        chroma = phased(chroma, length, axis - 2, before=before.offset(axis) / was, after=0.0)
    if by > 1:
        chroma = phased(chroma, -(-length // by), axis - 2, before=0.0, after=after.offset(axis) / by)
    return chroma
