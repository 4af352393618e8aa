"""Run a model on an image of any size: pad, split into overlapping tiles, stitch, crop."""

import copy
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial

import torch
from torch import Tensor

from rescale import ops
from rescale.device import is_out_of_memory, isolated, release_memory, tile_sides
from rescale.errors import MachineError, RescaleError
from rescale.geometry import Size
from rescale.inference import optimize
from rescale.inference.optimize import Precision
from rescale.models import RescalingModel
from rescale.ops.tiling import TensorFunction, TileCall, tiled, whole

NOT_FINITE = "the network made numbers that are not finite; nothing was written"


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
        """Pad, split into tiles, call, stitch, crop.

        Args:
            source: (N, 1 or 3, H, W).
            way: direction, from `down` or `up`.
            top: the highest level, for levels in and out; else floats in [0, 1].
            is_grey: make one channel, the mean of RGB.
        Raises: RescaleError where numbers come out that are not finite; MachineError where memory is short.
        """

        def load(device: torch.device, x: Tensor) -> Tensor:
            x = x.to(device, torch.float32)
            x = x / top if top else x
            return x.expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)

        def store(y: Tensor) -> Tensor:
            if not torch.isfinite(y).all():
                raise _NotFiniteError
            y = y.mean(dim=1, keepdim=True) if is_grey else y
            return ops.to_levels(y, top).to(source.dtype).cpu() if top else y.cpu()

        with isolated(), torch.inference_mode():
            results = [self._tiled(one[None], way, load, store) for one in ops.pad(source, way.multiple)]
        return ops.crop(torch.cat(results), way.size)

    def _tiled(
        self, source: Tensor, way: Direction, load: Callable[[torch.device, Tensor], Tensor], store: TensorFunction
    ) -> Tensor:
        """Run in tiles as large as memory allows; the result does not depend on their size."""
        problem = "nothing was tried"
        for device, network in self._networks(way):
            for side in tile_sides(device, network.bytes_per_pixel):
                try:
                    return tiled(way.pieces(network, side), source, way.inner, load=partial(load, device), store=store)
                except _NotFiniteError:
                    problem = ""
                    break
                except (RuntimeError, MemoryError) as error:
                    if not is_out_of_memory(error):
                        raise
                    problem = f"not enough memory, even in tiles of {side} pixels a side"
                release_memory()
        raise MachineError(problem) if problem else _NotFiniteError(NOT_FINITE)

    def _networks(self, way: Direction) -> Iterator[tuple[torch.device, RescalingModel]]:
        """Yield the networks to try in turn: the fastest that is exact enough, the exact one, the same on the CPU."""
        least = min(max(a / b, b / a) for a, b in zip(way.source, way.inner, strict=True))
        is_exact_enough = self.dtype != torch.bfloat16 or least >= self.model.bfloat16_from
        yield self.device, self.fast if is_exact_enough else self.exact
        if self.dtype == torch.float16:  # whose largest number is 65,504
            yield self.device, self.exact
        if self.device.type != "cpu":
            warnings.warn(f"{self.device} has not enough memory; this picture is made on the CPU", stacklevel=5)
            yield torch.device("cpu"), optimize.optimize_for_inference(copy.deepcopy(self.model).cpu(), "float32")


class _NotFiniteError(RescaleError):
    """A number overflowed, or a weight is broken."""
