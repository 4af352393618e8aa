"""What the command line says: results on stdout, progress and one sentence an error on stderr, and exit codes."""

import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from rescale.errors import EnvironmentFault, RescaleError, UsageError

if TYPE_CHECKING:
    from rescale.batch import Plan
    from rescale.video.realtime import Clock

_NO_MEMORY = re.compile("out of memory|n.t allocate memory|not enough memory")


def run(plan: "Plan", work: "Callable[[Path, Path], Any]", *, overwrite: bool, dry_run: bool, as_json: bool) -> None:
    """One picture after the other; a failed one is reported and the rest go on."""
    from rescale.batch import check

    failures: list[RescaleError] = []
    for source, target in plan if dry_run else progress(plan, "rescaling"):
        try:
            check(source, target, overwrite=overwrite)
            done = {"source": source, "target": target} if dry_run else vars(work(source, target))
            facts = {key: str(value) if isinstance(value, Path) else value for key, value in done.items()}
        except Exception as error:
            failures.append(understood(error))
            facts = {"source": str(source), "error": str(failures[-1]), "exit_code": failures[-1].exit_code}
        report(facts, as_json=as_json)
    if failures:
        if len(plan) > 1:
            typer.echo(f"{len(failures)} of {len(plan)} pictures failed", err=True)
        raise typer.Exit(failures[0].exit_code if len(plan) == 1 else 3)


def understood(error: Exception) -> RescaleError:
    """An error as one sentence with its exit code. Raises: the error itself, where it is a mistake of ours."""
    if isinstance(error, RescaleError):
        return error
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and _NO_MEMORY.search(str(error))):
        return EnvironmentFault("not enough memory")
    if isinstance(error, OSError):
        return EnvironmentFault(f"{error.filename or ''} {error.strerror or error}".strip())
    if hasattr(error, "format_message"):  # typer's own complaints about options
        return UsageError(f"{error.format_message()} (see --help)" if error.format_message() else "")
    raise error


def report(facts: dict[str, Any], *, as_json: bool) -> None:
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


def progress(items: Iterable[Any], label: str) -> Iterator[Any]:
    """Each item, with a bar on stderr where somebody watches and there is more than one."""
    items = list(items)
    if len(items) < 2 or not sys.stderr.isatty():
        yield from items
        return
    from rich.console import Console
    from rich.progress import track

    yield from track(items, label, console=Console(stderr=True), transient=True)


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
