"""Degrade LR images as cameras, the web and messengers do: blur, noise, and a lossy codec."""

from io import BytesIO

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from pydantic import Field, model_validator
from torch import Tensor

from rescale.errors import MachineError
from rescale.ops import from_bytes, to_bytes
from rescale.training.schema import Table, check_order

_BLOCK = 16
"""Side in pixels of the blocks that a codec with halved chroma works on."""


class DegradeRecipe(Table):
    """How LR crops are degraded before a network of super-resolution sees them; each of them by its own draw."""

    share: float = Field(0.8, ge=0, le=1)
    """Share of the crops that are degraded; the others stay clean."""
    blurred: float = Field(0.25, ge=0, le=1)
    """Share of those that are blurred, a fifth of them by motion."""
    blur: float = Field(0.8, gt=0, le=5)
    """Largest standard deviation of the blur, in LR pixels."""
    noisy: float = Field(0.25, ge=0, le=1)
    """Share that becomes noisy."""
    noise: float = Field(8.0, ge=0, le=100)
    """Largest standard deviation of the noise, in levels of 256."""
    coded: float = Field(0.95, ge=0, le=1)
    """Share that is saved by a lossy codec and read again, a fifth of them as WebP, the others as JPEG."""
    least: int = Field(30, ge=1, le=100)
    most: int = Field(95, ge=1, le=100)
    """Range of the codec's quality."""

    @model_validator(mode="after")
    def _least_is_least(self) -> "DegradeRecipe":
        check_order(self.least, self.most)
        return self


def degrade(lr: Tensor, recipe: DegradeRecipe, generator: torch.Generator) -> Tensor:
    """Degrade (N, 3, h, w) in [0, 1] -> the same, each image by its own draw; the same generator draws the same."""
    made = [_degraded(x[None], recipe, torch.rand(8, generator=generator).tolist(), generator) for x in lr.cpu()]
    return torch.cat(made).to(lr.device)


def _degraded(x: Tensor, recipe: DegradeRecipe, draw: list[float], generator: torch.Generator) -> Tensor:
    spared, blurred, amount, noisy, strength, saved, quality, kind = draw
    if spared >= recipe.share:
        return x
    if blurred < recipe.blurred:
        x = _blurred(x, max(amount * recipe.blur, 0.05), is_moved=kind < 0.2, angle=360 * quality)
    if noisy < recipe.noisy:
        x = x + torch.randn(x.shape, generator=generator) * (strength * recipe.noise / 255)
    if saved < recipe.coded:
        level = round(recipe.least + quality * (recipe.most - recipe.least))
        shift = torch.randint(_BLOCK, (2,), generator=generator).tolist()
        x = _shifted(x, level, kind, shift)
    return x


def _blurred(x: Tensor, sigma: float, *, is_moved: bool, angle: float) -> Tensor:
    try:
        from kornia import filters  # takes a second to import, which only this needs
    except ImportError as error:
        raise MachineError("blurred training images need one more package: pip install 'rescale[train]'") from error
    if is_moved:
        return filters.motion_blur(x, 5, angle, 0.0, border_type="replicate")
    return filters.gaussian_blur2d(x, (7, 7), (sigma, sigma), border_type="replicate")


def _shifted(x: Tensor, quality: int, kind: float, shift: list[int]) -> Tensor:
    """Save with the codec's blocks beginning anywhere, as they do in a crop of a larger image."""
    top, left = (min(by, side - 1) for by, side in zip(shift, x.shape[-2:], strict=True))
    wide = F.pad(x, (left, 0, top, 0), mode="replicate")
    return coded(wide, quality, codec="WEBP" if kind < 0.2 else "JPEG", halved=kind < 0.8)[..., top:, left:]


def coded(x: Tensor, quality: int, *, codec: str = "JPEG", halved: bool = True) -> Tensor:
    """Save (1, 3, h, w) in [0, 1] by a lossy codec and read it again.

    Args:
        x: values outside [0, 1] are clamped.
        quality: the codec's own figure, 1 to 100.
        codec: "JPEG" or "WEBP".
        halved: JPEG keeps colours at half the sides (4:2:0), as most files have them; WebP always does.
    """
    image, kept = Image.fromarray(to_bytes(x)[0].permute(1, 2, 0).numpy()), BytesIO()
    image.save(kept, codec, quality=quality, **({"subsampling": 2 if halved else 0} if codec == "JPEG" else {}))
    kept.seek(0)
    return from_bytes(torch.from_numpy(np.array(Image.open(kept).convert("RGB"))).permute(2, 0, 1))[None]
