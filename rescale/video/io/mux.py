"""Muxing: the new video stream, with all other streams, chapters and metadata of the source."""

import heapq
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from rescale.errors import MachineError
from rescale.io.record import KEY
from rescale.video.io import nal, tags
from rescale.video.io.container import library, opened, reason
from rescale.video.io.copies import ATTACHMENT, Copies, add_copy, add_cover, plan_copies
from rescale.video.io.encoders import Encoding
from rescale.video.io.frames import VideoReader
from rescale.video.io.segments import Segments

_PRIMING_S = 0.05
"""Seconds of sound before the start that a decoder needs as priming."""


@dataclass(frozen=True)
class Embedded:
    """What a small video brings for whoever restores it."""

    record: str | None = None
    networks: bytes | None = None
    """As an attachment of MKV."""
    units: tuple[bytes, ...] = ()
    """NAL units for the first packet of H.264 or H.265."""


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
        embedded: what an LR video carries: its record, and networks as an attachment of MKV or in the stream.
    Returns: notes on what could not be kept.
    Raises: MachineError where FFmpeg cannot write this.
    """
    av = library()
    with opened(source.path) as given:
        plan = plan_copies(source.path, source.index, container)
        keys = tags.of_file(given.metadata)
        has_record = embedded.record is not None
        options = _options(container, keeps_any=tags.keeps_any_key(keys, container, has_record=has_record))
        try:
            with av.open(file, "w", format=container, options=options) as made:
                video, copies, covers = _streams(given, source, made, encoding, plan)
                _describe(given, made, embedded)
                made.start_encoding()
                for cover in covers:
                    made.mux(cover)
                with opened(source.path) as again:
                    others = _other_packets(again, copies, made.format.name)
                    ours = _video_packets(video, encoding, segments, source.end_s, embedded.units)
                    for _, packet in heapq.merge(ours, others, key=lambda p: p[0]):
                        made.mux(packet)
        except av.FFmpegError as error:
            raise MachineError(f"cannot write this as {container}: {reason(error)}") from error
    return plan.notes + tags.lost(keys, container, has_record=has_record)


def _streams(
    given: Any, source: VideoReader, made: Any, encoding: Encoding, plan: Copies
) -> tuple[Any, dict[int, Any], list[Any]]:
    """All streams of the new file, in the order of the old one.

    Returns: that of the video, copies by their index in the old file, and packets of covers.
    """
    copies: dict[int, Any] = {}
    video, covers, pictures = None, [], _pictures(source.path, plan.covers)
    for stream in given.streams:
        if stream.index == source.index:
            video = _video(stream, made, encoding)
        elif stream.index in plan.packets:
            copies[stream.index] = add_copy(stream, made)
        elif stream.index in plan.attachments:
            made.add_attachment(stream.name, stream.mimetype, stream.data)
        elif stream.index in pictures:
            number = plan.covers.index(stream.index)
            covers.append(add_cover(stream, pictures[stream.index], number, made))
    return video, copies, [cover for cover in covers if cover is not None]


def _pictures(path: Path, covers: list[int]) -> dict[int, bytes]:
    """Read covers, which FFmpeg hands out in front of all packets."""
    if not covers:
        return {}
    with opened(path) as given:
        packets = islice(given.demux(*(given.streams[index] for index in covers)), len(covers))
        return {packet.stream.index: bytes(packet) for packet in packets if packet.size}


def _describe(given: Any, made: Any, embedded: Embedded) -> None:
    made.metadata.update(tags.of_file(given.metadata))
    if embedded.record is not None:
        made.metadata[KEY] = embedded.record
    if embedded.networks is not None:
        made.add_attachment(ATTACHMENT, "application/x-rescale", embedded.networks)
    made.set_chapters(given.chapters())


def _options(container: str, *, keeps_any: bool) -> dict[str, str]:
    """Set muxer options: MP4 is playable before it is fully loaded, and keeps metadata of any name where asked to."""
    if container in ("mp4", "mov"):
        return {"movflags": "+faststart" + "+use_metadata_tags" * keeps_any}
    return {"avoid_negative_ts": "disabled"}


def _video(stream: Any, made: Any, encoding: Encoding) -> Any:
    video = made.add_stream(encoding.encoder, rate=encoding.facts.rate)
    encoding.fit(video.codec_context)
    video.time_base = encoding.facts.time_base
    if encoding.encoder == "libx265" and made.format.name != "matroska":
        video.codec_context.codec_tag = "hvc1"  # which Apple's players insist on
    video.metadata.update(tags.of_film(stream.metadata))
    video.disposition = stream.disposition
    if encoding.facts.display_matrix:
        video.set_display_matrix(struct.unpack("<9i", encoding.facts.display_matrix[:36]))
    return video


def _video_packets(
    stream: Any, encoding: Encoding, segments: Segments, end_s: float | None, units: tuple[bytes, ...]
) -> Iterator[tuple[Fraction, Any]]:
    """Yield each video packet with its decoding time in seconds, the first one with the units that it carries.

    Encoders restart that time with each segment, so it is computed here: packets are decoded in their order, each at
    the time at which the frame so many before it is shown that none is shown before it is decoded.
    """
    base, shown = encoding.facts.time_base, segments.times()
    times = _decoding_times(shown)
    is_mp4 = stream.container.format.name in ("mp4", "mov")
    ends = {} if end_s is None or not shown else _last_durations(shown, times, round(end_s / base), is_mp4=is_mp4)
    for k, (packet, dts) in enumerate(zip(segments.packets(), times, strict=True)):
        made = library().Packet(packet.data if k or not units else nal.splice(packet.data, units, encoding.nal_codec))
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
