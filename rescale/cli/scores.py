"""`evaluate` and `models`: what the networks are worth."""

import json
import math
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rescale.cli.options import Device, Json, Overwrite, Refine, Threads, use_threads
from rescale.console import progress, told
from rescale.errors import EnvironmentFault, InputError, RescaleError, UsageError

if TYPE_CHECKING:
    from rescale.evaluate import Scores
    from rescale.geometry import Geometry
    from rescale.rescaler import Rescaler

    Contender = tuple[Rescaler, Geometry]
    Job = tuple[Contender, Path, Path]

DEFAULT_MODEL = "irn-x4-small"


class Cycle(Enum):
    """As `rescale.cycles` has them."""

    same = "same"
    random = "random"
    shift = "shift"


def evaluate(
    folders: Annotated[list[Path], typer.Argument(help="Folders of pictures.", show_default=False)],
    model: Annotated[
        list[str] | None,
        typer.Option("-m", "--model", help="Model id or weight file; may be repeated; or all.", show_default=False),
    ] = None,
    scale: Annotated[
        list[str] | None,
        typer.Option(
            "-s",
            "--scale",
            help="Of models that serve many: 2.7, 1.5x4 (width x height), or 1.1:4:0.1 for a range; may be repeated.",
            show_default=False,
        ),
    ] = None,
    device: Device = None,
    threads: Threads = None,
    round_luma: Annotated[bool, typer.Option("--round-luma", help="As the older bicubic rows of the papers.")] = False,
    lpips: Annotated[
        list[str] | None, typer.Option("--lpips", help="alex or vgg; may be repeated.", show_default=False)
    ] = None,
    refine: Refine = None,
    each: Annotated[bool, typer.Option("--each", help="Every picture's own row as well.")] = False,
    paper: Annotated[bool, typer.Option("--paper", help="The papers' table, with published rows among ours.")] = False,
    cycles: Annotated[
        int | None, typer.Option(min=1, max=100, help="Down and up so often, instead of once.", show_default=False)
    ] = None,
    cycle: Annotated[
        Cycle | None, typer.Option(help="What differs between cycles: nothing if not given.", show_default=False)
    ] = None,
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
    from rescale.evaluate import Scores, means, protocol, score, try_out
    from rescale.files import check_target
    from rescale.grid import Grid

    use_threads(threads)
    others = {
        "--csv": as_csv, "--plot": plot, "--grid": grid, "--paper": paper, "--each": each, "--lpips": lpips,
        "--round-luma": round_luma, "--refine": refine,
    }  # fmt: skip
    if cycles and (given := [name for name, value in others.items() if value]):
        raise UsageError(f"expected --cycles without {', '.join(given)}")
    if cycle and (not cycles or (cycle is Cycle.random and scale)):
        raise UsageError("expected --cycle together with --cycles, and random without --scale")
    contenders = _contenders(model, scale or [], device)
    rescalers = [rescaler for rescaler, _ in contenders]
    how: dict[str, Any] = {"round_luma": round_luma, "lpips": _distances(lpips or [], rescalers[0].device)}
    found = _pictures(folders)
    for target in filter(None, (grid, plot)):
        if images.format_of(target) != "PNG" and target == plot:
            raise UsageError(f"expected a PNG to draw into, got {target}")
        for file in (file for files in found.values() for file in files):
            check_target(file, target, overwrite=overwrite)
    if plot and plot == grid:
        raise UsageError(f"expected two files for --grid and --plot, got {grid} twice")
    if plot and not curve.is_available():
        raise EnvironmentFault("--plot needs matplotlib: pip install matplotlib")
    jobs = [(contender, folder, file) for folder, files in found.items() for contender in contenders for file in files]
    efforts = [None] if refine is None else [None, Effort.of(refine)]
    if cycles:
        if cycle is Cycle.random:  # which draws its scales itself
            jobs = list({(job[0][0], *job[1:]): job for job in jobs}.values())
        _cycled(jobs, folders, cycles, cycle or Cycle.same, as_json=as_json)
        return
    rows: list[Scores] = []
    sheet = Grid()
    failures = 0
    for (rescaler, geometry), folder, file in progress(jobs, "evaluating"):
        try:
            picture = images.read(file)
            for effort in efforts:
                trial = try_out(rescaler, picture, file.stem, geometry, refine=effort)
                rows.append(score(trial, _set_name(folder, folders), file.stem, **how))
                if grid:
                    sheet.add(file, file.stem, picture, trial)
        except RescaleError as error:
            failures += 1
            typer.echo(f"error: {told(str(file), str(error))}", err=True)
    shown = (rows if each else []) + means(rows)
    said = protocol(round_luma=round_luma)
    typer.echo(_shown(shown, said, rescalers, paper=paper, as_csv=as_csv, as_json=as_json))
    if grid and rows:
        images.write(grid, sheet.picture(), overwrite=overwrite)
    if plot and rows:
        curve.draw_scales(means(rows), plot, overwrite=overwrite)
    if failures:
        typer.echo(f"{failures} of {len(jobs)} could not be scored", err=True)
        raise typer.Exit(InputError.exit_code)


def _cycled(jobs: "list[Job]", folders: list[Path], count: int, kind: Cycle, *, as_json: bool) -> None:
    """Down and up again and again."""
    from rescale import images
    from rescale.cycles import cycles, markdown, records

    rows: list[Any] = []
    failures: list[RescaleError] = []
    for (rescaler, geometry), folder, file in progress(jobs, "evaluating"):
        name = _set_name(folder, folders)
        try:
            rows += list(cycles(rescaler, images.read(file), count, geometry, kind=kind.value, set_name=name))
        except UsageError:
            raise
        except RescaleError as error:
            failures.append(error)
            typer.echo(f"error: {told(str(file), str(error))}", err=True)
    if rows:
        typer.echo(json.dumps(records(rows)) if as_json else markdown(rows))
    if failures:
        typer.echo(f"{len(failures)} of {len(jobs)} could not be scored", err=True)
        raise typer.Exit(InputError.exit_code)


def _contenders(names: list[str] | None, scales: list[str], device: str | None) -> "list[Contender]":
    """The models, each with every scale that it is to be tried at."""
    from rescale import load
    from rescale.geometry import Geometry
    from rescale.train import VALIDATED

    default = ["iarn-small", "bicubic"] if scales else [DEFAULT_MODEL, "bicubic-x4"]
    named = _all_models() if names == ["all"] else names or default
    rescalers = _told_apart([load(name, device=device) for name in named], named)
    asked = [geometry for text in scales for geometry in _range(text)] or [Geometry.of(s) for s in VALIDATED]
    if scales and all(rescaler.scale for rescaler in rescalers):
        known = ", ".join(rescaler.name for rescaler in rescalers)
        raise UsageError(
            f"expected --scale for models that serve many, such as iarn-small and bicubic, got only {known}"
        )
    return [
        (rescaler, rescaler.sizes.check(geometry))
        for rescaler in rescalers
        for geometry in ([Geometry.of(rescaler.scale)] if rescaler.scale else asked)
    ]


def _range(text: str) -> "list[Geometry]":
    """A scale, or from:to:step, both ends included."""
    from rescale.geometry import Geometry

    parts = text.split(":")
    if len(parts) == 1:
        geometry = Geometry.of(text)
        if geometry.scales is None:
            raise UsageError(f"expected a scale to evaluate at, got the size {text}")
        return [geometry]
    try:
        first, last, step = map(float, parts)
        count = math.floor((last - first) / step + 1e-9)
        if not 0 <= count < 1000:
            raise ValueError(text)
    except (ValueError, ArithmeticError) as error:
        raise UsageError(f"expected a range of scales as 1.1:4:0.1, got {text!r}") from error
    return [Geometry.of(round(first + step * k, 9)) for k in range(count + 1)]


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
    sizes = {rescaler.name: rescaler.model.parameter_count for rescaler in rescalers}
    return f"{paper_markdown(measured([row for row in rows if row.picture == 'mean'], sizes))}\n\n{said}"


def _all_models() -> list[str]:
    """Every shipped one, and the baseline."""
    from rescale.weights import manifest

    return ["bicubic", *manifest()]


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
