"""Background for formats without transparency: what shows through is laid on a colour."""

from dataclasses import replace

import numpy as np
from PIL import ImageColor

from rescale.errors import UnsupportedError, UsageError
from rescale.io.formats import FORMATS, listed
from rescale.io.picture import Picture
from rescale.io.record import is_opaque


def parse(colour: str) -> tuple[int, int, int]:
    """Parse a colour as CSS writes it: white, #fff, #f0f0f0, rgb(255, 0, 0). Raises: UsageError."""
    try:
        red, green, blue, *alpha = ImageColor.getrgb(colour)
    except (ValueError, AttributeError) as error:
        raise UsageError(f"expected a colour such as white or #f0f0f0, got {colour!r}") from error
    if alpha not in ([], [255]):
        raise UsageError(f"expected a colour that covers what is behind it, got {colour!r}")
    return red, green, blue


def fit(picture: Picture, format: str, colour: str | None) -> Picture:
    """Lay an image on a colour where its format holds no transparency; an alpha plane that is opaque stays.

    Raises: UnsupportedError where something shows through and there is no colour.
    """
    if FORMATS[format].has_alpha or not FORMATS[format].is_written or is_opaque(picture):
        return picture
    if colour is None:
        others = listed(row for row in FORMATS.values() if row.has_alpha)
        hint = "or lay it on a colour with options.background='white'"
        raise UnsupportedError(f"{format} holds no transparency; write {others}", hint=hint)
    note = f"its transparency was laid on {colour}, as {format} holds none"
    flat = flatten(picture, parse(colour))
    return replace(flat, notes=(*flat.notes, note))


def without_opaque_alpha(picture: Picture, format: str) -> Picture:
    """Leave out an alpha plane that is opaque, where the format holds none: nothing is lost."""
    return picture if FORMATS[format].has_alpha or not is_opaque(picture) else replace(picture, alpha=None)


def flatten(picture: Picture, colour: tuple[int, int, int]) -> Picture:
    """Lay an image on a colour, in the numbers of the file, as browsers do; the result has no alpha plane.

    Opaque pixels stay as they are, transparent ones become the colour. A grey image stays grey on a grey, and loses a
    profile for grey on any other.
    """
    if picture.alpha is None:
        return picture
    is_grey = picture.is_grey and len(set(colour)) == 1
    pixels = picture.pixels if picture.is_grey == is_grey else picture.pixels.repeat(3, axis=2)
    behind = np.array(colour[: pixels.shape[2]], np.uint64) * (picture.top // 255)
    alpha, top = picture.alpha[..., None].astype(np.uint64), picture.top
    mixed = (pixels * alpha + behind * (top - alpha) + top // 2) // top
    flat = replace(picture, pixels=mixed.astype(pixels.dtype), alpha=None)
    is_misfit = picture.is_grey and not is_grey and (picture.icc or b"")[16:20] == b"GRAY"
    told = (*flat.notes, "its profile for grey was not kept on a background of another colour")
    return replace(flat, icc=None, notes=told) if is_misfit else flat
