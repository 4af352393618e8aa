"""Downscale one image file, restore one image file: from file to file, and within that from bytes to bytes."""

import math
from dataclasses import replace

import numpy as np
from pydantic import ValidationError

from rescale.errors import RecordError, RefusedError, UsageError
from rescale.geometry import Geometry, Scale, Size
from rescale.inference import enlarge
from rescale.inference.cache import load_cached
from rescale.inference.compatibility import check_record, find_record
from rescale.inference.options import RescaleOptions
from rescale.inference.refine import RefineBudget, Refinement
from rescale.inference.rescaler import ModelLike, Rescaler
from rescale.inference.results import EncodedResult, FileResult
from rescale.inference.search import Aim, search
from rescale.inference.verify import Verification, against_codecs, compare
from rescale.io import background, formats, images, record
from rescale.io.formats import carrier
from rescale.io.images import Picture
from rescale.io.object_store import Place, place
from rescale.io.peek import is_lossy
from rescale.io.targets import check_target


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
    budget = RefineBudget.maybe(refine)
    original = images.decode(data, name, max_pixels=options.max_pixels)
    original = original if options.keep_metadata else original.without_metadata()
    original = background.fit(original, format, options.background)
    if options.aim is not None:
        return _aimed(rescaler, original, format, options.aim, scale, budget, options)
    return _downscaled(rescaler, original, rescaler.sizes.small(original.size, scale), format, budget, options)


def _downscaled(
    rescaler: Rescaler, original: Picture, size: Size, format: str, budget: RefineBudget | None, options: RescaleOptions
) -> EncodedResult:
    """Make the LR file of some (height, width)."""
    small = rescaler.downscale_picture(record.strip(original), size, refine=budget, report=options.report)
    small = background.without_opaque_alpha(small, format)
    quality = options.quality
    stored = _as_stored(format, small, quality)
    notes = [] if record.digest(stored) == record.digest(small) else _cost(rescaler, original, small, stored, format)
    carrying = record.embed(small, _describe(rescaler, stored, original, budget), format)
    made, lost = images.encode(format, carrying, quality=quality)
    verified = _verified(rescaler, made, original, options) if options.verifies(rescaler.device) else None
    if verified:
        verified.check(options.min_psnr)
    told = (*carrying.notes, *notes, *lost, *(verified.notes if verified else ()))
    return EncodedResult(made, rescaler.name, small.size, told, rescaler.digest, verified)


def _aimed(
    rescaler: Rescaler,
    original: Picture,
    format: str,
    aim: Aim,
    scale: Scale | None,
    budget: RefineBudget | None,
    options: RescaleOptions,
) -> EncodedResult:
    """Make the LR file that meets an aim, at the scale that a search finds, and compare it with ordinary codecs."""
    if scale is not None or rescaler.scale is not None:
        raise UsageError("expected no scale, and a model that serves every one, as a search is to find it")
    trying = replace(
        options, verify=aim.psnr is not None, min_psnr=None
    )  # which is for what is written, not for trials

    def trial(size: Size) -> tuple[EncodedResult, float]:
        made = _downscaled(rescaler, original, size, format, budget, trying)
        return made, math.log(len(made.data)) if aim.psnr is None or not made.verified else made.verified.psnr_rgb

    made, trials = search(original.size, trial, aim)
    verified = made.verified or _verified(rescaler, made.data, original, options)
    verified.check(options.min_psnr)
    found = f"{original.size[1] / made.size[1]:.3g} times smaller: {len(made.data):,} bytes, found in {trials} trials"
    told = () if made.verified else verified.notes
    return replace(
        made, notes=(*made.notes, *told, found, against_codecs(original, len(made.data), verified)), verified=verified
    )


def upscale_file(
    source: Place | str,
    target: Place | str,
    *,
    model: ModelLike | None = None,
    scale: Scale | None = None,
    overwrite: bool = False,
    options: RescaleOptions = RescaleOptions(),
) -> FileResult:
    """Restore an LR image by its own record, or super-resolve an ordinary one.

    Args:
        source: an image that `downscale_file` wrote, or any other; a file, or the URL of an object, see `storage`.
        target: its suffix decides the format.
        model: restore with this id, weight file or `Rescaler`; without a record, to exactly its scale times the size.
        scale: how many times larger, or to which size, see `Geometry`; the image is then taken as an ordinary one.
            With a model that serves every scale, the one to restore by.
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
    scale: Scale | None = None,
    options: RescaleOptions = RescaleOptions(),
) -> EncodedResult:
    """Restore the bytes of an LR image file: the inverse of `downscale_bytes`, arguments as of `upscale_file`."""
    small = images.decode(data, name, max_pixels=options.max_pixels)
    found, notes = find_record(small, model, scale, options.force)
    if options.denoise is not None and (model is not None or scale is None):
        raise UsageError(
            "denoise is for ordinary pictures that the default model enlarges: with scale=, without model="
        )
    if scale is not None:
        large, rescaler, more = _enlarged(small, is_lossy(data), model, Geometry.of(scale), options)
    else:
        large, rescaler, more = _restored(small, found, model, options)
    flat = background.without_opaque_alpha(background.fit(large, format, options.background), format)
    made, lost = images.encode(format, flat, quality=options.quality)
    about = flat.notes[len(large.notes) :]
    return EncodedResult(made, rescaler.name, large.size, (*small.notes, *notes, *more, *about, *lost), rescaler.digest)


def _enlarged(
    small: Picture, is_lossy: bool, model: ModelLike | None, asked: Geometry, options: RescaleOptions
) -> tuple[Picture, Rescaler, list[str]]:
    """Enlarge an ordinary image by a scale or to a size."""
    rescaler = None if model is None else load_cached(model, options.device)
    size, notes = enlarge.full_size(small.size, asked, rescaler), list[str]()
    _check_result(size, options.max_pixels)
    if rescaler is None:
        rescaler, notes = enlarge.choose(
            small.size, size, is_lossy=is_lossy, denoise=options.denoise, device=options.device
        )
    return enlarge.enlarge(rescaler, _bare(small, options), size), rescaler, notes


def _restored(
    small: Picture, found: record.Record | None, model: ModelLike | None, options: RescaleOptions
) -> tuple[Picture, Rescaler, list[str]]:
    """Restore an LR image by its record, or by a model without one."""
    chosen = model or (found.model if found else None)
    assert chosen is not None, "find_record would have raised"
    rescaler, bare = load_cached(chosen, options.device), _bare(small, options)
    notes, size = list[str](), None
    if found is not None:
        notes = check_record(found, small, rescaler, options.force)
        if found.pixels == record.digest(small):
            bare = _like(bare, is_grey=found.grey and not rescaler.model.hides_detail, has_alpha=found.alpha)
        size = found.size if rescaler.sizes.fit(found.size, small.size) else None
        if size is None and rescaler.scale is None:
            raise RecordError("its record's size cannot be used", hint="pass model= and scale= to restore it by these")
    size = size or rescaler.sizes.full(small.size)
    _check_result(size, options.max_pixels)
    return rescaler.upscale_picture(bare, size=size, is_grey=found.grey if found else None), rescaler, notes


def _bare(small: Picture, options: RescaleOptions) -> Picture:
    return record.strip(small if options.keep_metadata else small.without_metadata())


def _verified(rescaler: Rescaler, made: bytes, original: Picture, options: RescaleOptions) -> Verification:
    """Restore from the very bytes of an LR file, and compare with the original."""
    small = images.decode(made, "the small picture", max_pixels=options.max_pixels)
    large, _, _ = _restored(small, record.extract(small), rescaler, options)
    return compare(large, original)


def _check_result(size: tuple[int, int], max_pixels: int) -> None:
    height, width = size
    if height * width > max_pixels:
        raise RefusedError(
            f"the result of {width}x{height} would have {height * width / 1e6:.0f} megapixels, more than the limit of "
            f"{max_pixels / 1e6:.0f}",
            hint="raise it with options.max_pixels=",
        )


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
    exact, lossy = (
        compare(rescaler.upscale_picture(x, size=size, is_grey=is_grey), original).psnr_rgb for x in (small, stored)
    )
    return [
        f"{format} is lossy: this picture will restore at {lossy:.2f} dB instead of {exact:.2f} dB; PNG costs nothing"
    ]
