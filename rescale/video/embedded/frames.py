"""Tables of the frames that networks were trained on, by which each is known in a video that was cut or joined."""

import hashlib
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field

from torch import Tensor

_ENTRY = struct.Struct("<6sH")


def key_of(planes: list[Tensor]) -> bytes:
    """Digest of a frame's samples: 6 bytes, so that among a million frames of a table hardly one is taken for another.

    Args:
        planes: (h, w) uint8, or int32 for more than 8 bits.
    """
    total = hashlib.sha256()
    for plane in planes:
        total.update(repr(tuple(plane.shape)).encode() + plane.cpu().contiguous().numpy().astype("<u2").tobytes())
    return total.digest()[:6]


@dataclass(frozen=True)
class FrameTable:
    """Slots of a partition in which each frame of a video is shown; several where frames are the same."""

    slots: dict[bytes, list[int]] = field(default_factory=dict)

    @classmethod
    def of(cls, entries: Iterable[tuple[bytes, int]]) -> "FrameTable":
        """Make a table of keys and slots."""
        made: dict[bytes, list[int]] = {}
        for key, slot in entries:
            known = made.setdefault(key, [])
            if slot not in known:
                known.append(slot)
        return cls(made)

    def pack(self) -> bytes:
        """Serialise, in 8 bytes a frame; the opposite of `unpack`."""
        return b"".join(_ENTRY.pack(key, slot) for key, slots in self.slots.items() for slot in slots)

    @classmethod
    def unpack(cls, data: bytes) -> "FrameTable":
        """Deserialise. Raises: ValueError for a length that no table has."""
        if len(data) % _ENTRY.size:
            raise ValueError(f"expected entries of {_ENTRY.size} bytes, got {len(data)} bytes")
        return cls.of(_ENTRY.iter_unpack(data))
