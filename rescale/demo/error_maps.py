"""Error maps: the difference of two images, as an image."""

import numpy as np

from rescale.errors import UsageError
from rescale.io.picture import Picture, Pixels

VIEWS = ("picture", "error map", "difference")
MOST = 32
"""Error in levels, of 255, that an error map shows at its brightest."""
GAIN = 8
"""Gain of a difference image."""
_HEAT = np.array([(0, 0, 4), (66, 10, 104), (147, 38, 103), (221, 81, 58), (252, 165, 10), (252, 255, 164)], np.float32)


def view(kind: str, made: Picture, original: Picture) -> Picture:
    """Return an image as it is, or its error. Raises: UsageError for an unknown view."""
    if kind not in VIEWS:
        raise UsageError(f"expected a view of {', '.join(VIEWS)}, got {kind!r:.40}")
    if kind == "picture":
        return made
    return Picture(error_map(made, original) if kind == "error map" else difference(made, original))


def error_map(made: Picture, original: Picture) -> Pixels:
    """Map the error to (H, W, 3) uint8: black for none, through red to yellow for `MOST` levels in a channel."""
    error = np.abs(_levels(made) - _levels(original)).max(axis=2)
    place = np.minimum(error / MOST, 1) * (len(_HEAT) - 1)
    below = np.minimum(place.astype(int), len(_HEAT) - 2)
    share = (place - below)[..., None]
    return (_HEAT[below] * (1 - share) + _HEAT[below + 1] * share).round().astype(np.uint8)


def difference(made: Picture, original: Picture) -> Pixels:
    """Amplify the difference by `GAIN`: (H, W, 3) uint8, grey where both agree, else brighter or darker."""
    return (128 + GAIN * (_levels(made) - _levels(original))).clip(0, 255).round().astype(np.uint8)


def _levels(picture: Picture) -> np.ndarray:
    """Convert to (H, W, 3) float32, in levels of 8 bits."""
    levels = picture.pixels.astype(np.float32) / (257 if picture.depth == 16 else 1)
    return levels if levels.shape[2] == 3 else levels.repeat(3, axis=2)
