"""Console output: results on stdout; progress, notes and one sentence an error on stderr; exit codes."""

import json
import os
import re
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from rescale.cli.progress import bar

if TYPE_CHECKING:
    from rescale.batch.plan import Plan
    from rescale.batch.summary import RunSummary
    from rescale.batch.task import RescaleTask
    from rescale.executors.base import Executor, Result
    from rescale.inference.rescaler import Rescaler
    from rescale.io.folders import LeftOut

_SCREEN = 20
"""Lines of output that are still on a terminal's screen when a run ends."""


def run(
    plan: "Plan",
    task: "RescaleTask",
    engine: "Executor",
    *,
    left_out: "LeftOut",
    report: Path | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Run a plan and print one result for each file; a failed file is reported and the rest go on."""
    from rescale.batch import plan as planning
    from rescale.batch import run as runs
    from rescale.batch.summary import RunSummary
    from rescale.executors import local
    from rescale.io.formats import is_video

    _tell_left_out(left_out)
    tally = RunSummary(plan, task, None if dry_run else report, left_out)
    if not dry_run:
        planning.prepare(plan)
    has_video = any(is_video(source) for source, _ in plan)
    shown = 0 if dry_run or has_video else len(plan)  # a video has a line of its own
    try:
        with (
            bar(shown, "rescaling") as step,
            closing(runs.run(plan, task, local.dry_run if dry_run else engine)) as rows,
        ):
            for facts in map(in_flags, rows):
                tally.add(facts)
                tell(facts, as_json=as_json)
                step()
    finally:
        tally.close()
    _tell_end(tally, "files" if has_video else "pictures")
    if tally.exit_code:
        raise typer.Exit(tally.exit_code)


def _tell_left_out(left_out: "LeftOut") -> None:
    if left_out:
        kinds = ", ".join(f"{kind} {len(files)}" for kind, files in left_out.items())
        first = printable(str(next(iter(left_out.values()))[0]))
        typer.echo(f"note: left out of folders: {kinds}; such as {first}; what is named is taken", err=True)


def _tell_end(tally: "RunSummary", what: str) -> None:
    """Repeat what has scrolled away: how many files failed, and the first of them."""
    if tally.kept:
        typer.echo(f"note: {tally.kept} of {tally.count} were done already", err=True)
    if not tally.failures or tally.count == 1 or "stops" in tally.failures[-1]:
        return
    failed = len(tally.failures)
    is_long = tally.tried > _SCREEN
    typer.echo(f"{failed} of {tally.count} {what} failed" + ":" * is_long, err=True)
    for facts in tally.failures[:_SCREEN] if is_long else ():
        typer.echo(f"  {told(facts['source'], facts['error'])}", err=True)
    if is_long and failed > _SCREEN:
        typer.echo(f"  and {failed - _SCREEN} more; --report FILE.json tells all", err=True)


def tell(facts: dict[str, Any], *, as_json: bool) -> None:
    """Print the result of one file."""
    if as_json:
        typer.echo(json.dumps(facts))
    elif "error" in facts:
        typer.echo(f"error: {told(facts['source'], facts['error'])}", err=True)
    else:
        target = str(facts["target"])  # as bytes where no terminal reads it, since a file's name need not be UTF-8
        if target:  # and not stdout itself
            typer.echo(printable(target) if sys.stdout.isatty() else os.fsencode(target))
        if "rates" in facts:
            stages = ", ".join(f"{stage} {rate:.0f}" for stage, rate in facts["rates"].items())
            typer.echo(f"{facts['frames']} frames at {facts['rate']:.1f} a second; alone: {stages}", err=True)
        for note in facts.get("notes", []):
            typer.echo(f"note: {told(facts['source'], note)}", err=True)


def loaded(model: str | None, device: str | None) -> "Rescaler | None":
    """Load a model that does not come with the package, before any work, and print its notes; None for others."""
    from rescale.inference.cache import load_cached
    from rescale.models.zoo import is_known

    if model is None or is_known(model):
        return None
    rescaler = load_cached(model, device)
    tell_notes(rescaler)
    return rescaler


def tell_notes(rescaler: "Rescaler") -> None:
    """Print where a model is from and what its licence is, where that is known."""
    for note in rescaler.notes:
        typer.echo(f"note: {printable(note)}", err=True)


def in_flags(facts: "Result") -> "Result":
    """Reword a row's error so that its hint names options of the command line."""
    if "error" not in facts:
        return facts
    error = sentence(facts["error"], facts.get("hint", ""))
    return {key: value for key, value in facts.items() if key != "hint"} | {"error": error}


def sentence(message: str, hint: str) -> str:
    """Join an error and its hint, with arguments turned into flags: options.force=True becomes --force."""

    def flag(match: re.Match[str]) -> str:
        name, value = match[1], match[2]
        word = {"target": "-o", "output": "-o"}.get(name, "--" + name.replace("_", "-"))
        return word if value in ("", "True") else f"{word} {value}"

    return "; ".join(filter(None, (message, re.sub(r"\b(?:options\.)?(\w+)='?(\w*)'?", flag, hint))))


def told(source: str, sentence: str) -> str:
    """Name the file once in a sentence, safe to print on a terminal."""
    return printable(sentence if Path(source).name in sentence else f"{source}: {sentence}")


def printable(text: str) -> str:
    """Escape line breaks and control sequences, since a file may have any name."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def fail(sentence: str, code: int) -> NoReturn:
    """Print an error and exit with its code."""
    if sentence:
        typer.echo(f"error: {printable(sentence)}", err=True)
    sys.exit(code)
