"""Muxing: the new video stream, with all other streams, chapters and metadata of the source."""

import heapq
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, BinaryIO

from rescale.errors import MachineError
from rescale.io.record import KEY
from rescale.video.io.container import library, opened, reason
from rescale.video.io.encoders import Encoding
from rescale.video.io.frames import VideoReader
from rescale.video.io.segments import Segments

_NOT_OURS = {"encoder", "major_brand", "minor_version", "compatible_brands", "duration", "alpha_mode", KEY}
"""Metadata keys that the muxer writes itself."""
ATTACHMENT = "networks.rescale"
"""Name of the attachment that holds the networks."""
_PRIMING_S = 0.05
"""Seconds of sound before the start that a decoder needs as priming."""


@dataclass(frozen=True)
class Embedded:
    """What a small video brings for whoever restores it."""

    record: str | None = None
    networks: bytes | None = None
    """As an attachment of MKV."""


def assemble(
    source: VideoReader,
    file: BinaryIO,
    container: str,
    encoding: Encoding,
    segments: Segments,
    embedded: Embedded = Embedded(),
) -> list[str]:
    """Write the target: packets of the segments, and the source's other streams, chapters and metadata.

    Args:
        source: the reader of the video that the segments replace, to its end; all else is copied from its file.
        file: the file to write, seekable.
        container: FFmpeg's name of the container.
        encoding: settings of the segments.
        segments: the complete segments.
        embedded: what an LR video carries: its record, and a bundle of networks as an attachment of MKV.
    Returns: notes on what could not be kept.
    Raises: MachineError where FFmpeg cannot write this.
    """
    av, notes = library(), list[str]()
    with opened(source.path) as given:
        try:
            with av.open(file, "w", format=container, options=_options(container)) as made:
                video, copies = _streams(given, source.index, made, encoding, notes)
                _describe(given, made, embedded)
                made.start_encoding()
                with opened(source.path) as again:
                    others = _other_packets(again, copies, made.format.name)
                    ours = _video_packets(video, encoding, segments, source.end_s)
                    for _, packet in heapq.merge(ours, others, key=lambda p: p[0]):
                        made.mux(packet)
        except av.FFmpegError as error:
            raise MachineError(f"cannot write this as {container}: {reason(error)}") from error
    return notes


def _streams(given: Any, index: int, made: Any, encoding: Encoding, notes: list[str]) -> tuple[Any, dict[int, Any]]:
    """All streams of the new file, in the order of the old one: that of the video, and the others by their index."""
    copies: dict[int, Any] = {}
    video: Any = None
    for stream in given.streams:
        if stream.index == index:
            video = _video(stream, made, encoding)
        else:
            copy = _copied(stream, made, notes)
            if copy is not None:
                copies[stream.index] = copy
    return video, copies


def _describe(given: Any, made: Any, embedded: Embedded) -> None:
    made.metadata.update({k: v for k, v in given.metadata.items() if k.lower() not in _NOT_OURS})
    if embedded.record is not None:
        made.metadata[KEY] = embedded.record
    if embedded.networks is not None:
        made.add_attachment(ATTACHMENT, "application/x-rescale", embedded.networks)
    made.set_chapters(given.chapters())


def _options(container: str) -> dict[str, str]:
    """Set muxer options: MP4 is playable before it is fully loaded, and keeps metadata of any name."""
    if container in ("mp4", "mov"):
        return {"movflags": "+faststart+use_metadata_tags"}
    return {"avoid_negative_ts": "disabled"}


def _video(stream: Any, made: Any, encoding: Encoding) -> Any:
    video = made.add_stream(encoding.encoder, rate=encoding.facts.rate)
    encoding.fit(video.codec_context)
    video.time_base = encoding.facts.time_base
    if encoding.encoder == "libx265" and made.format.name != "matroska":
        video.codec_context.codec_tag = "hvc1"  # which Apple's players insist on
    video.metadata.update({k: v for k, v in stream.metadata.items() if k.lower() not in _NOT_OURS and k != "DURATION"})
    video.disposition = stream.disposition
    if encoding.facts.display_matrix:
        video.set_display_matrix(struct.unpack("<9i", encoding.facts.display_matrix[:36]))
    return video


def _copied(stream: Any, made: Any, notes: list[str]) -> Any:
    """Add a copy of a stream to the new file; None, with a note, where that is not possible."""
    name = f"{stream.type} stream {stream.index}"
    if stream.type == "attachment":
        if stream.name == ATTACHMENT:
            return None
        if made.format.name == "matroska":
            made.add_attachment(stream.name, stream.mimetype, stream.data)
        else:
            notes.append(f"{name} ({stream.name}) cannot be kept in {made.format.name}")
        return None
    context = stream.codec_context
    codec = context.codec.canonical_name if context else None
    if context is None or made.supported_codecs.isdisjoint((codec, context.name)):
        notes.append(f"{name} ({codec or 'unknown'}) cannot be kept in {made.format.name}")
        return None
    try:
        copy = made.add_stream_from_template(stream, opaque=True)
    except (ValueError, library().FFmpegError) as error:
        notes.append(f"{name} ({codec}) is lost: {reason(error)}")
        return None
    copy.metadata.update({k: v for k, v in stream.metadata.items() if k != "DURATION"})
    copy.disposition = stream.disposition
    return copy


def _video_packets(
    stream: Any, encoding: Encoding, segments: Segments, end_s: float | None
) -> Iterator[tuple[Fraction, Any]]:
    """Yield each video packet with its decoding time in seconds.

    Encoders restart that time with each segment, so it is computed here: packets are decoded in their order, each at
    the time at which the frame so many before it is shown that none is shown before it is decoded.
    """
    base, shown = encoding.facts.time_base, segments.times()
    times = _decoding_times(shown)
    is_mp4 = stream.container.format.name in ("mp4", "mov")
    ends = {} if end_s is None or not shown else _last_durations(shown, times, round(end_s / base), is_mp4=is_mp4)
    for k, (packet, dts) in enumerate(zip(segments.packets(), times, strict=True)):
        made = library().Packet(packet.data)
        made.stream, made.time_base = stream, base
        made.pts, made.dts, made.is_keyframe = packet.pts, dts, packet.is_key
        made.duration = ends.get(k, packet.duration)
        yield dts * base, made


def _last_durations(shown: list[int], decoded: list[int], end: int, *, is_mp4: bool) -> dict[int, int]:
    """Durations of the packet that is shown last and of the one that is decoded last, of which encoders know no next.

    MP4 takes the length of a track from the latter, and decoding is ahead of showing by as much as at the start.
    """
    ahead, last = min(shown) - decoded[0], max(shown)
    lasts = {shown.index(last): max(end - last, 1)}
    return lasts | {len(shown) - 1: max(end - decoded[-1] - ahead, 1)} if is_mp4 else lasts


def _decoding_times(shown: list[int]) -> list[int]:
    order = sorted(shown)
    rank = {pts: k for k, pts in enumerate(order)}
    delay = max((k - rank[pts] for k, pts in enumerate(shown)), default=0)
    before = order[min(delay, len(order) - 1)] - order[0] if order else 0
    return [pts - before for pts in order[:delay]] + order[: len(order) - delay]


def _other_packets(given: Any, copies: dict[int, Any], container: str) -> Iterator[tuple[Fraction, Any]]:
    """Yield other streams' packets with times that never decrease; MKV drops what the source hides before its start."""
    last, keeps_hidden = Fraction(-(2**40)), "matroska" not in container
    for packet in _timed(given.demux(*(given.streams[index] for index in copies)) if copies else ()):
        if not keeps_hidden and (packet.dts + (packet.duration or 0)) * packet.time_base < -_PRIMING_S:
            continue
        last = max(last, packet.dts * packet.time_base)
        packet.stream = copies[packet.stream.index]
        yield last, packet


def _timed(packets: Iterable[Any]) -> Iterator[Any]:
    """Complete decoding times: MKV has none, and FFmpeg derives the first only later."""
    waiting: dict[int, list[Any]] = {}
    for packet in packets:
        if not packet.size:
            continue
        held = waiting.setdefault(packet.stream.index, [])
        held.append(packet)
        if packet.dts is not None:
            yield from _backwards(held)
            held.clear()
    for held in waiting.values():
        yield from _backwards(held)


def _backwards(packets: list[Any]) -> list[Any]:
    """Count decoding times back from that of the last packet; from 0 where it has none."""
    for packet, after in zip(packets[-2::-1], packets[:0:-1], strict=True):
        if after.dts is None:
            after.dts = after.pts or 0
        packet.dts = after.dts - max(packet.duration or 1, 1)
    if packets and packets[-1].dts is None:
        packets[-1].dts = packets[-1].pts or 0
    for packet in packets:
        packet.pts = packet.dts if packet.pts is None else packet.pts
    return packets
