"""Layers that networks are built from; an invertible one has its `inverse` beside its `forward`."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rescale.ops import full_precision, shuffle
from rescale.ops.resample import matrix

Padding = Literal["zeros", "replicate"]
ZeroFor = Literal["nothing", "zero", "flat"]


class SubPixelConv(nn.Module):
    """A convolution at low resolution, then a pixel shuffle: the upsampler that every model here shares.

    ```
    (N, C, H, W) ─ convolution ─▶ (N, out·s², H, W) ─ shuffle ─▶ (N, out, s·H, s·W)
    ```

    Args:
        channels: channels of the input.
        out: channels of the result.
        scale: s, the side of the cell that the s² channels of each output channel fill.
        kernel_size: odd; padded so that the size stays.
        bias: add a bias to the convolution.
    Source: ESPCN (1609.05158), section 2.2.
    """

    def __init__(self, channels: int, out: int, scale: int, *, kernel_size: int = 1, bias: bool = True) -> None:
        super().__init__()
        self.scale = scale
        self.conv = nn.Conv2d(channels, out * scale**2, kernel_size, padding=kernel_size // 2, bias=bias)

    @classmethod
    def fixed(cls, weight: Tensor, scale: int) -> "SubPixelConv":
        """Build a layer whose kernel (out·s², channels, k, k) is constant: no parameter, nothing in the weight file."""
        layer = cls(weight.shape[1], weight.shape[0] // scale**2, scale, kernel_size=weight.shape[-1], bias=False)
        del layer.conv.weight
        layer.conv.register_buffer("weight", weight, persistent=False)
        return layer

    def forward(self, x: Tensor) -> Tensor:
        return shuffle(self.conv(x), self.scale)


class BicubicUpsample(nn.Module):
    """Bicubic upscaling by a whole factor s, as `resample` does it, written as a sub-pixel convolution.

    (N, C, H, W) -> (N, C, s·H, s·W): the s² pixels that one becomes are fixed sums of the 5 x 5 around it, of which
    edges are mirrored. As no step depends on the size, it can be exported for all sizes at once.
    """

    def __init__(self, scale: int) -> None:
        super().__init__()
        self.scale = scale
        rows = matrix(9, 9 * scale)[4 * scale : 5 * scale, 2:7]  # of the pixel in the middle, far from the edges
        kernel = torch.einsum("ij,kl->ikjl", rows, rows).reshape(scale**2, 1, 5, 5)
        self.register_buffer("kernel", kernel.float(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        with full_precision(x):
            planes = _mirrored(_mirrored(x.reshape(-1, 1, height, width), -1), -2)
            large = shuffle(F.conv2d(planes, cast(Tensor, self.kernel).to(x.dtype)), self.scale)
        return large.reshape(*x.shape[:2], self.scale * height, self.scale * width)


class DCT(nn.Module):
    """Transform each cell of n x n pixels by a discrete cosine transform (DCT-II): means of all channels first.

    `(N, C, n·H, n·W) <-> (N, n²·C, H, W)`; the cosine of i half periods down and j across is band i·n + j. All bands
    weigh alike, and the first is itself an image. The way back is a sub-pixel convolution.

    Args:
        channels: C.
        side: n.
    """

    def __init__(self, channels: int, side: int) -> None:
        super().__init__()
        k, j = torch.arange(side, dtype=torch.float64)[:, None], torch.arange(side, dtype=torch.float64) + 0.5
        rows = torch.cos(math.pi * k * j / side) * k.clamp(max=1).add(1).sqrt()
        bands = torch.kron(rows, rows)  # (band, pixel), orthogonal, all of mean square one
        merge = (
            torch.einsum("bp,cd->cpbd", bands.float(), torch.eye(channels, dtype=torch.float32))
            .flatten(0, 1)
            .flatten(1, 2)
        )
        self.merge = SubPixelConv.fixed(merge[..., None, None], side)

    def forward(self, x: Tensor) -> Tensor:
        with full_precision(x):
            side = self.merge.scale
            split = self.merge.conv.weight.transpose(0, 1) / side**2
            return F.conv2d(F.pixel_unshuffle(x, side), split)

    def inverse(self, y: Tensor) -> Tensor:
        with full_precision(y):
            return self.merge(y)


class Haar(DCT):
    """Halve the sides into four bands: averages of all channels first, then horizontal, vertical, diagonal.

    `(N, C, H, W) <-> (N, 4C, H/2, W/2)`: the cosines of cells of two, whose kernel holds only -1 and 1. Divided by 4,
    not 2, so that the average band of an image is itself an image.

    Source: IRN (2005.05650), section 3.2; scaling and band order as in the released code.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, 2)


class Dense(nn.Module):
    """A dense block: each convolution sees the input and all earlier results; the last is linear and starts at zero.

    Starting at zero makes a coupling block the identity, so that an untrained network is the Haar pyramid.

    Args:
        channels: channels of the input.
        out: channels of the result.
        growth: channels that each hidden convolution adds.
        depth: number of convolutions, the last one included.
        gain: gain of the initial hidden weights; 0.1 in the released code, 1 learns faster in short runs.
        code: numbers that say what the input is, and move the biases of the hidden convolutions; ours.
        padding: what lies around an image: "zeros" as in the released code, or "replicate", its edge repeated, which
            gives an image of one colour features of one value, at any size.
        zero_for: inputs whose result is zero whatever the weights: "nothing" as in the released code; "zero", for which
            a constant is taken off; or all that are "flat", for which the kernels on the input sum to zero besides.
    Source: IRN (2005.05650), section 3.2; initialisation as in the released code.
    """

    def __init__(
        self,
        channels: int,
        out: int,
        *,
        growth: int = 32,
        depth: int = 5,
        gain: float = 0.1,
        code: int = 0,
        padding: Padding = "zeros",
        zero_for: ZeroFor = "nothing",
    ) -> None:
        super().__init__()
        self.padding, self.zero_for = padding, zero_for
        widths = [channels + growth * k for k in range(depth)]
        outs = [growth] * (depth - 1) + [out]
        biased = [True] * (depth - 1) + [zero_for == "nothing"]  # else what `kernels` computes takes its place
        self.convs = nn.ModuleList(
            nn.Conv2d(w, o, 3, padding=1, bias=b) for w, o, b in zip(widths, outs, biased, strict=True)
        )
        self.activation = nn.LeakyReLU(0.2)
        for conv in list(self.convs)[:-1]:
            nn.init.xavier_normal_(conv.weight).data.mul_(gain)  # type: ignore[arg-type]
            nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
        nn.init.zeros_(self.convs[-1].weight)  # type: ignore[arg-type]
        if self.convs[-1].bias is not None:
            nn.init.zeros_(self.convs[-1].bias)  # type: ignore[arg-type]
        self.encode = nn.Linear(code, growth * (depth - 1), bias=False) if code else None
        if self.encode:
            nn.init.zeros_(self.encode.weight)

    def forward(self, x: Tensor, code: Tensor | None = None) -> Tensor:
        *hidden, (last, bias) = self.kernels(code)
        features = framed(x, self.padding)
        for weight, move in hidden:
            new = self.activation(F.conv2d(features, weight, move))
            features = torch.cat([features.to(new.dtype), framed(new, self.padding)], dim=1)
        made = F.conv2d(features, last, bias)
        return made.to(x.dtype)  # under autocast only the convolutions are half as wide

    def kernels(self, code: Tensor | None = None) -> list[tuple[Tensor, Tensor]]:
        """Return weight and bias of each convolution, as `zero_for` has it, and the code, if there is one."""
        weights = [cast(Tensor, conv.weight) for conv in self.convs]
        biases = [cast(Tensor, conv.bias) for conv in self.convs]
        if self.encode and code is not None:
            moves = self.encode(code).chunk(len(biases) - 1)
            biases[:-1] = [bias + move for bias, move in zip(biases, moves, strict=False)]
        if self.zero_for == "flat":
            weights = [self._balanced(weight) for weight in weights]
        if self.zero_for != "nothing":
            biases[-1] = -self._at_zero(weights, biases)
        return list(zip(weights, biases, strict=True))

    def _balanced(self, weight: Tensor) -> Tensor:
        """Take the mean off each kernel on the input: what is the same everywhere no longer counts."""
        channels = self.convs[0].weight.shape[1]  # type: ignore[index]
        own = weight[:, :channels]
        return torch.cat([own - own.mean(dim=(2, 3), keepdim=True), weight[:, channels:]], dim=1)

    def _at_zero(self, weights: Sequence[Tensor], biases: Sequence[Tensor]) -> Tensor:
        """Compute what an input of zeros would become, but for the last bias; far from borders of zeros."""
        with full_precision(weights[0]):
            features = weights[0].new_zeros(weights[0].shape[1])
            for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
                features = torch.cat([features, self.activation(weight.sum(dim=(2, 3)) @ features + bias)])
            return weights[-1].sum(dim=(2, 3)) @ features


class Coupling(nn.Module):
    """An invertible block: the detail is added to the low band, then the low band scales and shifts the detail.

    ```
    low'    = low + φ(detail)
    detail' = detail · exp(s) + η(low')        s = tanh(ρ(low') / 2), so a factor stays within 1/e .. e
    ```

    Args:
        sizes: channels of (low, detail).
        growth: growth of the dense sub-networks.
        depth: depth of the dense sub-networks.
        gain: gain of their initial hidden weights.
        shared: let one sub-network make both ρ and η (ours, a quarter faster; the paper has two).
        code: see `Dense`.
        padding: see `Dense`.
        flat: leave flat input as it is, by construction: no detail makes none, nor does a flat low band. Ours.
    Source: IRN (2005.05650), equations 5 to 7.
    """

    def __init__(
        self,
        sizes: tuple[int, int],
        *,
        growth: int,
        depth: int,
        gain: float = 0.1,
        shared: bool = False,
        code: int = 0,
        padding: Padding = "zeros",
        flat: bool = False,
    ) -> None:
        super().__init__()
        low, detail = sizes
        self.sizes = sizes
        dense = partial(Dense, growth=growth, depth=depth, gain=gain, code=code, padding=padding)
        self.to_low = dense(detail, low, zero_for="zero" if flat else "nothing")
        outs = [2 * detail] if shared else [detail, detail]
        self.to_detail = nn.ModuleList(dense(low, out, zero_for="flat" if flat else "nothing") for out in outs)

    def forward(self, x: Tensor, code: Tensor | None = None) -> Tensor:
        low, detail = x.split(self.sizes, dim=1)
        low = low + self.to_low(detail, code)
        scale, shift = self._scale_and_shift(low, code)
        return torch.cat([low, detail * scale.exp() + shift], dim=1)

    def inverse(self, y: Tensor, code: Tensor | None = None) -> Tensor:
        low, detail = y.split(self.sizes, dim=1)
        scale, shift = self._scale_and_shift(low, code)
        detail = (detail - shift) * (-scale).exp()
        return torch.cat([low - self.to_low(detail, code), detail], dim=1)

    def _scale_and_shift(self, low: Tensor, code: Tensor | None) -> tuple[Tensor, Tensor]:
        scale, shift = torch.cat([net(low, code) for net in self.to_detail], dim=1).chunk(2, dim=1)
        return torch.tanh(scale / 2), shift


class Chain(nn.Module):
    """A chain of invertible steps; its inverse walks it backwards."""

    def __init__(self, *steps: nn.Module) -> None:
        super().__init__()
        self.steps = nn.ModuleList(steps)

    def forward(self, x: Tensor) -> Tensor:
        for step in self.steps:
            x = step(x)
        return x

    def inverse(self, y: Tensor) -> Tensor:
        for step in reversed(self.steps):
            y = step.inverse(y)  # type: ignore[operator]
        return y


class InnerLevel(nn.Module):
    """Invertible steps on a grid half as fine, between a Haar and its inverse.

    ```
    (N, C, H, W) ─ Haar of low, Haar of detail ─▶ (N, 4C, H/2, W/2) ─ steps ─ the same back ─▶ (N, C, H, W)
    ```

    A step there costs a quarter and sees twice as far. The first 4·low channels are all four bands of the low ones. An
    odd last row or column stays as it is, so that any size can be undone. Ours.

    Args:
        sizes: channels of (low, detail).
        steps: steps on 4·(low + detail) channels.
    """

    def __init__(self, sizes: tuple[int, int], *steps: nn.Module) -> None:
        super().__init__()
        self.sizes = sizes
        self.haars = nn.ModuleList(Haar(size) for size in sizes)
        self.chain = Chain(*steps)

    def forward(self, x: Tensor) -> Tensor:
        return self._inside(x, self.chain)

    def inverse(self, y: Tensor) -> Tensor:
        return self._inside(y, self.chain.inverse)

    def _inside(self, x: Tensor, steps: Callable[[Tensor], Tensor]) -> Tensor:
        height, width = x.shape[-2] // 2 * 2, x.shape[-1] // 2 * 2
        if not height or not width:
            return x
        even = self._back(steps(self._split(x[..., :height, :width])))
        wide = torch.cat([even, x[..., :height, width:]], dim=-1)
        return torch.cat([wide, x[..., height:, :]], dim=-2)

    def _split(self, x: Tensor) -> Tensor:
        return torch.cat([haar(part) for haar, part in zip(self.haars, x.split(self.sizes, dim=1), strict=True)], dim=1)

    def _back(self, y: Tensor) -> Tensor:
        parts = y.split([4 * size for size in self.sizes], dim=1)
        return torch.cat([haar.inverse(part) for haar, part in zip(self.haars, parts, strict=True)], dim=1)  # type: ignore[operator]


def framed(x: Tensor, padding: Padding) -> Tensor:
    """Pad one pixel on each side, as a 3x3 convolution needs to keep the size.

    Edges are repeated by slices: the gradient of torch's own padding cannot be compiled for channels-last tensors.
    """
    if padding == "zeros":
        return F.pad(x, (1, 1, 1, 1))
    wide = torch.cat([x[..., :1], x, x[..., -1:]], dim=-1)
    return torch.cat([wide[..., :1, :], wide, wide[..., -1:, :]], dim=-2)


def _mirrored(x: Tensor, axis: int) -> Tensor:
    """Pad two pixels on each side of an axis, mirrored with the edge repeated; works from one pixel up.

    By slices, not by `ops.pixels.mirror`: its indices would fix the size in an exported network.
    """
    length = x.shape[axis]
    if length == 1:
        return torch.cat([x] * 5, dim=axis)
    before, after = x.narrow(axis, 0, 2), x.narrow(axis, length - 2, 2)
    return torch.cat([before.flip(axis), x, after.flip(axis)], dim=axis)
