"""Coupling blocks on a GPU: whole tensors, channels in eights, and as little memory traffic as PyTorch allows.

There a convolution costs what it reads and writes, and copies whatever does not lie side by side. So the features of a
dense block share one channels-last buffer: each convolution reads all of it, with weights of zero for what is not there
yet, and its activation writes beside what is. A bias is the weight of a channel of ones. All that is added to the low
band, and the detail, stay float32.
"""

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rescale.device import exact_products
from rescale.inference.convolution import CL, balanced
from rescale.models.layers import Coupling, Dense, framed

_STEP = 8
"""Channels of which tensor cores want a multiple."""
_NARROW = 64
"""Channels of a buffer up to which it is read whole: more would cost arithmetic instead of traffic."""


class GPUDense(nn.Module):
    """A `Dense` for inference on a GPU; the plain one is its reference.

    ```
    buffer: | input, one, zeros | first features | second features | ...    (N, channels, H, W), channels last
    ```

    Args:
        dense: block to compute.
        dtype: data type of the convolutions.
        gains: factor of each output, folded into the last kernel.
    """

    last: Tensor

    def __init__(self, dense: Dense, dtype: torch.dtype, gains: Tensor | None = None) -> None:
        super().__init__()
        *hidden, (last, bias) = dense.kernels()
        growth = hidden[0][0].shape[0] if hidden else 0
        channels = last.shape[1] - growth * len(hidden)
        if dense.zero_for == "flat":
            hidden, last = [(balanced(w, channels, dtype), b) for w, b in hidden], balanced(last, channels, dtype)
        if gains is not None:
            last, bias = last * gains[:, None, None, None].to(last), bias * gains.to(bias)
        self.dtype, self.encode, self.slope = dtype, dense.encode, dense.activation.negative_slope
        self.frame = 0 if dense.padding == "zeros" else 1
        self.channels, self.growth, self.outs, self.count = channels, _even(growth), len(last), len(hidden)
        self.first = _even(channels + 1)
        self.width = self.first + self.growth * len(hidden)
        """Channels of the buffer."""
        for k, (weight, move) in enumerate(hidden):
            self.register_buffer(f"hidden_{k}", self._laid_out(weight, growth, move, self._reads(k)), persistent=False)
        balances = dense.zero_for != "nothing"
        self.moving_bias = balances and self.encode is not None
        """Whether the last bias takes off what zeros become, and depends on the code."""
        self.register_buffer("last", self._laid_out(last, growth, None, self.width), persistent=False)
        if not self.moving_bias:
            self._add_bias(-self._of_zero(None) if balances else bias.detach().float())

    def forward(self, x: Tensor, code: Tensor | None = None) -> Tensor:
        """(N, channels, H, W) in float32 -> (N, out, H, W) in the block's type."""
        buffer = self._learned(x, code) if torch.is_grad_enabled() else self._filled(x, code)
        bias = F.pad(-self._of_zero(code), (0, len(self.last) - self.outs)) if self.moving_bias else None
        bias = bias.to(self.dtype) if bias is not None else None
        return F.conv2d(buffer, self.last, bias, padding=1 - self.frame)[:, : self.outs]

    def _of_zero(self, code: Tensor | None) -> Tensor:
        """Compute what zeros become, far from borders, but for the last bias and the last rounding."""
        with torch.no_grad(), exact_products(self.last.device, torch.float32):
            side = 2 * self.count + 3
            buffer = self._filled(self.last.new_zeros(1, self.channels, side, side, dtype=torch.float32), code)
            middle = slice(side // 2 + self.frame - 1, side // 2 + self.frame + 2)
            return F.conv2d(buffer[..., middle, middle].float(), self.last.float())[0, : self.outs, 0, 0]

    def _add_bias(self, bias: Tensor) -> None:
        """Add the last bias: as two numbers, or rounding alone would give flat images a tint."""
        first = bias.to(self.dtype)
        self.last[: self.outs, self.channels, 1, 1] = first
        if self.frame:  # where the ones go on beyond the edges
            self.last[: self.outs, self.channels, 0, 0] = (bias - first.float()).to(self.dtype)

    def _filled(self, x: Tensor, code: Tensor | None) -> Tensor:
        """Return the buffer of all features."""
        entry = self._entry(x)
        if not self.count:
            return entry
        size = len(x), self.width, *entry.shape[-2:]
        buffer = torch.empty(size, dtype=self.dtype, device=x.device, memory_format=CL)
        buffer[:, : self.first] = entry
        buffer[:, self.first + self.growth : self.first + self.growth * (self.count if self._is_narrow else 1)] = 0
        for k, move in enumerate(self._moves(code)):
            source = entry if k == 0 else buffer[:, : self._reads(k)].contiguous(memory_format=CL)
            at = self.first + k * self.growth
            part = buffer[:, at : at + self.growth]
            new = F.conv2d(source, self._hidden(k), move, padding=1 - self.frame)
            torch.ops.aten.leaky_relu.out(new, self.slope, out=self._inner(part))
            self._repeat_edges(part)
        return buffer

    def _learned(self, x: Tensor, code: Tensor | None) -> Tensor:
        """Return the same buffer by steps that have a gradient."""
        x = self._framed(x.to(self.dtype))
        ones = torch.ones_like(x[:, :1])
        features = torch.cat([x, ones, ones.new_zeros(1).expand(len(x), self._spare, *x.shape[-2:])], dim=1)
        for k, move in enumerate(self._moves(code)):
            weight = self._hidden(k)[:, : features.shape[1]]
            new = F.leaky_relu(F.conv2d(features, weight, move, padding=1 - self.frame), self.slope)
            features = torch.cat([features, self._framed(new)], dim=1)
        return features

    def _entry(self, x: Tensor) -> Tensor:
        """Return the input with its frame, a channel of ones, and zeros up to a multiple of eight channels."""
        height, width = (side + 2 * self.frame for side in x.shape[-2:])
        entry = torch.empty(len(x), self.first, height, width, dtype=self.dtype, device=x.device, memory_format=CL)
        self._inner(entry)[:, : self.channels] = x
        self._repeat_edges(entry[:, : self.channels])
        entry[:, self.channels] = 1
        entry[:, self.channels + 1 :] = 0
        return entry

    def _moves(self, code: Tensor | None) -> list[Tensor | None]:
        """Return what the code adds to the biases of the hidden convolutions."""
        if self.encode is None or code is None:
            return [None] * self.count
        moves = cast(Tensor, self.encode(code)).to(self.dtype).chunk(self.count)
        return [F.pad(move, (0, self.growth - len(move))) for move in moves]

    def _framed(self, x: Tensor) -> Tensor:
        return framed(x, "replicate") if self.frame else x

    def _inner(self, x: Tensor) -> Tensor:
        return x[..., 1:-1, 1:-1] if self.frame else x

    def _repeat_edges(self, x: Tensor) -> None:
        if self.frame:
            x[..., 0], x[..., -1] = x[..., 1], x[..., -2]
            x[..., 0, :], x[..., -1, :] = x[..., 1, :], x[..., -2, :]

    def _hidden(self, k: int) -> Tensor:
        return cast(Tensor, getattr(self, f"hidden_{k}"))

    @property
    def _is_narrow(self) -> bool:
        return self.width <= _NARROW

    @property
    def _spare(self) -> int:
        return self.first - self.channels - 1

    def _reads(self, k: int) -> int:
        """Return how many channels a hidden convolution reads: the first alone, later ones the whole buffer."""
        return self.width if k and self._is_narrow else self.first + k * self.growth

    def _laid_out(self, weight: Tensor, growth: int, bias: Tensor | None, reads: int) -> Tensor:
        """Spread a kernel (out, channels, 3, 3) over the buffer's channels; the bias is for the channel of ones."""
        made = weight.new_zeros(_even(len(weight)), reads, 3, 3)
        made[: len(weight), : self.channels] = weight.detach()[:, : self.channels]
        for k, part in enumerate(weight.detach()[:, self.channels :].split(growth or 1, dim=1)):
            at = self.first + k * self.growth
            made[: len(weight), at : at + growth] = part
        if bias is not None:
            made[: len(weight), self.channels, 1, 1] = bias.detach()
        return made.to(self.dtype).contiguous(memory_format=CL)


class GPUCoupling(nn.Module):
    """A `Coupling` for inference on a GPU; the plain one is its reference.

    Args:
        coupling: block to compute.
        dtype: data type of the convolutions.
    """

    def __init__(self, coupling: Coupling, dtype: torch.dtype) -> None:
        super().__init__()
        self.sizes = coupling.sizes
        self.to_low = GPUDense(coupling.to_low, dtype)
        detail, count = self.sizes[1], len(coupling.to_detail)
        halves = torch.cat([torch.full((detail,), 0.5), torch.ones(detail)]).chunk(count)  # of s / 2, exactly
        nets = (cast(Dense, net) for net in coupling.to_detail)
        self.to_detail = nn.ModuleList(GPUDense(net, dtype, gain) for net, gain in zip(nets, halves, strict=True))

    def forward(self, x: Tensor, code: Tensor | None = None) -> Tensor:
        x = x.contiguous(memory_format=CL)
        low, detail = x.split(self.sizes, dim=1)
        low = low + self.to_low(detail, code)
        factor, shift = self._factor_and_shift(low, code)
        return torch.cat([low, torch.addcmul(shift, detail, factor)], dim=1)

    def inverse(self, y: Tensor, code: Tensor | None = None) -> Tensor:
        y = y.contiguous(memory_format=CL)
        low, detail = y.split(self.sizes, dim=1)
        factor, shift = self._factor_and_shift(low, code)
        if torch.is_grad_enabled():
            detail = (detail - shift) / factor
            return torch.cat([low - self.to_low(detail, code), detail], dim=1)
        x = torch.empty_like(y)
        low_before, detail_before = x.split(self.sizes, dim=1)
        torch.sub(detail, shift, out=detail_before)
        detail_before.div_(factor)
        torch.sub(low, self.to_low(detail_before, code), out=low_before)
        return x

    def _factor_and_shift(self, low: Tensor, code: Tensor | None) -> tuple[Tensor, Tensor]:
        parts = [net(low, code) for net in self.to_detail]
        scale, shift = parts if len(parts) == 2 else parts[0].chunk(2, dim=1)
        shift = shift.add(scale, alpha=0)  # infinity times zero: a tanh would hide that something went wrong
        return scale.tanh().exp(), shift


def _even(channels: int) -> int:
    return -(-channels // _STEP) * _STEP
