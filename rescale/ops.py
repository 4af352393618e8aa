"""Pure functions on picture tensors: no weights, no files, no state."""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor

from rescale.errors import UsageError
from rescale.geometry import Size

# ITU-R BT.601 in studio range, as MATLAB's rgb2ycbcr: rows give Y, Cb, Cr of RGB in [0, 1], in units of 1/255.
_YCBCR = ((65.481, 128.553, 24.966), (-37.797, -74.203, 112.0), (112.0, -93.786, -18.214))
_YCBCR_OFFSET = (16.0, 128.0, 128.0)


def usable(device: str | torch.device | None) -> torch.device:
    """The device, or CUDA if there is one and none is named, else the CPU. Raises: UsageError for one that is not."""
    try:
        where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.empty(0, device=where)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"expected a device that this machine has, got {device!r}") from error
    return where


def size_of(x: Tensor) -> Size:
    """Height and width of a picture tensor."""
    return x.shape[-2], x.shape[-1]


def quantize(x: Tensor, levels: int = 256) -> Tensor:
    """Round to the levels that a file can hold, 256 in one of 8 bits; gradients pass straight through.

    The only lossy step between downscaling and upscaling. The gradient is the identity through the
    clamp as well, so that a value outside [0, 1] can still be pulled back.

    Args:
        x: any shape; values outside [0, 1] are clamped.
        levels: that a sample can have.
    Source: IRN (2005.05650), section 3.3.
    """
    top = levels - 1
    rounded = (x.detach().clamp(0, 1) * top).round() / top
    return x + (rounded - x).detach() if x.requires_grad else rounded


def full_precision(x: Tensor) -> torch.autocast:
    """Autocast off: changes of basis and of size must not lose what the low bits hold."""
    return torch.autocast(x.device.type, enabled=False)


def to_bytes(x: Tensor) -> Tensor:
    """[0, 1] floats to the uint8 that a file stores."""
    return (x.clamp(0, 1) * 255).round().to(torch.uint8)


def from_bytes(x: Tensor) -> Tensor:
    """The uint8 of a file to float32 in [0, 1]."""
    return x.float() / 255


def luma(rgb: Tensor) -> Tensor:
    """Studio-range luma, (N, 3, H, W) -> (N, 1, H, W), 16/255 .. 235/255: the Y on which papers measure."""
    return to_ycbcr(rgb, channels=1)


def chroma(rgb: Tensor) -> Tensor:
    """Studio-range Cb and Cr about zero, (N, 3, H, W) -> (N, 2, H, W); of a difference of pictures, its chroma."""
    return _mix(rgb, _YCBCR[1:]) / 255


def to_ycbcr(rgb: Tensor, *, channels: int = 3) -> Tensor:
    """RGB in [0, 1] to studio-range YCbCr in [0, 1] (BT.601, MATLAB's rgb2ycbcr); the first `channels` of it."""
    return _mix(rgb, _YCBCR[:channels]) / 255 + _offset(rgb)[:channels]


def from_ycbcr(ycc: Tensor) -> Tensor:
    """The exact inverse of `to_ycbcr`; the result is not clamped."""
    inverse = torch.linalg.inv(torch.tensor(_YCBCR, dtype=torch.float64)).tolist()
    return _mix(255 * (ycc - _offset(ycc)), inverse)


def _mix(x: Tensor, matrix: Sequence[Sequence[float]]) -> Tensor:
    """Each new channel a weighted sum of the old; plane by plane, as a convolution of three channels is slow."""
    planes = x.split(1, dim=1)
    rows = (sum(weight * plane for weight, plane in zip(row, planes, strict=True)) for row in matrix)
    return torch.cat([cast(Tensor, row) for row in rows], dim=1)


def _offset(like: Tensor) -> Tensor:
    return like.new_tensor(_YCBCR_OFFSET)[:, None, None] / 255


def pad(x: Tensor, multiple: int) -> Tensor:
    """Extend bottom and right to the next multiple by repeating the mirrored edge; works from 1x1 up."""
    height, width = x.shape[-2:]
    rows = _mirror(height, -height % multiple, x.device)
    columns = _mirror(width, -width % multiple, x.device)
    return x[..., rows, :][..., columns] if rows.numel() + columns.numel() > height + width else x


def crop(x: Tensor, size: Size) -> Tensor:
    """The top left `size` (height, width) of x: the opposite of `pad`."""
    return x[..., : size[0], : size[1]]


def shave(x: Tensor, border: int) -> Tensor:
    """x without `border` pixels on each of its four sides."""
    return x[..., border : x.shape[-2] - border, border : x.shape[-1] - border] if border else x


def _mirror(length: int, extra: int, device: torch.device) -> Tensor:
    """Indices 0 .. length-1, then `extra` more that walk back and forth without repeating the edge."""
    period = max(2 * (length - 1), 1)
    index = torch.arange(length + extra, device=device) % period
    return torch.where(index < length, index, period - index)
