"""Record and networks of an LR video: in its container, or in SEI messages of its stream, which any copy keeps."""

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any
from uuid import UUID

from rescale.errors import InputError, RecordError
from rescale.io.record import KEY
from rescale.video.embedded import postfilter
from rescale.video.io import nal
from rescale.video.io.container import opened
from rescale.video.io.copies import ATTACHMENT
from rescale.video.io.streams import main_video
from rescale.video.record import VideoRecord

_MOST_BYTES = 2**26
"""Bytes of all bundles in a stream together, as many as one may have."""
_USER_DATA = 5
"""Type of SEI messages of anybody's own format, which a UUID names."""
_RECORD = UUID("fdaf4c57-ab2d-506a-a583-51e4eb9516f8").bytes
"""That of urn:rescale:1.0 as a URL."""
_DIGEST_BYTES = 8
_FIRST = 16
"""Packets at the beginning of a file, in one of which a stream carries its record."""


def stream_units(record: str, filters: Iterable[nal.Message], codec: str) -> tuple[bytes, ...]:
    """Make the NAL units by which a stream carries a record and networks.

    Each in its own, so that a damaged one spoils no other.

    Args:
        record: the record's JSON.
        filters: as of `postfilter.pack`.
        codec: one of `nal.CODECS`.
    """
    text = record.encode()
    labelled = _RECORD + hashlib.sha256(text).digest()[:_DIGEST_BYTES] + text
    return nal.sei_unit([(_USER_DATA, labelled)], codec), nal.sei_unit(filters, codec)


def find_record(container: Any, path: Path) -> VideoRecord | None:
    """Read the record of a video, in the metadata of its container or else in its stream.

    Args:
        container: the open file.
        path: its path; it is opened again, as packets are read only once.
    Raises: RecordError for one that is damaged or newer, and for networks without a record.
    """
    found = VideoRecord.find(container.metadata)
    if found:
        return found
    messages = [message for _, some in _units(container, path, _FIRST) for message in some]
    for text in filter(None, map(_text, messages)):
        return VideoRecord.find({KEY: text})
    if list(postfilter.unpack(messages)):
        raise RecordError("the record of the networks in it is missing")
    return None


def find_networks(container: Any, path: Path) -> list[bytes]:
    """Read all bundles that a video carries: its attachments, or else those in its stream. Arguments as above."""
    attached = [stream.data for stream in container.streams.attachments if stream.name == ATTACHMENT]
    return attached or _in_stream(message for _, some in _units(container, path) for message in some)


def _in_stream(messages: Iterable[nal.Message]) -> list[bytes]:
    """Collect the bundles of a stream, each once, and no more of them than memory is meant for."""
    found: dict[bytes, None] = {}
    for data in postfilter.unpack(messages):
        if sum(map(len, found)) + len(data) > _MOST_BYTES:
            break
        found[data] = None
    return list(found)


def carried_bytes(container: Any, path: Path) -> int:
    """Count the bytes that a record and networks take in a stream. Arguments as above."""
    return sum(size for size, messages in _units(container, path) if any(map(_is_ours, messages)))


def _is_ours(message: nal.Message) -> bool:
    return message[0] == postfilter.NNPFC or _text(message) is not None


def _text(message: nal.Message) -> str | None:
    """Return the JSON of a message that is a record. Raises: RecordError for a damaged one."""
    kind, payload = message
    begin = len(_RECORD) + _DIGEST_BYTES
    if kind != _USER_DATA or not payload.startswith(_RECORD):
        return None
    text = payload[begin:]
    if hashlib.sha256(text).digest()[:_DIGEST_BYTES] != payload[len(_RECORD) : begin]:
        raise RecordError("the record is damaged")
    return text.decode("utf-8", "replace")


def _units(container: Any, path: Path, most: int | None = None) -> Iterator[tuple[int, list[nal.Message]]]:
    """Yield the size of each NAL unit of SEI, with its start code, and its messages; as far as the file can be read."""
    stream = main_video(container)
    codec = stream.codec_context.name if stream and stream.codec_context else ""
    if codec not in nal.CODECS:
        return
    length_size = nal.length_size(stream.codec_context.extradata, codec)
    with suppress(InputError), opened(path) as again:
        for packet in islice(again.demux(again.streams[stream.index]), most):
            for unit in nal.units(bytes(packet), length_size):
                messages = list(nal.messages(unit, codec))
                if messages:
                    yield len(unit) + 4, messages
