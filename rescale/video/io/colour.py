"""Colour of video samples: depth, range, matrix, chroma siting; conversion between planes and RGB."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from rescale.geometry import Size
from rescale.ops import to_levels
from rescale.ops.resample import phased

Siting = Literal["left", "center", "topleft", "top", "bottomleft", "bottom"]
Tags = tuple[int, int, int, int]
_UNKNOWN = (0, 2)
"""Numbers of a matrix of luma and chroma that say nothing."""
_KR_KB = {1: (0.2126, 0.0722), 4: (0.30, 0.11), 5: (0.299, 0.114), 6: (0.299, 0.114), 7: (0.212, 0.087),
          9: (0.2627, 0.0593), 10: (0.2627, 0.0593)}  # fmt: skip
"""Luma coefficients Kr and Kb by the number of the matrix. Source: ITU-T H.273, table 4."""
_LUMA_SPAN, _LUMA_FOOT = 219 / 255, 16 / 255
"""Studio range of the luma that networks are trained on, as shares of 255."""


@dataclass(frozen=True)
class Levels:
    """Depth and range of the samples."""

    depth: int = 8
    is_full: bool = False
    """Full range: black is 0 and white the highest level; else 16 and 235, times 2^(depth - 8)."""

    @property
    def top(self) -> int:
        return 2**self.depth - 1

    @property
    def unit(self) -> float:
        """Levels for a change of 1 in the networks' input: studio-range luma, where 255 levels of 8 bits are 1."""
        return self.top / _LUMA_SPAN if self.is_full else 255.0 * 2 ** (self.depth - 8)

    def rounded(self, plane: Tensor) -> Tensor:
        """Round floats to the nearest levels, in the same data type."""
        return plane.round().clamp(0, self.top)

    def to_unit(self, levels: Tensor) -> Tensor:
        """Convert levels to the networks' input."""
        return levels / self.unit + (_LUMA_FOOT if self.is_full else 0.0)


@dataclass(frozen=True)
class Colours:
    """Colour space, subsampling and siting of a video's planes."""

    levels: Levels
    matrix: int = 6
    """Matrix as H.273 numbers it: 0 RGB, 1 BT.709, 5 and 6 BT.601, 9 BT.2020."""
    chroma: tuple[int, int] = (2, 2)
    """Chroma subsampling: luma samples for one of chroma, down and across."""
    siting: Siting = "left"

    def offset(self, axis: int) -> float:
        """Offset of the first chroma sample from the middle of its luma samples; negative to the left or top."""
        by = self.chroma[axis]
        at_start = ("top" if axis == 0 else "left") in self.siting
        at_end = axis == 0 and "bottom" in self.siting
        if self.siting in ("top", "bottom") and axis == 1:
            at_start = False
        return (at_end - at_start) * (by - 1) / 2

    def black(self, planes: int) -> list[float]:
        """Levels of black in each of so many planes."""
        _, foot, _, centre = _numbers(torch.zeros(()), self)
        return [0.0] * planes if self.matrix == 0 else [foot, centre, centre][:planes]


def guessed_matrix(size: Size) -> int:
    """Guess the matrix of an untagged video, as players do: BT.601 up to 576 lines of less than 1280 samples."""
    height, width = size
    return 1 if height > 576 or width >= 1280 else 6


def tags_as_meant(size: Size, tags: Tags) -> Tags:
    """Complete the tags of a video of luma and chroma with what players take for its size.

    They would take another matrix, and other primaries, once the size is another.

    Args:
        size: of the video as it was.
        tags: range, primaries, transfer and matrix.
    """
    range_, primaries, transfer, matrix = tags
    if primaries in (0, 2) and matrix in (*_UNKNOWN, 5, 6):
        primaries = {576: 5, 480: 6, 486: 6}.get(size[0] if size[1] < 1280 else 0, primaries)
    return range_, primaries, transfer, guessed_matrix(size) if matrix in _UNKNOWN else matrix


def offsets(colours: Colours) -> tuple[float, float]:
    """Offsets of chroma from the middle of its luma samples, down and across, in luma samples."""
    return colours.offset(0), colours.offset(1)


def recoloured(planes: list[Tensor], before: Colours, after: Colours, sits: tuple[float, float]) -> list[Tensor]:
    """Convert levels to another matrix and range of the same depth and subsampling, and move chroma.

    All of it is linear, so no level outside the range is cut, and only chroma passes from one grid to the other.

    Args:
        planes: Y, Cb, Cr, or Y alone.
        before: colours of the planes.
        after: colours of the result.
        sits: offsets of their chroma, in place of those of `before`.
    """
    if (before.levels, before.matrix, sits) == (after.levels, after.matrix, offsets(after)):
        return planes
    y, foot, span, centre = _numbers(planes[0], before)
    _, new_foot, new_span, _ = _numbers(planes[0], after)
    y = (y - foot) / span
    chroma: list[Tensor] = []
    if len(planes) > 1:
        mix = _mix(before.matrix, after.matrix)
        both = torch.stack([plane.to(y.device) for plane in planes[1:3]]).float()
        both = (both - centre) / _chroma_span(span, before)
        if mix is not None:
            y = y + _at_luma(torch.einsum("i,ihw->hw", mix[0].to(both), both), y, before, sits)
            both = torch.einsum("ij,jhw->ihw", mix[1:].to(both), both)
        chroma = list(_moved(both, before, sits, offsets(after)) * _chroma_span(new_span, after) + centre)
    dtype = planes[0].dtype
    return [after.levels.rounded(plane).to(dtype) for plane in (y * new_span + new_foot, *chroma)]


def _at_luma(plane: Tensor, luma: Tensor, colours: Colours, sits: tuple[float, float]) -> Tensor:
    """Resample a plane of chroma's size to luma's."""
    for axis, length in enumerate(luma.shape):
        if colours.chroma[axis] > 1:
            plane = phased(plane, length, axis - 2, before=sits[axis] / colours.chroma[axis], after=0.0)
    return plane


def _moved(chroma: Tensor, colours: Colours, sits: tuple[float, float], to: tuple[float, float]) -> Tensor:
    for axis, by in enumerate(colours.chroma):
        chroma = phased(chroma, chroma.shape[axis - 2], axis - 2, before=sits[axis] / by, after=to[axis] / by)
    return chroma


def _mix(before: int, after: int) -> Tensor | None:
    """Return the shares of Cb and Cr, by one matrix, in Y, Cb and Cr by another: (3, 2); None if it is the same.

    The share of Y is one in Y and none in chroma, as grey is grey in any.
    """
    if before == after or before not in _KR_KB:
        return None
    return torch.linalg.solve(_rgb_of(after), _rgb_of(before)).float()[:, 1:]


def _rgb_of(matrix: int) -> Tensor:
    """Return the (3, 3) float64 matrix from Y, Cb, Cr to R, G, B."""
    kr, kb = _KR_KB[matrix]
    cr, cb, kg = 2 * (1 - kr), 2 * (1 - kb), 1 - kr - kb
    return torch.tensor([[1, 0, cr], [1, -kb * cb / kg, -kr * cr / kg], [1, cb, 0]], dtype=torch.float64)


def resized_chroma(plane: Tensor, size: tuple[int, int], colours: Colours) -> Tensor:
    """Resize chroma (C, h, w) in floats to (C, *size), for luma scaled by the same factor, with the same siting.

    A chroma sample at offset d from the middle of its luma samples is, at another scale, still at d luma samples;
    so both axes move by d / chroma · (1 - small/large) samples of the source.
    """
    for axis, length in enumerate(size):
        shift = colours.offset(axis) / colours.chroma[axis]
        plane = phased(plane, length, axis - 2, before=shift, after=shift)
    return plane


def to_rgb(planes: list[Tensor], colours: Colours) -> Tensor:
    """Convert Y, Cb, Cr levels (h, w), (h/2, w/2), ... to (3, h, w) RGB in floats, about [0, 1], not clamped."""
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
    cb, cr = (chroma - centre) / _chroma_span(span, colours)
    kr, kb = _KR_KB.get(colours.matrix, _KR_KB[6])
    red, blue = y + 2 * (1 - kr) * cr, y + 2 * (1 - kb) * cb
    return torch.stack([red, (y - kr * red - kb * blue) / (1 - kr - kb), blue])


def from_rgb(rgb: Tensor, colours: Colours) -> list[Tensor]:
    """Convert RGB to levels, rounded: Y, Cb and Cr of (h, w), (h/2, w/2), ...; the opposite of `to_rgb`."""
    if colours.matrix == 0:
        red, green, blue = to_levels(rgb, colours.levels.top)
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
    chroma = chroma * _chroma_span(span, colours) + centre
    return [colours.levels.rounded(plane) for plane in (y * span + foot, *chroma)]


def _chroma_span(span: float, colours: Colours) -> float:
    """Return the span of chroma, by that of luma."""
    return span * (224 / 219 if not colours.levels.is_full else 1)


def _numbers(y: Tensor, colours: Colours) -> tuple[Tensor, float, float, float]:
    """Return luma in floats, the level of black, the span from black to white, and the level of neutral chroma."""
    times = 2 ** (colours.levels.depth - 8)
    centre = 128.0 * times
    if colours.levels.is_full:
        return y.float(), 0.0, float(colours.levels.top), centre
    return y.float(), 16.0 * times, 219.0 * times, centre
