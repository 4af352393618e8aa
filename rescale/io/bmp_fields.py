"""BMP files whose colours lie in any bits of 16 or 32, by masks; Pillow reads the usual masks only."""

import struct
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_BITFIELDS = (3, 6)
Samples = NDArray[np.uint8]


class Header(NamedTuple):
    """Facts of a BMP with masks."""

    width: int
    height: int
    """Negative if the rows run from top to bottom."""
    bits: int
    masks: tuple[int, int, int, int]
    start: int

    @property
    def has_lost_alpha(self) -> bool:
        """Whether Pillow reads the colours, but not the alpha."""
        return self.bits == 16 and self.masks[3] > 0

    @property
    def size(self) -> tuple[int, int]:
        return self.width, abs(self.height)


def header(data: bytes) -> Header | None:
    """Read the header; None for a BMP without masks."""
    if data[:2] != b"BM" or len(data) < 54:
        return None
    start, length, width, height, _, bits, coding = struct.unpack_from("<IIiiHHI", data, 10)
    if coding not in _BITFIELDS or bits not in (16, 32) or length < 40 or width < 1 or not height:
        return None
    has_alpha = length >= 56 or coding == 6
    masks = struct.unpack_from("<4I" if has_alpha else "<3I", data, 54)
    return Header(width, height, bits, (*masks, 0)[:4], start)


def read(found: Header, data: bytes) -> Samples:
    """Decode (H, W, 3 or 4). Raises: ValueError where the file is too short."""
    width, height = found.size
    stride = (width * found.bits // 8 + 3) // 4 * 4
    if len(data) < found.start + stride * height:
        raise ValueError(f"expected {stride * height} bytes of pixels, got {len(data) - found.start}")
    rows = np.frombuffer(data, np.uint8, stride * height, found.start).reshape(height, stride)
    words = np.ascontiguousarray(rows[:, : width * found.bits // 8]).view(f"<u{found.bits // 8}")
    planes = [_plane(words, mask) for mask in found.masks[: 4 if found.masks[3] else 3]]
    return np.dstack(planes)[:: -1 if found.height > 0 else 1]


def _plane(words: NDArray[np.unsignedinteger], mask: int) -> Samples:
    """Take the bits of a mask and stretch them to 8."""
    if not mask:
        return np.zeros(words.shape, np.uint8)
    shift = (mask & -mask).bit_length() - 1
    top = mask >> shift
    levels: Samples = (((words & mask) >> shift) * (255 / top)).round().astype(np.uint8)
    return levels
