"""`evaluate` and `models`: what the networks are worth."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rescale.cli.options import Device, Json, Overwrite, Threads, use_threads
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
        typer.Option("-m", "--model", help="Model id or weight file; may be repeated; or all.", show_default=False),
    ] = None,
    device: Device = None,
    threads: Threads = None,
    round_luma: Annotated[bool, typer.Option("--round-luma", help="As the older bicubic rows of the papers.")] = False,
    lpips: Annotated[
        list[str] | None, typer.Option("--lpips", help="alex or vgg; may be repeated.", show_default=False)
    ] = None,
    each: Annotated[bool, typer.Option("--each", help="Every picture's own row as well.")] = False,
    paper: Annotated[bool, typer.Option("--paper", help="The papers' table, with published rows among ours.")] = False,
    grid: Annotated[
        Path | None, typer.Option("--grid", help="Picture file to write details side by side to.", show_default=False)
    ] = None,
    overwrite: Overwrite = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="CSV on stdout.")] = False,
    as_json: Json = False,
) -> None:
    """Score models on folders of pictures by the papers' protocol."""
    from rescale import images, load
    from rescale.evaluate import Scores, means, protocol, score, try_out
    from rescale.files import check_target
    from rescale.grid import Grid

    use_threads(threads)
    names = _all_models() if model == ["all"] else model or [DEFAULT_MODEL, "bicubic-x4"]
    rescalers = _told_apart([load(name, device=device) for name in names], names)
    how: dict[str, Any] = {"round_luma": round_luma, "lpips": _distances(lpips or [], rescalers[0].device)}
    found = _pictures(folders)
    for file in (file for files in found.values() for file in files):
        if grid:
            images.format_of(grid)
            check_target(file, grid, overwrite=overwrite)
    jobs = [(rescaler, folder, file) for folder, files in found.items() for rescaler in rescalers for file in files]
    rows: list[Scores] = []
    sheet = Grid()
    failures = 0
    for rescaler, folder, file in progress(jobs, "evaluating"):
        try:
            picture = images.read(file)
            trial = try_out(rescaler, picture, file.stem)
            rows.append(score(trial, _set_name(folder, folders), file.stem, **how))
        except RescaleError as error:
            failures += 1
            typer.echo(f"error: {told(str(file), str(error))}", err=True)
            continue
        if grid:
            sheet.add(file, file.stem, picture, trial)
    shown = (rows if each else []) + means(rows)
    said = protocol(round_luma=round_luma)
    typer.echo(_shown(shown, said, rescalers, paper=paper, as_csv=as_csv, as_json=as_json))
    if grid and rows:
        images.write(grid, sheet.picture(), overwrite=overwrite)
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


def _pictures(folders: list[Path]) -> dict[Path, list[Path]]:
    """The files of each folder, of which none may be empty."""
    from rescale import images

    found = {folder: images.find(folder) if folder.exists() else [] for folder in folders}
    if empty := [str(folder) for folder, files in found.items() if not files]:
        raise InputError(f"expected folders with pictures, found none in {', '.join(empty)}")
    return found


def _shown(
    rows: "list[Scores]", said: str, rescalers: "list[Rescaler]", *, paper: bool, as_csv: bool, as_json: bool
) -> str:
    """The table in the form that was asked for."""
    from rescale.evaluate import markdown, records, table
    from rescale.paper import markdown as paper_markdown
    from rescale.paper import measured

    if as_json:
        return json.dumps({"protocol": said, "rows": records(rows)})
    if as_csv:
        return table(rows)
    if not paper:
        return f"{markdown(rows)}\n\n{said}"
    sizes = {rescaler.name: (rescaler.scale, rescaler.model.parameter_count) for rescaler in rescalers}
    return f"{paper_markdown(measured([row for row in rows if row.picture == 'mean'], sizes))}\n\n{said}"


def _all_models() -> list[str]:
    """Every shipped one, and the baseline of each scale."""
    from rescale.weights import manifest

    scales = sorted({entry.scale for entry in manifest().values()})
    return [*(f"bicubic-x{scale}" for scale in scales), *manifest()]


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
