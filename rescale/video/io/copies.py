"""Streams beside the film: those that a container keeps, tried before any work, and notes on the others."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from rescale.video.io.container import in_memory, library
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


@dataclass
class Copies:
    """Streams of a file that go into a new one, by index, and notes on those that do not."""

    packets: list[int] = field(default_factory=list)
    """Streams whose packets are copied."""
    attachments: list[int] = field(default_factory=list)
    covers: list[int] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def plan_copies(given: Any, index: int, container: str) -> Copies:
    """Choose what is copied beside the film, by trying each stream in a file in memory.

    Args:
        given: an open PyAV container.
        index: index of the film in it.
        container: FFmpeg's name of the new container.
    """
    plan = Copies()
    for stream in given.streams:
        if stream.index != index and not _is_kept_otherwise(given, stream):
            _place(stream, container, plan)
    voices = {stream.index for stream in given.streams.audio}
    if voices and voices.isdisjoint(plan.packets):
        plan.notes.insert(0, f"the result is silent{_elsewhere(given.streams.audio, container, 'its sound')}")
    return plan


def _is_kept_otherwise(given: Any, stream: Any) -> bool:
    """Tell whether a stream is written anew: as chapters, as the timecode of the film, or as other networks."""
    if stream.type == "attachment":
        return bool(stream.name == ATTACHMENT)
    is_titles = stream.discard == _DISCARDED and bool(given.chapters())
    return stream.type == "data" and (is_titles or "timecode" in stream.metadata)


def _place(stream: Any, container: str, plan: Copies) -> None:
    if stream.type == "attachment":
        kind, name = plan.attachments, stream.name
        is_kept = container == "matroska"
    elif is_cover(stream):
        kind, name = plan.covers, f"cover, {_codec(stream)}"
        is_kept = _codec(stream) in _COVERED.get(container, ()) and "timed" not in str(stream.disposition.name)
    else:
        kind, name = plan.packets, _codec(stream)
        is_kept = _is_taken(stream, container)
    if is_kept:
        kind.append(stream.index)
        return
    where = "" if kind is plan.covers else _elsewhere([stream], container, "it")
    plan.notes.append(f"{stream.type} stream {stream.index} ({name}) cannot be kept in {container}{where}")


def _codec(stream: Any) -> str:
    context = stream.codec_context
    return str(context.codec.canonical_name) if context else "unknown"


def _elsewhere(streams: Iterable[Any], container: str, what: str) -> str:
    """Name, for a note, a container that keeps all of some streams."""
    others = (other for other in _LABELS if other != container and all(_holds(stream, other) for stream in streams))
    return next((f"; {_LABELS[other]} would keep {what}" for other in others), "")


def _holds(stream: Any, container: str) -> bool:
    return container == "matroska" if stream.type == "attachment" else _is_taken(stream, container)


def _is_taken(stream: Any, container: str) -> bool:
    """Tell whether a container takes a copy of a stream, by writing a header with nothing else."""
    with in_memory(container) as made:
        context = stream.codec_context
        if context and made.supported_codecs.isdisjoint((context.codec.canonical_name, context.name)):
            return False
        try:
            add_copy(stream, made)
            made.start_encoding()
        except (ValueError, library().FFmpegError):
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
