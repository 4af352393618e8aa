"""WDSR: residual blocks that widen before each activation, with a sub-pixel convolution at the end."""

from dataclasses import dataclass

from torch import Tensor, nn

from rescale.errors import UsageError
from rescale.models.luma_sr import LumaSR


@dataclass(frozen=True)
class WDSRConfig:
    """Configuration of a WDSR; the defaults are those of STDO's released code, but for luma alone."""

    scale: int = 2
    channels: int = 32
    blocks: int = 16
    widen: int = 4
    cell: int = 1  # side of the cells of pixels that the body sees as one of more channels: ours, for speed

    def __post_init__(self) -> None:
        if self.scale < 2 or min(self.channels, self.blocks, self.widen, self.cell) < 1:
            raise UsageError(f"expected a scale of at least 2 and nothing else below 1, got {self}")


class WDSR(LumaSR):
    """Wide activation for super-resolution, of luma.

    ```
    lr ─┬─ Y ─ conv 3x3 ─ blocks: x + conv 3x3 · ReLU · conv 3x3 ─ SubPixelConv 3x3 ─┬─▶ hr
        └─ Y, Cb, Cr ─────────────────────── bicubic ────────────────────────────────┘
    ```

    Source: WDSR (1808.08718), section 3.2, as in STDO's (2303.08331) released code. The 5x5 convolution beside the
    body is fixed to bicubic's. Ours: the blocks begin as the identity, where theirs normalise weights.
    """

    Config = WDSRConfig
    config: WDSRConfig
    bytes_per_pixel = 160

    def __init__(self, config: WDSRConfig) -> None:
        head = nn.Conv2d(config.cell**2, config.channels, 3, padding=1)
        blocks = [WideResidualBlock(config.channels, config.widen, config.blocks) for _ in range(config.blocks)]
        reach = (2 + 2 * config.blocks) * config.cell
        super().__init__(config, nn.Sequential(head, *blocks), config.channels, kernel=3, reach=reach)


class WideResidualBlock(nn.Module):
    """A residual block: (N, C, H, W) -> the same, with C·widen channels at its activation.

    Args:
        channels: C.
        widen: factor of channels at the activation.
        of: number of blocks in the body; each adds 1/sqrt(of) of its output.
    """

    def __init__(self, channels: int, widen: int, of: int) -> None:
        super().__init__()
        self.expand = nn.Conv2d(channels, channels * widen, 3, padding=1)
        self.reduce = nn.Conv2d(channels * widen, channels, 3, padding=1)
        self.activation = nn.ReLU()
        self.weight = of**-0.5
        nn.init.zeros_(self.reduce.weight)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.weight * self.reduce(self.activation(self.expand(x)))
