"""`evaluate` and `models`: what the networks are worth."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rescale.cli.options import Device, Json, Threads, use_threads
from rescale.console import progress, told
from rescale.errors import EnvironmentFault, InputError, RescaleError, UsageError

if TYPE_CHECKING:
    from rescale.evaluate import Scores
    from rescale.rescaler import Rescaler

DEFAULT_MODEL = "irn-x4-small"


def evaluate(
    folders: Annotated[list[Path], typer.Argument(help="Folders of pictures.", show_default=False)],
    model: Annotated[
        list[str] | None,
        typer.Option("-m", "--model", help="Model id or weight file; may be repeated.", show_default=False),
    ] = None,
    device: Device = None,
    threads: Threads = None,
    round_luma: Annotated[bool, typer.Option("--round-luma", help="As the older bicubic rows of the papers.")] = False,
    lpips: Annotated[
        list[str] | None, typer.Option("--lpips", help="alex or vgg; may be repeated.", show_default=False)
    ] = None,
    each: Annotated[bool, typer.Option("--each", help="Every picture's own row as well.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="CSV on stdout.")] = False,
    as_json: Json = False,
) -> None:
    """Score models on folders of pictures by the papers' protocol."""
    from rescale import images, load
    from rescale.evaluate import markdown, means, protocol, records, score, table

    use_threads(threads)
    names = model or [DEFAULT_MODEL, "bicubic-x4"]
    rescalers = _told_apart([load(name, device=device) for name in names], names)
    how: dict[str, Any] = {"round_luma": round_luma, "lpips": _distances(lpips or [], rescalers[0].device)}
    jobs = [(rescaler, folder, file) for folder in folders for rescaler in rescalers for file in images.find(folder)]
    rows: list[Scores] = []
    failures = 0
    for rescaler, folder, file in progress(jobs, "evaluating"):
        try:
            rows.append(score(rescaler, images.read(file), _set_name(folder, folders), file.stem, **how))
        except RescaleError as error:
            failures += 1
            typer.echo(f"error: {told(str(file), str(error))}", err=True)
    if not jobs:
        raise InputError(f"expected folders with pictures, found none in {', '.join(map(str, folders))}")
    said = protocol(round_luma=round_luma)
    shown = (rows if each else []) + means(rows)
    if as_json:
        typer.echo(json.dumps({"protocol": said, "rows": records(shown)}))
    else:
        typer.echo(table(shown) if as_csv else f"{markdown(shown)}\n\n{said}")
    if failures:
        typer.echo(f"{failures} of {len(jobs)} could not be scored", err=True)
        raise typer.Exit(InputError.exit_code)


def models(as_json: Json = False) -> None:
    """List the models that come with the package."""
    from dataclasses import asdict

    from rescale.weights import manifest

    rows = manifest()
    if as_json:
        for name, entry in rows.items():
            typer.echo(json.dumps({"name": name, **asdict(entry)}))
        return
    for name, entry in rows.items():
        typer.echo(f"{name:<16} x{entry.scale}  {entry.parameters:>9,} parameters  {entry.summary}")
        typer.echo("".join(f"{'':<16} {key}: {value}\n" for key, value in entry.scores.items()), nl=False)


def _told_apart(rescalers: "list[Rescaler]", given: list[str]) -> "list[Rescaler]":
    """Weight files of the same name are called by their paths, or their means would be one."""
    names = [rescaler.name for rescaler in rescalers]
    for rescaler, path in zip(rescalers, given, strict=True):
        if names.count(rescaler.name) > 1:
            rescaler.name = path
    return rescalers


def _set_name(folder: Path, folders: list[Path]) -> str:
    name = folder.resolve().name
    return str(folder) if [other.resolve().name for other in folders].count(name) > 1 else name


def _distances(trunks: list[str], device: object) -> dict[str, Any]:
    """LPIPS where it can be had; where not, a note says why, and the other columns still come."""
    from rescale.perceptual import lpips

    distances = {}
    for trunk in trunks:
        if trunk not in ("alex", "vgg"):
            raise UsageError(f"expected --lpips alex or vgg, got {trunk}")
        try:
            distances[trunk] = lpips(trunk, device=device)  # type: ignore[arg-type]
        except EnvironmentFault as error:
            typer.echo(f"note: {error}", err=True)
    return distances
