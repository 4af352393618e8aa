"""NAL units of H.264 and H.265: SEI messages put into packets of an encoder, and found in those of a file."""

import re
from collections.abc import Iterable, Iterator

CODECS = ("h264", "hevc")
"""Codecs, in FFmpeg's words, whose packets are NAL units."""
Message = tuple[int, bytes]
"""Type and payload of an SEI message."""
_SEI = {"h264": b"\x06", "hevc": b"\x4e\x01"}
"""Header of an SEI unit; in H.265 of one that stands in front of the picture, in the base layer."""
_START = re.compile(rb"\x00\x00\x01")
_FORBIDDEN = re.compile(rb"\x00\x00(?=[\x00-\x03])")
_ESCAPED = re.compile(rb"\x00\x00\x03")


def escape(data: bytes) -> bytes:
    """Prevent the emulation of start codes: no two zeros are followed by 0 to 3."""
    return _FORBIDDEN.sub(b"\x00\x00\x03", data)


def unescape(data: bytes) -> bytes:
    """Undo `escape`."""
    return _ESCAPED.sub(b"\x00\x00", data)


def sei_unit(messages: Iterable[Message], codec: str) -> bytes:
    """Make a NAL unit, without start code, of SEI messages."""
    data = b"".join(_number(kind) + _number(len(payload)) + payload for kind, payload in messages)
    return _SEI[codec] + escape(data + b"\x80")


def messages(unit: bytes, codec: str) -> Iterator[Message]:
    """Yield the SEI messages of a NAL unit; none of other units, and of a damaged one those that are whole."""
    if not _is_sei(unit, codec):
        return
    data, at = unescape(unit[len(_SEI[codec]) :]), 0
    while at + 2 < len(data):
        kind, at = _read_number(data, at)
        size, at = _read_number(data, at)
        if at + size > len(data):
            return
        yield kind, data[at : at + size]
        at += size


def _is_sei(unit: bytes, codec: str) -> bool:
    """Tell whether a unit is of SEI, whatever its importance or layer."""
    return len(unit) > 2 and _kind(unit, codec) == _kind(_SEI[codec], codec)


def _kind(unit: bytes, codec: str) -> int:
    return unit[0] & 31 if codec == "h264" else unit[0] >> 1 & 63


def _is_picture(unit: bytes, codec: str) -> bool:
    """Tell whether a unit is a slice."""
    return 1 <= _kind(unit, codec) <= 5 if codec == "h264" else _kind(unit, codec) < 32


def _number(value: int) -> bytes:
    """Write the type or size of a message: 255 as often as it goes, then what is left."""
    return b"\xff" * (value // 255) + bytes([value % 255])


def _read_number(data: bytes, at: int) -> tuple[int, int]:
    """Read what `_number` writes; the second of the result is where it ends, behind the data for a broken one."""
    whole = at
    while whole < len(data) and data[whole] == 255:
        whole += 1
    return 255 * (whole - at) + (data[whole] if whole < len(data) else 0), whole + 1


def splice(packet: bytes, added: Iterable[bytes], codec: str) -> bytes:
    """Put units in front of the first slice of a packet, behind parameter sets and other SEI.

    Args:
        packet: with start codes, as encoders write it.
        added: NAL units.
        codec: one of `CODECS`.
    """
    first = next(m.start() for m in _START.finditer(packet) if _is_picture(packet[m.end() :][:1], codec))
    first -= first > 0 and packet[first - 1] == 0  # a start code of four bytes
    return packet[:first] + b"".join(b"\x00\x00\x00\x01" + unit for unit in added) + packet[first:]


def units(packet: bytes, length_size: int) -> Iterator[bytes]:
    """Yield the NAL units of a packet.

    Args:
        packet: as a demuxer hands it out.
        length_size: see `length_size`.
    """
    if not length_size:
        starts = list(_START.finditer(packet))
        ends = [m.start() for m in starts[1:]] + [len(packet)] * bool(starts)
        yield from (packet[m.end() : end].rstrip(b"\x00") for m, end in zip(starts, ends, strict=True))
        return
    at = 0
    while at + length_size < len(packet):
        begin = at + length_size
        at = begin + int.from_bytes(packet[at:begin])
        yield packet[begin:at]


def length_size(extradata: bytes | None, codec: str) -> int:
    """Return the bytes of the length in front of each unit, as in MP4 and MKV; 0 where start codes part them."""
    data, at = extradata or b"", 4 if codec == "h264" else 21
    return (data[at] & 3) + 1 if len(data) > at and data[0] == 1 else 0
