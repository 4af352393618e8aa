"""Streams beside the film: those that a container keeps, tried before any work, and notes on the others."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from rescale.video.io.container import in_memory, library, opened
from rescale.video.io.streams import is_cover

ATTACHMENT = "networks.rescale"
"""Name of the attachment that holds the networks."""
_DISCARDED = 48
"""FFmpeg's AVDISCARD_ALL: the mark of a track of chapter titles, which are read as chapters."""
_PICTURES = {"mjpeg": "jpeg", "png": "png", "bmp": "bmp", "gif": "gif", "webp": "webp", "tiff": "tiff"}
"""Codecs of covers, and their MIME types below image/."""
_COVERED = {"mp4": ("mjpeg", "png"), "matroska": tuple(_PICTURES)}
"""Codecs of the covers that a container holds."""
_LABELS = {"mp4": "MP4", "mov": "MOV", "matroska": "MKV"}
"""Containers to name where another one does not hold a stream, the most common first."""

_TRIED, _MOST_READ = 8, 500
"""Packets of a stream that are tried, and packets that are read to find them."""
Samples = dict[int, list[tuple[bytes, int]]]
"""Content and duration of the first packets of streams, by index."""


@dataclass
class Copies:
    """Streams of a file that go into a new one, by index, and notes on those that do not."""

    packets: list[int] = field(default_factory=list)
    """Streams whose packets are copied."""
    attachments: list[int] = field(default_factory=list)
    covers: list[int] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def plan_copies(path: Path, index: int, container: str) -> Copies:
    """Choose what is copied beside the film, by trying each stream in a file in memory.

    Args:
        path: the file.
        index: index of the film in it.
        container: FFmpeg's name of the new container.
    """
    plan = Copies()
    with opened(path) as given, opened(path) as again:
        others = [stream for stream in given.streams if stream.index != index and not _is_kept_otherwise(given, stream)]
        samples = _samples(again, [stream.index for stream in others if stream.type != "attachment"])
        for stream in others:
            _place(stream, samples, container, plan)
        voices = [stream for stream in given.streams.audio if stream.index != index]
        if voices and not any(stream.index in plan.packets for stream in voices):
            plan.notes.insert(0, f"the result is silent{_elsewhere(voices, samples, container, 'its sound')}")
    return plan


def _samples(given: Any, indexes: list[int]) -> Samples:
    """Read the first packets of streams, as far as they begin early."""
    found: Samples = {index: [] for index in indexes}
    packets = given.demux(*(given.streams[index] for index in indexes)) if indexes else ()
    for packet in islice(packets, _MOST_READ):
        if packet.size and len(found[packet.stream.index]) < _TRIED:
            found[packet.stream.index].append((bytes(packet), packet.duration or 1))
        if all(len(some) >= _TRIED for some in found.values()):
            break
    return found


def _is_kept_otherwise(given: Any, stream: Any) -> bool:
    """Tell whether a stream is written anew: as chapters, as the timecode of the film, or as other networks."""
    if stream.type == "attachment":
        return bool(stream.name == ATTACHMENT)
    is_titles = stream.discard == _DISCARDED and bool(given.chapters())
    return stream.type == "data" and (is_titles or "timecode" in stream.metadata)


def _place(stream: Any, samples: Samples, container: str, plan: Copies) -> None:
    if stream.type == "attachment":
        kind, name = plan.attachments, stream.name
        is_kept = container == "matroska"
    elif is_cover(stream):
        kind, name = plan.covers, f"cover, {_codec(stream)}"
        is_kept = _codec(stream) in _COVERED.get(container, ()) and "timed" not in str(stream.disposition.name)
    else:
        kind, name = plan.packets, _codec(stream)
        is_kept = _is_taken(stream, samples, container)
    if is_kept:
        kind.append(stream.index)
        return
    where = "" if kind is plan.covers else _elsewhere([stream], samples, container, "it")
    plan.notes.append(f"{stream.type} stream {stream.index} ({name}) cannot be kept in {container}{where}")


def _codec(stream: Any) -> str:
    context = stream.codec_context
    return str(context.codec.canonical_name) if context else "unknown"


def _elsewhere(streams: Iterable[Any], samples: Samples, container: str, what: str) -> str:
    """Name, for a note, a container that keeps all of some streams."""
    others = (
        other for other in _LABELS if other != container and all(_holds(stream, samples, other) for stream in streams)
    )
    return next((f"; {_LABELS[other]} would keep {what}" for other in others), "")


def _holds(stream: Any, samples: Samples, container: str) -> bool:
    return container == "matroska" if stream.type == "attachment" else _is_taken(stream, samples, container)


def _is_taken(stream: Any, samples: Samples, container: str) -> bool:
    """Tell whether a container takes a copy of a stream, by writing one of its first packets and nothing else.

    Some are refused with the header, others only at the end, such as PCM of unknown speakers by MP4.
    """
    av, context = library(), stream.codec_context
    try:
        with in_memory(container) as made:
            if context and made.supported_codecs.isdisjoint((context.codec.canonical_name, context.name)):
                return False
            copy, at = add_copy(stream, made), 0
            made.start_encoding()
            for content, duration in samples.get(stream.index, ()):
                packet = av.Packet(content)
                packet.stream, packet.time_base, packet.duration = copy, stream.time_base, duration
                packet.pts = packet.dts = at
                made.mux(packet)
                at += duration
    except (ValueError, av.FFmpegError):
        return False
    return True


def add_copy(stream: Any, made: Any) -> Any:
    """Add a copy of a stream, without its packets, to a new file."""
    copy = made.add_stream_from_template(stream, opaque=True)
    copy.metadata.update({k: v for k, v in stream.metadata.items() if k != "DURATION"})
    copy.disposition = stream.disposition
    return copy


def add_cover(stream: Any, picture: bytes, number: int, made: Any) -> Any:
    """Add a cover to a new file.

    Args:
        stream: the cover in the old file.
        picture: its content.
        number: 0 for the first cover.
        made: the new file.
    Returns: the packet to write first of all; None where the cover is an attachment, as in MKV.
    """
    if made.format.name == "matroska":
        kind = _PICTURES[_codec(stream)]
        name = f"cover{number + 1 if number else ''}.{kind.replace('jpeg', 'jpg')}"
        tags = stream.metadata
        made.add_attachment(tags.get("filename", name), tags.get("mimetype", f"image/{kind}"), picture)
        return None
    packet = library().Packet(picture)
    packet.stream = add_copy(stream, made)
    packet.time_base, packet.pts, packet.dts, packet.is_keyframe = stream.time_base, 0, 0, True
    return packet
