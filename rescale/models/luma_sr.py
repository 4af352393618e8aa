"""Base of super-resolution networks of luma: bicubic for the colours, a sub-pixel convolution as the last step."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from rescale.geometry import Size
from rescale.models.base import RescalingModel
from rescale.models.layers import BicubicUpsample, SubPixelConv
from rescale.ops import luma, quantize
from rescale.ops.resample import resample

_LUMA_TO_RGB = 255 / 219
"""Gain of each of R, G and B for a gain of 1 in Y, with Cb and Cr constant."""


class LumaSR(RescalingModel):
    """A body at low resolution, and a sub-pixel convolution that turns its result into the detail that bicubic lacks.

    ```
    lr ─┬─ Y ─ cells ─ body ─ SubPixelConv ─┬─▶ hr
        └─ Y, Cb, Cr ──────── bicubic ──────┘
    ```

    `downscale` is bicubic, as in the protocol of the field.

    Args:
        config: configuration with `scale` and `cell`.
        body: from cell² channels, at 1/cell of the sides, to `width` channels.
        width: channels of the body's output.
        kernel: kernel size of the sub-pixel convolution.
        reach: LR pixels that a result depends on, to each side.
    """

    config: Any
    super_resolves = True
    bytes_per_pixel = 80
    is_residual = True
    """True if the network's output is added to bicubic's."""

    def __init__(self, config: Any, body: nn.Sequential, width: int, *, kernel: int, reach: int) -> None:
        super().__init__()
        self.config, self.cell = config, config.cell
        self.scale = self.multiple = config.scale
        bicubic = -(-3 // self.cell) * self.cell  # two pixels of support, and the half pixel between the grids
        self.halo = max(reach, bicubic) if self.is_residual else reach
        self.body = body
        self.up = SubPixelConv(width, 1, config.scale * config.cell, kernel_size=kernel)
        self.interpolate = BicubicUpsample(config.scale)

    def forward(self, y: Tensor) -> Tensor:
        """Super-resolve luma (N, 1, h, w) -> (N, 1, h·scale, w·scale)."""
        return self._made(y) + self.interpolate(y) if self.is_residual else self._made(y)

    def _made(self, y: Tensor) -> Tensor:
        cell, scale, (height, width) = self.cell, self.config.scale, y.shape[-2:]
        if cell == 1:
            return self.up(self.body(y)).to(y.dtype)
        cells = F.pixel_unshuffle(F.pad(y, (0, -width % cell, 0, -height % cell), mode="replicate"), cell)
        return self.up(self.body(cells)).to(y.dtype)[..., : height * scale, : width * scale]

    def downscale(self, hr: Tensor, size: Size | None = None) -> Tensor:
        return resample(hr, (hr.shape[-2] // self.config.scale, hr.shape[-1] // self.config.scale))

    def upscale(self, lr: Tensor, size: Size | None = None) -> Tensor:
        y = luma(lr)
        detail = self._made(y) if self.is_residual else self._made(y) - self.interpolate(y)
        return self.interpolate(lr) + detail * _LUMA_TO_RGB  # all of it is linear but the network

    def loss_terms(self, hr: Tensor, bicubic: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the restored luma and one term, restore: its mean squared error."""
        restored = self(luma(quantize(bicubic)))
        return restored, {"restore": ((restored - luma(hr)) ** 2).mean()}
