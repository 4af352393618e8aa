"""IRN: one invertible network that downscales forward and restores backward; dual latents optional."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from rescale.errors import UsageError
from rescale.geometry import Size
from rescale.models.base import RescalingModel
from rescale.models.layers import Chain, Coupling, Haar, InnerLevel, Padding
from rescale.ops import chroma, luma, quantize


@dataclass(frozen=True)
class IRNConfig:
    """Configuration of an IRN; the defaults are the published x4."""

    scale: int = 4  # a power of two: one Haar level for each factor of two
    blocks: tuple[int | tuple[int, int, int], ...] = (8, 8)  # coupling blocks after each Haar, see `Level`
    growth: int = 32
    depth: int = 5  # convolutions in a sub-network
    gain: float = 0.1  # of the initial hidden weights
    shared: bool = False  # one sub-network for scale and shift: ours, for the small sizes
    latents: int = 0  # channels of the downscaling latent at HR size; 2 in DLV-IRN
    up_std: float = 0.0  # of the upscaling latent in training; 1 in IRN; inference always takes zero
    down_std: float = 0.0  # of the downscaling latent in training: reading A is 0, reading B is 1
    padding: Padding = "zeros"  # what the convolutions find around an image; "replicate" keeps flat edges flat
    flat: bool = False  # an image of one colour comes back as it was, and has an LR image of that colour; ours

    def __post_init__(self) -> None:
        if self.scale != 2 ** len(self.blocks) or self.scale < 2:
            raise UsageError(f"expected as many Haar levels as factors of two in the scale, got {self}")
        if any(min(level) < 0 or sum(level) < 1 for level in self.levels) or self.growth < 1 or self.depth < 1:
            raise UsageError(f"expected blocks, growth and depth of at least 1, got {self}")
        if self.flat and self.padding == "zeros":
            raise UsageError(f"expected padding 'replicate' for flat, as zeros around an image are not, got {self}")
        if self.latents < 0:
            raise UsageError(f"expected latents of at least 0, got {self.latents}")

    @property
    def levels(self) -> list["Level"]:
        """The coupling blocks after each Haar."""
        return [Level(*level) if isinstance(level, tuple) else Level(level) for level in self.blocks]


class Level(NamedTuple):
    """Coupling blocks after a Haar: some at its own grid, `inner` ones on a coarser grid and back, then some more.

    Inner ones have twice the growth, and still cost less: a probe at x2 of equal cost gained 0.4 dB by them.
    """

    before: int
    inner: int = 0
    after: int = 0


class IRN(RescalingModel):
    """Invertible rescaling network, with or without dual latents.

    ```
    hr (3) ┐                                                             ┌ lr (3)
           ├─▶ Haar ─ couplings ─ Haar ─ couplings ... ◀─ the same back ─┤
    down ──┘   └───────────── one level per factor of two ─────────────┘ └ up: what upscaling must invent
    ```

    Two latents. `up` is what the LR image cannot hold; the decoder does not have it, so it is zero there
    and training teaches the network to need nothing of it. `down` (DLV-IRN) is a second input beside the
    image, of HR size: it gives the couplings room and stands for the freedom in choosing an LR image.

    Source: IRN (2005.05650); its two latents: DLV-IRN (2207.11844). No code of the second is public, and
    `down` as two extra channels ahead of the first Haar is our reading of its parameter count; that it is
    zero (reading A) or normal in training (reading B) is an option. Zero `up` in training is not the IRN
    paper's choice (it samples) but, in several later works, the more accurate one.
    """

    Config = IRNConfig
    config: IRNConfig
    bytes_per_pixel = 400
    hides_detail = True  # a grey small picture, say, costs 6 dB at x2: nearly all that is gained over bicubic

    def __init__(self, config: IRNConfig) -> None:
        super().__init__()
        self.config = config
        self.scale = self.multiple = config.scale
        steps: list[nn.Module] = []
        channels = 3 + config.latents
        for level in config.levels:
            steps.append(Haar(channels))
            channels *= 4
            steps.extend(_couplings(config, level, (3, channels - 3)))
        self.chain = Chain(*steps)
        self.cell = 2 if any(level.inner for level in config.levels) else 1
        self.halo = -(-_reach(config) // self.cell) * self.cell

    def forward(self, hr: Tensor, down: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Downscale hr (N, 3, H, W), down (N, latents, H, W) or None for zero -> lr, up: nothing is lost."""
        if down is None:
            down = hr.new_zeros(hr.shape[0], self.config.latents, *hr.shape[-2:])
        bands = self.chain(torch.cat([hr, down], dim=1) if self.config.latents else hr)
        return bands[:, :3], bands[:, 3:]

    def inverse(self, lr: Tensor, up: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Restore lr (N, 3, h, w), up (N, (3 + latents)·scale² - 3, h, w) or None for zero -> hr, down."""
        if up is None:
            up = lr.new_zeros(lr.shape[0], (3 + self.config.latents) * self.config.scale**2 - 3, *lr.shape[-2:])
        out = self.chain.inverse(torch.cat([lr, up], dim=1))
        return out[:, :3], out[:, 3:]

    def downscale(self, hr: Tensor, size: Size | None = None) -> Tensor:
        return self(hr)[0]

    def upscale(self, lr: Tensor, size: Size | None = None) -> Tensor:
        return self.inverse(lr)[0]

    def loss_terms(self, hr: Tensor, bicubic: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the restored image and its terms. restore: Charbonnier of the restored image; guide: squared error of
        the LR image; latent: its mean square.

        Ours: luma, Charbonnier of the restored image's Y, where eyes and papers look first; range, mean square of
        whatever leaves [0, 1] in the LR image, where the file would cut it off; chroma and guide_chroma, the same of Cb
        and Cr alone, where a network that optimises luma would put its errors; guide_grey, mean square of Cb and Cr in
        the LR images of grey ones.
        """
        down = self.config.down_std * hr.new_empty(hr.shape[0], self.config.latents, *hr.shape[-2:]).normal_()
        lr, up = self(hr, down)
        sample = torch.randn_like(up) * self.config.up_std if self.config.up_std else None
        restored, _ = self.inverse(quantize(lr), sample)
        return restored, invertible_loss_terms(restored, hr, lr, bicubic) | {"latent": (up**2).mean()}


def _couplings(config: IRNConfig, level: Level, sizes: tuple[int, int]) -> Iterator[nn.Module]:
    make = partial(
        Coupling, depth=config.depth, gain=config.gain, shared=config.shared, padding=config.padding, flat=config.flat
    )
    yield from (make(sizes, growth=config.growth) for _ in range(level.before))
    if level.inner:
        coarse = (4 * sizes[0], 4 * sizes[1])
        yield InnerLevel(sizes, *(make(coarse, growth=2 * config.growth) for _ in range(level.inner)))
    yield from (make(sizes, growth=config.growth) for _ in range(level.after))


def _reach(config: IRNConfig) -> int:
    """Return the reach in LR pixels: two dense sub-networks in series in each block; a finer grid has smaller ones."""
    blocks = [level.before + 2 * level.inner + level.after + bool(level.inner) for level in config.levels]
    return int(sum(2 * config.depth * count / 2**k for k, count in enumerate(reversed(blocks)))) + 1


def invertible_loss_terms(restored: Tensor, hr: Tensor, lr: Tensor, bicubic: Tensor) -> dict[str, Tensor]:
    """Return the loss terms that every invertible network has; see `IRN.loss_terms`."""
    return {
        "restore": _charbonnier(restored - hr),
        "luma": _charbonnier(luma(restored) - luma(hr)),
        "chroma": _charbonnier(chroma(restored) - chroma(hr)),
        "guide": ((lr - bicubic) ** 2).mean(),
        "guide_chroma": (chroma(lr - bicubic) ** 2).mean(),
        "guide_grey": (_is_grey(hr) * chroma(lr) ** 2).mean(),
        "range": ((lr - lr.clamp(0, 1)) ** 2).mean(),
    }


def _is_grey(x: Tensor) -> Tensor:
    return (x.amax(1) == x.amin(1)).flatten(1).all(1)[:, None, None, None]


def _charbonnier(error: Tensor) -> Tensor:
    return (error**2 + 1e-6).sqrt().mean()
