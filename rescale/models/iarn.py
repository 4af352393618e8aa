"""IARN: one invertible network for every scale from 1 to 4, also different ones along the two axes."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from rescale.errors import UsageError
from rescale.geometry import MAX_SCALE, Size
from rescale.models.base import RescalingModel, require_size
from rescale.models.irn import invertible_loss_terms
from rescale.models.layers import DCT, Coupling, Padding
from rescale.ops import quantize, size_of
from rescale.ops.oversample import OversampledGrid, Window
from rescale.ops.tiling import TileCall, plan


@dataclass(frozen=True)
class IARNConfig:
    """Configuration of an IARN; the defaults are our large size, near AIDN's, as the published one is not known."""

    blocks: int = 20
    growth: int = 32
    depth: int = 4  # convolutions in a sub-network
    gain: float = 1.0  # of the initial hidden weights
    shared: bool = True  # one sub-network for scale and shift
    encoded: bool = True  # whether sub-networks are told the scale of each axis
    padding: Padding = "zeros"  # as of IRN
    flat: bool = False  # as of IRN

    def __post_init__(self) -> None:
        if min(self.blocks, self.growth) < 1 or self.depth < 2:
            raise UsageError(f"expected blocks and growth of at least 1 and a depth of at least 2, got {self}")
        if self.flat and self.padding == "zeros":
            raise UsageError(f"expected padding 'replicate' for flat, as zeros around an image are not, got {self}")


class IARN(RescalingModel):
    """Invertible arbitrary rescaling network.

    ```
    hr ─ interpolate ─▶ 4·h x 4·w ─ DCT ─▶ h x w, 48 bands ─ couplings ─▶ ┌ lr (3)
    hr ◀ reconstruct ─ 4·h x 4·w ◀ DCT ── h x w, 48 bands ◀ couplings ── └ up (45): what upscaling must invent
    ```

    The image is first interpolated to four samples for each LR pixel along each axis, and `reconstruct` is the
    least-squares inverse of that. The samples of an LR pixel are then split into cosines: means, from which the LR
    image is made, and detail. Their meaning does not depend on the scale, so the couplings are the same for all;
    their sub-networks are told the two scales in numbers that move their biases. Fewer samples would do for small
    scales and be faster, but restore worse: the room that more leave to the couplings helps.

    Source: IARN (2209.13055), of which no code, table or list of layers is public. From its abstract: an invertible
    network for any scale, also different ones along the axes; channels that are split before the resize gets lost in
    them ("preemptive channel splitting"), and an encoding of scale and position. How both are done is our reading:
    position is in the interpolation, which puts every sample at its true place within its LR pixel.
    """

    Config = IARNConfig
    config: IARNConfig
    scale = None
    multiple = 1
    hides_detail = True
    bfloat16_from = 2.2

    def __init__(self, config: IARNConfig) -> None:
        super().__init__()
        self.config = config
        self.cells = DCT(3, MAX_SCALE)
        self.couplings = nn.ModuleList(
            Coupling(
                (3, 3 * MAX_SCALE**2 - 3),
                growth=config.growth,
                depth=config.depth,
                gain=config.gain,
                shared=config.shared,
                code=3 if config.encoded else 0,
                padding=config.padding,
                flat=config.flat,
            )
            for _ in range(config.blocks)
        )
        self.halo = 2 * config.depth * config.blocks + 1

    def forward(self, hr: Tensor, grids: OversampledGrid, window: Window | None = None) -> tuple[Tensor, Tensor]:
        """Downscale an image -> lr, up: nothing is lost.

        Args:
            hr: (N, 3, H, W), or what `grids.read_by` says of it.
            grids: the sizes (H, W) and (h, w).
            window: the part of the LR image that is wanted; all without.
        """
        x, code = self.cells(grids.interpolate(hr, window or grids.all_small)), _code(grids, hr)
        for coupling in self.couplings:
            x = coupling(x, code)
        return x[:, :3], x[:, 3:]

    def inverse(
        self,
        lr: Tensor,
        grids: OversampledGrid,
        up: Tensor | None = None,
        *,
        window: Window | None = None,
        at: Size = (0, 0),
    ) -> Tensor:
        """Restore an image: the inverse of `forward`.

        Args:
            lr: (N, 3, h, w), or a part of it that begins at the pixel `at`.
            grids: the sizes (H, W) and (h, w).
            up: (N, 45, h, w), or None for zero.
            window: the part of the HR image that is wanted; all without.
            at: row and column of the first pixel of `lr`.
        """
        if up is None:
            up = lr.new_zeros(lr.shape[0], 3 * MAX_SCALE**2 - 3, *lr.shape[-2:])
        y, code = torch.cat([lr, up], dim=1), _code(grids, lr)
        for coupling in reversed(self.couplings):
            y = coupling.inverse(y, code)  # type: ignore[operator]
        return grids.reconstruct(self.cells.inverse(y), window or grids.all_full, at)

    def downscale(self, hr: Tensor, size: Size | None = None) -> Tensor:
        grids = OversampledGrid(size_of(hr), require_size(size))
        return self(hr, grids)[0]

    def upscale(self, lr: Tensor, size: Size | None = None) -> Tensor:
        grids = OversampledGrid(require_size(size), size_of(lr))
        return self.inverse(lr, grids)

    def loss_terms(self, hr: Tensor, bicubic: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the same terms as `IRN.loss_terms`."""
        grids = OversampledGrid(size_of(hr), size_of(bicubic))
        lr, up = self(hr, grids)
        restored = self.inverse(quantize(lr), grids)
        return restored, invertible_loss_terms(restored, hr, lr, bicubic) | {"latent": (up**2).mean()}

    def downscale_tiles(self, full: Size, size: Size, side: int) -> Iterator[TileCall]:
        grids = OversampledGrid(full, size)
        for tile in plan(size, side // MAX_SCALE, self.halo):
            yield TileCall(grids.read_by(tile.seen), tile.inner, tile.own, partial(self._down, grids, tile.seen))

    def upscale_tiles(self, size: Size, full: Size, side: int) -> Iterator[TileCall]:
        grids, halo = OversampledGrid(full, size), self.halo
        for tile in plan(full, side, 0):
            near = grids.needed_for(tile.own)
            seen = _wider(near[0], halo, size[0]), _wider(near[1], halo, size[1])
            function = partial(self.inverse, grids=grids, window=tile.own, at=(seen[0].start, seen[1].start))
            yield TileCall(seen, (slice(None), slice(None)), tile.own, function)

    def tile_call(self, seen: Window, size: Size, full: Size) -> TileCall:
        grids = OversampledGrid(full, size)
        target = grids.made_from(seen)
        function = partial(self.inverse, grids=grids, window=target, at=(seen[0].start, seen[1].start))
        return TileCall(seen, (slice(None), slice(None)), target, function)

    def _down(self, grids: OversampledGrid, window: Window, hr: Tensor) -> Tensor:
        return self(hr, grids, window)[0]


def _code(grids: OversampledGrid, like: Tensor) -> Tensor:
    """Return the code for the sub-networks: LR over HR along each axis, minus a half, and the product of both."""
    a, b = (small / large - 0.5 for large, small in zip(grids.full, grids.size, strict=True))
    return torch.stack([like.new_full((), number) for number in (a, b, a * b)])  # a list would make a GPU's host wait


def _wider(part: slice, by: int, end: int) -> slice:
    return slice(max(part.start - by, 0), min(part.stop + by, end))
