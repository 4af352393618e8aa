"""Progress on stderr, drawn by rich; nothing where stderr is no terminal."""

import itertools
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    import rich.progress

    from rescale.stdo.training import Progress
    from rescale.video.pipeline import Clock


class _Display:
    """Rows of progress, one for each label, on the terminal: as two displays would overwrite each other, one for all.

    It stands from the first row to the last.
    """

    def __init__(self) -> None:
        self.progress: rich.progress.Progress | None = None
        self.rows: dict[str, rich.progress.TaskID] = {}

    def show(self, label: str, done: float, total: float | None, said: str) -> None:
        """Draw or change a row; it goes when all is done."""
        if not sys.stderr.isatty():
            return
        if self.progress is None:
            self.progress = _started()
        if label not in self.rows:
            self.rows[label] = self.progress.add_task(label, total=total, said=said)
        self.progress.update(self.rows[label], completed=done, total=total, said=said)
        if total is not None and done >= total:
            self.drop(label)

    def drop(self, *labels: str) -> None:
        """Remove rows that may be there."""
        for label in labels:
            if self.progress and label in self.rows:
                self.progress.refresh()
                self.progress.remove_task(self.rows.pop(label))
        if self.progress and not self.rows:
            self.progress.stop()
            self.progress = None


_display = _Display()


def _started() -> "rich.progress.Progress":
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
    from rich.table import Column

    said = TextColumn("{task.fields[said]}", table_column=Column())  # which may need a second line
    columns = TextColumn("{task.description}"), BarColumn(20), said, TimeRemainingColumn()
    both = sys.stdout.isatty()  # results that go elsewhere must not be drawn to where the rows are
    progress = Progress(*columns, console=Console(stderr=True), redirect_stdout=both, transient=True)
    progress.start()
    return progress


@contextmanager
def cleared() -> Iterator[None]:
    """Give the terminal back as it was, however this ends."""
    try:
        yield
    finally:
        _display.drop(*list(_display.rows))


@contextmanager
def bar(total: int, label: str) -> Iterator[Callable[[], None]]:
    """Show a progress bar with rate and time left if stderr is a terminal; call the yielded function for each item."""
    if total < 2:
        yield lambda: None
        return
    began, count = time.monotonic(), itertools.count(1)

    def step() -> None:
        done = next(count)
        _display.show(label, done, total, f"{done}/{total} {done / (time.monotonic() - began):.1f}/s")

    _display.show(label, 0, total, f"0/{total}")
    try:
        yield step
    finally:
        _display.drop(label)


class Gauge:
    """Progress of refining.

    Called with the share that is done, 0 to 1, and the gain so far in dB.
    """

    def __call__(self, done: float, gain: float) -> None:
        _display.show("refining", done, 1.0, f"{done:4.0%}, {gain:+.2f} dB")


class Meter:
    """Progress of a video.

    Called with a `Clock`; the rate that is shown first is that of the last second.
    """

    def __init__(self) -> None:
        self.at, self.frames = 0.0, 0

    def __call__(self, clock: "Clock") -> None:
        if not clock.frames:
            for note in clock.notes:
                typer.echo(f"note: {note}", err=True)
            return
        now = time.monotonic()
        if now - self.at < 1 and clock.frames != clock.total:
            return
        rate = (clock.frames - self.frames) / (now - (self.at or clock.began))
        self.at, self.frames = now, clock.frames
        share = f"{clock.frames}/{clock.total}" if clock.total else str(clock.frames)
        stages = ", ".join(f"{stage} {value:.0f}" for stage, value in clock.rates.items())
        said = f"{share} frames, {rate:.1f} a second, mean {clock.rate:.1f} ({stages})"
        _display.show("video", clock.frames, clock.total, said)


class Lessons:
    """Progress of overfitting, called after each step."""

    def __call__(self, progress: "Progress") -> None:
        said = f"step {progress.step} of {progress.steps}, {progress.gain_db:+.2f} dB"
        _display.show("overfitting", progress.step, progress.steps, said)
