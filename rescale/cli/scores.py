"""`evaluate` and `models`: what the networks are worth."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rescale.cli.contest import Folders, Models, Scales, contenders_of, pictures_of, play
from rescale.cli.options import Device, Json, Overwrite, Threads, use_machine
from rescale.errors import EnvironmentFault, InputError, UsageError

if TYPE_CHECKING:
    from rescale.evaluate import Scores
    from rescale.geometry import Geometry
    from rescale.rescaler import Rescaler


def evaluate(
    folders: Folders,
    model: Models = None,
    scale: Scales = None,
    device: Device = None,
    threads: Threads = None,
    round_luma: Annotated[bool, typer.Option("--round-luma", help="As the older bicubic rows of the papers.")] = False,
    lpips: Annotated[
        list[str] | None, typer.Option("--lpips", help="alex or vgg; may be repeated.", show_default=False)
    ] = None,
    refine: Annotated[
        list[str] | None,
        typer.Option(
            help="Also refined: 20 (steps), 30s, +1.0dB; 'hr 20', 'hr lr 20', '20, fidelity 0'. May be repeated.",
            show_default=False,
        ),
    ] = None,
    each: Annotated[bool, typer.Option("--each", help="Every picture's own row as well.")] = False,
    paper: Annotated[bool, typer.Option("--paper", help="The papers' table, with published rows among ours.")] = False,
    plot: Annotated[
        Path | None, typer.Option(help="PNG to draw PSNR over the scales into.", show_default=False)
    ] = None,
    grid: Annotated[
        Path | None, typer.Option("--grid", help="Picture file to write details side by side to.", show_default=False)
    ] = None,
    overwrite: Overwrite = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="CSV on stdout.")] = False,
    as_json: Json = False,
) -> None:
    """Score models on folders of pictures by the papers' protocol."""
    from rescale import curve, images
    from rescale.collaborate import Effort
    from rescale.evaluate import means, protocol, score, try_out
    from rescale.grid import Grid

    use_machine(threads)
    contenders = contenders_of(model, scale or [], device)
    rescalers = [rescaler for rescaler, _ in contenders]
    how: dict[str, Any] = {"round_luma": round_luma, "lpips": _distances(lpips or [], rescalers[0].device)}
    found = pictures_of(folders)
    _check_drawings(plot, grid, found, overwrite=overwrite)
    efforts = [None, *map(Effort.of, refine or [])]
    sheet = Grid()

    def rows_of(rescaler: "Rescaler", geometry: "Geometry", file: Path, set_name: str) -> "Iterator[Scores]":
        picture = images.read(file)
        for effort in efforts:
            trial = try_out(rescaler, picture, file.stem, geometry, refine=effort)
            if grid:
                sheet.add(file, file.stem, picture, trial)
            yield score(trial, set_name, file.stem, **how)

    rows, failures = play(contenders, folders, found, rows_of)
    shown = (rows if each else []) + means(rows)
    said = protocol(round_luma=round_luma)
    typer.echo(_shown(shown, said, rescalers, paper=paper, as_csv=as_csv, as_json=as_json))
    if grid and rows:
        images.write(grid, sheet.picture(), overwrite=overwrite)
    if plot and rows:
        curve.draw_scales(means(rows), plot, overwrite=overwrite)
    if failures:
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
        scale = f"x{entry.scale}" if entry.scale else "x1 to x4"
        typer.echo(f"{name:<16} {scale:<8}  {entry.parameters:>9,} parameters  {entry.summary}")
        typer.echo("".join(f"{'':<16} {key}: {value}\n" for key, value in entry.scores.items()), nl=False)


def _check_drawings(plot: Path | None, grid: Path | None, found: dict[Path, list[Path]], *, overwrite: bool) -> None:
    """Refuse, before any work, what could not be drawn in the end."""
    from rescale import curve, images
    from rescale.files import check_target

    if plot and images.format_of(plot) != "PNG":
        raise UsageError(f"expected a PNG to draw into, got {plot}")
    if plot and plot == grid:
        raise UsageError(f"expected two files for --grid and --plot, got {grid} twice")
    if plot and not curve.is_available():
        raise EnvironmentFault("--plot needs matplotlib: pip install 'rescale[train]'")
    for target in filter(None, (grid, plot)):
        images.format_of(target)
        for file in (file for files in found.values() for file in files):
            check_target(file, target, overwrite=overwrite)


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
    sizes = {rescaler.name: rescaler.model.parameter_count for rescaler in rescalers}
    return f"{paper_markdown(measured([row for row in rows if row.picture == 'mean'], sizes))}\n\n{said}"


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
