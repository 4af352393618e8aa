"""Decoded frames as planes of levels with timestamps, and planes as frames for an encoder."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rescale.errors import InputError, RefusedError, UnsupportedError
from rescale.geometry import Size
from rescale.io.images import MAX_PIXELS
from rescale.video.io.colour import Colours, Levels, guessed_matrix
from rescale.video.io.container import library, opened
from rescale.video.io.streams import DecodedCount, chroma_location, main_video, mean_rate, side_data
from rescale.video.io.times import Spacing, check_fine
from rescale.video.io.whole import own_length, shortfall

_PLANAR = {"yuv420p": (2, 2), "yuv422p": (1, 2), "yuv444p": (1, 1), "gray": (1, 1), "gbrp": (1, 1)}
_DEPTHS = {"": 8, "9le": 9, "10le": 10, "12le": 12, "14le": 14, "16le": 16}
LAYOUTS = {f"{name}{suffix}": (chroma, depth) for name, chroma in _PLANAR.items() for suffix, depth in _DEPTHS.items()}
"""Layouts whose planes are used as they are: luma samples for one of chroma (down, across), and the depth."""
_SAME = {
    "yuvj420p": "yuv420p", "yuvj422p": "yuv422p", "yuvj444p": "yuv444p", "nv12": "yuv420p", "nv21": "yuv420p",
    "p010le": "yuv420p10le", "rgb24": "gbrp", "bgr24": "gbrp", "rgb0": "gbrp", "bgr0": "gbrp", "rgba": "gbrp",
    "bgra": "gbrp", "gbrap": "gbrp", "pal8": "gbrp", "yuva420p": "yuv420p", "yuva444p": "yuv444p", "yuyv422": "yuv422p",
    "uyvy422": "yuv422p", "rgb48le": "gbrp16le", "gray8": "gray", "gbrap10le": "gbrp10le", "gbrap12le": "gbrp12le",
}  # fmt: skip
"""Pixel formats with the same samples as a layout, in another order."""
HDR = ("MASTERING_DISPLAY_METADATA", "CONTENT_LIGHT_LEVEL")
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

    @property
    def depth(self) -> int:
        """Bits of a sample."""
        return self.colours.levels.depth


class VideoReader:
    """Reader of the main video stream of an open container.

    Args:
        container: an open PyAV container.
        path: its path, for messages.
        threads: number of decoder threads; 0 lets it choose.
        max_pixels: refuse larger frames, before one is decoded.
        tolerant: skip frames that cannot be decoded, and end where the file breaks.
        tick: seconds in a tick of the container that the frames are for, where it has but one; no two share it.
    Raises: InputError where there is no video, or its first frame cannot be decoded.
    """

    def __init__(
        self, container: Any, path: Path, *, threads: int = 0, tolerant: bool = False, max_pixels: int = MAX_PIXELS,
        tick: Fraction | None = None,
    ) -> None:  # fmt: skip
        stream = main_video(container)
        if stream is None:
            raise InputError(f"{path}: expected a video, found no moving pictures in it")
        self.container, self.path, self.stream = container, path, stream
        if self.stream.codec_context is None:
            raise UnsupportedError(f"{path}: no decoder for its video")
        self.stream.codec_context.thread_count = threads
        width, height = self.stream.codec_context.width, self.stream.codec_context.height
        if width * height > max_pixels:
            raise RefusedError(f"{path}: frames of {width}x{height} are more than {max_pixels:,} pixels")
        self.stream.thread_type = "AUTO"
        self.tolerant, self.index = tolerant, stream.index
        self.ends: dict[int, float] = {}
        """Seconds at which each stream ended, as read."""
        self.damaged = 0
        """Number of frames that were decoded with errors, or not at all."""
        self.undecoded = 0
        """Number of packets that gave no frame, and no error either."""
        self._stated_end = own_length(stream)
        self._spacing = Spacing(stream.time_base, tick)
        self._failure: type[Exception] = library().FFmpegError  # as nothing is imported while a generator is closed
        self._decoded = self._decode()
        try:
            first = next(self._decoded)
        except StopIteration:
            raise InputError(f"{path}: no frame could be decoded; the file may be cut short") from None
        self.facts = self._facts(first)
        self.first = self._frame(first)

    def frames(self) -> Iterator[Frame]:
        """Yield all frames in presentation order, once. Raises: InputError where one cannot be decoded."""
        yield self.first
        for frame in self._decoded:
            yield self._frame(frame)

    def check_fine(self, suffix: str) -> None:
        """Check, before any work, that the target's ticks tell the frames apart. Raises: UsageError."""
        listed = [entry.timestamp for entry in self.stream.index_entries] if self._spacing.tick else []
        check_fine(listed, self.stream.time_base, self.facts.rate, self._spacing.tick, suffix)

    def check_whole(self, hint: str = "") -> None:
        """Check, after all frames were read, that none is missing. Raises: InputError."""
        problem = self.missing()
        if problem:
            raise InputError(f"{self.path}: cut short or damaged: {problem}", hint=hint)

    def missing(self) -> str | None:
        """Describe, after all frames were read, what is missing of them; None if nothing is."""
        if self.damaged:
            return f"{self.damaged} damaged frames"
        return shortfall(self.container, self.stream, self.ends, float(1 / self.facts.rate), self.path)

    def remarks(self) -> list[str]:
        """Notes on what was found while the frames were read."""
        moved, undecoded = self._spacing.moved, self.undecoded
        notes = [f"{moved} frames had the time of the one before, and are shown a tick later"] if moved else []
        return notes + ([f"{undecoded} frames could not be decoded, and are missing"] if undecoded else [])

    @property
    def end_s(self) -> float | None:
        """Second at which the last frame ends, after all were read, also of a closed container; None if not stated."""
        last = float((self._spacing.last or 0) * self.facts.time_base)
        ends = [self.ends.get(self.index), self._stated_end]
        return next((end for end in ends if end is not None and end > last), None)

    def _decode(self) -> Iterator[Any]:
        """Decode in threads; where they lose frames, go on with the one thread that loses none but the damaged.

        Decoders that run frames in parallel drop whole frames behind a damaged one, and say nothing at a file's end.
        """
        count = DecodedCount()
        try:
            yield from self._decoded_by(self.container, self.stream, count)
            if not count.missing:
                return
        except self._failure:
            if not self.tolerant:
                raise
        self.damaged, exact = 0, DecodedCount()
        with opened(self.path) as again:
            stream = again.streams[self.stream.index]
            stream.codec_context.thread_count = 1
            for frame in self._decoded_by(again, stream, exact, is_careful=True):
                if count.last is None or frame.pts > count.last:
                    yield frame
        self.undecoded = max(exact.missing - self.damaged, 0)

    def _decoded_by(
        self, container: Any, stream: Any, count: DecodedCount, *, is_careful: bool = False
    ) -> Iterator[Any]:
        for packet in self._demuxed(container):
            if packet.pts is not None and packet.size:
                end, index = float((packet.pts + (packet.duration or 0)) * packet.time_base), packet.stream.index
                self.ends[index] = max(self.ends.get(index, end), end)
            if packet.stream is not stream:
                continue
            count.sent(packet)
            for frame in self._frames_in(packet, is_careful=is_careful):
                if frame.pts is None:
                    raise InputError(f"{self.path}: a frame without a timestamp")
                self.damaged += frame.is_corrupt
                count.came(frame, stream.codec_context.codec.canonical_name)
                yield frame

    def _demuxed(self, container: Any) -> Iterator[Any]:
        try:
            yield from container.demux()
        except self._failure:
            self.damaged += 1
            if not self.tolerant:
                raise

    def _frames_in(self, packet: Any, *, is_careful: bool) -> list[Any]:
        try:
            return list(packet.decode())
        except self._failure:
            if not is_careful:
                raise
            self.damaged += 1
            return []

    def _frame(self, frame: Any) -> Frame:
        facts = self.facts
        if (frame.height, frame.width) != facts.size or _SAME.get(frame.format.name, frame.format.name) != facts.layout:
            raise UnsupportedError(
                f"{self.path}: its frames change from {facts.size[1]}x{facts.size[0]} {facts.layout} to "
                f"{frame.width}x{frame.height} {frame.format.name} at {frame.time:.3f} s"
            )
        if frame.format.name != facts.layout:
            frame = frame.reformat(format=facts.layout)
        pts = self._spacing.place(frame.pts)
        if pts is None:
            raise InputError(f"{self.path}: timestamps go back at {frame.time:.3f} s")
        return Frame(planes_of(frame, facts.depth), pts)

    def _facts(self, frame: Any) -> StreamInfo:
        context, name = self.stream.codec_context, frame.format.name
        layout = _SAME.get(name, name)
        if layout not in LAYOUTS:
            raise UnsupportedError(f"{self.path}: expected planar YUV, RGB or grey of 8 to 16 bits, got {name}")
        notes = ["its transparency is lost"] if name in ("rgba", "bgra") or "a4" in name or "gbrap" in name else []
        if frame.interlaced_frame:
            notes.append("it is interlaced, and is taken as if it were not; deinterlace it first")
        (chroma, depth), tags = LAYOUTS[layout], _tags(frame, context, name)
        is_rgb = layout.startswith("gbrp")
        matrix = 0 if is_rgb else tags[3] if tags[3] not in (0, 2) else guessed_matrix((frame.height, frame.width))
        levels = Levels(depth, is_full=tags[0] == 2 or is_rgb)
        side = side_data(frame)
        notes += [f"its {kind} is lost" for kind in side if kind not in (*HDR, *_NOT_MISSED)]
        return StreamInfo(
            (frame.height, frame.width), layout, Colours(levels, matrix, chroma, chroma_location(self.stream)),
            self.stream.time_base, mean_rate(self.stream, self.path),
            Fraction(self.stream.sample_aspect_ratio or 1), tags, side.pop("DISPLAYMATRIX", None),
            {key: value for key, value in side.items() if key in HDR}, tuple(notes),
        )  # fmt: skip


def planes_of(frame: Any, depth: int) -> list[Tensor]:
    """Copy the samples of a decoded frame."""
    return [_samples(plane, depth, copy=True) for plane in frame.planes]


def to_frame(planes: list[Tensor], layout: str) -> Any:
    """Make a PyAV frame of planes: the opposite of `planes_of`."""
    height, width = planes[0].shape
    frame = library().VideoFrame(width, height, layout)
    for plane, samples in zip(frame.planes, planes, strict=True):
        _samples(plane, LAYOUTS[layout][1])[...] = samples.cpu()
    return frame


def _samples(plane: Any, depth: int, *, copy: bool = False) -> Any:
    """Read a plane without the padding of its lines: a copy as a tensor, or a view to write into."""
    dtype = np.dtype(np.uint8 if depth == 8 else "<u2")
    lines = np.frombuffer(plane, dtype).reshape(plane.height, plane.line_size // dtype.itemsize)
    seen = lines[:, : plane.width]
    if not copy:
        return seen
    return torch.from_numpy(seen.astype(np.uint8 if depth == 8 else np.int32))


def _tags(frame: Any, context: Any, name: str) -> tuple[int, int, int, int]:
    """Read range, primaries, transfer and matrix: of the frame if tagged, else of the stream."""

    def said(attribute: str, unknown: tuple[int, ...]) -> int:
        value = int(getattr(frame, attribute) or 0)
        return value if value not in unknown else int(getattr(context, attribute) or 0)

    limited_or_full = 2 if name.startswith("yuvj") else said("color_range", (0,))
    return (
        limited_or_full, said("color_primaries", (0, 2)), said("color_trc", (0, 2)), said("colorspace", (0, 2))
    )  # fmt: skip
