"""Progress bars and meters on stderr."""

import itertools
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rescale.stdo.training import Progress
    from rescale.video.pipeline import Clock


@contextmanager
def bar(total: int, label: str) -> Iterator[Callable[[], None]]:
    """Show a progress bar with rate and time left if stderr is a terminal; call the yielded function for each item."""
    if total < 2 or not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    began, words = time.monotonic(), TextColumn("{task.description}")
    columns = words, BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"), TimeRemainingColumn()
    both = sys.stdout.isatty()  # results that go elsewhere must not be drawn to where the bar is
    with Progress(*columns, console=Console(stderr=True), redirect_stdout=both, transient=True) as shown:
        line = shown.add_task(label, total=total, rate="")
        done = itertools.count(1)
        yield lambda: shown.update(line, advance=1, rate=f"{next(done) / (time.monotonic() - began):.1f}/s")


class Gauge:
    """Progress of refining, as a line on stderr that rewrites itself; silent if stderr is no terminal.

    Called with the share that is done, 0 to 1, and the gain so far in dB.
    """

    def __init__(self) -> None:
        self.shown = ""

    def __call__(self, done: float, gain: float) -> None:
        line = f"refining {done:4.0%}, {gain:+.2f} dB"
        if sys.stderr.isatty() and line != self.shown:
            end = "\r" if done < 1 else "\r" + " " * len(line) + "\r"
            sys.stderr.write("\r" + line + end)
            sys.stderr.flush()
        self.shown = line


class Meter:
    """Progress of a video, as a line on stderr that rewrites itself; silent if stderr is no terminal.

    Called with a `Clock`; the rate that is shown first is that of the last second.
    """

    def __init__(self) -> None:
        self.at, self.frames, self.longest = 0.0, 0, 0

    def __call__(self, clock: "Clock") -> None:
        now = time.monotonic()
        if not sys.stderr.isatty() or (now - self.at < 1 and clock.frames != clock.total):
            return
        rate = (clock.frames - self.frames) / (now - (self.at or clock.began))
        self.at, self.frames = now, clock.frames
        sys.stderr.write("\r" + self._line(clock, rate))
        sys.stderr.flush()

    def _line(self, clock: "Clock", rate: float) -> str:
        share = f"/{clock.total}" if clock.total else ""
        left = (clock.total - clock.frames) / max(clock.rate, 1e-9) if clock.total else None
        stages = ", ".join(f"{stage} {value:.0f}" for stage, value in clock.rates.items())
        line = f"{clock.frames}{share} frames, {rate:.1f} a second, mean {clock.rate:.1f}" + (
            f", {left:.0f} s left" if left is not None else ""
        )
        line = f"{line} ({stages})"
        self.longest = max(self.longest, len(line))
        return line.ljust(self.longest)


class Lessons:
    """Progress of overfitting, as a line on stderr that rewrites itself; silent if stderr is no terminal."""

    def __init__(self) -> None:
        self.at = 0.0

    def __call__(self, progress: "Progress") -> None:
        now, is_last = time.monotonic(), progress.step == progress.steps
        if not sys.stderr.isatty() or (now - self.at < 0.5 and not is_last):
            return
        self.at = now
        left = progress.elapsed_s / progress.step * (progress.steps - progress.step)
        line = f"step {progress.step} of {progress.steps}, {progress.gain_db:+.2f} dB, {left:.0f} s left"
        sys.stderr.write("\r" + line.ljust(60) + ("\n" if is_last else ""))
        sys.stderr.flush()
