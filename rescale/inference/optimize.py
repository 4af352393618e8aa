"""Optimise a network for inference on a given machine: the same sums, in another order.

A coupling block spends its time in convolutions whose inputs grow by concatenation. Here each convolution is split by
its inputs and accumulated, so that little is ever copied; one with few outputs makes four pixels at once, since the
processor computes 16 outputs whether they are wanted or not; and where the processor multiplies bfloat16 numbers
faster, the convolutions run in those, the couplings around them in float32. Of all roundings that costs, only one
shows in an image: that of the sum added to the low band. So that sum is carried as two bfloat16 numbers.
"""

import copy
from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rescale.errors import UsageError
from rescale.inference.convolution import CL, FastConv, add, balanced, conv2d, onednn_takes, packed
from rescale.inference.gpu import GPUCoupling
from rescale.models import ESPCN, IARN, IRN, SR, RescalingModel
from rescale.models.layers import Coupling, Dense, framed
from rescale.models.sr import Block, Stack
from rescale.ops import shuffle

Precision = Literal["auto", "float32", "float16", "bfloat16"]
_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
_LANES = 16
"""Outputs that the processor's convolutions compute at once."""
_CACHED = 100_000
"""Pixels of a strip: 64 channels of bfloat16 of these are 13 MB."""


def optimize_for_inference(model: RescalingModel, precision: Precision = "auto") -> RescalingModel:
    """Return a copy of a network that computes the same faster, its weights fixed.

    Args:
        model: left unchanged.
        precision: data type of the convolutions; "auto" takes float16 on CUDA, and bfloat16 on a CPU that multiplies it
            natively. What either costs a restored image is held under 0.02 dB by the tests of every shipped model, of
            an ESPCN under 0.04.
            Where gradients are wanted, sums round more often, and may cost more.
    Raises: UsageError for another precision.
    """
    device = next(model.parameters(), torch.empty(0)).device
    dtype = compute_dtype(precision, device)
    model = copy.deepcopy(model)
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if isinstance(child, Coupling):
                is_gpu = device.type == "cuda"
                fast = GPUCoupling(child, dtype) if is_gpu else FastCoupling(child, dtype, _low_dtype(model))
                setattr(parent, name, fast)
    if isinstance(model, ESPCN):
        _quicken(model, dtype)
    if isinstance(model, SR):
        model = model.folded()
        model.stack = Strips(FastStack(model.stack, dtype), halo=model.halo)  # type: ignore[assignment]
    return model.eval().requires_grad_(False).to(memory_format=CL)


def compute_dtype(precision: Precision, device: torch.device) -> torch.dtype:
    """Return the data type that convolutions compute in. Raises: UsageError for another precision."""
    if precision == "auto" and device.type == "cuda":
        return torch.float16
    if precision == "auto":
        return torch.bfloat16 if multiplies_bfloat16(device) else torch.float32
    if precision not in _DTYPES:
        raise UsageError(f"expected precision auto, {', '.join(_DTYPES)}, got {precision!r}")
    return _DTYPES[precision]


def multiplies_bfloat16(device: torch.device) -> bool:
    """Tell whether a device's convolutions take bfloat16 natively, and so run about twice as fast."""
    if device.type != "cpu" or not onednn_takes(torch.bfloat16):
        return False
    return any(getattr(torch.cpu, f"_is_{name}_supported", bool)() for name in ("avx512_bf16", "amx_tile"))


def _low_dtype(model: RescalingModel) -> torch.dtype | None:
    """Choose the data type of what reads the low band, if it is another than that of the rest.

    Where flat images are kept, only small differences of that band count: in bfloat16 that costs 0.04 to 0.08 dB. At
    x4 with a scale of its own, next to nothing.
    """
    is_close = isinstance(model, IARN) or (isinstance(model, IRN) and model.scale == 2)
    return torch.float32 if is_close and model.config.flat else None


class FastCoupling(nn.Module):
    """A `Coupling` for inference; the plain one is its reference.

    Args:
        coupling: block to compute.
        dtype: data type of the convolutions.
        low_dtype: data type of those that read the low band, if it is another.
    """

    def __init__(self, coupling: Coupling, dtype: torch.dtype, low_dtype: torch.dtype | None = None) -> None:
        super().__init__()
        self.sizes = coupling.sizes
        self.to_low = FastDense(coupling.to_low, dtype, exact=True)
        self.to_detail = nn.ModuleList(
            FastDense(cast(Dense, dense), low_dtype or dtype) for dense in coupling.to_detail
        )

    def forward(self, x: Tensor, code: Tensor | None = None) -> Tensor:
        low, detail = x.contiguous(memory_format=CL).split(self.sizes, dim=1)
        low = low + self.to_low(detail, code)
        scale, shift = self._scale_and_shift(low, code)
        return torch.cat([low, (detail * scale.exp()).add_(shift)], dim=1)

    def inverse(self, y: Tensor, code: Tensor | None = None) -> Tensor:
        low, detail = y.contiguous(memory_format=CL).split(self.sizes, dim=1)
        scale, shift = self._scale_and_shift(low, code)
        detail = (detail - shift) * (-scale).exp()
        return torch.cat([low - self.to_low(detail, code), detail], dim=1)

    def _scale_and_shift(self, low: Tensor, code: Tensor | None) -> tuple[Tensor, Tensor]:
        made = [net(low, code) for net in self.to_detail]
        scale, shift = made if len(made) == 2 else made[0].chunk(2, dim=1)
        shift = shift.add(scale, alpha=0)  # infinity times zero: a tanh would hide that something went wrong
        return (scale * 0.5).tanh_(), shift


class FastStack(nn.Module):
    """A `Stack` for inference; the plain one is its reference."""

    def __init__(self, stack: Stack, dtype: torch.dtype) -> None:
        super().__init__()
        self.head, self.up = FastConv(stack.head, dtype), stack.up
        self.up.conv = FastConv(stack.up.conv, dtype)  # type: ignore[assignment]
        self.blocks = nn.ModuleList(FastBlock(cast(Block, block), dtype) for block in stack.blocks)

    def forward(self, x: Tensor) -> Tensor:
        features = self.head(x)
        made = features.clone()
        for block in self.blocks:
            made = block(made)
        return self.up(made.add_(features))


class FastBlock(nn.Module):
    """A `Block` for inference, which adds to its input in place."""

    def __init__(self, block: Block, dtype: torch.dtype) -> None:
        super().__init__()
        *hidden, last = (cast(nn.Conv2d, conv) for conv in block.convs)
        self.hidden = nn.Sequential(*(FastConv(conv, dtype, "leaky_relu") for conv in hidden))
        self.last = FastConv(last, dtype)

    def forward(self, x: Tensor) -> Tensor:
        return self.last.added(x, self.hidden(x))


class Strips(nn.Sequential):
    """Layers that process an image strip by strip, so that what passes between them stays in the processor's cache."""

    def __init__(self, *layers: nn.Module, halo: int) -> None:
        super().__init__(*layers)
        self.halo = halo

    def forward(self, x: Tensor) -> Tensor:
        rows, height = max(_CACHED // x.shape[-1], 8), x.shape[-2]
        if x.device.type == "cuda":  # which has no such cache, and waits for each launch of a small one
            return cast(Tensor, super().forward(x))
        made = []
        for top in range(0, height, rows):
            first, last = max(top - self.halo, 0), min(top + rows + self.halo, height)
            out = super().forward(x[..., first:last, :])
            by = out.shape[-2] // (last - first)
            made.append(out[..., (top - first) * by : (min(top + rows, height) - first) * by, :])
        return torch.cat(made, dim=-2) if len(made) > 1 else made[0]


def _quicken(model: ESPCN, dtype: torch.dtype) -> None:
    convs = [layer for layer in model.body if isinstance(layer, nn.Conv2d)]
    hidden = [FastConv(conv, dtype, model.config.activation) for conv in convs]
    model.up.conv = FastConv(model.up.conv, dtype)  # type: ignore[assignment]
    model.up = Strips(*hidden, model.up, halo=model.halo // model.cell)  # type: ignore[assignment]
    model.body = nn.Sequential()


class FastDense(nn.Module):
    """A `Dense` for inference.

    Features are stored in pairs: one tensor for the input and the first, one for the second and third, and so on. So
    each is copied once, and each convolution is the sum of one for each pair. More parts copy less, but round more
    often, and their narrow convolutions are no faster.

    Args:
        dense: block to compute.
        dtype: data type of the convolutions.
        exact: compute the result more exactly than `dtype` allows.
    """

    def __init__(self, dense: Dense, dtype: torch.dtype, *, exact: bool = False) -> None:
        super().__init__()
        *hidden, (last, bias) = dense.kernels()
        growth = hidden[0][0].shape[0] if hidden else 0
        first = last.shape[1] - growth * len(hidden)
        if dense.zero_for == "flat":
            hidden = [(balanced(weight, first, dtype), move) for weight, move in hidden]
            last = balanced(last, first, dtype)
        self.dtype, self.exact, self.encode, self.slope = dtype, exact, dense.encode, dense.activation.negative_slope
        self.padding = 1 if dense.padding == "zeros" else 0
        """Padding of each convolution: 0 where features carry a frame of their own."""
        self.hidden = [(_pairs(weight, first, growth, dtype), move.detach()) for weight, move in hidden]
        self.outs, self.bias = len(last), bias.detach()
        self.fourfold = 4 * self.outs <= _LANES
        weight = _fourfold(last) if self.fourfold else last
        self.last = [packed(weight, dtype)] if exact else _pairs(weight, first, growth, dtype)
        self.balances = dense.zero_for != "nothing"
        """Whether the last bias takes off what zeros become: to the bit, so it is added after all roundings."""
        self.moving_bias = self.balances and self.encode is not None
        """Whether that bias depends on the code."""
        if self.balances and not self.moving_bias:
            self.bias = self._bias_for_zero(first)

    def _bias_for_zero(self, channels: int, code: Tensor | None = None) -> Tensor:
        """Compute the bias that takes off what zeros become, with the roundings of this data type."""
        zeros = self.bias.new_zeros(1, channels, 4, 4)
        with torch.no_grad():
            return -self._finish(self._features(zeros, code), torch.zeros_like(self.bias), 4, 4)[0, :, 0, 0]

    def forward(self, x: Tensor, code: Tensor | None = None) -> Tensor:
        """(N, channels, H, W) in float32 -> (N, out, H, W) in float32."""
        bias = self._bias_for_zero(x.shape[1], code) if self.moving_bias else self.bias
        return self._finish(self._features(x, code), bias, *x.shape[-2:])

    def _features(self, x: Tensor, code: Tensor | None) -> list[Tensor]:
        moves = self.encode(code).chunk(len(self.hidden)) if self.encode else [0.0] * len(self.hidden)
        sources = [self._framed(x.to(self.dtype, memory_format=CL))]
        for k, ((weights, bias), move) in enumerate(zip(self.hidden, moves, strict=True)):
            new = F.leaky_relu_(_sum(sources, weights, (bias + move).to(self.dtype), self.padding), self.slope)
            if k % 2:
                sources.append(self._framed(new))
            else:
                sources[-1] = torch.cat([sources[-1], self._framed(new)], dim=1)
        return sources

    def _framed(self, x: Tensor) -> Tensor:
        return x if self.padding else framed(x, "replicate")

    def _finish(self, sources: list[Tensor], bias: Tensor, height: int, width: int) -> Tensor:
        if self.exact and len(sources) > 1:
            sources = [torch.cat(sources, dim=1)]
        if self.fourfold and (height % 2 or width % 2):
            sources = [F.pad(x, (0, width % 2, 0, height % 2)) for x in sources]
        stride, bias = (2, bias.repeat_interleave(4)) if self.fourfold else (1, bias)
        if self.exact and self.dtype != torch.float32 and not torch.is_grad_enabled():
            made = _sum(sources, self.last, None, self.padding, stride)
            whole = made.float()
            whole += add(made.neg_(), sources[0], self.last[0], self.padding, stride)
            whole += bias[:, None, None]
        elif self.balances and not torch.is_grad_enabled():
            whole = _sum(sources, self.last, None, self.padding, stride).float()
            whole += bias[:, None, None]
        else:
            whole = _sum(sources, self.last, bias.to(self.dtype), self.padding, stride).float()
        return shuffle(whole, 2)[..., :height, :width] if self.fourfold else whole


def _pairs(weight: Tensor, first: int, growth: int, dtype: torch.dtype) -> list[Tensor]:
    """Group the kernels by pairs of features: the input and the first, the second and third, and so on."""
    channels = weight.shape[1]
    starts = [0, *range(first + growth, channels, 2 * growth)] if growth else [0]
    return [packed(weight[:, a:b], dtype) for a, b in zip(starts, [*starts[1:], channels], strict=True)]


def _fourfold(weight: Tensor) -> Tensor:
    """(O, C, 3, 3) -> (4·O, C, 4, 4): with stride 2 and a pixel shuffle the same convolution, four pixels at once."""
    made = weight.new_zeros(weight.shape[0], 4, weight.shape[1], 4, 4)
    for pixel in range(4):
        row, column = divmod(pixel, 2)
        made[:, pixel, :, row : row + 3, column : column + 3] = weight
    return made.flatten(0, 1)


def _sum(sources: list[Tensor], weights: list[Tensor], bias: Tensor | None, padding: int, stride: int = 1) -> Tensor:
    """Compute a convolution of many channels part by part, and sum."""
    made = conv2d(sources[0], weights[0], bias, stride=stride, padding=padding)
    for source, weight in zip(sources[1:], weights[1:], strict=True):
        made = add(made, source, weight, padding, stride)
    return made
