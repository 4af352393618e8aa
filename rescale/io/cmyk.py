"""CMYK without a profile, taken as ink on coated paper (SWOP), as programs of the graphic arts do."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

_ROWS = 64
_PRINTED = {
    (0, 0, 0): (255, 255, 255), (1, 0, 0): (0, 174, 239), (0, 1, 0): (236, 0, 140), (0, 0, 1): (255, 242, 0),
    (0, 1, 1): (237, 28, 36), (1, 0, 1): (0, 166, 81), (1, 1, 0): (46, 49, 146), (1, 1, 1): (54, 54, 57),
}  # fmt: skip
"""sRGB of full cyan, magenta and yellow over each other."""
_BLACK = np.array((35, 31, 32), np.float32)
"""sRGB of full black; over other ink it darkens as it darkens paper."""


def to_rgb(ink: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Convert (H, W, 4) ink, 255 for full, to sRGB (H, W, 3).

    Each colour is the mean of the sixteen overprints, weighted by the area that each covers.

    Source: Neugebauer 1937, with the areas of Demichel, computed in sRGB instead of reflectance.
    """
    rgb = np.empty((*ink.shape[:2], 3), np.uint8)
    for y in range(0, len(ink), _ROWS):  # a few rows at a time, as floats take much room
        rgb[y : y + _ROWS] = _rows(ink[y : y + _ROWS] / np.float32(255))
    return rgb


def _rows(ink: NDArray[Any]) -> NDArray[np.float32]:
    black = ink[..., 3:]
    total = np.zeros((*ink.shape[:2], 3), np.float32)
    for corner, colour in _PRINTED.items():
        area = np.prod(np.where(np.array(corner), ink[..., :3], 1 - ink[..., :3]), axis=2, keepdims=True)
        total += area * np.array(colour, np.float32)
    shaded: NDArray[np.float32] = (total * (1 - black + black * _BLACK / np.float32(255))).round()
    return shaded
