"""Pure functions on image tensors: size, quantisation, padding."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor

from rescale.device import full_float32
from rescale.geometry import Size


def size_of(x: Tensor) -> Size:
    """Return the height and width of an image tensor."""
    return x.shape[-2], x.shape[-1]


def quantize(x: Tensor, levels: int = 256) -> Tensor:
    """Round to the levels that a file can hold, 256 in one of 8 bits; gradients pass straight through.

    The only lossy step between downscaling and upscaling. The gradient is the identity through the
    clamp as well, so that a value outside [0, 1] can still be pulled back.

    Args:
        x: any shape; values outside [0, 1] are clamped.
        levels: number of values that a sample can have.
    Source: IRN (2005.05650), section 3.3.
    """
    top = levels - 1
    rounded = to_levels(x.detach(), top) / top
    return x + (rounded - x).detach() if x.requires_grad else rounded


@contextmanager
def _without_tf32(autocast: torch.autocast) -> Iterator[None]:
    with autocast, full_float32():
        yield


def full_precision(x: Tensor) -> AbstractContextManager[object]:
    """Disable autocast, and TF32 on CUDA: changes of basis and of size must not lose what the low bits hold.

    A compiled graph keeps whatever is set when it runs.
    """
    if x.is_meta:  # which has no autocast
        return nullcontext()
    autocast = torch.autocast(x.device.type, enabled=False)
    is_plain = x.device.type != "cuda" or torch.compiler.is_compiling()
    return autocast if is_plain else _without_tf32(autocast)


def to_levels(x: Tensor, top: int) -> Tensor:
    """Convert [0, 1] floats to the nearest levels 0 .. top, in the same data type; values outside are clamped."""
    return (x.clamp(0, 1) * top).round()


def to_bytes(x: Tensor) -> Tensor:
    """Convert [0, 1] floats to the uint8 that a file stores."""
    return to_levels(x, 255).to(torch.uint8)


def from_bytes(x: Tensor) -> Tensor:
    """Convert the uint8 of a file to float32 in [0, 1]."""
    return x.float() / 255


def pad(x: Tensor, multiple: int) -> Tensor:
    """Extend bottom and right to the next multiple by repeating the mirrored edge; works from 1x1 up."""
    height, width = x.shape[-2:]
    rows, columns = (
        mirrored_indices(side, 0, -side % multiple, x.device, repeats_edge=False) for side in (height, width)
    )
    return x[..., rows, :][..., columns] if rows.numel() + columns.numel() > height + width else x


def crop(x: Tensor, size: Size) -> Tensor:
    """Return the top left `size` (height, width) of x: the inverse of `pad`."""
    return x[..., : size[0], : size[1]]


def shuffle(x: Tensor, scale: int) -> Tensor:
    """Spread channels over cells of pixels, (N, C·s², H, W) -> (N, C, s·H, s·W): `torch.nn.functional.pixel_shuffle`.

    On a CPU as one copy, which takes a half to a third of the time of PyTorch's own and makes the same bits.
    """
    if x.device.type != "cpu" or torch.compiler.is_exporting():
        return F.pixel_shuffle(x, scale)
    count, channels, height, width = x.shape
    cells = x.reshape(count, channels // scale**2, scale, scale, height, width).permute(0, 1, 4, 2, 5, 3)
    return cells.reshape(count, channels // scale**2, scale * height, scale * width)


def shave(x: Tensor, border: int) -> Tensor:
    """Cut `border` pixels off each of the four sides of x."""
    return x[..., border : x.shape[-2] - border, border : x.shape[-1] - border] if border else x


def mirrored_indices(
    length: int, before: int, after: int, device: torch.device, *, repeats_edge: bool = True
) -> Tensor:
    """Return the indices of a side with its mirror images on both ends."""
    return mirror(torch.arange(-before, length + after, device=device), length, repeats_edge=repeats_edge)


def mirror(index: Tensor, length: int, *, repeats_edge: bool = True) -> Tensor:
    """Fold indices beyond 0 .. length - 1 back inside, to and fro; the edge itself is repeated, or is not."""
    period = 2 * length if repeats_edge else max(2 * (length - 1), 1)
    index = index % period
    return torch.where(index < length, index, period - repeats_edge - index)
