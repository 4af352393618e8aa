"""Streams of an open container: the one that is the film, its mean rate, and the side data of its frames."""

import re
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import islice, pairwise
from pathlib import Path
from statistics import median
from typing import Any, cast, get_args

from rescale.video.io.colour import Siting
from rescale.video.io.container import library, opened

_PREFERENCE = 5_000_000
"""Pixels that the mark of a default stream is worth, as for FFmpeg's own choice."""
_MOST_FPS = 400
"""Rates above this are a clock's ticks more often than frames, and are measured."""
_SOME = 300
"""Packets that a rate is measured on."""
_USUAL = [Fraction(whole) for whole in range(1, 241)] + [
    Fraction(whole * 1000, 1001) for whole in (24, 30, 48, 60, 120)
]
_NEWER = {29: "VIEW_ID", 30: "REFERENCE_DISPLAYS", 31: "EXIF"}
"""Kinds of frame side data by FFmpeg's numbers, for which PyAV 18 has no name."""
_FRAME_EACH = {"h264", "hevc", "vvc", "mjpeg", "prores", "dnxhd", "ffv1", "vp9", "av1", "mpeg1video", "mpeg2video"}
"""Codecs of which each packet in a file is one frame that is shown."""
_CENTRED = {"mjpeg", "mpeg1video", "theora", "vp3", "svq1", "indeo2", "indeo3", "indeo4", "indeo5"}
"""Codecs whose chroma sits amid its luma samples."""
_LOCATION = re.compile(rf"^ *Stream #0:(\d+).*?: Video: .*?[(, ]({'|'.join(get_args(Siting))})\)", re.MULTILINE)


def is_cover(stream: Any) -> bool:
    """Tell whether a stream is a still image, such as an album cover."""
    return "attached_pic" in stream.disposition.name if stream.disposition else False


def main_video(container: Any) -> Any:
    """Choose the film among a container's video streams, not its preview or cover; None if there is none."""
    return max((s for s in container.streams.video if not is_cover(s)), key=_merit, default=None)


def _merit(stream: Any) -> tuple[bool, bool, int]:
    """Rank as FFmpeg's command line does, by size and the mark of a default; stills come last."""
    context = stream.codec_context
    if context is None:
        return False, False, 0
    is_marked = bool(stream.disposition & 1)
    return True, stream.frames != 1, context.width * context.height + _PREFERENCE * is_marked


def mean_rate(stream: Any, path: Path) -> Fraction:
    """Return mean frames a second; measured on the first packets where FFmpeg takes a clock's ticks for it."""
    told = stream.average_rate or stream.guessed_rate
    if told and told <= _MOST_FPS:
        return Fraction(told)
    return _measured(stream.index, path) or Fraction(25)


def _measured(index: int, path: Path) -> Fraction | None:
    with opened(path) as container:
        stream = container.streams[index]
        times = sorted({p.pts for p in islice(container.demux(stream), _SOME) if p.pts is not None and p.size})
        base = stream.time_base
    if len(times) < 2:
        return None
    steps = [b - a for a, b in pairwise(times)]
    mean = (len(times) - 1) / ((times[-1] - times[0]) * base)
    is_even = max(steps) - min(steps) <= max(2, 0.1 * median(steps))
    nearest = min(_USUAL, key=lambda rate: abs(rate / mean - 1))
    return nearest if is_even and abs(nearest / mean - 1) < 2e-3 else Fraction(mean).limit_denominator(1000)


def side_data(frame: Any) -> dict[str, bytes]:
    """Return a frame's side data by FFmpeg's names."""
    _name_newer_kinds()
    return {item.type.name: bytes(item) for item in frame.side_data}


def _name_newer_kinds() -> None:
    """Let PyAV wrap side data of kinds that its FFmpeg knows and its own list lacks, or it could not read any of it."""
    from av.sidedata.sidedata import Type

    if "_missing_" not in vars(Type):
        Type._missing_ = classmethod(_newer_kind)  # type: ignore[assignment, method-assign]


def _newer_kind(cls: Any, value: object) -> Any:
    kind = object.__new__(cls)
    kind._name_, kind._value_ = _NEWER.get(value, f"side data {value}"), value  # type: ignore[call-overload]
    return kind


def chroma_location(stream: Any) -> Siting:
    """Return where chroma samples sit: as the file or its codec says, else left, as players take it."""
    said = dict(_LOCATION.findall(_description(stream.container)))
    name = stream.codec_context.name
    return cast(Siting, said.get(str(stream.index), "center" if name in _CENTRED else "left"))


def _description(container: Any) -> str:
    """Return FFmpeg's own description of a file, in which alone PyAV passes on the location of chroma."""
    log = library().logging
    before = log.get_level()
    try:
        log.set_level(log.VERBOSE)
        log.set_libav_level(log.VERBOSE)
        return str(container.dumps_format())
    finally:
        log.set_libav_level(log.INFO)
        log.set_level(before)


@dataclass
class DecodedCount:
    """Counts packets and frames, and tells whether some packet has given none."""

    frames: int = 0
    last: int | None = None
    """Time of the last frame, in ticks."""
    _packets: int = 0
    _early: list[int] = field(default_factory=list)
    """Times of the packets before the first frame."""
    _first: int | None = None
    _is_plain: bool = True

    def sent(self, packet: Any, time: int | None) -> None:
        """Count a packet for a frame that is shown at a time, unless it is not to be shown."""
        if not packet.size or packet.is_discard or time is None:
            return
        if self._first is None:
            self._early.append(time)
        else:
            self._packets += time >= self._first  # leading frames of an open start cannot be decoded

    def came(self, frame: Any, codec: str) -> None:
        """Count a frame."""
        if self._first is None:
            self._first = frame.pts
            self._packets = sum(pts >= frame.pts for pts in self._early)
        self.frames, self.last = self.frames + 1, frame.pts
        self._is_plain &= codec in _FRAME_EACH and not frame.interlaced_frame  # each field may have its packet

    @property
    def missing(self) -> int:
        return max(self._packets - self.frames, 0) if self._is_plain else 0
