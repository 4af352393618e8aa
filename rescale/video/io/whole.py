"""Is a file all there? By the lengths that it states, and by the boxes of its container."""

import os
from pathlib import Path
from typing import Any, BinaryIO

from rescale.errors import InputError
from rescale.video.io.container import readable

_SEGMENT, _CLUSTER = 0x18538067, 0x1F43B675
_TOP = {0x1A45DFA3, _SEGMENT}
_IN_SEGMENT = {_CLUSTER, 0x114D9B74, 0x1549A966, 0x1654AE6B, 0x1C53BB6B, 0x1254C367, 0x1941A469, 0x1043A770, 0xEC, 0xBF}
"""IDs of the elements that may follow one another in a segment. Source: RFC 9559, section 5."""


def shortfall(container: Any, stream: Any, ends: dict[int, float], frame_s: float, path: Path) -> str | None:
    """Describe how a file that was read ends before its header says; None if it does not.

    The header's length is that of the longest stream, so all streams are compared with it. A picture may be shown for
    long, and not every container says how long; so a file whose boxes are all there is whole, whatever it states.

    Args:
        container: as it was opened.
        stream: of the video.
        ends: seconds at which each stream ended, by its index.
        frame_s: mean seconds of a frame.
        path: of the file.
    """
    told, seen = _told(container), max(ends.values(), default=0.0)
    own, end = own_length(stream), ends.get(stream.index, 0.0)
    if told is not None and seen < told - 2.5 * frame_s:
        found = f"it says {told:.2f} s and ends at {seen:.2f} s"
    elif own is not None and end < own - 2.5 * frame_s:
        found = f"its video says {own:.2f} s and ends at {end:.2f} s"
    else:
        return None
    return None if has_all_boxes(path) else found


def own_length(stream: Any) -> float | None:
    """Return the second at which a stream ends, by its header."""
    tag = stream.metadata.get("DURATION", "")
    if stream.duration:
        return float((stream.duration + (stream.start_time or 0)) * stream.time_base)
    try:
        parts = [float(part) for part in tag.split(":")]
    except ValueError:
        return None
    return sum(part * 60**k for k, part in enumerate(reversed(parts))) if len(parts) == 3 else None


def _told(container: Any) -> float | None:
    duration, begins = container.duration, max(container.start_time or 0, 0)
    if duration is None:
        return None
    return float(duration if "matroska" in container.format.name else duration + begins) / 1e6  # MKV counts from 0


def has_all_boxes(path: Path) -> bool:
    """Tell whether the boxes of an MP4, or the elements of an MKV, fill the file exactly; False where none can tell."""
    try:
        with readable(path) as file:
            length = os.fstat(file.fileno()).st_size
            is_ebml = file.read(4) == b"\x1a\x45\xdf\xa3"
            return _elements(file, 0, length, _TOP) if is_ebml else _boxes(file, length)
    except (OSError, ValueError, InputError):
        return False


def _boxes(file: BinaryIO, length: int) -> bool:
    at, seen = 0, set()
    while at < length:
        file.seek(at)
        head = file.read(16)
        size, header = int.from_bytes(head[:4]), 8
        if size == 1:
            size, header = int.from_bytes(head[8:]), 16
        seen.add(head[4:8])
        if size < header or not head[4:8].isascii():
            return False
        at += size
    return at == length and b"moov" in seen and b"moof" not in seen  # fragments may be missing without a trace


def _elements(file: BinaryIO, at: int, end: int, known: set[int]) -> bool:
    while at < end:
        file.seek(at)
        identity, size = _number(file, keeps_mark=True), _number(file)
        if identity not in known or size is None:
            return False
        begins = file.tell()
        if identity == _SEGMENT and not (begins + size <= end and _elements(file, begins, begins + size, _IN_SEGMENT)):
            return False
        at = begins + size
    return at == end


def _number(file: BinaryIO, *, keeps_mark: bool = False) -> int | None:
    """Read a number of variable length; None for the one that means unknown."""
    first = file.read(1)
    if not first or not first[0]:
        raise ValueError("expected a number of EBML")
    length = 9 - first[0].bit_length()
    value = int.from_bytes(first + file.read(length - 1))
    if keeps_mark:
        return value
    value &= (1 << 7 * length) - 1
    return None if value == (1 << 7 * length) - 1 else value
