"""The contract that every network keeps: `downscale` and `upscale`, on tensors only."""

from collections.abc import Iterable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from rescale.errors import UsageError
from rescale.geometry import Size
from rescale.ops.tiling import TileCall, Window, downscale_tiles, upscale_tiles, whole


class RescalingModel(nn.Module):
    """A network that downscales images and restores them.

    Subclasses MUST set `config` (a frozen dataclass, of which a weight file keeps every field), `scale`
    and `multiple`, and define `downscale`, `upscale` and `loss_terms`. They MUST be deterministic: the same
    input gives the same output, and no call remembers another.
    """

    Config: ClassVar[type]
    config: Any
    scale: int | None
    """HR side / LR side; None where the sizes decide, from 1 to 4 along each axis."""
    multiple: int
    """Divisor of the HR sides; the caller pads to it."""
    hides_detail: bool = False
    """True if the LR image holds detail in its low bits and between its channels, so that neither may be touched."""
    super_resolves: bool = False
    """True if the network enlarges ordinary images, whose LR ones are bicubic."""
    bfloat16_from: float = 1.0
    """Least scale, of any axis, at which convolutions in bfloat16 cost a restored image less than 0.02 dB;
    of an ESPCN, whose input they round as well, less than 0.04."""
    bytes_per_pixel: float = 700
    """Peak memory in bytes for each HR pixel of a tile, with convolutions in float32; an upper bound."""
    halo: int
    """LR pixels around a tile beyond which nothing inside it can depend on them; a multiple of `cell`."""
    cell: int = 1
    """Divisor of a tile's first row and column, in LR pixels."""

    def downscale(self, hr: Tensor, size: Size | None = None) -> Tensor:
        """Downscale (N, 3, H, W) RGB in [0, 1] -> (N, 3, h, w), neither quantised nor clamped.

        `size` (h, w) is for networks without a scale of their own; the others make (H/scale, W/scale).
        """
        raise NotImplementedError

    def upscale(self, lr: Tensor, size: Size | None = None) -> Tensor:
        """Restore (N, 3, h, w) RGB in [0, 1], as in a file -> (N, 3, H, W), unclamped; `size` (H, W) as above."""
        raise NotImplementedError

    def loss_terms(self, hr: Tensor, bicubic: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return restored images and the terms of the training loss: means over all elements, weighted by a recipe.

        Args:
            hr: (N, 3, H, W) in [0, 1].
            bicubic: (N, 3, h, w), the bicubic downscaling of `hr`; its size is that of the LR images.
        """
        raise NotImplementedError

    def downscale_tiles(self, full: Size, size: Size, side: int) -> Iterable[TileCall]:
        """Return the calls that `downscale` an HR image of `full` to `size`, tile by tile of about `side` HR pixels."""
        assert self.scale
        if self.super_resolves:  # bicubic: in tiles, its sums come in other orders, and round otherwise
            return [whole(self.downscale, full, size)]
        return downscale_tiles(
            self.downscale, full, self.scale, side=side // self.scale, halo=self.halo, cell=self.cell
        )

    def upscale_tiles(self, size: Size, full: Size, side: int) -> Iterable[TileCall]:
        """Return the calls that `upscale` an LR image of `size` to `full`, tile by tile."""
        assert self.scale
        return upscale_tiles(self.upscale, size, self.scale, side=side // self.scale, halo=self.halo, cell=self.cell)

    def tile_call(self, seen: Window, size: Size, full: Size) -> TileCall:
        """Return the call that restores a window of an LR image of `size` to its part of the HR image of `full`.

        Pixels next to the border of that part may depend on LR pixels beyond the window, hence the halo.
        """
        by = self.scale
        if by is None:
            raise UsageError("expected a network, got bicubic at every scale")
        rows, columns = (
            slice(part.start * by, min(part.stop * by, length)) for part, length in zip(seen, full, strict=True)
        )
        inner = slice(0, rows.stop - rows.start), slice(0, columns.stop - columns.start)
        return TileCall(seen, inner, (rows, columns), self.upscale)

    def folded(self) -> "RescalingModel":
        """Return the same network without what only learning needs; itself where there is nothing of the kind."""
        return self

    def compute_in(self, dtype: torch.dtype, *, is_asked: bool) -> torch.dtype:
        """Tell a network made by `optimize_for_inference` its data type, and return the one that it takes.

        Networks that are optimised by parts have it already. `is_asked` is False where it was chosen for the device.
        """
        return dtype

    @property
    def parameter_count(self) -> int:
        return sum(parameter.numel() for parameter in self.parameters())


def require_size(size: Size | None) -> Size:
    """Return the size. Raises: UsageError without one, as a network needs that serves every scale."""
    if size is None:
        raise UsageError("expected the size of the result, as this model serves every scale")
    return size
