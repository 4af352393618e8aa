"""Studio-range YCbCr, as MATLAB and the papers define it: the Y on which they measure, and Cb and Cr."""

from collections.abc import Sequence
from functools import cache
from typing import cast

import torch
from torch import Tensor

# ITU-R BT.601 in studio range, as MATLAB's rgb2ycbcr: rows give Y, Cb, Cr of RGB in [0, 1], in units of 1/255.
_YCBCR = ((65.481, 128.553, 24.966), (-37.797, -74.203, 112.0), (112.0, -93.786, -18.214))


_YCBCR_OFFSET = (16.0, 128.0, 128.0)


def luma(rgb: Tensor) -> Tensor:
    """Compute studio-range luma, (N, 3, H, W) -> (N, 1, H, W), 16/255 .. 235/255: the Y on which papers measure."""
    return to_ycbcr(rgb, channels=1)


def full_range_luma(rgb: Tensor) -> Tensor:
    """Compute full-range luma, (N, 3, H, W) -> (N, 1, H, W) in [0, 1]: of a grey image the grey itself."""
    return (luma(rgb) * 255 - 16) / 219


def chroma(rgb: Tensor) -> Tensor:
    """Compute studio-range Cb and Cr about zero, (N, 3, H, W) -> (N, 2, H, W); works on a difference of images too."""
    return _mix(rgb, _YCBCR[1:]) / 255


def to_ycbcr(rgb: Tensor, *, channels: int = 3) -> Tensor:
    """Convert RGB in [0, 1] to studio-range YCbCr in [0, 1] (BT.601, MATLAB's rgb2ycbcr); its first `channels`."""
    return _shifted(_mix(rgb, _YCBCR[:channels]) / 255, 1)


def from_ycbcr(ycc: Tensor) -> Tensor:
    """Convert YCbCr to RGB, the exact inverse of `to_ycbcr`; the result is not clamped."""
    return _mix(255 * _shifted(ycc, -1), _inverse())


@cache
def _inverse() -> list[list[float]]:
    return cast(list[list[float]], torch.linalg.inv(torch.tensor(_YCBCR, dtype=torch.float64)).tolist())


def _mix(x: Tensor, matrix: Sequence[Sequence[float]]) -> Tensor:
    """Mix channels by a matrix; plane by plane, as a convolution of three channels is slow."""
    planes = x.split(1, dim=1)
    rows = (sum(weight * plane for weight, plane in zip(row, planes, strict=True)) for row in matrix)
    return torch.cat([cast(Tensor, row) for row in rows], dim=1)


def _shifted(x: Tensor, sign: int) -> Tensor:
    """Add the offsets, or take them off: as Python numbers, since a tensor of them would make a GPU's host wait."""
    planes = zip(x.split(1, dim=1), _YCBCR_OFFSET, strict=False)
    return torch.cat([plane + sign * offset / 255 for plane, offset in planes], dim=1)
