"""Decoded frames as planes of levels with timestamps."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from torch import Tensor

from rescale.errors import InputError, RefusedError, UnsupportedError
from rescale.geometry import Size
from rescale.io.images import MAX_PIXELS
from rescale.video.io.colour import Colours, Levels, guessed_matrix, guessed_siting
from rescale.video.io.container import library
from rescale.video.io.fields import Order, deinterlaced, field_order
from rescale.video.io.layouts import LAYOUTS, has_alpha, layout_of
from rescale.video.io.planes import on_black, split

HDR = ("MASTERING_DISPLAY_METADATA", "CONTENT_LIGHT_LEVEL")
_DEINTERLACE = "deinterlacing makes whole frames of it"
_NOT_MISSED = (
    "DISPLAYMATRIX", "SEI_UNREGISTERED", "VIDEO_ENC_PARAMS", "MOTION_VECTORS", "PANSCAN", "AFD", "VIDEO_HINT",
)  # fmt: skip
"""Side data not reported as lost: kept in another way, or about how the old frames were encoded."""


@dataclass(frozen=True)
class Frame:
    """One frame of a video."""

    planes: list[Tensor]
    """Planes: Y, Cb, Cr, or Y alone, or G, B, R; (h, w) uint8, or int32 for more than 8 bits."""
    pts: int
    """Presentation time, in ticks of the stream."""
    alpha: Tensor | None = field(default=None, kw_only=True)
    """Transparency, (h, w) as the planes; None where all is opaque."""


@dataclass(frozen=True)
class StreamInfo:
    """Properties of a video stream, known once its first frame is decoded."""

    size: Size
    layout: str
    """FFmpeg's name of the planes' pixel format."""
    colours: Colours
    time_base: Fraction
    """Seconds in a tick."""
    rate: Fraction
    """Mean frames a second."""
    aspect: Fraction
    """Pixel aspect ratio: width by height."""
    tags: tuple[int, int, int, int]
    """Range, primaries, transfer and matrix as the stream numbers them; 2, or 0 for the range, if it does not say."""
    display_matrix: bytes | None
    """Rotation that a player should apply."""
    side_data: dict[str, bytes] = field(default_factory=dict)
    """HDR metadata by FFmpeg's names."""
    notes: tuple[str, ...] = ()
    """Notes on what cannot be kept."""
    has_alpha: bool = False
    """Whether frames may be transparent."""
    is_transparent: bool = False
    """Whether the first frame is."""
    fields: Order = ""
    """Field of the first frame that is shown first, if it is interlaced."""

    @property
    def depth(self) -> int:
        """Bits of a sample."""
        return self.colours.levels.depth


class VideoReader:
    """Reader of the first video stream of an open container.

    Args:
        container: an open PyAV container.
        path: its path, for messages.
        threads: number of decoder threads; 0 lets it choose.
        max_pixels: refuse larger frames, before one is decoded.
        tolerant: skip frames that cannot be decoded, and end where the file breaks.
        deinterlace: make whole frames of interlaced ones.
    Raises: InputError where there is no video, or its first frame cannot be decoded.
    """

    def __init__(
        self,
        container: Any,
        path: Path,
        *,
        threads: int = 0,
        tolerant: bool = False,
        max_pixels: int = MAX_PIXELS,
        deinterlace: bool = False,
    ) -> None:
        pictures = [s for s in container.streams.video if not _is_cover(s)]
        if not pictures:
            raise InputError(f"{path}: expected a video, found no moving pictures in it")
        self.container, self.path, self.stream = container, path, pictures[0]
        if self.stream.codec_context is None:
            raise UnsupportedError(f"{path}: no decoder for its video")
        self.stream.codec_context.thread_count = threads
        self.max_pixels, self.tolerant = max_pixels, tolerant
        self._check_pixels(self.stream.codec_context)
        self.stream.thread_type = "AUTO"
        self.decoder = _decoder(self.stream, threads)
        self.keeps_alpha = False
        """Whether frames come with their transparency; they are laid on black else."""
        self._seen: dict[str, str] = {}
        self._times = deque[int | None]()
        """Times of an AVI's packets that were not yet shown; it does not say which frame each is of."""
        self.deinterlace = deinterlace
        self._decoded = deinterlaced(self._decode(), self.stream.time_base) if deinterlace else self._decode()
        self.ends: dict[int, float] = {}
        """Seconds at which each stream ended, as read."""
        self.damaged = 0
        """Number of frames that were decoded with errors, or not at all."""
        try:
            first = next(self._decoded)
        except StopIteration:
            raise InputError(f"{path}: no frame could be decoded; the file may be cut short") from None
        self.facts = self._facts(first)
        self._first = first
        self.first = self._frame(first)
        self._seen.clear()

    def frames(self) -> Iterator[Frame]:
        """Yield all frames in presentation order, once. Raises: InputError where one cannot be decoded."""
        yield self._frame(self._first)
        last = self.first.pts
        for frame in self._decoded:
            if frame.pts <= last:
                raise InputError(f"{self.path}: timestamps go back at {frame.time:.3f} s")
            last = frame.pts
            yield self._frame(frame)

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes on what was met in the frames that were read so far."""
        return tuple(self._seen.values())

    def check_whole(self, hint: str = "") -> None:
        """Check, after all frames were read, that none is missing. Raises: InputError."""
        problem = self.missing()
        if problem:
            raise InputError(f"{self.path}: cut short or damaged: {problem}", hint=hint)

    def missing(self) -> str | None:
        """Describe, after all frames were read, how the file ends before its header says; None if it does not.

        The header's length is that of the longest stream, so all streams are compared with it.
        """
        frame = float(1 / self.facts.rate)
        if self.damaged:
            return f"{self.damaged} damaged frames"
        told, seen = self._told(), max(self.ends.values(), default=0.0)
        if told is not None and seen < told - 2.5 * frame:
            return f"it says {told:.2f} s and ends at {seen:.2f} s"
        own, end = self._own_length(), self.ends.get(self.stream.index, 0.0)
        if own is not None and end < own - 2.5 * frame:
            return f"its video says {own:.2f} s and ends at {end:.2f} s"
        return None

    def _told(self) -> float | None:
        duration, begins = self.container.duration, max(self.container.start_time or 0, 0)
        if duration is None:
            return None
        return (duration if "matroska" in self.container.format.name else duration + begins) / 1e6  # MKV counts from 0

    def _own_length(self) -> float | None:
        stream, tag = self.stream, self.stream.metadata.get("DURATION", "")
        if stream.duration:
            return float((stream.duration + (stream.start_time or 0)) * stream.time_base)
        parts = tag.split(":")
        return sum(float(part) * 60**k for k, part in enumerate(reversed(parts))) if len(parts) == 3 else None

    def _decode(self) -> Iterator[Any]:
        for packet in self._demuxed():
            stream = packet.stream
            if packet.pts is not None and packet.size:
                end = float((packet.pts + (packet.duration or 0)) * packet.time_base)
                self.ends[stream.index] = max(self.ends.get(stream.index, end), end)
            if stream is not self.stream:
                continue
            if packet.size and self.container.format.name == "avi":
                self._times.append(packet.dts)
            for frame in self._frames_in(packet):
                if self._times:
                    frame.pts = self._times.popleft()
                if frame.pts is None:
                    raise InputError(f"{self.path}: a frame without a timestamp")
                self.damaged += frame.is_corrupt
                yield frame

    def _demuxed(self) -> Iterator[Any]:
        try:
            yield from self.container.demux()
        except library().FFmpegError:
            self.damaged += 1
            if not self.tolerant:
                raise

    def _frames_in(self, packet: Any) -> list[Any]:
        try:
            return list(self.decoder.decode(packet))
        except library().FFmpegError:
            self.damaged += 1
            if not self.tolerant:
                raise
            return []

    def _check_pixels(self, size: Any) -> None:
        """Check the size of a frame. Raises: RefusedError."""
        if size.width * size.height > self.max_pixels:
            raise RefusedError(
                f"{self.path}: frames of {size.width}x{size.height} are more than {self.max_pixels:,} pixels"
            )

    def _frame(self, frame: Any) -> Frame:
        planes, alpha = split(self._fitted(frame), self.facts.layout)
        if alpha is not None and not self.keeps_alpha:
            self._seen["alpha"] = "its transparency is laid on black; FFV1 in an MKV or ProRes in a MOV would keep it"
            planes, alpha = on_black(planes, alpha, self.facts.colours), None
        return Frame(planes, frame.pts, alpha=alpha)

    def _fitted(self, frame: Any) -> Any:
        """Bring a frame to the size and layout of the first one, as a recording may change both midway."""
        if frame.interlaced_frame and not self.facts.fields and not self.deinterlace:
            self._seen.setdefault(
                "fields", f"it is interlaced from {frame.time:.3f} s on, and taken as whole frames; {_DEINTERLACE}"
            )
        (height, width), layout = self.facts.size, self.facts.layout
        if (frame.height, frame.width) != (height, width):
            self._check_pixels(frame)
            self._seen.setdefault(
                "size",
                f"its frames are {frame.width}x{frame.height} from {frame.time:.3f} s on, and made {width}x{height}",
            )
            frame = frame.reformat(width, height, interpolation="BICUBIC")
        if layout_of(frame.format) != layout:
            self._seen.setdefault("layout", f"its frames are {frame.format.name} from {frame.time:.3f} s on")
            return frame.reformat(format=layout)
        return frame

    def _facts(self, frame: Any) -> StreamInfo:
        context, name = self.stream.codec_context, frame.format.name
        layout = layout_of(frame.format)
        if layout is None:
            raise UnsupportedError(f"{self.path}: expected YUV, RGB or grey of 8 to 16 bits, got {name}")
        notes = []
        fields = field_order(frame, context) if not self.deinterlace else ""
        if fields:
            notes.append(f"it is interlaced: each field is enlarged by itself, and the result is too; {_DEINTERLACE}")
        elif self.deinterlace:
            notes.append("it is deinterlaced: one whole frame of each, so that the rate stays as it was")
        (chroma, depth), tags = LAYOUTS[layout], _tags(frame, context, name)
        is_rgb = layout.startswith("gbrp")
        matrix = 0 if is_rgb else tags[3] if tags[3] not in (0, 2) else guessed_matrix(frame.height)
        levels = Levels(depth, is_full=tags[0] == 2 or is_rgb)
        side = {item.type.name: bytes(item) for item in frame.side_data}
        notes += [f"its {kind} is lost" for kind in side if kind not in (*HDR, *_NOT_MISSED)]
        return StreamInfo(
            (frame.height, frame.width), layout, Colours(levels, matrix, chroma, guessed_siting(context.name, matrix)),
            self.stream.time_base, Fraction(self.stream.average_rate or self.stream.guessed_rate or 25),
            Fraction(self.stream.sample_aspect_ratio or 1), tags, side.pop("DISPLAYMATRIX", None),
            {key: value for key, value in side.items() if key in HDR}, tuple(notes),
            fields=fields, has_alpha=has_alpha(frame.format), is_transparent=split(frame, layout)[1] is not None,
        )  # fmt: skip


def _decoder(stream: Any, threads: int) -> Any:
    """Return the decoder of a stream: libvpx for VP8 and VP9 with alpha, which FFmpeg's own does not see."""
    context = stream.codec_context
    name = {"vp8": "libvpx", "vp9": "libvpx-vp9"}.get(context.codec.canonical_name)
    tag = next((value for key, value in stream.metadata.items() if key.lower() == "alpha_mode"), "")
    if name not in library().codecs_available or tag != "1":
        return context
    own = library().CodecContext.create(name, "r")
    own.thread_count = threads
    return own


def _tags(frame: Any, context: Any, name: str) -> tuple[int, int, int, int]:
    """Read range, primaries, transfer and matrix: of the frame if tagged, else of the stream."""

    def said(attribute: str, unknown: tuple[int, ...]) -> int:
        value = int(getattr(frame, attribute) or 0)
        return value if value not in unknown else int(getattr(context, attribute) or 0)

    limited_or_full = 2 if name.startswith("yuvj") else said("color_range", (0,))
    return (
        limited_or_full, said("color_primaries", (0, 2)), said("color_trc", (0, 2)), said("colorspace", (0, 2))
    )  # fmt: skip


def _is_cover(stream: Any) -> bool:
    """Tell whether a stream is a still image, such as an album cover."""
    return "attached_pic" in stream.disposition.name if stream.disposition else False
