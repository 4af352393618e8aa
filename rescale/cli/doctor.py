"""`doctor`: report what is installed, and whether all of it works."""

import json
from dataclasses import asdict
from itertools import zip_longest
from typing import TYPE_CHECKING

import typer

from rescale.cli.options import Device, Json, Threads, use_machine
from rescale.errors import MachineError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rescale.diagnostics import Report


def doctor(device: Device = None, threads: Threads = None, as_json: Json = False) -> None:
    """Report what is installed and test all of it; exit with 5 if anything is broken."""
    try:
        from rescale.diagnostics import examine
    except ImportError as error:
        raise MachineError(f"the installation is broken: {error}") from error

    use_machine(threads)
    report = examine(device)
    typer.echo(json.dumps(asdict(report)) if as_json else "\n".join(_lines(report)))
    if report.broken:
        raise typer.Exit(MachineError.exit_code)


def _lines(report: "Report") -> "Iterator[str]":
    """Format a report for one screen of 80 columns; only broken items take more."""
    yield from _wrapped("versions", [f"{name} {version}" for name, version in report.versions.items()])
    for name, said in report.devices.items():
        yield f"{name:<10}{said}"
    both = [format for format, said in report.formats.items() if said != "read"]
    read = [format for format, said in report.formats.items() if said == "read"]
    yield f"{'pictures':<10}{' '.join(both)}" + (f", and {' '.join(read)} to read" if read else "")
    if report.encoders:
        names = [name if name == codec else f"{codec} ({name})" for codec, name in report.encoders.items()]
        yield from _wrapped("video", names)
    yield "models    restored dB, and MP/s up; --json has more"
    cells = [f"{name:<17}{found.restored_db:>6.2f}{found.up_mps:>8.2f}" for name, found in report.models.items()]
    for left, right in zip_longest(cells[::2], cells[1::2], fillvalue=""):
        yield f"{left}{' ' * 8}{right}".rstrip()
    for what, how in report.missing.items():
        yield f"missing   {what} {how}"
    for problem in report.broken:
        yield f"broken    {problem}"
    verdict = f"{len(report.broken)} broken" if report.broken else "all that is installed works"
    yield f"{verdict} ({report.elapsed_s:.1f} s)"


def _wrapped(title: str, words: list[str]) -> "Iterator[str]":
    """Wrap comma-separated words in lines of 80 columns."""
    line = f"{title:<10}"
    for index, word in enumerate(words):
        piece = word + ("," if index < len(words) - 1 else "")
        if len(line) + len(piece) > 80:
            yield line.rstrip()
            line = " " * 10
        line += f"{piece} "
    yield line.rstrip()
