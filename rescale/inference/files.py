"""Downscale one image file, restore one image file: from file to file, and within that from bytes to bytes."""

import hashlib
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from pydantic import ValidationError

from rescale.errors import RecordError, RefusedError, UsageError
from rescale.geometry import Scale
from rescale.inference.compatibility import check_record, find_record
from rescale.inference.options import RescaleOptions
from rescale.inference.refine import RefineBudget, Refinement
from rescale.inference.rescaler import ModelLike, Rescaler, as_rescaler, load
from rescale.io import background, formats, images, record, storage
from rescale.io.formats import carrier
from rescale.io.images import Picture
from rescale.io.object_store import Place, Url, place
from rescale.io.targets import check_target
from rescale.metrics import decibels
from rescale.models.zoo import super_resolution_model


@dataclass(frozen=True)
class FileResult:
    """The result for one file."""

    source: Place
    target: Place
    model: str
    size: tuple[int, int]
    """Height and width of the result."""
    notes: tuple[str, ...] = ()
    """Notes on what could not be kept, and on objections that `force` overruled."""
    weights: str = ""
    """First 16 digits of the SHA-256 digest of the model's weights."""
    source_sha256: str = ""
    target_sha256: str = ""


@dataclass(frozen=True)
class EncodedResult:
    """The encoded bytes of a result, with the facts that become its `FileResult`."""

    data: bytes
    model: str
    size: tuple[int, int]
    notes: tuple[str, ...]
    weights: str

    def publish(self, source: Place, target: Place, data: bytes, options: RescaleOptions) -> FileResult:
        """Write the bytes to `target` and return the result; `data` is the source they were made from."""
        _publish(target, self.data, overwrite=options.overwrite, resume=options.resume)
        digests = _sha256(data), _sha256(self.data)
        return FileResult(source, target, self.model, self.size, self.notes, self.weights, *digests)


def downscale_file(
    model: ModelLike,
    source: Place | str,
    target: Place | str,
    *,
    scale: Scale | None = None,
    refine: Refinement | None = None,
    overwrite: bool = False,
    options: RescaleOptions = RescaleOptions(),
) -> FileResult:
    """Downscale an image to an LR image that restores itself.

    Args:
        model: an id, a weight file, or a `Rescaler`.
        source: any image that `images.read` takes; a file, or the URL of an object, see `storage`.
        target: PNG, WebP, AVIF, TIFF or JPEG; a lossy one costs quality, and the note says how much.
        scale: how many times smaller, or to which size, see `Geometry`; by default the model's own scale.
        refine: steps, time or gain to search for an LR image that restores better, see `Rescaler.downscale`.
        overwrite: replace an existing target; short for the option of that name.
        options: quality of a lossy target, limits, device, and what is seldom needed.
    Raises: InputError, UnsupportedError, RefusedError, UsageError, MachineError: see `images`.
    """
    source, target = place(source), place(target)
    options = replace(options, overwrite=overwrite or options.overwrite)
    format = carrier(target)
    check_target(source, target, overwrite=options.overwrite or options.resume)
    data = images.fetch(source, max_pixels=options.max_pixels)
    rescaler = load_cached(model, options.device)
    made = downscale_bytes(rescaler, data, source.name, format, scale=scale, refine=refine, options=options)
    return made.publish(source, target, data, options)


def downscale_bytes(
    rescaler: Rescaler,
    data: bytes,
    name: str,
    format: str,
    *,
    scale: Scale | None = None,
    refine: Refinement | None = None,
    options: RescaleOptions = RescaleOptions(),
) -> EncodedResult:
    """Downscale the bytes of an image file; `name` is for error messages, arguments as of `downscale_file`."""
    budget, quality = RefineBudget.maybe(refine), options.quality
    original = images.decode(data, name, max_pixels=options.max_pixels)
    original = original if options.keep_metadata else original.without_metadata()
    original = background.fit(original, format, options.background)
    size = rescaler.sizes.small(original.size, scale)
    small = rescaler.downscale_picture(record.strip(original), size, refine=budget, report=options.report)
    small = background.without_opaque_alpha(small, format)
    stored = _as_stored(format, small, quality)
    notes = [] if record.digest(stored) == record.digest(small) else _cost(rescaler, original, small, stored, format)
    carrying = record.embed(small, _describe(rescaler, stored, original, budget), format)
    made, lost = images.encode(format, carrying, quality=quality)
    return EncodedResult(made, rescaler.name, small.size, (*carrying.notes, *notes, *lost), rescaler.digest)


def upscale_file(
    source: Place | str,
    target: Place | str,
    *,
    model: ModelLike | None = None,
    scale: float | None = None,
    overwrite: bool = False,
    options: RescaleOptions = RescaleOptions(),
) -> FileResult:
    """Restore an LR image by its own record, or super-resolve an ordinary one.

    Args:
        source: an image that `downscale_file` wrote, or any other; a file, or the URL of an object, see `storage`.
        target: its suffix decides the format.
        model: restore with this id, weight file or `Rescaler`; without a record, to exactly its scale times the size.
        scale: X is then taken as an ordinary one; with a model that
            serves every scale, the one to restore by.
        overwrite: replace an existing target; short for the option of that name.
        options: quality of a lossy target, limits, device, and what is seldom needed.
    Raises: RecordError where the record is missing, damaged or does not fit; else as `downscale_file`.
    """
    source, target = place(source), place(target)
    options = replace(options, overwrite=overwrite or options.overwrite)
    format = formats.format_of(target)
    check_target(source, target, overwrite=options.overwrite or options.resume)
    data = images.fetch(source, max_pixels=options.max_pixels)
    made = upscale_bytes(data, source.name, format, model=model, scale=scale, options=options)
    return made.publish(source, target, data, options)


def upscale_bytes(
    data: bytes,
    name: str,
    format: str,
    *,
    model: ModelLike | None = None,
    scale: float | None = None,
    options: RescaleOptions = RescaleOptions(),
) -> EncodedResult:
    """Restore the bytes of an LR image file: the inverse of `downscale_bytes`, arguments as of `upscale_file`."""
    small = images.decode(data, name, max_pixels=options.max_pixels)
    found, notes = find_record(small, model, scale, options.force)
    rescaler = load_cached(model or (found.model if found else super_resolution_model(scale)), options.device)
    bare, size = record.strip(small if options.keep_metadata else small.without_metadata()), None
    if found is not None:
        notes += check_record(found, small, rescaler, options.force)
        if found.pixels == record.digest(small):
            bare = _like(bare, is_grey=found.grey and not rescaler.model.hides_detail, has_alpha=found.alpha)
        size = found.size if rescaler.sizes.fit(found.size, small.size) else None
        if size is None and rescaler.scale is None and scale is None:
            raise RecordError("its record's size cannot be used", hint="pass model= and scale= to restore it by these")
    size = size or rescaler.sizes.full(small.size, scale)
    _check_result(size, options.max_pixels)
    large = rescaler.upscale_picture(bare, size=size, is_grey=found.grey if found else None)
    flat = background.without_opaque_alpha(background.fit(large, format, options.background), format)
    made, lost = images.encode(format, flat, quality=options.quality)
    about = flat.notes[len(large.notes) :]
    return EncodedResult(made, rescaler.name, large.size, (*small.notes, *notes, *about, *lost), rescaler.digest)


def load_cached(model: ModelLike, device: str | torch.device | None = None) -> Rescaler:
    """Load a model, and cache it for the next image; a file is read anew once it has changed."""
    if isinstance(model, Rescaler):
        return as_rescaler(model, device)
    return _load(str(model), device, storage.stamp(Path(model)))


@lru_cache(maxsize=4)
def _load(model: str, device: str | torch.device | None, _stamp: tuple[int, ...]) -> Rescaler:
    return load(model, device=device)


def _check_result(size: tuple[int, int], max_pixels: int) -> None:
    height, width = size
    if height * width > max_pixels:
        raise RefusedError(
            f"the result of {width}x{height} would have {height * width / 1e6:.0f} megapixels, more than the limit of "
            f"{max_pixels / 1e6:.0f}",
            hint="raise it with options.max_pixels=",
        )


def _publish(target: Place, data: bytes, *, overwrite: bool, resume: bool) -> None:
    """Write a file. Raises: RefusedError where it exists and is neither to be replaced nor equal to `data`."""
    try:
        storage.publish(target, data, overwrite=overwrite)
    except RefusedError as error:
        if not resume:
            raise
        if isinstance(target, Url) or not target.is_file() or storage.sha256(target) != _sha256(data):
            raise RefusedError(
                f"{target} exists and is not what would be made now", hint="pass overwrite=True to replace it"
            ) from error


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _describe(rescaler: Rescaler, stored: Picture, original: Picture, refined: RefineBudget | None) -> record.Record:
    try:
        return rescaler.describe(stored, original, refined)
    except ValidationError as error:
        raise UsageError(
            f"expected a weight file named with at most 64 letters, digits, spaces or any of . - _ + ( ), "
            f"got {rescaler.name!r}"
        ) from error


def _as_stored(format: str, small: Picture, quality: int | None) -> Picture:
    """Return the image as a reader of the file will see it, which the record must describe."""
    if formats.FORMATS[format].is_exact:
        return small
    data, _ = images.encode(format, Picture(small.pixels, small.alpha), quality=quality)
    return images.decode(data, format)


def _like(picture: Picture, *, is_grey: bool, has_alpha: bool) -> Picture:
    """Undo a format's change of channels that leaves the visible image alone: grey or RGB, with or without alpha."""
    pixels, alpha = picture.pixels, picture.alpha
    if picture.is_grey and not is_grey:
        pixels = pixels.repeat(3, axis=2)
    if is_grey and not picture.is_grey:  # a lossy format has tinted it by a level or so
        pixels = pixels.mean(axis=2, keepdims=True).round().astype(pixels.dtype)
    if record.is_opaque(picture):
        alpha = np.full(picture.size, np.iinfo(pixels.dtype).max, pixels.dtype) if has_alpha else None
    return replace(picture, pixels=pixels, alpha=alpha)


def _cost(rescaler: Rescaler, original: Picture, small: Picture, stored: Picture, format: str) -> list[str]:
    """Restore from both LR images and describe the quality that the format costs."""
    stored = _like(stored, is_grey=small.is_grey, has_alpha=small.alpha is not None)
    size, is_grey = original.size, original.is_grey
    exact, lossy = (_psnr(rescaler.upscale_picture(x, size=size, is_grey=is_grey), original) for x in (small, stored))
    return [
        f"{format} is lossy: this picture will restore at {lossy:.2f} dB instead of {exact:.2f} dB; PNG costs nothing"
    ]


def _psnr(a: Picture, b: Picture) -> float:
    """Return the PSNR over visible pixels: colours under zero alpha do not count."""
    difference = a.pixels.astype(np.float32) - b.pixels
    error = float(np.mean(difference[b.alpha > 0] ** 2 if b.alpha is not None and b.alpha.any() else difference**2))
    return decibels(max(error, 1e-12), b.top).item()
