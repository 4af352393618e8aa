"""Tasks of the other tabs, without the page: restore an LR image, super-resolve an image, upscale a clip."""

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rescale.demo.comparison import MAX_PIXELS
from rescale.demo.sessions import ProgressCallback
from rescale.errors import InputError, RecordError, RefusedError, RescaleError, UsageError
from rescale.geometry import Size, by
from rescale.inference import files
from rescale.inference.cache import load_cached
from rescale.inference.options import RescaleOptions
from rescale.inference.rescaler import Rescaler
from rescale.io import images, record, targets
from rescale.io.picture import Picture
from rescale.models.zoo import video_model
from rescale.video.carriage import find_record
from rescale.video.files import VideoResult, upscale_video
from rescale.video.io.container import opened
from rescale.video.options import EncodeOptions
from rescale.video.pipeline import Clock
from rescale.video.record import VideoRecord

SCALES = (2, 3, 4)
MAX_SECONDS = 30
"""Maximum length of a clip, in seconds."""
MAX_FRAME = 9_000_000
"""Maximum pixels of an upscaled frame: a little more than 4K."""


@dataclass(frozen=True)
class Enlarged:
    """Upscaled image, beside bicubic of the same size."""

    before: Path
    after: Path
    words: str


@dataclass(frozen=True)
class Clip:
    """Upscaled clip; `film` is None while it is being made, when only its first frame can be shown."""

    before: Path | None
    after: Path | None
    film: Path | None = None
    words: str = ""


def restore(source: Path, folder: Path, tell: ProgressCallback, *, force: bool = False) -> Enlarged:
    """Restore an LR image by its record. Raises: RecordError where there is none, or where the image was edited."""
    tell(0.1, "restoring it by its record")
    return _enlarged(source, folder, tell, targets.large_name(source, is_restored=True), force=force)


def super_resolve(
    source: Path, folder: Path, tell: ProgressCallback, *, scale: int, model: Rescaler | None = None
) -> Enlarged:
    """Super-resolve an ordinary image, by the model that serves the scale or by the page's own."""
    scales = factors(model)
    if scale not in scales:
        raise UsageError(f"expected a scale of {', '.join(map(str, scales))}, got {scale!r:.40}")
    tell(0.1, f"enlarging it x{scale}")
    return _enlarged(source, folder, tell, targets.large_name(source, is_restored=False), scale=scale, model=model)


def factors(model: Rescaler | None) -> tuple[int, ...]:
    """Return the scales to super-resolve by; those of the page's own model, if it has one."""
    return (model.scale,) if model and model.scale else SCALES


def _enlarged(
    source: Path, folder: Path, tell: ProgressCallback, name: str, *, scale: int | None = None,
    model: Rescaler | None = None, force: bool = False,
) -> Enlarged:  # fmt: skip
    after, before = folder / name, folder / "bicubic.png"
    options = RescaleOptions(force=force, max_pixels=MAX_PIXELS)
    done = files.upscale_file(source, after, model=model, scale=scale, options=options)
    tell(0.8, "bicubic, to compare")
    small = images.read(source, max_pixels=MAX_PIXELS)
    images.write(before, _bicubic(record.strip(small), done.size))
    words = [f"**{by(small.size)} → {by(done.size)}** by `{done.model}`", *done.notes]
    return Enlarged(before, after, ". ".join(words) + ".")


def _bicubic(small: Picture, size: Size) -> Picture:
    return load_cached("bicubic").upscale_picture(Picture(small.pixels, small.alpha), size=size)


def upscale_clip(source: Path, folder: Path, tell: ProgressCallback, *, scale: int) -> Iterator[Clip]:
    """Super-resolve a clip, or restore it by its record; yields the first frame early, as a preview."""
    if scale not in SCALES:
        raise UsageError(f"expected a scale of {', '.join(map(str, SCALES))}, got {scale!r:.40}")
    tell(0.02, "looking at its first frame")
    before, after = folder / "before.png", folder / "after.png"
    first, label = _first(source)
    if label is None:
        model = video_model(scale)
        _check(first, scale)
        images.write(after, load_cached(model).upscale_picture(first))
        images.write(before, _bicubic(first, (first.size[0] * scale, first.size[1] * scale)))
        yield Clip(before, after)
    target = folder / f"{source.stem}.{'restored' if label else 'upscaled'}.mp4"
    options = EncodeOptions(max_pixels=MAX_FRAME, tell=lambda clock: tell(_share(clock), _pace(clock)))
    done = upscale_video(source, target, scale=None if label else scale, options=options)
    pair = (before, after) if label is None else (None, None)
    yield Clip(pair[0], pair[1], target, _summary(done))


def _first(source: Path) -> tuple[Picture, VideoRecord | None]:
    """Decode the first frame of a clip that is short enough, and read its record."""
    with opened(source) as container:
        seconds = (container.duration or 0) / 1e6
        if seconds > MAX_SECONDS:
            raise RefusedError(
                f"expected a clip of at most {MAX_SECONDS} seconds here, got {seconds:.0f}",
                hint="rescale.upscale_video takes any",
            )
        if not container.streams.video:
            raise InputError("expected a video, got a file without one")
        codec = container.streams.video[0].codec_context
        if codec.width * codec.height > MAX_FRAME:
            raise RefusedError(f"expected frames of at most {MAX_FRAME / 1e6:.0f} megapixels")
        frame = next(container.decode(video=0), None)
        if frame is None:
            raise InputError("no frame could be decoded; the file may be cut short")
        return Picture(frame.to_ndarray(format="rgb24")), find_record(container, source)


def _check(first: Picture, scale: int) -> None:
    height, width = (side * scale for side in first.size)
    if height * width > MAX_FRAME:
        raise RefusedError(
            f"x{scale} makes frames of {width}x{height}, more than the {MAX_FRAME / 1e6:.0f} megapixels made here"
        )


def _share(clock: Clock) -> float:
    return 0.05 + 0.95 * clock.frames / (clock.total or max(clock.frames, 1))


def _pace(clock: Clock) -> str:
    return f"{clock.frames}{f' of {clock.total}' if clock.total else ''} frames, {clock.rate:.0f} a second"


def _summary(done: VideoResult) -> str:
    facts = f"**{done.frames} frames of {by(done.size)}**, {done.rate:.0f} a second, by `{done.model}`"
    return ". ".join([facts, *done.notes]) + "."


def sentence(error: RescaleError) -> str:
    """Format an error for the page: HTML-safe, without the hint, which is for programs."""
    text = re.sub(r"\S*/([^/\s]+)", r"\1", error.message)  # a visitor's file has a name, but its folder is ours
    if isinstance(error, RecordError):
        text += ". An ordinary picture is enlarged under “Super-resolve”"
    return html.escape(text.strip().rstrip(".") + ".", quote=False)
