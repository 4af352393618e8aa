"""What the samples of a video mean: depth, range, matrix, where chroma sits; and planes <-> RGB by that."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from rescale.ops.resample import phased

Siting = Literal["left", "center", "topleft", "top", "bottomleft", "bottom"]
_KR_KB = {1: (0.2126, 0.0722), 4: (0.30, 0.11), 5: (0.299, 0.114), 6: (0.299, 0.114), 7: (0.212, 0.087),
          9: (0.2627, 0.0593), 10: (0.2627, 0.0593)}  # fmt: skip
"""Shares of red and blue in luma, by the number of the matrix. Source: ITU-T H.273, table 4."""
_LUMA_SPAN, _LUMA_FOOT = 219 / 255, 16 / 255
"""The studio range that networks learned luma in, as shares of 255."""


@dataclass(frozen=True)
class Levels:
    """How levels stand for luma."""

    depth: int = 8
    is_full: bool = False
    """Whether black is 0 and white the highest level; else 16 and 235, times 2^(depth - 8)."""

    @property
    def top(self) -> int:
        return 2**self.depth - 1

    @property
    def unit(self) -> float:
        """Levels for a change of 1 in what networks take: studio-range luma, where 255 levels of 8 bits are 1."""
        return self.top / _LUMA_SPAN if self.is_full else 255.0 * 2 ** (self.depth - 8)

    def to_unit(self, levels: Tensor) -> Tensor:
        """Levels to what networks take."""
        return levels / self.unit + (_LUMA_FOOT if self.is_full else 0.0)


@dataclass(frozen=True)
class Colours:
    """How the planes of a video become a picture."""

    levels: Levels
    matrix: int = 6
    """As H.273 numbers them: 0 RGB, 1 BT.709, 5 and 6 BT.601, 9 BT.2020."""
    chroma: tuple[int, int] = (2, 2)
    """Luma samples for one of chroma: down and across."""
    siting: Siting = "left"

    def offset(self, axis: int) -> float:
        """By how much of a luma sample the first chroma sample lies after the middle of its luma samples; <= 0."""
        by = self.chroma[axis]
        at_start = ("top" if axis == 0 else "left") in self.siting
        at_end = axis == 0 and "bottom" in self.siting
        if self.siting in ("top", "bottom") and axis == 1:
            at_start = False
        return (at_end - at_start) * (by - 1) / 2


def guessed_matrix(height: int) -> int:
    """What an untagged video most likely means: BT.709 from 720 lines up, else BT.601, as players do."""
    return 1 if height >= 720 else 6


def guessed_siting(codec: str, matrix: int) -> Siting:
    """Where chroma most likely sits; FFmpeg knows what a file says, but PyAV does not pass it on."""
    if codec in ("mjpeg", "mpeg1video"):
        return "center"
    return "topleft" if matrix in (9, 10) else "left"


def resized_chroma(plane: Tensor, size: tuple[int, int], colours: Colours) -> Tensor:
    """(C, h, w) chroma samples in floats -> (C, *size) for luma larger by the same factor, sited alike.

    A chroma sample at offset d from the middle of its luma samples is, at another scale, still at d luma samples;
    so both axes move by d / chroma · (1 - small/large) samples of the source.
    """
    for axis, length in enumerate(size):
        shift = colours.offset(axis) / colours.chroma[axis]
        plane = phased(plane, length, axis - 2, before=shift, after=shift)
    return plane


def to_rgb(planes: list[Tensor], colours: Colours) -> Tensor:
    """Y, Cb, Cr levels (h, w), (h/2, w/2), ... -> (3, h, w) RGB in floats, about [0, 1], not clamped."""
    y, foot, span, centre = _numbers(planes[0], colours)
    if colours.matrix == 0 and len(planes) == 3:  # planar RGB is stored as G, B, R
        return torch.stack([planes[2], planes[0], planes[1]]).float() / colours.levels.top
    y = (y - foot) / span
    if len(planes) == 1:
        return y.expand(3, -1, -1)
    chroma = torch.stack([plane.float() for plane in planes[1:3]])
    for axis, length in enumerate(y.shape):
        if colours.chroma[axis] > 1:
            chroma = phased(chroma, length, axis - 2, before=colours.offset(axis) / colours.chroma[axis], after=0.0)
    cb, cr = (chroma - centre) / (span * (224 / 219 if not colours.levels.is_full else 1))
    kr, kb = _KR_KB.get(colours.matrix, _KR_KB[6])
    red, blue = y + 2 * (1 - kr) * cr, y + 2 * (1 - kb) * cb
    return torch.stack([red, (y - kr * red - kb * blue) / (1 - kr - kb), blue])


def from_rgb(rgb: Tensor, colours: Colours) -> list[Tensor]:
    """The opposite of `to_rgb`, rounded to levels: Y, Cb and Cr of (h, w), (h/2, w/2), ..."""
    top = colours.levels.top
    if colours.matrix == 0:
        red, green, blue = (rgb.clamp(0, 1) * top).round()
        return [green, blue, red]
    kr, kb = _KR_KB.get(colours.matrix, _KR_KB[6])
    red, green, blue = rgb.clamp(0, 1)
    y = kr * red + (1 - kr - kb) * green + kb * blue
    _, foot, span, centre = _numbers(y, colours)
    chroma = torch.stack([(blue - y) / (2 * (1 - kb)), (red - y) / (2 * (1 - kr))])
    for axis, length in enumerate(y.shape):
        by = colours.chroma[axis]
        if by > 1:
            chroma = phased(chroma, -(-length // by), axis - 2, before=0.0, after=colours.offset(axis) / by)
    chroma = chroma * (span * (224 / 219 if not colours.levels.is_full else 1)) + centre
    return [plane.round().clamp(0, top) for plane in (y * span + foot, *chroma)]


def _numbers(y: Tensor, colours: Colours) -> tuple[Tensor, float, float, float]:
    """Luma in floats, and the levels of black, from black to white, and of grey chroma."""
    times = 2 ** (colours.levels.depth - 8)
    centre = 128.0 * times
    if colours.levels.is_full:
        return y.float(), 0.0, float(colours.levels.top), centre
    return y.float(), 16.0 * times, 219.0 * times, centre
