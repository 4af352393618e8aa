"""Downscale or upscale one video file; yield its upscaled frames for programs."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from rescale.errors import RefusedError
from rescale.geometry import Scale, Size
from rescale.inference.compatibility import Producer
from rescale.inference.rescaler import Rescaler, load
from rescale.io import storage, targets
from rescale.models.zoo import DEFAULT_MODEL
from rescale.video import transforms
from rescale.video.io.container import check_small, format_of, opened
from rescale.video.io.encoders import encoding
from rescale.video.io.frames import Frame, StreamInfo, VideoReader
from rescale.video.io.mux import assemble
from rescale.video.io.segments import Segments
from rescale.video.pipeline import Clock, worked
from rescale.video.record import VideoRecord
from rescale.video.transcode import EncodeOptions, check_times, fingerprint, open_reader, transcode
from rescale.video.upscaler import upscaler_for


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


def upscale_video(
    source: Path,
    target: Path,
    *,
    model: str | None = None,
    scale: float | None = None,
    device: str | None = None,
    force: bool = False,
    how: EncodeOptions | None = None,
) -> VideoResult:
    """Super-resolve a video, or restore a low-resolution one by its record; sound, timing and all other streams stay.

    Args:
        source: MP4, MOV, MKV or WebM.
        target: the same; its suffix decides.
        model: for super-resolution or restoring; espcn-x2-rt and its like by default.
        scale: super-resolve an ordinary video by 2, 3 or 4; without it, the video's record says all.
        device: where to run.
        force: restore even if the LR video was changed since it was made.
        how: encoding options.
    Raises: InputError, UnsupportedError, UsageError, RecordError, RefusedError, MachineError.
    """
    how = how or EncodeOptions()
    with opened(source) as container:
        given = open_reader(container, source, how)
        maker, work, made, notes = upscaler_for(given, model, scale, device, force=force)
        return _filmed(given, target, maker, work, made, how, notes=notes)


def downscale_video(
    source: Path,
    target: Path,
    *,
    model: str | None = None,
    scale: Scale | None = None,
    device: str | None = None,
    how: EncodeOptions | None = None,
) -> VideoResult:
    """Downscale a video so that it can be restored; lossless (FFV1, RGB) in MKV, as lossy codecs lose hidden detail.

    Args: as `upscale_video`; `scale` is the downscaling factor, or the target size.
    """
    how = how or EncodeOptions()
    check_small(target, how.codec)
    with opened(source) as container:
        given = open_reader(container, source, how)
        rescaler = load(model or DEFAULT_MODEL, device=device)
        size = rescaler.sizes.small(given.facts.size, scale)
        work, made = transforms.downscale(rescaler, given.facts, size)
        label = VideoRecord.of(rescaler.name, rescaler.digest, given.facts, work(given.first))
        how = EncodeOptions(**{**vars(how), "codec": how.codec or "ffv1"})
        return _filmed(given, target, rescaler, work, made, how, said=label.model_dump_json(exclude_none=True))


def frames(
    source: Path | str, *, model: str | None = None, scale: float | None = None, device: str | None = None
) -> Iterator[Frame]:
    """Yield a video's frames, super-resolved or restored by its record: planes of levels and timestamps, decoded ahead.

    Args: as `upscale_video`.
    """
    with opened(Path(source)) as container:
        given = VideoReader(container, Path(source))
        _, work, _, _ = upscaler_for(given, model, scale, device)
        with closing(worked(given.frames(), work, Clock(), lambda _: None)) as made:  # type: ignore[type-var]
            yield from made
        given.check_whole()


def _filmed(
    given: VideoReader,
    target: Path,
    maker: Producer | Rescaler,
    work: transforms.FrameTransform,
    made: StreamInfo,
    how: EncodeOptions,
    *,
    said: str | None = None,
    notes: Sequence[str] = (),
) -> VideoResult:
    targets.check_target(given.path, target, overwrite=how.overwrite)
    if max(made.size[0] * made.size[1], given.facts.size[0] * given.facts.size[1]) > how.max_pixels:
        raise RefusedError(f"frames of {made.size[1]}x{made.size[0]} are more than {how.max_pixels:,} pixels")
    plan, found = encoding(
        made, made.size, format_of(target), codec=how.codec, quality=how.quality, preset=how.preset, threads=how.threads
    )
    clock = Clock(total=given.stream.frames or None)
    with closing(Segments(target, fingerprint(given.path, maker, plan, said))) as segments:
        transcode(segments, given, work, plan, clock, how)
        check_times(segments, made.time_base, target)
        with storage.published(target, overwrite=how.overwrite) as file:
            found += assemble(given.path, given.stream.index, file, format_of(target), plan, segments, said=said)
        count = sum(frames for _, frames in segments.whole)
        segments.discard()
    problem = given.missing()
    told = (*given.facts.notes, *notes, *found, *([f"cut short: {problem}"] if problem else []))
    return VideoResult(given.path, target, maker.name, made.size, count, clock.rate, clock.rates, told, maker.digest)
