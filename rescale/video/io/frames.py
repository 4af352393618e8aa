"""Decoded frames as planes of levels with timestamps."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from torch import Tensor

from rescale.errors import InputError, RefusedError, UnsupportedError
from rescale.geometry import Size
from rescale.io.images import MAX_PIXELS
from rescale.video.io.colour import Colours, Levels, guessed_matrix
from rescale.video.io.decoding import Decoding
from rescale.video.io.fields import Order, deinterlaced, field_order
from rescale.video.io.layouts import LAYOUTS, has_alpha, layout_of
from rescale.video.io.planes import on_black, split
from rescale.video.io.streams import chroma_location, main_video, mean_rate, side_data
from rescale.video.io.times import Spacing, check_fine
from rescale.video.io.whole import own_length, shortfall

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
    """Reader of the main video stream of an open container.

    Args:
        container: an open PyAV container.
        path: its path, for messages.
        threads: number of decoder threads; 0 lets it choose.
        max_pixels: refuse larger frames, before one is decoded.
        tolerant: skip frames that cannot be decoded, and end where the file breaks.
        tick: seconds in a tick of the container that the frames are for, where it has but one; no two share it.
        deinterlace: make whole frames of interlaced ones.
    Raises: InputError where there is no video, or its first frame cannot be decoded.
    """

    def __init__(
        self, container: Any, path: Path, *, threads: int = 0, tolerant: bool = False, max_pixels: int = MAX_PIXELS,
        tick: Fraction | None = None, deinterlace: bool = False,
    ) -> None:  # fmt: skip
        stream = main_video(container)
        if stream is None:
            raise InputError(f"{path}: expected a video, found no moving pictures in it")
        self.container, self.path, self.stream, self.index = container, path, stream, stream.index
        if stream.codec_context is None:
            raise UnsupportedError(f"{path}: no decoder for its video")
        self.max_pixels, self.deinterlace = max_pixels, deinterlace
        self._check_pixels(stream.codec_context)
        self.keeps_alpha = False
        """Whether frames come with their transparency; they are laid on black else."""
        self._seen: dict[str, str] = {}
        self._stated_end = own_length(stream)
        self._spacing = Spacing(stream.time_base, tick)
        self._decoding = Decoding(container, stream, path, threads=threads, tolerant=tolerant)
        decoded = self._decoding.frames()
        self._decoded = deinterlaced(decoded, stream.time_base) if deinterlace else decoded
        try:
            first = next(self._decoded)
        except StopIteration:
            raise InputError(f"{path}: no frame could be decoded; the file may be cut short") from None
        self.facts = self._facts(first)
        self._first = first
        self.first = self._frame(first, self._placed(first))
        self._seen.clear()

    def frames(self) -> Iterator[Frame]:
        """Yield all frames in presentation order, once. Raises: InputError where one cannot be decoded."""
        yield self._frame(self._first, self.first.pts)  # again, as it may now keep its transparency
        for frame in self._decoded:
            yield self._frame(frame, self._placed(frame))

    def check_fine(self, suffix: str) -> None:
        """Check, before any work, that the target's ticks tell the frames apart. Raises: UsageError."""
        listed = [entry.timestamp for entry in self.stream.index_entries] if self._spacing.tick else []
        check_fine(listed, self.stream.time_base, self.facts.rate, self._spacing.tick, suffix)

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes on what was met in the frames that were read so far."""
        moved, undecoded = self._spacing.moved, self._decoding.undecoded
        notes = [*self._seen.values()]
        notes += [f"{moved} frames had the time of the one before, and are shown a tick later"] if moved else []
        return *notes, *([f"{undecoded} frames could not be decoded, and are missing"] if undecoded else [])

    def check_whole(self, hint: str = "") -> None:
        """Check, after all frames were read, that none is missing. Raises: InputError."""
        problem = self.missing()
        if problem:
            raise InputError(f"{self.path}: cut short or damaged: {problem}", hint=hint)

    def missing(self) -> str | None:
        """Describe, after all frames were read, what is missing of them; None if nothing is."""
        if self._decoding.damaged:
            return f"{self._decoding.damaged} damaged frames"
        return shortfall(self.container, self.stream, self._decoding.ends, float(1 / self.facts.rate), self.path)

    @property
    def end_s(self) -> float | None:
        """Second at which the last frame ends, after all were read, also of a closed container; None if not stated."""
        last = float((self._spacing.last or 0) * self.facts.time_base)
        ends = [self._decoding.ends.get(self.index), self._stated_end]
        return next((end for end in ends if end is not None and end > last), None)

    def _check_pixels(self, size: Any) -> None:
        """Check the size of a frame. Raises: RefusedError."""
        if size.width * size.height > self.max_pixels:
            raise RefusedError(
                f"{self.path}: frames of {size.width}x{size.height} are more than {self.max_pixels:,} pixels"
            )

    def _placed(self, frame: Any) -> int:
        """Return the time at which a frame is shown. Raises: InputError where the file's times start anew."""
        pts = self._spacing.place(frame.pts)
        if pts is None:
            raise InputError(f"{self.path}: timestamps go back at {frame.time:.3f} s")
        return pts

    def _frame(self, frame: Any, pts: int) -> Frame:
        planes, alpha = split(self._fitted(frame), self.facts.layout)
        if alpha is not None and not self.keeps_alpha:
            self._seen["alpha"] = "its transparency is laid on black; FFV1 in an MKV or ProRes in a MOV would keep it"
            planes, alpha = on_black(planes, alpha, self.facts.colours), None
        return Frame(planes, pts, alpha=alpha)

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
        matrix = 0 if is_rgb else tags[3] if tags[3] not in (0, 2) else guessed_matrix((frame.height, frame.width))
        levels = Levels(depth, is_full=tags[0] == 2 or is_rgb)
        side = side_data(frame)
        notes += [f"its {kind} is lost" for kind in side if kind not in (*HDR, *_NOT_MISSED)]
        return StreamInfo(
            (frame.height, frame.width), layout, Colours(levels, matrix, chroma, chroma_location(self.stream)),
            self.stream.time_base, mean_rate(self.stream, self.path),
            Fraction(self.stream.sample_aspect_ratio or 1), tags, side.pop("DISPLAYMATRIX", None),
            {key: value for key, value in side.items() if key in HDR}, tuple(notes),
            fields=fields, has_alpha=has_alpha(frame.format), is_transparent=split(frame, layout)[1] is not None,
        )  # fmt: skip


def _tags(frame: Any, context: Any, name: str) -> tuple[int, int, int, int]:
    """Read range, primaries, transfer and matrix: of the frame if tagged, else of the stream."""

    def said(attribute: str, unknown: tuple[int, ...]) -> int:
        value = int(getattr(frame, attribute) or 0)
        return value if value not in unknown else int(getattr(context, attribute) or 0)

    limited_or_full = 2 if name.startswith("yuvj") else said("color_range", (0,))
    return (
        limited_or_full, said("color_primaries", (0, 2)), said("color_trc", (0, 2)), said("colorspace", (0, 2))
    )  # fmt: skip
