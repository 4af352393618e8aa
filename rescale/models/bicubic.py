"""Bicubic both ways: the baseline that every table starts with, under the same contract as the networks."""

from dataclasses import dataclass

from torch import Tensor

from rescale.models.base import Rescaling
from rescale.resample import resample


@dataclass(frozen=True)
class BicubicConfig:
    """Only its scale."""

    scale: int = 4


class Bicubic(Rescaling):
    """MATLAB's bicubic, antialiased on the way down; it has no parameters."""

    Config = BicubicConfig
    config: BicubicConfig
    halo = 4  # two pixels of support, and margin

    def __init__(self, config: BicubicConfig) -> None:
        super().__init__()
        self.config = config
        self.scale = self.multiple = config.scale

    def downscale(self, hr: Tensor) -> Tensor:
        return resample(hr, (hr.shape[-2] // self.scale, hr.shape[-1] // self.scale))

    def upscale(self, lr: Tensor) -> Tensor:
        return resample(lr, (lr.shape[-2] * self.scale, lr.shape[-1] * self.scale))
