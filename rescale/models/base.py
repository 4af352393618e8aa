"""The contract that every network keeps: `downscale` and `upscale`, on tensors only."""

from typing import Any, ClassVar

from torch import Tensor, nn


class Rescaling(nn.Module):
    """A network that makes a picture small and large again.

    Subclasses MUST set `config` (a frozen dataclass, of which a weight file keeps every field), `scale`
    and `multiple`, and define `downscale`, `upscale` and `terms`. They MUST be deterministic: the same
    input gives the same output, and no call remembers another.
    """

    Config: ClassVar[type]
    config: Any
    scale: int
    """HR side / LR side."""
    multiple: int
    """HR sides must be multiples of this; whoever calls pads."""
    hides_detail: bool = False
    """Whether the small picture holds detail in its low bits and between its channels, so that none may be touched."""
    halo: int
    """LR pixels around a tile beyond which nothing inside it can depend on them."""

    def downscale(self, hr: Tensor) -> Tensor:
        """(N, 3, H, W) RGB in [0, 1] -> (N, 3, H/scale, W/scale), neither quantised nor clamped."""
        raise NotImplementedError

    def upscale(self, lr: Tensor) -> Tensor:
        """(N, 3, h, w) RGB in [0, 1], as read from a file -> (N, 3, h·scale, w·scale), not clamped."""
        raise NotImplementedError

    def terms(self, hr: Tensor, bicubic: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The restored pictures and the terms of the training loss: means over all elements, weighed by a recipe.

        Args:
            hr: (N, 3, H, W) in [0, 1].
            bicubic: (N, 3, H/scale, W/scale), what bicubic makes of `hr`.
        """
        raise NotImplementedError

    @property
    def parameter_count(self) -> int:
        return sum(parameter.numel() for parameter in self.parameters())
