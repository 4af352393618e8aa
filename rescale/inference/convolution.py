"""Convolutions for inference: in a given data type, fused with what follows where the processor's library can."""

import math
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rescale.models.sr import SLOPE

CL = torch.channels_last


class FastConv(nn.Module):
    """A convolution for inference, fused with its activation.

    Args:
        conv: convolution to compute.
        dtype: data type of the convolution.
        activation: "none", "relu", "tanh" or "leaky_relu" (of slope `SLOPE`).
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, conv: nn.Conv2d, dtype: torch.dtype, activation: str = "none") -> None:
        super().__init__()
        self.register_buffer("weight", packed(conv.weight, dtype), persistent=False)
        self.register_buffer("bias", cast(Tensor, conv.bias).detach().to(dtype), persistent=False)
        self.padding, self.activation = conv.kernel_size[0] // 2, activation
        self.scalars = [SLOPE] if activation == "leaky_relu" else []

    def forward(self, x: Tensor) -> Tensor:
        x = x.to(self.weight.dtype, memory_format=CL)
        if self.activation != "none" and has_onednn(x):
            fused, once, padding = torch.ops.mkldnn._convolution_pointwise, [1, 1], [self.padding] * 2
            acted = self.activation, self.scalars, ""
            return cast(Tensor, fused(x, self.weight, self.bias, padding, once, once, 1, *acted))
        made = conv2d(x, self.weight, self.bias, padding=self.padding)
        return made if self.activation == "none" else cast(Tensor, getattr(F, self.activation)(made, *self.scalars))

    def added(self, made: Tensor, x: Tensor) -> Tensor:
        """Add the convolution of x to `made`, in place where no gradient is wanted; without activation."""
        return add(made, x, self.weight, self.padding, 1, self.bias)


def add(made: Tensor, source: Tensor, weight: Tensor, padding: int, stride: int, bias: Tensor | None = None) -> Tensor:
    """Add a convolution to `made`, rounded once where no gradient is wanted; in place where oneDNN can."""
    if torch.is_grad_enabled():
        return made + conv2d(source, weight, bias, stride=stride, padding=padding)
    if has_onednn(made):
        add = torch.ops.mkldnn._convolution_pointwise_.binary
        return cast(
            Tensor,
            add(made, source, weight, bias, [padding] * 2, [stride] * 2, [1, 1], 1, "add", None, None, [], None),
        )
    if made.device.type == "cuda":
        return made.add_(F.conv2d(source, weight, bias, stride=stride, padding=padding))
    wide = None if bias is None else bias.float()
    return (made.float() + F.conv2d(source.float(), weight.float(), wide, stride=stride, padding=padding)).to(
        made.dtype
    )


def conv2d(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, *, stride: int = 1, padding: int | tuple[int, int] = 0
) -> Tensor:
    """Convolve in the data type of the weights.

    A processor that has no products of that type takes float32 ones, as exact as they are accumulated elsewhere, and
    rounds their sum: PyTorch's own convolution of such numbers takes ten times as long.
    """
    if x.device.type != "cpu" or onednn_takes(weight.dtype):
        return F.conv2d(x, weight, bias, stride=stride, padding=padding)
    wide = bias.float() if bias is not None else None
    return F.conv2d(x.float(), weight.float(), wide, stride=stride, padding=padding).to(weight.dtype)


def has_onednn(x: Tensor) -> bool:
    """Tell whether oneDNN's fused convolutions apply; they have no gradients, and float16 on few processors."""
    if x.device.type != "cpu" or x.dtype == torch.float16 or torch.is_grad_enabled():
        return False
    return torch.backends.mkldnn.is_available() and onednn_takes(x.dtype)


def onednn_takes(dtype: torch.dtype) -> bool:
    """Tell whether this processor's convolutions take a type; without oneDNN, PyTorch's own take float32 alone."""
    name = {torch.bfloat16: "bf16", torch.float16: "fp16"}.get(dtype)
    if name is None or not torch.backends.mkldnn.is_available():
        return name is None
    return bool(getattr(torch.ops.mkldnn, f"_is_mkldnn_{name}_supported")())


def packed(weight: Tensor, dtype: torch.dtype) -> Tensor:
    """Lay a kernel out as channels-last convolutions read it."""
    return weight.detach().to(dtype).contiguous(memory_format=CL)


def balanced(weight: Tensor, channels: int, dtype: torch.dtype) -> Tensor:
    """Round the kernels on the input, which sum to zero, so that they still do: as whole multiples of one number each.

    Rounded one by one, a flat image of 255 came back as 251.
    """
    if dtype == torch.float32:
        return weight
    own = weight.detach()[:, :channels].flatten(2)
    bits = 1 - round(math.log2(torch.finfo(dtype).eps))  # of a mantissa
    unit = 2 ** ((1.05 * own.abs().amax(2, keepdim=True)).clamp_min(1e-12).log2().ceil() - bits)
    exact = own / unit
    whole = exact.round()
    excess = whole.sum(2, keepdim=True)
    rank = ((whole - exact) * excess.sign()).argsort(2, descending=True).argsort(2)
    whole -= excess.sign() * (rank < excess.abs())
    return torch.cat([(whole * unit).reshape(weight[:, :channels].shape), weight.detach()[:, channels:]], dim=1)
