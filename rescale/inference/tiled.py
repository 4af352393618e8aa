"""Run a model on an image of any size: pad, split into overlapping tiles, stitch, crop."""

import copy
import math
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial

import torch
from torch import Tensor

from rescale import ops
from rescale.device import (
    download,
    exact_products,
    is_out_of_memory,
    isolated,
    release_memory,
    tile_sides,
    upload,
)
from rescale.errors import MachineError, RescaleError
from rescale.geometry import Size
from rescale.inference import optimize
from rescale.inference.optimize import Precision
from rescale.models import RescalingModel
from rescale.ops.tiling import TensorFunction, TileCall, tiled, whole

NOT_FINITE = "the network made numbers that are not finite; nothing was written"
_STAYS = 2**30
"""Bytes of the largest result that is put together in a GPU's memory."""


@dataclass(frozen=True)
class Direction:
    """The direction of a run, downscaling or upscaling, with its sizes."""

    source: Size
    """Size of the padded input."""
    inner: Size
    """Size of the padded output."""
    size: Size
    """Size of the output that is kept."""
    multiple: int = 1
    """Sides of the input are padded to multiples of this."""
    is_up: bool = False

    def pieces(self, network: RescalingModel, side: int) -> Iterable[TileCall]:
        """Return the network calls, in tiles of about `side` HR pixels."""
        if self.source == self.inner and network.scale is None:  # at scale 1 the small picture is the picture
            return [whole(lambda x: x, self.source, self.inner)]
        cut = network.upscale_tiles if self.is_up else network.downscale_tiles
        return cut(self.source, self.inner, side)


class TiledRunner:
    """A model on a device, with the means to run it; remembers nothing between calls.

    Args:
        model: on the device already, its weights fixed.
        device: the model's device.
        precision: data type of the convolutions, see `optimize_for_inference`.
    """

    def __init__(self, model: RescalingModel, device: torch.device, precision: Precision) -> None:
        self.model, self.device = model, device
        self.fast = optimize.optimize_for_inference(model, precision)
        self.dtype = self.fast.compute_in(optimize.compute_dtype(precision, device), is_asked=precision != "auto")

    @cached_property
    def exact(self) -> RescalingModel:
        """The same network in float32."""
        return self.fast if self.dtype == torch.float32 else optimize.optimize_for_inference(self.model, "float32")

    def down(self, full: Size, small: Size) -> Direction:
        """Return the direction from an HR size to an LR size."""
        scale = self.model.scale
        by = 1 if scale is None and full == small else self.model.multiple
        padded = -(-full[0] // by) * by, -(-full[1] // by) * by
        inner = (padded[0] // scale, padded[1] // scale) if scale else small
        return Direction(padded, inner, small, by)

    def up(self, small: Size, full: Size) -> Direction:
        """Return the direction from an LR size to an HR size: the inverse of `down`."""
        scale = self.model.scale
        return Direction(small, (small[0] * scale, small[1] * scale) if scale else full, full, is_up=True)

    def run(self, source: Tensor, way: Direction, *, top: int | None = None, is_grey: bool = False) -> Tensor:
        """Pad, split into tiles, call, stitch, crop, and bring to the host: see `run_there`."""
        return download(self.run_there(source, way, top=top, is_grey=is_grey))

    def run_there(self, source: Tensor, way: Direction, *, top: int | None = None, is_grey: bool = False) -> Tensor:
        """Pad, split into tiles, call, stitch, crop; the result stays in a GPU's memory if it has room.

        Args:
            source: (N, 1 or 3, H, W).
            way: direction, from `down` or `up`.
            top: the highest level, for levels in and out; else floats in [0, 1].
            is_grey: make one channel, the mean of RGB.
        Raises: RescaleError where numbers come out that are not finite; MachineError where memory is short.
        """

        def load(device: torch.device, x: Tensor) -> Tensor:
            x = upload(x, device).to(torch.float32)
            x = x / top if top else x
            return x.expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)

        def store(y: Tensor) -> Tensor:
            y = y.mean(dim=1, keepdim=True) if is_grey else y
            return ops.to_levels(y, top).to(source.dtype) if top else y

        with isolated(), torch.inference_mode():
            results = [self._tiled(one[None], way, load, store) for one in ops.pad(source, way.multiple)]
        return ops.crop(torch.cat(results), way.size)

    def _tiled(
        self, source: Tensor, way: Direction, load: Callable[[torch.device, Tensor], Tensor], store: TensorFunction
    ) -> Tensor:
        """Run in tiles as large as memory allows; the result does not depend on their size."""
        problem, size = "nothing was tried", max(way.source, way.inner)
        for device, network, dtype in self._networks(way):
            if device != self.device:
                reason = "has not enough memory" if problem else "makes numbers that are not finite"
                warnings.warn(f"{self.device} {reason}; this picture is made on the CPU", stacklevel=5)
            for side in tile_sides(device, network.bytes_per_pixel, size):
                try:
                    with exact_products(device, dtype):
                        return _stitched(way.pieces(network, side), source, way.inner, partial(load, device), store)
                except _NotFiniteError:
                    problem = ""
                    break
                except (RuntimeError, MemoryError) as error:
                    if not is_out_of_memory(error):
                        raise
                    problem = f"not enough memory, even in tiles of {side} pixels a side"
                release_memory()
        raise MachineError(problem) if problem else _NotFiniteError(NOT_FINITE)

    def _networks(self, way: Direction) -> Iterator[tuple[torch.device, RescalingModel, torch.dtype]]:
        """Yield the networks to try in turn: the fastest that is exact enough, the exact one, the same on the CPU."""
        least = min(max(a / b, b / a) for a, b in zip(way.source, way.inner, strict=True))
        is_exact_enough = self.dtype != torch.bfloat16 or least >= self.model.bfloat16_from
        if is_exact_enough:
            yield self.device, self.fast, self.dtype
        if not is_exact_enough or self.dtype == torch.float16:  # whose largest number is 65,504
            yield self.device, self.exact, torch.float32
        if self.device.type != "cpu":
            plain = copy.deepcopy(self.model).cpu()
            yield torch.device("cpu"), optimize.optimize_for_inference(plain, "float32"), torch.float32


def _stitched(
    calls: Iterable[TileCall], source: Tensor, size: Size, load: TensorFunction, store: TensorFunction
) -> Tensor:
    """Make the calls and stitch their results, which are checked: on a CPU one by one, on a GPU all at the end.

    There the host waits once, and the result stays unless it is very large.
    """
    flags: list[Tensor] = []

    def checked(y: Tensor) -> Tensor:
        flag = torch.isfinite(y).all()
        if y.device.type != "cuda" and not flag:
            raise _NotFiniteError
        flags.append(flag)
        y = store(y)
        stays = y.device.type == "cuda" and y.shape[1] * math.prod(size) * y.element_size() <= _STAYS
        return y if stays else y.cpu()

    result = tiled(calls, source, size, load=load, store=checked)
    if not torch.stack(flags).all():
        raise _NotFiniteError
    return result


class _NotFiniteError(RescaleError):
    """A number overflowed, or a weight is broken."""
