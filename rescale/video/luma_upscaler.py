"""Fast super-resolution of one luma plane: levels in, levels out, computed at LR size.

The difference of bicubic to nearest-neighbour is linear, so it is one more convolution; the nearest pixel
itself is added in whole levels. So 8 bits lose nothing where convolutions run in bfloat16.
"""

import copy
import math
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rescale.device import exact_products
from rescale.errors import RescaleError
from rescale.inference.convolution import FastConv, conv2d
from rescale.inference.optimize import Precision, compute_dtype
from rescale.inference.tiled import NOT_FINITE
from rescale.models import ESPCN, LumaSR
from rescale.ops.pixels import mirrored_indices, shuffle
from rescale.ops.resample import matrix
from rescale.video.io.colour import Levels

_CL = torch.channels_last


class LumaUpscaler(nn.Module):
    """Luma network prepared for the luma planes of one video.

    Args:
        model: a network whose output is added to bicubic, as of all shipped ones.
        levels: depth and range of the video's samples.
        precision: compute type of the convolutions; samples of more than 8 bits always use float32.
    """

    def __init__(self, model: LumaSR, levels: Levels, precision: Precision = "auto") -> None:
        super().__init__()
        self.levels, self.scale, self.cell = levels, model.config.scale, model.cell
        device = next(model.parameters()).device
        self.dtype = compute_dtype(precision, device) if levels.depth == 8 else torch.float32
        self.hidden = _body(model, self.dtype)
        self.last = FastConv(_scaled(model.up.conv, levels.unit), self.dtype)
        reach = math.ceil(2 / self.cell)  # cells that bicubic looks at
        self.around = model.halo // model.cell
        """Cells of mirror padding around the edges, where the network's own zero padding would show."""
        lift = _lift(self.scale, self.cell, reach).to(device, self.dtype, memory_format=_CL)
        self.register_buffer("lift", lift)
        self.reach = reach

    @property
    def halo(self) -> int:
        """LR pixels that `fine` needs around a window."""
        return self.around * self.cell

    def forward(self, y: Tensor) -> Tensor:
        """Super-resolve a plane: (h, w) levels, uint8 or int32 -> (scale·h, scale·w), of the same type.

        Raises: RescaleError where numbers come out that are not finite.
        """
        large, is_finite = self.enlarge(y)
        if not is_finite:
            raise RescaleError(NOT_FINITE)
        return large

    @torch.inference_mode()
    def enlarge(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Super-resolve a plane, and tell whether all numbers were finite: to read that is to wait for a GPU."""
        height, width = y.shape
        fine, is_finite = self.fine(mirror_pad(y, self.halo, self.cell)[None])
        return self.added(y, fine[0, : height * self.scale, : width * self.scale]), is_finite

    @torch.inference_mode()
    def fine(self, windows: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the detail beyond the nearest pixel: (N, h + 2·halo, w + 2·halo) levels -> (N, scale·h, scale·w).

        h and w are multiples of the cell. The second result is whether all of it is finite.
        """
        cells = F.pixel_unshuffle(windows[:, None].to(self.dtype), self.cell).contiguous(memory_format=_CL)
        with exact_products(cells.device, self.dtype):
            detail = self.last(self.hidden(self.levels.to_unit(cells)))
            detail = detail + conv2d(cells, cast(Tensor, self.lift), padding=self.reach)
        inner = slice(self.around, -self.around)
        made = shuffle(detail[..., inner, inner], self.scale * self.cell)[:, 0]
        return made, torch.isfinite(made.sum(dtype=torch.float32))

    def added(self, y: Tensor, fine: Tensor) -> Tensor:
        """Add the detail to the nearest pixel, as levels."""
        wide = torch.int16 if self.levels.depth < 15 else torch.int32
        nearest = y.to(wide)[:, None, :, None].expand(-1, self.scale, -1, self.scale).reshape(fine.shape)
        made = fine.round().to(wide).add_(nearest)
        return made.clamp_(0, self.levels.top).to(y.dtype)


def mirror_pad(y: Tensor, around: int, cell: int) -> Tensor:
    """Pad a plane with its mirror image, and to whole cells."""
    rows, columns = (mirrored_indices(side, around, around + -side % cell, y.device) for side in y.shape)
    return y[rows][:, columns]


def _body(model: LumaSR, dtype: torch.dtype) -> nn.Sequential:
    if isinstance(model, ESPCN):
        convs = [layer for layer in model.body if isinstance(layer, nn.Conv2d)]
        return nn.Sequential(*(FastConv(conv, dtype, model.config.activation) for conv in convs))
    return copy.deepcopy(model.body).to(dtype, memory_format=_CL).eval()  # type: ignore[call-overload]


def _lift(scale: int, cell: int, around: int) -> Tensor:
    """Kernel of bicubic minus nearest-neighbour, cell by cell: (S², cell², k, k) with S = scale·cell."""
    reach = 2 * around + 1
    length, middle = (reach + 4) * cell, (around + 2) * cell  # far from the edges
    start = slice(middle - around * cell, middle + (around + 1) * cell)
    rows = matrix(length, length * scale)[middle * scale : (middle + cell) * scale, start]
    full = torch.einsum("ij,kl->ikjl", rows, rows)
    nearest = torch.zeros_like(rows)
    nearest[torch.arange(scale * cell), around * cell + torch.arange(scale * cell) // scale] = 1
    full -= torch.einsum("ij,kl->ikjl", nearest, nearest)
    side = scale * cell
    split = full.reshape(side * side, reach, cell, reach, cell)
    return split.permute(0, 2, 4, 1, 3).reshape(side * side, cell * cell, reach, reach)


def _scaled(conv: nn.Conv2d, by: float) -> nn.Conv2d:
    """Return the same convolution with its output multiplied."""
    made = copy.deepcopy(conv)
    made.weight.data = conv.weight.detach() * by
    assert conv.bias is not None and made.bias is not None
    made.bias.data = conv.bias.detach() * by
    return made
