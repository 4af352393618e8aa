"""What the command line says: results on stdout, progress and one sentence an error on stderr, and exit codes."""

import itertools
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import typer

if TYPE_CHECKING:
    from rescale.batch import Plan
    from rescale.run import Engine
    from rescale.tally import Tally
    from rescale.task import Task
    from rescale.video.realtime import Clock

_SCREEN = 20
"""Lines that a terminal still shows when a run ends."""


def run(plan: "Plan", task: "Task", engine: "Engine", *, report: Path | None, dry_run: bool, as_json: bool) -> None:
    """Do a plan and tell what becomes of each file; a failed one is told and the rest go on."""
    from rescale import batch
    from rescale import run as runs
    from rescale.tally import Tally
    from rescale.video.containers import is_video

    tally = Tally(plan, task, None if dry_run else report)
    if not dry_run:
        batch.prepare(plan)
    shown = 0 if dry_run or any(is_video(source) for source, _ in plan) else len(plan)  # a video has a line of its own
    try:
        with bar(shown, "rescaling") as step, closing(runs.run(plan, task, runs.dry if dry_run else engine)) as rows:
            for facts in rows:
                tally.add(facts)
                tell(facts, as_json=as_json)
                step()
    finally:
        tally.close()
    _tell_end(tally)
    if tally.exit_code:
        raise typer.Exit(tally.exit_code)


def _tell_end(tally: "Tally") -> None:
    """What has scrolled away: how many failed, and the first of them."""
    if tally.kept:
        typer.echo(f"note: {tally.kept} of {tally.count} were done already", err=True)
    if not tally.failures or tally.count == 1 or "stops" in tally.failures[-1]:
        return
    failed = len(tally.failures)
    is_long = tally.tried > _SCREEN
    typer.echo(f"{failed} of {tally.count} pictures failed" + ":" * is_long, err=True)
    for facts in tally.failures[:_SCREEN] if is_long else ():
        typer.echo(f"  {told(facts['source'], facts['error'])}", err=True)
    if is_long and failed > _SCREEN:
        typer.echo(f"  and {failed - _SCREEN} more; --report FILE.json tells all", err=True)


def tell(facts: dict[str, Any], *, as_json: bool) -> None:
    """What became of one picture."""
    if as_json:
        typer.echo(json.dumps(facts))
    elif "error" in facts:
        typer.echo(f"error: {told(facts['source'], facts['error'])}", err=True)
    else:
        target = str(facts["target"])  # as bytes where no terminal reads it, since a file's name need not be UTF-8
        typer.echo(printable(target) if sys.stdout.isatty() else os.fsencode(target))
        if "rates" in facts:
            stages = ", ".join(f"{stage} {rate:.0f}" for stage, rate in facts["rates"].items())
            typer.echo(f"{facts['frames']} frames at {facts['rate']:.1f} a second; alone: {stages}", err=True)
        for note in facts.get("notes", []):
            typer.echo(f"note: {told(facts['source'], note)}", err=True)


def told(source: str, sentence: str) -> str:
    """The sentence with its file named once, as a terminal may show it."""
    return printable(sentence if Path(source).name in sentence else f"{source}: {sentence}")


def printable(text: str) -> str:
    """In one line, without anything that a terminal would obey: a file may have any name."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


@contextmanager
def bar(total: int, label: str) -> Iterator[Callable[[], None]]:
    """How far all is, with its rate and the time left, on stderr where somebody watches; call what it gives at each."""
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
    """How far refining is, as a line on stderr that rewrites itself; silent if nobody watches.

    Called with the share that is done, and the gain so far in dB.
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
    """How far a video is, as a line on stderr that rewrites itself; silent if nobody watches.

    Called with a `Clock`, whose last second decides the rate that is shown first.
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


def fail(sentence: str, code: int) -> NoReturn:
    """Say why, and leave."""
    if sentence:
        typer.echo(f"error: {printable(sentence)}", err=True)
    sys.exit(code)
