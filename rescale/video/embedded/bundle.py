"""Bundle of the networks in a video, as bytes: quantised against a shipped network where they started from one.

Networks that started from another are stored in half precision, later ones as differences where that is smaller; one
that training could not improve is stored in full precision, so its results are exactly the same.

```
safetensors     header: model, config, parts, side and slot of the patches, and the start, or what is wide or differs
  frames        where it has one, the table of the LR frames, see `frames`; older readers pass it over
  map           numbers of the networks, (slots, rows, columns), deflated
  network.0 …   with a start: see `quantization`
                else: parameters as float16, or float32 if wide, low bytes before high bytes, deflated
```
"""

import copy
import dataclasses
import hashlib
import json
import zlib
from dataclasses import dataclass, field
from typing import Annotated, Any, cast

import numpy as np
import safetensors
import safetensors.torch
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from torch import Tensor

from rescale.errors import RecordError, RescaleError
from rescale.io.record import is_newer
from rescale.models import MODELS, LumaSR, beyond, build
from rescale.models.weights import header_text
from rescale.video.embedded.frames import FrameTable
from rescale.video.embedded.partition import Partition
from rescale.video.embedded.quantization import Start

_KEY = "rescale"
_MOST_BYTES = 2**26
_DAMAGE = (ValueError, KeyError, TypeError, RecursionError, zlib.error, RescaleError, safetensors.SafetensorError)
_MOST_NUMBERS = 2**26
_LIMITS = {"scale": 4, "cell": 4, "kernels": 9, "widths": 128, "channels": 64, "blocks": 32, "widen": 8}
"""Limits on the configuration, so that no header asks for more memory than any useful network."""
Bits = NDArray[np.uint16] | NDArray[np.uint32]
Count = Annotated[int, Field(ge=1, le=2**20)]


class _Header(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")

    version: Annotated[int, Field(ge=1, le=3)]
    """Version; 3 with a start, 1 without one and where no network is wide, so that older readers can read it."""
    model: str
    config: dict[str, Any]
    shape: tuple[Count, Count, Count]
    side: Count
    slot_ms: Count
    differs: list[bool] = Field(min_length=1, max_length=256)
    """For each network, whether it is stored as its difference from the first."""
    start: str | None = Field(default=None, pattern=r"^[0-9a-f]{16}$")
    """Digest of the shipped network that the networks are coded against."""
    wide: list[bool] = []
    """For each network, whether it is stored as float32; an empty list means none."""

    @model_validator(mode="after")
    def _one_for_each_network(self) -> "_Header":
        if (self.version == 3) != (self.start is not None):
            raise ValueError("version 3 has a start, and no other has")
        wide = self.wide or [False] * len(self.differs)
        if len(wide) != len(self.differs) or any(a and (b or wide[0]) for a, b in zip(self.differs, wide, strict=True)):
            raise ValueError("differences are of half precision, and so is what they differ from")
        return self


@dataclass(frozen=True)
class NetworkBundle:
    """Networks and partition that a receiver needs besides the LR video."""

    networks: list[LumaSR]
    partition: Partition
    start: Start | None = None
    """Shipped network that the networks are coded against, rounded accordingly."""
    frames: FrameTable = field(default_factory=FrameTable)
    """Frames that the networks are for; empty in videos of earlier releases."""

    def pack(self) -> bytes:
        """Serialise as an attachment; the opposite of `unpack`."""
        if self.start:
            return self._packed([self.start.pack(network) for network in self.networks], version=3)
        flat = [_flat(network) for network in self.networks]
        wide = [bool((numbers.half().float() != numbers).any()) for numbers in flat]
        bits = [_bits(numbers, is_wide) for numbers, is_wide in zip(flat, wide, strict=True)]
        plain = [_deflated(own) for own in bits]
        moved = [
            own if wide[0] or is_wide else _deflated(b - bits[0])
            for own, b, is_wide in zip(plain, bits, wide, strict=True)
        ]
        differs = [k > 0 and len(b) < len(a) for k, (a, b) in enumerate(zip(plain, moved, strict=True))]
        chosen = [b if is_moved else a for a, b, is_moved in zip(plain, moved, differs, strict=True)]
        return self._packed(chosen, version=2 if any(wide) else 1, wide=wide if any(wide) else [], differs=differs)

    def _packed(self, networks: list[bytes], **facts: Any) -> bytes:
        first, partition = self.networks[0], self.partition
        header = _Header(
            model=next(name for name, cls in MODELS.items() if type(first) is cls),
            config=json.loads(json.dumps(dataclasses.asdict(first.config))), shape=partition.choice.shape,  # type: ignore[arg-type]
            side=partition.side, slot_ms=partition.slot_ms, start=self.start.digest if self.start else None,
            **{"differs": [False] * len(networks), **facts},
        )  # fmt: skip
        tensors = {"map": _as_tensor(zlib.compress(partition.choice.numpy().tobytes(), 9))}
        tensors |= {f"network.{k}": _as_tensor(data) for k, data in enumerate(networks)}
        if self.frames.slots:
            tensors["frames"] = _as_tensor(self.frames.pack())
        return safetensors.torch.save(tensors, {_KEY: header.model_dump_json(exclude_none=True)})

    @classmethod
    def unpack(cls, data: bytes, sha256: str) -> "NetworkBundle":
        """Deserialise. Raises: RecordError for bytes with another digest, and for contents that do not fit together."""
        if hashlib.sha256(data).hexdigest() != sha256 or len(data) > _MOST_BYTES:
            raise RecordError("the networks in it are damaged")
        try:
            header = _Header.model_validate_json(header_text(data, _KEY), strict=False)
            tensors = {key: bytes(value.numpy()) for key, value in safetensors.torch.load(data).items()}
            start = _start(header)
            table = FrameTable.unpack(tensors.get("frames", b""))
            return cls(_networks(header, tensors, start), _partition(header, tensors["map"]), start, table)
        except RecordError:
            raise
        except ValidationError as error:
            if is_newer(error):
                raise RecordError("the networks in it were written by a newer rescale; update this one") from error
            raise RecordError("the networks in it are damaged") from error
        except _DAMAGE as error:
            raise RecordError("the networks in it are damaged, or not of this format") from error

    @property
    def scale(self) -> int:
        scale = self.networks[0].scale
        assert scale
        return scale

    @property
    def map_bytes(self) -> int:
        """Bytes of the compressed map alone."""
        return len(zlib.compress(self.partition.choice.numpy().tobytes(), 9))


def as_half_precision(network: LumaSR) -> LumaSR:
    """Return a copy with its parameters rounded as they travel."""
    made = copy.deepcopy(network).eval().requires_grad_(False)
    made.load_state_dict({key: value.half().float() for key, value in made.state_dict().items()})
    return made


def _start(header: _Header) -> Start | None:
    if header.start is None:
        return None
    start = Start.find(header.start)
    if start is None:
        raise RecordError(f"the networks in it start from {header.model} weights that this release has not")
    if not start.network.is_residual or type(start.network) is not MODELS.get(header.model):
        raise RecordError(f"the networks in it do not start from {header.model}")
    return start


def _networks(header: _Header, tensors: dict[str, bytes], start: Start | None) -> list[LumaSR]:
    if start:
        return [start.unpack(tensors[f"network.{k}"]) for k in range(len(header.differs))]
    found: list[LumaSR] = []
    first: Bits | None = None
    for key, value, _ in beyond(header.config, _LIMITS):
        numbers = value if isinstance(value, list) else [value]
        raise RecordError(f"the networks in it are too large: {key} of {numbers}"[:80])
    for k, is_difference in enumerate(header.differs):
        network = build(header.model, header.config)
        if not isinstance(network, LumaSR) or not network.is_residual:
            raise RecordError(f"the networks in it are {header.model}, which does not enlarge video")
        is_wide = bool(header.wide) and header.wide[k]
        bits = _inflated(tensors[f"network.{k}"], network.parameter_count, np.uint32 if is_wide else np.uint16)
        if is_difference and first is None:
            raise RecordError("the networks in it are damaged: the first is a difference")
        bits = bits + first if is_difference and first is not None else bits
        first = bits if first is None else first
        found.append(_filled(network, bits))
    return found


def _partition(header: _Header, data: bytes) -> Partition:
    slots, rows, columns = header.shape
    count = slots * rows * columns
    if count > _MOST_NUMBERS:
        raise RecordError("the map of its patches is too large")
    choice = torch.from_numpy(np.frombuffer(_unzipped(data, count), np.uint8).reshape(slots, rows, columns).copy())
    if int(choice.max()) >= len(header.differs):
        raise RecordError("the map of its patches names a network that is not there")
    cell = int(header.config.get("cell", 1))
    if header.side % cell:
        raise RecordError("its patches are not of whole cells")
    return Partition(choice, header.side, header.slot_ms)


def _flat(network: LumaSR) -> Tensor:
    return torch.cat([value.detach().cpu().flatten() for value in network.state_dict().values()])


def _bits(numbers: Tensor, is_wide: bool) -> Bits:
    return numbers.numpy().view(np.uint32) if is_wide else numbers.half().numpy().view(np.uint16)


def _filled(network: LumaSR, bits: Bits) -> LumaSR:
    numbers = torch.from_numpy(bits.view(f"f{bits.itemsize}").astype(np.float32))
    if not torch.isfinite(numbers).all():
        raise RecordError("the networks in it hold numbers that are not finite")
    state = network.state_dict()
    parts = numbers.split([value.numel() for value in state.values()])
    network.load_state_dict({key: part.reshape(state[key].shape) for key, part in zip(state, parts, strict=True)})
    return network.eval().requires_grad_(False)


def _deflated(bits: Bits) -> bytes:
    """Compress with bytes of like significance together: all low ones first, all high ones last."""
    return zlib.compress(np.ascontiguousarray(bits.view(np.uint8).reshape(-1, bits.itemsize).T).tobytes(), 9)


def _inflated(data: bytes, count: int, kind: type[np.uint16] | type[np.uint32]) -> Bits:
    width = np.dtype(kind).itemsize
    planes = np.frombuffer(_unzipped(data, width * count), np.uint8).reshape(width, count)
    return cast(Bits, np.ascontiguousarray(planes.T).view(kind).reshape(count))


def _unzipped(data: bytes, length: int) -> bytes:
    """Decompress exactly so many bytes; longer output is never produced. Raises: RecordError."""
    made = zlib.decompressobj().decompress(data, length + 1)
    if len(made) != length:
        raise RecordError("the networks in it are damaged: they are of another length")
    return made


def _as_tensor(data: bytes) -> Tensor:
    return torch.frombuffer(bytearray(data), dtype=torch.uint8)
