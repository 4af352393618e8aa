"""The command line: each verb parses, calls the package, prints. Results on stdout, all else on stderr."""

import json
import signal
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rescale import __version__
from rescale.console import fail, progress, run, told, understood
from rescale.errors import EnvironmentFault, InputError, RescaleError, UsageError

if TYPE_CHECKING:
    from rescale.batch import Plan
    from rescale.evaluate import Scores
    from rescale.rescaler import Rescaler

app = typer.Typer(
    help="Make pictures small so that they restore themselves, and enlarge ordinary ones.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
DEFAULT_MODEL = "irn-x4-small"

Inputs = Annotated[list[str], typer.Argument(help="Picture files, folders or globs.", show_default=False)]
Output = Annotated[
    str | None,
    typer.Option(
        "-o",
        "--output",
        help="File, folder, or template: {stem} {suffix} {folder} {scale} {model}.",
        show_default=False,
    ),
]
Model = Annotated[
    str | None, typer.Option("-m", "--model", help="A model id, or a .safetensors file.", show_default=False)
]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, ...; CUDA where there is one.", show_default=False)]
Threads = Annotated[int | None, typer.Option(min=1, help="CPU threads.", show_default=False)]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace existing files; a source never.")]
DryRun = Annotated[bool, typer.Option("-n", "--dry-run", help="Say what would be written, and stop.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object a line on stdout.")]
Quality = Annotated[
    int | None,
    typer.Option(min=1, max=100, help="Of JPEG, AVIF and WebP; WebP is lossless without.", show_default=False),
]
MaxPixels = Annotated[int, typer.Option(min=1, help="Refuse larger sources and results.")]
PIXELS = 100_000_000


@app.callback(invoke_without_command=True)
def root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    """Answer --version; every verb has its own help."""
    if version:
        typer.echo(__version__)
        raise typer.Exit


@app.command()
def down(
    inputs: Inputs,
    output: Output = None,
    model: Model = None,
    scale: Annotated[
        int | None, typer.Option("-s", "--scale", help="2 or 4; 4 if not given.", show_default=False)
    ] = None,
    device: Device = None,
    threads: Threads = None,
    quality: Quality = None,
    max_pixels: MaxPixels = PIXELS,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Make pictures small; each small one says how to restore it."""
    from rescale import batch, files, load

    rescaler = load(model or _downscaler(scale), device=device)
    _threads(threads)
    if scale is not None and scale != rescaler.scale:
        raise UsageError(f"{rescaler.name} works at x{rescaler.scale}, got --scale {scale}")
    words = {"scale": rescaler.scale, "model": rescaler.name}
    plan = _planned(batch.plan(inputs, output, lambda f: files.small_name(f, rescaler.scale), **words))
    for _, target in plan:
        files.carrier(target)
    how: dict[str, Any] = {"quality": quality, "max_pixels": max_pixels}
    work = partial(files.downscale_file, rescaler, overwrite=overwrite, **how)
    run(plan, work, overwrite=overwrite, dry_run=dry_run, as_json=as_json)


@app.command()
def up(
    inputs: Inputs,
    output: Output = None,
    model: Model = None,
    scale: Annotated[
        int | None, typer.Option("-s", "--scale", help="Enlarge ordinary pictures by 2, 3 or 4.", show_default=False)
    ] = None,
    device: Device = None,
    threads: Threads = None,
    force: Annotated[bool, typer.Option("--force", help="Restore even where the record does not fit.")] = False,
    quality: Quality = None,
    max_pixels: MaxPixels = PIXELS,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Restore small pictures by their own record; with --scale, enlarge ordinary ones."""
    from rescale import batch, files

    _threads(threads)
    words = {"scale": scale, "model": model and Path(model).name.removesuffix(".safetensors")}
    known = {key: value for key, value in words.items() if value is not None}
    plan = _planned(batch.plan(inputs, output, lambda f: files.large_name(f, is_restored=scale is None), **known))
    how: dict[str, Any] = {"quality": quality, "max_pixels": max_pixels}
    work = partial(files.upscale_file, model=model, scale=scale, device=device, force=force, overwrite=overwrite, **how)
    run(plan, work, overwrite=overwrite, dry_run=dry_run, as_json=as_json)


@app.command()
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

    _threads(threads)
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


@app.command()
def train(
    recipe: Annotated[str, typer.Argument(help="A recipe's name or TOML file.", show_default=False)],
    data: Annotated[
        list[Path], typer.Option("-d", "--data", help="Folder of pictures; may be repeated.", show_default=False)
    ],
    run: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder of the run.", show_default="runs/RECIPE")
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(help="Fit the schedule into so much time.", show_default=False)
    ] = None,
    threads: Threads = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, ...")] = "cpu",
    as_json: Json = False,
) -> None:
    """Learn weights from folders of pictures; goes on where an earlier run stopped."""
    from dataclasses import asdict

    from rescale.recipe import Recipe, recipes
    from rescale.train import train as learn

    path = recipes().get(recipe) or Path(recipe)
    if not path.is_file():
        raise UsageError(f"expected a recipe of {', '.join(recipes())} or a TOML file, got {recipe!r}")
    folder = run or Path("runs") / path.stem
    _threads(threads)
    for report in learn(Recipe.read(path), data, folder, minutes=minutes, device=device):
        if as_json:
            typer.echo(json.dumps(asdict(report)))
        else:
            mark = " *" if report.is_best else ""
            typer.echo(
                f"step {report.step}  {report.elapsed_s / 60:.1f} min  loss {report.loss:.5f}  "
                f"validation {report.hr_db:.3f} dB, LR {report.lr_db:.2f} dB{mark}"
            )
    typer.echo(f"{folder / 'best.safetensors'}", err=True)


@app.command(hidden=True)
def release(
    name: Annotated[str, typer.Argument(help="Model id.")],
    file: Annotated[Path, typer.Argument(help="What `rescale train` kept as the best.")],
    sets: Annotated[list[Path], typer.Argument(help="Folders of test pictures.")],
    summary: Annotated[str, typer.Option(help="A few words for `rescale models`.")],
    threads: Threads = None,
) -> None:
    """Take a trained network into the manifest of a checkout, with its scores; for maintainers."""
    from rescale.release import release as take_in

    _threads(threads)
    for key, score in take_in(name, file, sets, summary).scores.items():
        typer.echo(f"{key}: {score}")


@app.command()
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


# ------------------------------------------------------------------------------------------- shared by the verbs


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


def _downscaler(scale: int | None) -> str:
    if scale not in (None, 2, 4):
        raise UsageError(f"expected --scale 2 or 4, got {scale}")
    return f"irn-x{scale or 4}-small"


def _threads(count: int | None) -> None:
    if count:
        import torch

        torch.set_num_threads(count)


def _planned(plan: "tuple[Plan, list[Path]]") -> "Plan":
    pairs, left_out = plan
    if left_out:
        typer.echo(f"note: {len(left_out)} files left out, as they are results of others: {left_out[0]} ...", err=True)
    return pairs


def main() -> None:
    """The entry point: every error is one sentence and its exit code."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        sys.exit(app(standalone_mode=False))
    except (KeyboardInterrupt, typer.Abort):
        fail("interrupted", 130)
    except Exception as error:
        fault = understood(error)
        fail(str(fault), fault.exit_code)
