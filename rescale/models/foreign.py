"""Networks of other authors: told by their tensors and run by spandrel, under the contract of ours."""

import copy
import inspect
import math
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Self, cast

import torch
from torch import Tensor, nn

from rescale.errors import MachineError, UsageError, WeightsError
from rescale.geometry import Size
from rescale.models.base import RescalingModel
from rescale.ops.resample import resample
from rescale.ops.tiling import TileCall, upscale_tiles

_HALO, _BLEND = 64, 16
_WINDOWS = 32
"""Side that windows of attention divide: tiles begin at its multiples, so that each falls into the same windows."""
_PURPOSES = ("SR", "Restoration")
_RANDOM = ("AuraSR",)
"""Architectures that draw random numbers, and so never make the same image twice."""


@dataclass(frozen=True)
class ForeignConfig:
    """Description of a network of another author; it does not suffice to build one."""

    architecture: str
    scale: int
    channels: int
    purpose: str
    tags: tuple[str, ...] = ()
    tiling: str = "supported"


class Foreign(RescalingModel):
    """A community model: super-resolution by a whole factor, or restoration at scale 1.

    `downscale` is bicubic, as of the super-resolution models of ours. A network of one channel sees red, green and blue
    one after the other.

    How far its pixels reach is not known, and of many networks it is further than any halo (ESRGAN's is some 350
    pixels, channel attention sees all): an image in tiles, which fade into each other, is close to the whole one's, not
    equal to it.

    Args:
        descriptor: spandrel's `ImageModelDescriptor`, in float32 on the CPU.
    Raises: WeightsError for a kind of network that is not served.
    """

    Config = ForeignConfig
    config: ForeignConfig
    super_resolves = True
    scale: int

    def __init__(self, descriptor: Any) -> None:
        super().__init__()
        _check(descriptor)
        self.config = ForeignConfig(
            descriptor.architecture.id,
            descriptor.scale,
            descriptor.input_channels,
            descriptor.purpose,
            tuple(map(str, descriptor.tags)),
            descriptor.tiling.name.lower(),
        )
        self.scale = self.multiple = descriptor.scale
        self.cell = math.lcm(descriptor.size_requirements.multiple_of, _WINDOWS)
        self.halo = -(-_HALO // self.cell) * self.cell
        # An estimate, as memory depends on the architecture: features of 64 channels at the HR size, and attention of
        # six heads in windows of 24 pixels at the LR size, each with its copies.
        self.bytes_per_pixel = 3000 + 50_000 / descriptor.scale**2
        self.dtype = torch.float32
        self.descriptor, self.network = descriptor, cast(nn.Module, descriptor.model)
        self.network.register_forward_hook(_infinity_as_nan)

    def __reduce_ex__(self, _protocol: Any) -> tuple[Any, ...]:
        """Pickled as its tensors, since a descriptor holds functions without a name; copied as it is."""
        tensors = {key: tensor.detach().cpu() for key, tensor in self.network.state_dict().items()}
        return _rebuilt, (tensors,)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        new = self.__new__(type(self))
        memo[id(self)] = new
        new.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return new

    def to(self, *args: Any, memory_format: object = None, **words: Any) -> Self:
        """Move or cast; the memory format stays, since strangers' networks view features as the usual one has them."""
        return super().to(*args, **words)

    def compute_in(self, dtype: torch.dtype, *, is_asked: bool) -> torch.dtype:
        """Cast the network. Raises: UsageError where the type was asked for and the architecture does not support it.

        On its own this package takes float16 alone, which is CUDA's: what bfloat16 costs such a network is not known.
        """
        supported = {torch.float16: self.descriptor.supports_half, torch.bfloat16: self.descriptor.supports_bfloat16}
        if is_asked and not supported.get(dtype, True):
            raise UsageError(f"{self.config.architecture} does not work in {str(dtype).removeprefix('torch.')}")
        is_taken = supported.get(dtype, True) and (is_asked or dtype == torch.float16)
        self.dtype = dtype if is_taken else torch.float32
        self.network.to(self.dtype)
        return self.dtype

    def downscale(self, hr: Tensor, size: Size | None = None) -> Tensor:
        if self.scale == 1:
            raise UsageError(f"expected a model that makes images smaller, got {self.config.architecture} at scale 1")
        return resample(hr, (hr.shape[-2] // self.scale, hr.shape[-1] // self.scale))

    def upscale(self, lr: Tensor, size: Size | None = None) -> Tensor:
        planes = lr.to(self.dtype).clone(memory_format=torch.contiguous_format)  # some change their input (RCAN)
        planes = planes.flatten(0, 1)[:, None] if self.config.channels == 1 else planes
        made = torch.cat([self._one(plane[None]) for plane in planes])
        return made.reshape(lr.shape[0], 3, *made.shape[-2:]).float()

    def upscale_tiles(self, size: Size, full: Size, side: int) -> Iterable[TileCall]:
        side = max(side // self.scale, 2 * _BLEND)
        return upscale_tiles(self.upscale, size, self.scale, side=side, halo=self.halo, cell=self.cell, blend=_BLEND)

    def _one(self, x: Tensor) -> Tensor:
        """Call the descriptor on one image, which it pads and clamps; so that gradients pass, if any are wanted."""
        call = inspect.unwrap(type(self.descriptor).__call__)  # out of spandrel's inference mode
        return cast(Tensor, call(self.descriptor, x))


def network(tensors: dict[str, Tensor], name: str, guard: Callable[[], Any]) -> Foreign:
    """Build the network that a state dictionary belongs to.

    Args:
        tensors: by the names of its architecture; may be changed.
        name: name of the file, for error messages.
        guard: context manager within which the network is built.
    Raises: WeightsError where spandrel knows none, the tensors do not fit, or the network is of a kind that is not
        served; MachineError where spandrel is missing or broken.
    """
    spandrel = _spandrel(name)
    try:
        with guard(), warnings.catch_warnings(action="ignore"):  # of torch, about how these networks are written
            descriptor = spandrel.ModelLoader("cpu").load_from_state_dict(tensors)
    except spandrel.UnsupportedModelError as error:
        raise WeightsError(
            f"{name}: expected a network written by rescale or of an architecture that spandrel knows, got neither"
        ) from error
    except MemoryError:
        raise
    except Exception as error:  # whatever its 42 architectures raise for tensors that are not theirs
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise WeightsError(f"{name}: its tensors fit no architecture that spandrel knows: {reason}") from error
    try:
        return Foreign(descriptor).eval()
    except WeightsError as error:
        raise WeightsError(f"{name}: {error}") from error


def _check(descriptor: Any) -> None:
    """Check that an image goes in and an image comes out. Raises: WeightsError that names the kind of network."""
    kind, channels = descriptor.purpose, (descriptor.input_channels, descriptor.output_channels)
    name = descriptor.architecture.id
    if kind not in _PURPOSES:
        raise WeightsError(f"expected a network for super-resolution or restoration, got {name}, which is for {kind}")
    if name in _RANDOM:
        raise WeightsError(f"expected a network that always makes the same image, got {name}, which draws at random")
    if descriptor.tiling.name == "INTERNAL":
        raise WeightsError(f"expected a network that can work in tiles, got {name}, which sees the whole image at once")
    if channels not in ((3, 3), (1, 1)):
        raise WeightsError(
            f"expected RGB or grey in and out, got {name} of {channels[0]} channels in and {channels[1]} out"
        )


def _spandrel(name: str) -> ModuleType:
    """Import spandrel, which imports torchvision. Raises: MachineError where either is missing or broken."""
    try:
        import spandrel
    except ImportError as error:
        raise MachineError(
            f"{name} was not written by rescale, and for other networks {error.name or 'spandrel'} is missing: "
            "pip install 'rescale[models]'"
        ) from error
    except RuntimeError as error:  # operator torchvision::nms does not exist
        reason = str(error).splitlines()[0][:100]
        raise MachineError(
            f"{name} needs spandrel, whose torchvision does not fit torch here ({reason}): "
            "install both from the same index in one command"
        ) from error
    return spandrel


def _infinity_as_nan(_network: nn.Module, _inputs: Any, output: Any) -> Any:
    """Keep overflows in sight, which spandrel would clamp to white."""
    return torch.where(output.isinf(), torch.nan, output) if isinstance(output, Tensor) else output


def _rebuilt(tensors: dict[str, Tensor]) -> Foreign:
    return Foreign(_spandrel("a copy").ModelLoader("cpu").load_from_state_dict(tensors)).eval()
