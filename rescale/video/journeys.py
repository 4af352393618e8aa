"""One video file down, one video file up; and the frames of one, for programs."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import chain, islice
from pathlib import Path
from typing import Any

from rescale import files, images, memory
from rescale.errors import RefusedError, UnsupportedError, UsageError
from rescale.geometry import Size
from rescale.rescaler import Rescaler, load
from rescale.sizes import Scale
from rescale.video import workers
from rescale.video.containers import check_small, format_of, opened
from rescale.video.encoders import Encoding, encoding
from rescale.video.frames import Facts, Frame, Source
from rescale.video.label import Label
from rescale.video.mux import assemble
from rescale.video.realtime import Clock, worked
from rescale.video.segments import Segments
from rescale.video.ways import Maker, way_up

_SEGMENT_S = 10
"""Seconds of video that a killed run loses at most."""
Tell = Callable[[Clock], None]


@dataclass(frozen=True)
class How:
    """Choices for the file that is written."""

    codec: str | None = None
    quality: int | None = None
    preset: str | None = None
    overwrite: bool = False
    allow_truncated: bool = False
    """Take what there is of a file that ends before its header says."""
    max_pixels: int = images.MAX_PIXELS
    threads: int = 0
    """Of the decoder, and of the encoder; 0 lets each choose."""
    tell: Tell = field(default=lambda _: None)
    """Is told after each frame how far all is."""


@dataclass(frozen=True)
class Filmed:
    """What became of one video."""

    source: Path
    target: Path
    model: str
    size: Size
    frames: int
    rate: float
    """Frames a second, all stages together."""
    rates: dict[str, float]
    """Of each stage, had it not to wait for the others."""
    notes: tuple[str, ...] = ()
    weights: str = ""
    """Digest of the model's weights, its first 16 digits."""


def upscale_video(
    source: Path,
    target: Path,
    *,
    model: str | None = None,
    scale: float | None = None,
    device: str | None = None,
    force: bool = False,
    how: How | None = None,
) -> Filmed:
    """Enlarge a video, or restore a small one by its record; sound, timing and all other streams stay.

    Args:
        source: MP4, MOV, MKV or WebM.
        target: the same; its suffix decides.
        model: to enlarge or restore with; espcn-x2-rt and its like by default.
        scale: enlarge an ordinary video by 2, 3 or 4; without it, the video's record says all.
        device: where to run.
        force: restore even if the small video was changed since it was made.
        how: choices for the file that is written.
    Raises: InputError, UnsupportedError, UsageError, RecordError, RefusedError, EnvironmentFault.
    """
    how = how or How()
    with opened(source) as container:
        given = taken(container, source, how)
        maker, work, made, notes = way_up(given, model, scale, device, force=force)
        return _filmed(given, target, maker, work, made, how, notes=notes)


def downscale_video(
    source: Path,
    target: Path,
    *,
    model: str | None = None,
    scale: Scale | None = None,
    device: str | None = None,
    how: How | None = None,
) -> Filmed:
    """A small video whose frames restore; lossless (FFV1, RGB) in MKV, since a lossy one loses what is hidden in it.

    Args: as `upscale_video`; `scale` is how many times smaller, or to which size.
    """
    how = how or How()
    check_small(target, how.codec)
    with opened(source) as container:
        given = taken(container, source, how)
        rescaler = load(model or "irn-x4-small", device=device)
        size = rescaler.sizes.small(given.facts.size, scale)
        work, made = workers.shrinker(rescaler, given.facts, size)
        label = Label.of(rescaler.name, rescaler.digest, given.facts, work(given.first))
        how = How(**{**vars(how), "codec": how.codec or "ffv1"})
        return _filmed(given, target, rescaler, work, made, how, said=label.model_dump_json(exclude_none=True))


def frames(
    source: Path | str, *, model: str | None = None, scale: float | None = None, device: str | None = None
) -> Iterator[Frame]:
    """The frames of a video, enlarged, or restored by its record: planes of levels and timestamps, decoded ahead.

    Args: as `upscale_video`.
    """
    with opened(Path(source)) as container:
        given = Source(container, Path(source))
        _, work, _, _ = way_up(given, model, scale, device)
        with closing(worked(given.frames(), work, Clock(), lambda _: None)) as made:  # type: ignore[type-var]
            yield from made
        given.check_whole()


def _filmed(
    given: Source,
    target: Path,
    maker: Maker | Rescaler,
    work: workers.Work,
    made: Facts,
    how: How,
    *,
    said: str | None = None,
    notes: Sequence[str] = (),
) -> Filmed:
    files.check_target(given.path, target, overwrite=how.overwrite)
    if max(made.size[0] * made.size[1], given.facts.size[0] * given.facts.size[1]) > how.max_pixels:
        raise RefusedError(f"frames of {made.size[1]}x{made.size[0]} are more than {how.max_pixels:,} pixels")
    plan, found = encoding(
        made, made.size, format_of(target), codec=how.codec, quality=how.quality, preset=how.preset, threads=how.threads
    )
    clock = Clock(total=given.stream.frames or None)
    with closing(Segments(target, about(given.path, maker, plan, said))) as segments:
        fill(segments, given, work, plan, clock, how)
        check_times(segments, made.time_base, target)
        with images.published(target, overwrite=how.overwrite) as file:
            found += assemble(given.path, given.stream.index, file, format_of(target), plan, segments, said=said)
        count = sum(frames for _, frames in segments.whole)
        segments.discard()
    problem = given.missing()
    told = (*given.facts.notes, *notes, *found, *([f"cut short: {problem}"] if problem else []))
    return Filmed(given.path, target, maker.name, made.size, count, clock.rate, clock.rates, told, maker.digest)


def fill(segments: Segments, given: Source, work: workers.Work, plan: Encoding, clock: Clock, how: How) -> None:
    """What is not yet in the segments."""
    rest = islice(given.frames(), segments.open(), None)
    try:
        _encode(rest, work, plan, segments, clock, how.tell)
    except UnsupportedError:
        segments.discard()  # another run would come no further
        raise
    finally:
        segments.discard_if_empty()
    if not how.allow_truncated:
        given.check_whole(f"; --allow-truncated takes what there is, and {segments.folder} holds what was made of it")


def taken(container: Any, path: Path, how: How) -> Source:
    """The video of an open container, read as the choices say."""
    return Source(container, path, threads=how.threads, tolerant=how.allow_truncated, max_pixels=how.max_pixels)


def check_times(segments: Segments, base: Fraction, target: Path) -> None:
    """Raises: UsageError where frames come so fast that a container of milliseconds would show two at once."""
    times = segments.times()
    if format_of(target) in ("matroska", "webm") and len({round(pts * base * 1000) for pts in times}) < len(times):
        raise UsageError(
            f"{target.suffix} counts in milliseconds, which is too coarse for this video; take .mp4 or .mov"
        )


def _encode(
    decoded: Iterator[Frame], work: workers.Work, plan: Encoding, segments: Segments, clock: Clock, tell: Tell
) -> None:
    """Segment after segment, until the frames end."""
    length = max(round(plan.facts.rate * _SEGMENT_S), 1)
    with closing(worked(decoded, work, clock, tell)) as made:  # type: ignore[type-var]
        for frame in made:
            some = clock.timed("encode", chain([frame], islice(made, length - 1)), -1)  # to wait is not to encode
            segments.add(clock.timed("encode", plan.packets(plan.begin(), some)))
            memory.give_back()  # or what encoders leave between the frames would grow from segment to segment


def about(source: Path, maker: Maker | Rescaler, plan: Encoding, said: str | None) -> dict[str, Any]:
    """Everything that decides what the packets are."""
    facts = source.stat()
    return {
        "source": [str(source.resolve()), facts.st_size, facts.st_mtime_ns, _ends(source)],
        "weights": maker.digest, "device": maker.device.type, "encoder": plan.encoder, "options": plan.options,
        "threads": plan.threads,
        "layout": plan.layout, "size": plan.size, "said": said,
    }  # fmt: skip


def _ends(path: Path) -> str:
    """A digest of the first and the last of a file."""
    with path.open("rb") as file:
        total = hashlib.sha256(file.read(2**20))
        file.seek(max(path.stat().st_size - 2**20, 0))
        total.update(file.read())
    return total.hexdigest()
