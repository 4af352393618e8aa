"""Transparency: fill invisible pixels with the colours of their neighbours, so that none bleeds into visible ones."""

import torch
import torch.nn.functional as F
from torch import Tensor


def fill(rgb: Tensor, alpha: Tensor) -> Tensor:
    """Replace colours under zero alpha by a smooth continuation of the visible ones.

    Push and pull over a pyramid: averages weighted by alpha on the way down, and on the way up each level
    fills what the finer one has not.

    Args:
        rgb: (1, C, H, W) floating point.
        alpha: (1, 1, H, W) in [0, 1].
    Returns: `rgb`, changed only where alpha is 0.
    """
    return torch.where(alpha > 0, rgb, _pull(rgb * alpha, alpha))


def _pull(weighted: Tensor, weight: Tensor) -> Tensor:
    """Convert colour sum and weight -> colour everywhere; black where nothing at all is visible."""
    known = weight > 0
    mean = weighted / torch.where(known, weight, 1)
    if max(weight.shape[-2:]) == 1:
        return mean
    coarse = _pull(_halve(weighted), _halve(weight))
    wide = F.interpolate(coarse, size=weight.shape[-2:], mode="bilinear", align_corners=False)
    return torch.where(known, mean, wide)


def _halve(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, 2, ceil_mode=True, count_include_pad=False)
