"""Search for the scale at which an LR file has so many bytes, or restores at so many dB."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from rescale.errors import RefusedError, UsageError
from rescale.geometry import MAX_SCALE, Size, by

TRIALS = 10
"""Most LR files that are made for one image."""
_BYTES, _DECIBELS = 0.05, 0.1
"""How far from what is asked a result may be: below a number of bytes, above a PSNR."""
_UNITS = {"": 1, "k": 1_000, "m": 1_000_000, "ki": 1024, "mi": 1024**2}
_FALLS = (10.0, 1.8)
"""How fast dB, and logarithms of bytes, fall with the logarithm of the scale, before two trials tell."""
_EXACT = 100.0
"""What an exact picture measures, in dB."""
Made = TypeVar("Made")


@dataclass(frozen=True)
class Aim:
    """What a search is for: at most `n_bytes`, or at least `psnr` dB on RGB; one of the two."""

    n_bytes: int | None = None
    psnr: float | None = None

    def __post_init__(self) -> None:
        if (self.n_bytes is None) == (self.psnr is None):
            raise UsageError("expected bytes or a PSNR to aim at, one of them")
        if self.n_bytes is not None and self.n_bytes < 1:
            raise UsageError(f"expected at least 1 byte to aim at, got {self.n_bytes}")
        if self.psnr is not None and not 0 < self.psnr < 100:
            raise UsageError(f"expected a PSNR between 0 and 100 dB to aim at, got {self.psnr:g}")

    @property
    def range(self) -> tuple[float, float]:
        """Least and most that hit: logarithms of bytes, or dB."""
        if self.n_bytes is not None:
            return math.log(self.n_bytes * (1 - _BYTES)), math.log(self.n_bytes)
        assert self.psnr is not None
        return self.psnr, self.psnr + _DECIBELS

    def is_met(self, value: float) -> bool:
        """Tell whether a value keeps what was asked, however far it is from it."""
        least, most = self.range
        return value <= most if self.n_bytes is not None else value >= least


def parse_bytes(text: str) -> int:
    """Parse a number of bytes: 50000, 50k, 1.5M, 64Ki. Raises: UsageError."""
    match = re.fullmatch(r"([0-9]{1,12}(?:\.[0-9]{1,6})?)\s*([kKmM]i?)?[bB]?", text.strip())
    if not match:
        raise UsageError(f"expected a number of bytes, such as 50000, 50k or 1.5M, got {text!r}")
    return int(float(match[1]) * _UNITS[(match[2] or "").lower()])


def search(full: Size, trial: Callable[[Size], tuple[Made, float]], aim: Aim) -> tuple[Made, int]:
    """Find a size between `full` and a quarter of its sides; what is measured falls with it.

    Args:
        full: (height, width) of the original.
        trial: makes an LR file of some (height, width) and measures it: see `Aim.range`.
        aim: what to meet.
    Returns: the file that comes closest among those that keep the aim, and the number of trials.
    Raises: RefusedError where no size keeps it.
    """
    tried: dict[Size, tuple[Made, float]] = {}
    points: list[tuple[float, float]] = []
    """Logarithms of scales, and what they measure, in the order of trials."""
    least, most = aim.range
    at = math.log(2)
    while len(tried) < TRIALS:
        size = _size(full, at)
        if size in tried:
            break
        tried[size] = trial(size)
        points.append((at, tried[size][1]))
        if least <= tried[size][1] <= most:
            break
        at = _next(points, (least + most) / 2, _FALLS[aim.psnr is None])
    kept = [found for found in tried.values() if aim.is_met(found[1])]
    if not kept:
        raise RefusedError(
            f"no scale up to {MAX_SCALE} meets that: {', '.join(map(by, tried))} were tried",
            hint="AVIF, WebP or JPEG at full size reach any number of bytes",
        )
    return min(kept, key=lambda found: abs(found[1] - (most if aim.n_bytes is not None else least)))[0], len(tried)


def _size(full: Size, at: float) -> Size:
    height, width = (max(math.ceil(side / math.exp(at) - 1e-6), 1) for side in full)
    return height, width


def _next(points: list[tuple[float, float]], wanted: float, fall: float) -> float:
    """Return where to try next: along the line through the last two points, but between what is known to be too much.

    One point, or an end that is exact, makes no line; then `fall` is taken as its slope.
    """
    at, value = points[-1]
    others = [point for point in points[:-1] if point[1] != value and max(point[1], value) < _EXACT]
    if others:
        fall = (value - others[-1][1]) / (others[-1][0] - at)
    near = max((point[0] for point in points if point[1] > wanted), default=0.0)
    far = min((point[0] for point in points if point[1] < wanted), default=math.log(MAX_SCALE))
    asked = at + (value - wanted) / fall if value < _EXACT and fall > 0 else (near + far) / 2
    margin = 0.1 * (far - near)
    first = near if near == 0 and not any(point[0] == 0 for point in points) else near + margin
    last = far if far == math.log(MAX_SCALE) and not any(point[0] == far for point in points) else far - margin
    return min(max(asked, first), last)
