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
from rescale.ops.banded import CHUNK, BandedMatrix
from rescale.ops.pixels import mirror

Kernel = Literal["cubic", "lanczos3", "linear", "box"]
Edges = Literal["symmetric", "replicate", "cut"]
_RADIUS = {"cubic": 2.0, "lanczos3": 3.0, "linear": 1.0, "box": 0.5}


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
        edges: how the image goes on beyond its border: mirrored with the edge pixel repeated (MATLAB), the
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
            x = _bands(x.shape[-2], height, kernel, edges, antialias).down(x, 0, height)
        if width != x.shape[-1]:
            x = _bands(x.shape[-1], width, kernel, edges, antialias).across(x, 0, width)
    return x


def phased(x: Tensor, size: int, axis: int, *, before: float, after: float) -> Tensor:
    """Resize one axis of planes whose samples do not sit in the middle of their cells, as chroma's often do not.

    Args:
        x: (..., H, W), floating point.
        size: length of the axis in the result.
        axis: -2 or -1.
        before: how far each sample of `x` lies after the middle of its cell, in cells of `x`.
        after: how far each sample of the result is to lie after the middle of its cell, in cells of the result.
    """
    length = x.shape[axis]
    shift = after * length / size - before
    if length == size and shift == 0:
        return x
    bands = _bands(length, size, "cubic", "symmetric", True, shift)
    with full_precision(x):
        return bands.down(x, 0, size) if axis == -2 else bands.across(x, 0, size)


def matrix(
    length: int, size: int, *, kernel: Kernel = "cubic", edges: Edges = "symmetric", antialias: bool = True
) -> Tensor:
    """Return the (size, length) float64 matrix that resamples one axis; every row sums to one."""
    first, rows = chunk(length, size, 0, size, kernel=kernel, edges=edges, antialias=antialias)
    return torch.nn.functional.pad(rows, (first, length - first - rows.shape[1]))


def chunk(
    length: int,
    size: int,
    start: int,
    stop: int,
    *,
    kernel: Kernel = "cubic",
    edges: Edges = "symmetric",
    antialias: bool = True,
    shift: float = 0.0,
) -> tuple[int, Tensor]:
    """Return rows `start` .. `stop` of `matrix`: the first column that they read, and their entries from there on.

    A `shift` moves the samples that each row reads by so much.
    """
    scale = size / length
    stretch = max(1.0, 1 / scale) if antialias else 1.0
    radius = _RADIUS[kernel] * stretch
    centre = (torch.arange(start, stop, dtype=torch.float64) + 0.5) / scale - 0.5 + shift
    taps = torch.floor(centre - radius).long()[:, None] + torch.arange(math.ceil(2 * radius) + 2)
    weight = _evaluate(kernel, (taps - centre[:, None]) / stretch)
    if edges == "cut":
        weight = weight * ((taps >= 0) & (taps < length))
    weight = weight / weight.sum(dim=1, keepdim=True)
    taps = _fold(taps, length, edges)
    first, last = int(taps.min()), int(taps.max())
    rows = torch.zeros(stop - start, last + 1 - first, dtype=torch.float64)
    return first, rows.scatter_add_(1, taps - first, weight)


def _fold(taps: Tensor, length: int, edges: Edges) -> Tensor:
    """Map a tap beyond the border to the pixel that it reads from."""
    return mirror(taps, length) if edges == "symmetric" else taps.clamp(0, length - 1)


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
def _bands(length: int, size: int, kernel: Kernel, edges: Edges, antialias: bool, shift: float = 0.0) -> BandedMatrix:
    return BandedMatrix.of(
        chunk(length, size, at, min(at + CHUNK, size), kernel=kernel, edges=edges, antialias=antialias, shift=shift)
        for at in range(0, size, CHUNK)
    )
