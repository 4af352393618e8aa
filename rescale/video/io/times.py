"""Presentation times: rounded as muxers round them, and moved apart where frames share one."""

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

from rescale.errors import UsageError

MILLISECOND = Fraction(1, 1000)
"""Tick of Matroska and WebM."""
_MOST_BACK_S = 0.5
"""Steps back beyond this are no jitter of a clock, but another timeline."""
_MOST_MOVED_S = 0.05
"""Largest move that nobody sees or hears against the sound."""


def tick_of(container: str) -> Fraction | None:
    """Return the tick of a container that allows but one; None where it takes the source's own."""
    return MILLISECOND if container in ("matroska", "webm") else None


def rounded(pts: int, base: Fraction, tick: Fraction = MILLISECOND) -> int:
    """Round to the nearest tick, halves away from zero, as FFmpeg's muxers do."""
    exact = pts * base / tick
    return int(exact + Fraction(1 if exact >= 0 else -1, 2))


@dataclass
class Spacing:
    """Rising times from those of a file, in which frames of one time are a tick apart.

    Args:
        base: seconds in a tick of the source.
        tick: seconds in a tick of the target; the source's own if None.
    """

    base: Fraction
    tick: Fraction | None = None
    last: int | None = None
    moved: int = 0
    """Number of frames that were moved."""

    def place(self, pts: int) -> int | None:
        """Return the time at which a frame is shown; None if it lies too far back to be of the same timeline."""
        if self.last is None or not self._is_taken(pts):
            self.last = pts
            return pts
        if (self.last - pts) * self.base > _MOST_BACK_S:
            return None
        self.last = self._next(self.last)
        self.moved += 1
        return self.last

    def _is_taken(self, pts: int) -> bool:
        assert self.last is not None
        return self._ticks(pts) <= self._ticks(self.last)

    def _ticks(self, pts: int) -> int:
        return pts if self.tick is None else rounded(pts, self.base, self.tick)

    def _next(self, pts: int) -> int:
        """The first time after `pts` with a tick of its own."""
        if self.tick is None:
            return pts + 1
        wanted = self._ticks(pts) + 1
        found = max(int((wanted - Fraction(1, 2)) * self.tick / self.base), pts) - 1
        while self._ticks(found) < wanted:
            found += 1
        return found


def check_fine(times: Iterable[int], base: Fraction, rate: Fraction, tick: Fraction | None, suffix: str) -> None:
    """Check that a container can tell frames apart, before any work. Raises: UsageError where its ticks are too coarse.

    Args:
        times: times of the packets as far as the file lists them, in ticks of `base`.
        base: seconds in a tick of the source.
        rate: mean frames a second.
        tick: as of `Spacing`.
        suffix: of the target, for the message.
    """
    if tick is None:
        return
    spacing = Spacing(base, tick)
    moves = (((spacing.place(pts) or pts) - pts) * base for pts in sorted(times))
    if rate > 1 / tick or max(moves, default=0) > _MOST_MOVED_S:
        raise UsageError(f"{suffix} counts in milliseconds, which is too coarse for this video; take .mp4 or .mov")
