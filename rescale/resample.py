"""Antialiased resampling to any size: two small matrices, exact, differentiable, on any device and dtype.

The default is the protocol of the field: MATLAB's `imresize(..., "bicubic")`, that is Keys' cubic with
a = -0.5, widened by the scale when shrinking, with symmetric edges. Pillow's `resize` is the same kernels
with `edges="cut"` (taps beyond the edge are dropped and the rest renormalised).
"""

import math
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

from rescale.errors import UsageError
from rescale.ops import full_precision

Kernel = Literal["cubic", "lanczos3", "linear", "box"]
Edges = Literal["symmetric", "replicate", "cut"]
_RADIUS = {"cubic": 2.0, "lanczos3": 3.0, "linear": 1.0, "box": 0.5}
_CHUNK = 128  # output rows a product: the matrices are banded, so short chunks skip nearly all zeros


def resample(
    x: Tensor,
    size: tuple[int, int],
    *,
    kernel: Kernel = "cubic",
    edges: Edges = "symmetric",
    antialias: bool = True,
) -> Tensor:
    """Resize a batch of planes.

    Args:
        x: (..., H, W), floating point, any range.
        size: (height, width) of the result, each at least 1.
        kernel: the filter; "cubic" is Keys' a = -0.5.
        edges: how the picture goes on beyond its border: mirrored with the edge pixel repeated (MATLAB), the
            edge pixel for ever (MATLAB before 2007's toolbox and OpenCV), or not at all (Pillow).
        antialias: widen the kernel by the scale when shrinking.
    Returns: (..., height, width), not clamped: a cubic overshoots.
    Raises: UsageError for a size below 1 or an integer tensor.
    Source: MATLAB imresize; R. Keys, "Cubic convolution interpolation for digital image processing", 1981.
    """
    if min(size) < 1 or not x.is_floating_point():
        raise UsageError(f"expected a floating-point tensor and a size of at least 1x1, got {x.dtype} and {size}")
    height, width = size
    with full_precision(x):
        if height != x.shape[-2]:
            x = _along_rows(x, _bands(x.shape[-2], height, kernel, edges, antialias))
        if width != x.shape[-1]:
            x = _along_columns(x, _bands(x.shape[-1], width, kernel, edges, antialias))
    return x


def matrix(
    length: int, size: int, *, kernel: Kernel = "cubic", edges: Edges = "symmetric", antialias: bool = True
) -> Tensor:
    """The (size, length) float64 matrix that resamples one axis; every row sums to one."""
    scale = size / length
    stretch = max(1.0, 1 / scale) if antialias else 1.0
    radius = _RADIUS[kernel] * stretch
    centre = (torch.arange(size, dtype=torch.float64) + 0.5) / scale - 0.5
    first = torch.floor(centre - radius).long()
    taps = first[:, None] + torch.arange(math.ceil(2 * radius) + 2)
    weight = _evaluate(kernel, (taps - centre[:, None]) / stretch)
    if edges == "cut":
        weight = weight * ((taps >= 0) & (taps < length))
    weight = weight / weight.sum(dim=1, keepdim=True)
    return torch.zeros(size, length, dtype=torch.float64).scatter_add_(1, _fold(taps, length, edges), weight)


def _fold(taps: Tensor, length: int, edges: Edges) -> Tensor:
    """Where a tap beyond the border reads from."""
    if edges != "symmetric":
        return taps.clamp(0, length - 1)
    taps = taps % (2 * length)
    return torch.where(taps < length, taps, 2 * length - 1 - taps)


def _evaluate(kernel: Kernel, x: Tensor) -> Tensor:
    t = x.abs()
    if kernel == "cubic":
        near = 1.5 * t**3 - 2.5 * t**2 + 1
        far = -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2
        return torch.where(t <= 1, near, far) * (t < 2)
    if kernel == "lanczos3":
        return torch.sinc(t) * torch.sinc(t / 3) * (t < 3)
    if kernel == "linear":
        return (1 - t).clamp(min=0)
    return ((x > -0.5) & (x <= 0.5)).double()


@lru_cache(maxsize=64)
def _bands(length: int, size: int, kernel: Kernel, edges: Edges, antialias: bool) -> list[tuple[int, Tensor]]:
    """The matrix cut into chunks of rows, each with the columns that it uses: (first column, weights)."""
    bands = []
    for rows in matrix(length, size, kernel=kernel, edges=edges, antialias=antialias).split(_CHUNK):
        used = rows.abs().sum(dim=0).nonzero()
        first, last = int(used[0]), int(used[-1]) + 1
        bands.append((first, rows[:, first:last].contiguous()))
    return bands


def _along_rows(x: Tensor, bands: list[tuple[int, Tensor]]) -> Tensor:
    return torch.cat([w.to(x) @ x[..., at : at + w.shape[1], :] for at, w in bands], dim=-2)


def _along_columns(x: Tensor, bands: list[tuple[int, Tensor]]) -> Tensor:
    return torch.cat([x[..., at : at + w.shape[1]] @ w.to(x).T for at, w in bands], dim=-1)
