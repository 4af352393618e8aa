"""SR: super-resolution of RGB by a plain stack of 3x3 convolutions, which any processor runs at its full rate."""

from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rescale.errors import UsageError
from rescale.geometry import Size
from rescale.models.base import RescalingModel
from rescale.models.layers import BicubicUpsample, SubPixelConv
from rescale.ops import quantize
from rescale.ops.resample import resample

SLOPE = 0.1
"""Slope of the activation below zero."""


@dataclass(frozen=True)
class SRConfig:
    """Configuration of an SR network."""

    scale: int = 2
    channels: int = 32
    blocks: int = 5
    depth: int = 3  # convolutions of a block
    branches: bool = False  # learn each convolution as a sum of parallel ones, which fold into one afterwards

    def __post_init__(self) -> None:
        if self.scale < 2 or min(self.channels, self.blocks, self.depth) < 1:
            raise UsageError(f"expected a scale of at least 2 and nothing else below 1, got {self}")


class SR(RescalingModel):
    """A residual stack at low resolution, and a sub-pixel convolution that makes of it what bicubic lacks.

    ```
    lr ─┬─ conv 3x3 ─┬─ blocks: x + conv · LeakyReLU · conv · LeakyReLU · conv ─ + ─ SubPixelConv 3x3 ─┬─▶ hr
        │            └───────────────────────────────────────────────────────────┘                     │
        └───────────────────────────────────────── bicubic ────────────────────────────────────────────┘
    ```

    Nothing depends on the whole image, so that tiles make the very same pixels. `downscale` is bicubic, as in the
    protocol of the field. Source: EDSR (1707.02921) without its widths; parallel branches as in SPAN (2311.12770).
    """

    Config = SRConfig
    config: SRConfig
    super_resolves = True
    bytes_per_pixel = 120

    def __init__(self, config: SRConfig) -> None:
        super().__init__()
        self.config = config
        self.scale = self.multiple = config.scale
        self.halo = 2 + config.blocks * config.depth
        self.stack = Stack(config)
        self.interpolate = BicubicUpsample(config.scale)

    def downscale(self, hr: Tensor, size: Size | None = None) -> Tensor:
        return resample(hr, (hr.shape[-2] // self.config.scale, hr.shape[-1] // self.config.scale))

    def upscale(self, lr: Tensor, size: Size | None = None) -> Tensor:
        return self.interpolate(lr) + self.stack(lr - 0.5).to(lr.dtype)  # beyond the border is mid-grey, not black

    def loss_terms(self, hr: Tensor, bicubic: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the restored image and two terms of mean absolute errors: restore, and spectrum of its Fourier
        coefficients, not normalised, as in SAFMN (2302.13800).
        """
        restored = self.upscale(quantize(bicubic))
        error = restored.float() - hr
        spectrum = torch.view_as_real(torch.fft.rfft2(error))
        return restored, {"restore": error.abs().mean(), "spectrum": spectrum.abs().mean()}

    def folded(self) -> "SR":
        """Return the same network with one kernel for each convolution, as it is released."""
        if not self.config.branches:
            return self
        made = SR(SRConfig(self.config.scale, self.config.channels, self.config.blocks, self.config.depth))
        plain = {
            f"{name}.weight": conv.kernel() for name, conv in self.named_modules() if isinstance(conv, BranchedConv)
        }
        own = self.state_dict()
        made.load_state_dict({key: plain.get(key, own.get(key)) for key in made.state_dict()})
        return made.eval()


class Stack(nn.Module):
    """All that a network learns: (N, 3, h, w) around zero -> what bicubic lacks, (N, 3, h·scale, w·scale)."""

    def __init__(self, config: SRConfig) -> None:
        super().__init__()
        self.head = nn.Conv2d(3, config.channels, 3, padding=1)
        self.blocks = nn.Sequential(*(Block(config) for _ in range(config.blocks)))
        self.up = SubPixelConv(config.channels, 3, config.scale, kernel_size=3)
        nn.init.zeros_(self.up.conv.weight)
        nn.init.zeros_(cast(Tensor, self.up.conv.bias))

    def forward(self, x: Tensor) -> Tensor:
        features = self.head(x).to(x.dtype)  # under autocast only the convolutions are half as wide
        return self.up(features + self.blocks(features))


class Block(nn.Module):
    """A residual block of convolutions: (N, C, H, W) -> the same."""

    def __init__(self, config: SRConfig) -> None:
        super().__init__()
        convolution = BranchedConv if config.branches else Conv3x3
        self.convs = nn.ModuleList(convolution(config.channels) for _ in range(config.depth))

    def forward(self, x: Tensor) -> Tensor:
        first, *others = self.convs
        made = first(x)
        for conv in others:
            made = conv(F.leaky_relu(made, SLOPE))
        return x + made


class Conv3x3(nn.Conv2d):
    """A 3x3 convolution of as many channels in as out."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, 3, padding=1)


class BranchedConv(Conv3x3):
    """A 3x3 convolution that learns as the sum of three: itself, 1x1, and 1x1 · 3x3 · 1x1 of twice the channels.

    The kernels are summed before the image is convolved, which costs one convolution, as after `folded`.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        wide = 2 * channels
        self.point = nn.Parameter(torch.zeros(channels, channels, 1, 1))
        self.widen = nn.Parameter(torch.empty(wide, channels, 1, 1))
        self.middle = nn.Parameter(torch.empty(wide, wide, 3, 3))
        self.narrow = nn.Parameter(torch.zeros(channels, wide, 1, 1))
        nn.init.orthogonal_(self.widen)
        nn.init.xavier_normal_(self.middle)

    def kernel(self) -> Tensor:
        """Return the one kernel (C, C, 3, 3) that all branches make together."""
        chain = torch.einsum("omxy,mnhw,niab->oihw", self.narrow, self.middle, self.widen)
        return self.weight + F.pad(self.point, (1, 1, 1, 1)) + chain

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.kernel(), self.bias, padding=1)
