"""One picture file down, one picture file up: the journeys from disk to disk."""

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from rescale import images, record, weights
from rescale.errors import RecordError, RefusedError, UsageError
from rescale.images import Picture
from rescale.rescaler import Rescaler, load


@dataclass(frozen=True)
class Done:
    """What became of one file."""

    source: Path
    target: Path
    model: str
    size: tuple[int, int]
    """Height and width of the result."""
    notes: tuple[str, ...] = ()
    """What could not be kept, and what was gone against with `force`."""


def downscale_file(
    rescaler: Rescaler,
    source: Path,
    target: Path,
    *,
    overwrite: bool = False,
    quality: int | None = None,
    lossless: bool = True,
    max_pixels: int = images.MAX_PIXELS,
) -> Done:
    """Make a small picture that restores itself.

    Args:
        rescaler: the model.
        source: any picture that `images.read` takes.
        target: PNG, WebP, AVIF, TIFF or JPEG; a lossy one costs quality, and the note says how much.
        overwrite: replace an existing target.
        quality: of a lossy target, 1 to 100.
        lossless: for WebP.
        max_pixels: refuse larger sources.
    Raises: InputError, UnsupportedError, RefusedError, UsageError, EnvironmentFault: see `images`.
    """
    format = images.format_of(target)
    if format in ("BMP", "PPM", "GIF"):
        raise RefusedError(
            f"{format} cannot carry the record that restoring needs; write PNG, WebP, AVIF, TIFF or JPEG"
        )
    _check_target(source, target, overwrite)
    original = images.read(source, max_pixels=max_pixels)
    small = rescaler.downscale_picture(record.strip(original))
    stored = _as_stored(format, small, quality, lossless)
    notes = [] if _same(stored, small) else _cost(rescaler, original, small, stored, format)
    carrying = record.embed(small, rescaler.describe(stored, original), format)
    data, lost = images.encode(format, carrying, quality=quality, lossless=lossless)
    images.publish(target, data, overwrite=overwrite)
    return Done(source, target, rescaler.name, small.size, (*original.notes, *notes, *lost))


def upscale_file(
    source: Path,
    target: Path,
    *,
    model: str | None = None,
    scale: int | None = None,
    device: str | None = None,
    force: bool = False,
    overwrite: bool = False,
    quality: int | None = None,
    lossless: bool = True,
    max_pixels: int = images.MAX_PIXELS,
) -> Done:
    """Restore a small picture by its own record, or enlarge an ordinary one.

    Args:
        source: a picture that `downscale_file` wrote, or any other.
        target: its suffix decides the format.
        model: use this model and no record; the picture is then as large as the scale makes it.
        scale: super-resolution of an ordinary picture by this factor.
        device: where to run.
        force: restore even though the record does not fit the pixels.
        overwrite: replace an existing target.
        quality: of a lossy target, 1 to 100.
        lossless: for WebP.
        max_pixels: refuse larger sources.
    Raises: RecordError where the record is missing, damaged or does not fit; else as `downscale_file`.
    """
    _check_target(source, target, overwrite)
    small = images.read(source, max_pixels=max_pixels)
    found = _find_record(small) if model is None and scale is None else None
    notes: list[str] = []
    if found is None:
        rescaler = _loaded(model or _enlarger(scale), device)
        large = rescaler.upscale_picture(record.strip(small))
    else:
        rescaler = _loaded(found.model, device)
        notes = _check(found, small, rescaler, force)
        fits = rescaler.small_size(found.size) == small.size
        large = rescaler.upscale_picture(record.strip(small), size=found.size if fits else None)
        large = _as_original(large, found)
    lost = images.write(target, large, overwrite=overwrite, quality=quality, lossless=lossless)
    return Done(source, target, rescaler.name, large.size, (*small.notes, *notes, *lost))


def small_name(source: Path, scale: int) -> str:
    """photo.jpg -> photo.x4.png"""
    return f"{source.stem}.x{scale}.png"


def large_name(source: Path, *, is_restored: bool) -> str:
    """photo.x4.png -> photo.x4.restored.png; an ordinary picture.jpg -> picture.upscaled.png"""
    return f"{source.stem}.{'restored' if is_restored else 'upscaled'}.png"


@lru_cache(maxsize=4)
def _loaded(model: str, device: str | None) -> Rescaler:
    return load(model, device=device)


def _enlarger(scale: int | None) -> str:
    """The model for super-resolution by a factor."""
    made = {entry.scale: name for name, entry in weights.manifest().items() if entry.model == "espcn"}
    if scale not in made:
        raise UsageError(f"expected a super-resolution scale of {sorted(made)}, got {scale}")
    return made[scale]


def _find_record(small: Picture) -> record.Record:
    found = record.extract(small)
    if found is None:
        raise RecordError(
            "this picture carries no record of how it was made small; pass --scale to enlarge it as an ordinary "
            "picture, or --model to restore it with the model that made it"
        )
    if found.model not in weights.manifest():
        raise RecordError(
            f"made small by {found.model!r}, which this rescale does not have; pass --model with its file"
        )
    return found


def _check(found: record.Record, small: Picture, rescaler: Rescaler, force: bool) -> list[str]:
    """What speaks against restoring by this record: an error, or with `force` a list of notes."""
    against = []
    if found.weights != rescaler.digest:
        against.append(f"made with other weights of {found.model} ({found.weights}) than these ({rescaler.digest})")
    if rescaler.small_size(found.size) != small.size:
        against.append(f"its record speaks of another size: {found.size[1]}x{found.size[0]} at x{rescaler.scale}")
    elif found.pixels != record.digest(small):
        against.append("edited, re-compressed or converted after it was made small, so it would restore badly")
    if against and not force:
        raise RecordError(f"{'; '.join(against)}; pass --force to go on all the same")
    return [f"forced: {reason}" for reason in against]


def _check_target(source: Path, target: Path, overwrite: bool) -> None:
    """Before any work: the target is free, and never the source itself."""
    if target.exists() and source.exists() and target.samefile(source):
        raise RefusedError(f"{target}: the result would replace its own source; pass another -o")
    if target.exists() and not overwrite:
        raise RefusedError(f"{target} exists; pass --overwrite to replace it")
    if not target.parent.is_dir():
        raise UsageError(f"{target.parent} is no folder; make it first")


def _as_stored(format: str, small: Picture, quality: int | None, lossless: bool) -> Picture:
    """What a reader of the file will see, which is what the record must speak of."""
    if format in ("PNG", "TIFF"):
        return small
    bare = Picture(small.pixels, small.alpha)
    data, _ = images.encode(format, bare, quality=quality, lossless=lossless)
    return images.decode(data, format)


def _same(a: Picture, b: Picture) -> bool:
    return record.digest(a) == record.digest(b)


def _cost(rescaler: Rescaler, original: Picture, small: Picture, stored: Picture, format: str) -> list[str]:
    """Restore both ways and say what the format costs."""
    exact, lossy = (_psnr(rescaler.upscale_picture(x, size=original.size), original) for x in (small, stored))
    return [
        f"{format} is lossy: this picture will restore at {lossy:.2f} dB instead of {exact:.2f} dB; PNG costs nothing"
    ]


def _psnr(a: Picture, b: Picture) -> float:
    top = 2**b.depth - 1
    error = float(np.mean((a.pixels.astype(np.float32) - b.pixels) ** 2))
    return float(10 * np.log10(top**2 / max(error, 1e-12)))


def _as_original(large: Picture, found: record.Record) -> Picture:
    """Grey again where a format had to store grey as RGB."""
    if not found.grey or large.is_grey:
        return large
    mean = large.pixels.mean(axis=2, keepdims=True).round().astype(large.pixels.dtype)
    return replace(large, pixels=mean)
