"""Packets to decoded frames: in threads, and again on one thread where those have lost frames."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rescale.errors import InputError
from rescale.video.io.container import library, opened
from rescale.video.io.streams import DecodedCount


class Decoding:
    """Decoding of one video stream of an open container, which is read to its end.

    Args:
        container: an open PyAV container.
        stream: its video.
        path: its path, for messages, and to open it again.
        threads: number of decoder threads; 0 lets it choose.
        tolerant: skip frames that cannot be decoded, and end where the file breaks.
    """

    def __init__(self, container: Any, stream: Any, path: Path, *, threads: int = 0, tolerant: bool = False) -> None:
        self.path, self.tolerant = path, tolerant
        stream.thread_type = "AUTO"
        self._pass = _Pass(container, stream, _decoder(stream, threads))
        self.ends: dict[int, float] = {}
        """Seconds at which each stream ended, as read."""
        self.damaged = 0
        """Number of frames that were decoded with errors, or not at all."""
        self.undecoded = 0
        """Number of packets that gave no frame, and no error either."""
        self._failure: type[Exception] = library().FFmpegError  # as nothing is imported while a generator is closed

    def frames(self) -> Iterator[Any]:
        """Decode in threads; where they lose frames, go on with the one thread that loses none but the damaged.

        Decoders that run frames in parallel drop whole frames behind a damaged one, and say nothing at a file's end.

        Raises: InputError for a frame without a timestamp; FFmpeg's error where one cannot be decoded.
        """
        first = self._pass
        try:
            yield from self._decoded_by(first)
            if not first.count.missing:
                return
        except self._failure:
            if not self.tolerant:
                raise
        self.damaged = 0
        with opened(self.path) as again:
            stream = again.streams[first.stream.index]
            second = _Pass(again, stream, _decoder(stream, 1), is_careful=True)
            for frame in self._decoded_by(second):
                if first.count.last is None or frame.pts > first.count.last:
                    yield frame
        self.undecoded = max(second.count.missing - self.damaged, 0)

    def _decoded_by(self, way: "_Pass") -> Iterator[Any]:
        for packet in self._demuxed(way.container):
            time = way.time_of(packet)
            if time is not None and packet.size:
                end, index = float((time + (packet.duration or 0)) * packet.time_base), packet.stream.index
                self.ends[index] = max(self.ends.get(index, end), end)
            if packet.stream is not way.stream:
                continue
            way.sent(packet, time)
            for frame in self._frames_in(packet, way):
                way.stamp(frame)
                if frame.pts is None:
                    raise InputError(f"{self.path}: a frame without a timestamp")
                self.damaged += frame.is_corrupt
                way.count.came(frame, way.stream.codec_context.codec.canonical_name)
                yield frame

    def _demuxed(self, container: Any) -> Iterator[Any]:
        try:
            yield from container.demux()
        except self._failure:
            self.damaged += 1
            if not self.tolerant:
                raise

    def _frames_in(self, packet: Any, way: "_Pass") -> list[Any]:
        try:
            return list(way.decoder.decode(packet))
        except self._failure:
            if not way.is_careful:
                raise
            self.damaged += 1
            way.lost()
            return []


@dataclass
class _Pass:
    """One way through a container: its decoder, and what it has counted so far."""

    container: Any
    stream: Any
    decoder: Any
    is_careful: bool = False
    """Whether it goes on behind a damaged frame."""
    count: DecodedCount = field(default_factory=DecodedCount)
    _waiting: deque[int | None] = field(default_factory=deque)
    """Times of an AVI's packets that were not yet shown; it does not say which frame each is of."""

    @property
    def is_avi(self) -> bool:
        return bool(self.container.format.name == "avi")

    def time_of(self, packet: Any) -> int | None:
        """Time of a packet, in its ticks: that at which its frame is shown; in an AVI, at which it is decoded."""
        time: int | None = packet.dts if self.is_avi and packet.stream is self.stream else packet.pts
        return time

    def sent(self, packet: Any, time: int | None) -> None:
        """Count a packet for the decoder."""
        self.count.sent(packet, time)
        if packet.size and self.is_avi:
            self._waiting.append(time)

    def stamp(self, frame: Any) -> None:
        """Give a frame of an AVI the time of the first packet that waits for one."""
        if self._waiting:
            frame.pts = self._waiting.popleft()

    def lost(self) -> None:
        """Take the time away of the packet that was sent last, as it gives no frame."""
        if self._waiting:
            self._waiting.pop()


def _decoder(stream: Any, threads: int) -> Any:
    """Return the decoder of a stream: libvpx for VP8 and VP9 with alpha, which FFmpeg's own does not see."""
    context = stream.codec_context
    context.thread_count = threads
    name = {"vp8": "libvpx", "vp9": "libvpx-vp9"}.get(context.codec.canonical_name)
    tag = next((value for key, value in stream.metadata.items() if key.lower() == "alpha_mode"), "")
    if name not in library().codecs_available or tag != "1":
        return context
    own = library().CodecContext.create(name, "r")
    own.thread_count = threads
    return own
