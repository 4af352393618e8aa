"""Downscale or upscale one video file; yield its upscaled frames for programs."""

from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import chain, pairwise
from pathlib import Path
from typing import Self, cast

from rescale.device import isolated
from rescale.errors import RefusedError
from rescale.geometry import Scale, Size
from rescale.inference.rescaler import ModelLike, as_rescaler
from rescale.io import storage, targets
from rescale.io.formats import FORMAT_OF_SUFFIX, READ_ONLY, is_sequence
from rescale.video import transforms
from rescale.video.io.container import check_small, format_of, opened
from rescale.video.io.copies import plan_copies
from rescale.video.io.encoders import encoding
from rescale.video.io.frames import Frame, StreamInfo, VideoReader
from rescale.video.io.mux import Embedded, assemble
from rescale.video.io.segments import Segments
from rescale.video.options import EncodeOptions
from rescale.video.pipeline import Clock, worked
from rescale.video.record import VideoRecord
from rescale.video.transcode import fingerprint, open_reader, transcode
from rescale.video.upscaler import Device, VideoTransform, upscaler_for


@dataclass(frozen=True)
class VideoResult:
    """Result of processing one video."""

    source: Path
    target: Path
    model: str
    size: Size
    frames: int
    rate: float
    """Frames a second, all stages together."""
    rates: dict[str, float]
    """Frames a second of each stage, if it had not to wait for the others."""
    notes: tuple[str, ...] = ()
    weights: str = ""
    """First 16 hex digits of the digest of the model's weights."""


@isolated()
def upscale_video(
    source: Path | str,
    target: Path | str,
    *,
    model: ModelLike | None = None,
    scale: float | None = None,
    overwrite: bool = False,
    options: EncodeOptions = EncodeOptions(),
) -> VideoResult:
    """Super-resolve a video, or restore a low-resolution one by its record; sound, timing and all other streams stay.

    Args:
        source: any common container, a GIF that moves, or numbered pictures as frame%04d.png.
        target: MP4, MOV, MKV or WebM; its suffix decides.
        model: an id, a weight file or a `Rescaler` for super-resolution or restoring; espcn-x2-rt and its like by
            default.
        scale: super-resolve an ordinary video by 2, 3 or 4; without it, the video's record says all.
        overwrite: replace an existing target; short for the option of that name.
        options: codec, limits, device, and what is seldom needed.
    Raises: InputError, UnsupportedError, UsageError, RecordError, RefusedError, MachineError.
    """
    source, target, options = Path(source), Path(target), _options(options, overwrite)
    with opened(source) as container:
        given = open_reader(container, source, options, target)
        way = upscaler_for(given, model, scale, options.device, force=options.force)
        return _filmed(given, target, way, options)


@isolated()
def downscale_video(
    model: ModelLike,
    source: Path | str,
    target: Path | str,
    *,
    scale: Scale | None = None,
    overwrite: bool = False,
    options: EncodeOptions = EncodeOptions(),
) -> VideoResult:
    """Downscale a video so that it can be restored; lossless (FFV1, RGB) in MKV, as lossy codecs lose hidden detail.

    Args:
        model: an id, a weight file, or a `Rescaler`.
        source: as of `upscale_video`.
        target: an MKV.
        scale: downscaling factor, or target size; by default the model's own scale.
        overwrite: replace an existing target; short for the option of that name.
        options: limits, device, and what is seldom needed.
    Raises: as `upscale_video`.
    """
    source, target, options = Path(source), Path(target), _options(options, overwrite)
    check_small(target, options.codec)
    with opened(source) as container:
        given = open_reader(container, source, options, target)
        rescaler = as_rescaler(model, options.device)
        size = rescaler.sizes.small(given.facts.size, scale)
        way = VideoTransform(rescaler, *transforms.downscale(rescaler, given.facts, size))
        label = VideoRecord.of(rescaler.name, rescaler.digest, given.facts, way.work(given.first))
        options = replace(options, codec=options.codec or "ffv1")
        beyond = transforms.BeyondRange(given.facts.colours)
        way = way._replace(work=beyond.watched(way.work), met=lambda: beyond.notes)
        return _filmed(given, target, way, options, label.model_dump_json(exclude_none=True))


@dataclass(frozen=True)
class TimedFrame(Frame):
    """A frame with its time in seconds."""

    pts_seconds: float
    """When it is shown."""
    duration_seconds: float
    """Until the next one is; of the last, the mean of the stream."""


class VideoFrames(Iterator[TimedFrame]):
    """The frames of a video as they are made, one after the other; closed at their end, or by `with` or `close`."""

    info: StreamInfo
    """Of the frames that come: size, rate, colours, depth."""

    def __init__(self, played: Generator[StreamInfo | TimedFrame, None, None]) -> None:
        self._played = played
        self.info = cast(StreamInfo, next(played))

    def __next__(self) -> TimedFrame:
        return cast(TimedFrame, next(self._played))

    def close(self) -> None:
        """Stop decoding."""
        self._played.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@isolated()
def frames(
    source: Path | str, *, model: ModelLike | None = None, scale: float | None = None, device: Device = None
) -> VideoFrames:
    """Yield a video's frames, super-resolved or restored by its record: planes of levels and timestamps, decoded ahead.

    Args:
        source: as of `upscale_video`.
        model: as of `upscale_video`.
        scale: as of `upscale_video`.
        device: where to run.
    Returns: an iterator whose `info` tells of size, rate, colours and depth before the first frame.
    Raises: as `upscale_video`; while the frames come, InputError where one cannot be decoded or the file is cut short.
    """
    return VideoFrames(_played(Path(source), model, scale, device))


def _played(
    source: Path, model: ModelLike | None, scale: float | None, device: Device
) -> Generator[StreamInfo | TimedFrame, None, None]:
    """What is known of the frames, then the frames."""
    with opened(source) as container:
        given = VideoReader(container, source)
        way = upscaler_for(given, model, scale, device)
        yield way.made
        with closing(worked(given.frames(), way.work, Clock(), lambda _: None)) as made:  # type: ignore[type-var]
            yield from _timed(made, way.made)
        given.check_whole()


def _timed(frames: Iterable[Frame], info: StreamInfo) -> Iterator[TimedFrame]:
    """Each frame when the next is known: what a file says of durations is in the order of decoding."""
    for frame, after in pairwise(chain(frames, [None])):
        assert frame is not None
        lasts = (after.pts - frame.pts) * info.time_base if after else 1 / info.rate
        yield TimedFrame(frame.planes, frame.pts, float(frame.pts * info.time_base), float(lasts))


def _rewritten(source: Path, container: str) -> list[str]:
    """Note that a video is not written as what it was, and what is assumed of pictures."""
    suffix = source.suffix.lower()
    is_read_only = suffix in (*READ_ONLY, *FORMAT_OF_SUFFIX, ".dpx") and container == "matroska"
    label = "a sequence of pictures" if is_sequence(source) else suffix[1:].upper()
    rate = ["its pictures are taken as 25 frames a second"] if is_sequence(source) else []
    return rate + [f"{label} is not written, so the result is an MKV"] * is_read_only


def _options(options: EncodeOptions, overwrite: bool) -> EncodeOptions:
    return replace(options, overwrite=overwrite or options.overwrite)


def _beforehand(given: VideoReader, container: str) -> tuple[str, ...]:
    """Notes on what the user may want otherwise, known before the first frame is done."""
    fields = given.facts.notes if given.facts.fields else ()
    return *fields, *plan_copies(given.path, given.index, container).notes


def _filmed(
    given: VideoReader, target: Path, way: VideoTransform, options: EncodeOptions, record: str | None = None
) -> VideoResult:
    maker, work, made, notes, met = way
    targets.check_target(given.path, target, overwrite=options.overwrite)
    if max(made.size[0] * made.size[1], given.facts.size[0] * given.facts.size[1]) > options.max_pixels:
        raise RefusedError(f"frames of {made.size[1]}x{made.size[0]} are more than {options.max_pixels:,} pixels")
    container = format_of(target)
    plan, found = encoding(
        made, made.size, container,
        codec=options.codec, quality=options.quality, preset=options.preset, threads=options.threads,
    )  # fmt: skip
    given.keeps_alpha = plan.has_alpha
    clock = Clock(total=given.stream.frames or None, notes=_beforehand(given, container))
    options.tell(clock)  # what there is to say before all the work
    with closing(Segments(target, fingerprint(given.path, maker, plan, options, record))) as segments:
        transcode(segments, given, work, plan, clock, options)
        with storage.published(target, overwrite=options.overwrite) as file:
            found += assemble(given, file, container, plan, segments, Embedded(record))
        count = sum(frames for _, frames in segments.whole)
        segments.discard()
    problem = given.missing()
    found += _rewritten(given.path, container)
    told = (*given.facts.notes, *given.notes, *notes, *met(), *found, *([f"cut short: {problem}"] if problem else []))
    return VideoResult(given.path, target, maker.name, made.size, count, clock.rate, clock.rates, told, maker.digest)
