"""Bicubic both ways: the baseline that every table starts with, under the same contract as the networks."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

from torch import Tensor

from rescale.geometry import Size
from rescale.models.base import RescalingModel, require_size
from rescale.ops.resample import resample
from rescale.ops.tiling import TileCall, whole


@dataclass(frozen=True)
class BicubicConfig:
    """Configuration of the baseline: only its scale; None serves every one."""

    scale: int | None = 4


class Bicubic(RescalingModel):
    """MATLAB's bicubic, antialiased on the way down; it has no parameters."""

    Config = BicubicConfig
    config: BicubicConfig
    bytes_per_pixel = 80
    halo = 4  # two pixels of support, and margin

    def __init__(self, config: BicubicConfig) -> None:
        super().__init__()
        self.config = config
        self.scale, self.multiple = config.scale, config.scale or 1

    def downscale(self, hr: Tensor, size: Size | None = None) -> Tensor:
        by = self.scale
        return resample(hr, (hr.shape[-2] // by, hr.shape[-1] // by) if by else require_size(size))

    def upscale(self, lr: Tensor, size: Size | None = None) -> Tensor:
        by = self.scale
        return resample(lr, (lr.shape[-2] * by, lr.shape[-1] * by) if by else require_size(size))

    def downscale_tiles(self, full: Size, size: Size, side: int) -> Iterable[TileCall]:
        """Downscale in a single call: it takes no more memory than the images, and tiles would sum in other orders."""
        return [whole(partial(self.downscale, size=size), full, size)]

    def upscale_tiles(self, size: Size, full: Size, side: int) -> Iterable[TileCall]:
        return [whole(partial(self.upscale, size=full), size, full)]
