"""`train`, `import` and `release`: where weights come from."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rescale.cli.options import Json, Overwrite, Threads, use_threads
from rescale.errors import UsageError

if TYPE_CHECKING:
    from rescale.recipe import Recipe


RecipeName = Annotated[str, typer.Argument(help="A recipe's name or TOML file.", show_default=False)]
Changes = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change the recipe: loss.guide=0.25.", show_default=False),
]


def train(
    recipe: RecipeName,
    data: Annotated[
        list[Path], typer.Option("-d", "--data", help="Folder of pictures; may be repeated.", show_default=False)
    ],
    run: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder of the run.", show_default="runs/RECIPE")
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(help="Fit the schedule into so much time.", show_default=False)
    ] = None,
    start: Annotated[
        str | None, typer.Option("--start", help="Model id or weight file to begin from.", show_default=False)
    ] = None,
    changes: Changes = None,
    threads: Threads = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, ...")] = "cpu",
    compiled: Annotated[bool, typer.Option("--compile", help="Fuse the step; pays on CUDA.")] = False,
    as_json: Json = False,
) -> None:
    """Learn weights from folders of pictures; goes on where an earlier run stopped."""
    from dataclasses import asdict

    from rescale import curve
    from rescale.train import train as learn

    if not curve.is_available():
        typer.echo("note: the curve needs one more package: pip install 'rescale[train]'", err=True)
    folder = run or Path("runs") / Path(recipe).stem
    use_threads(threads)
    reported = False
    for report in learn(
        recipe_of(recipe, changes), data, folder, minutes=minutes, device=device, start=start, compiled=compiled
    ):
        if as_json:
            typer.echo(json.dumps(asdict(report)))
        else:
            mark = " *" if report.is_best else ""
            typer.echo(
                f"step {report.step}  {report.elapsed_s / 60:.1f} min  loss {report.loss:.5f}  "
                f"validation {report.hr_db:.3f} dB, LR {report.lr_db:.2f} dB, "
                f"RGB {report.hr_rgb_db:.3f} dB, LR {report.lr_rgb_db:.2f} dB{mark}"
            )
        reported = True
    if os.environ.get("RANK", "0") == "0":  # of torchrun's processes the lead alone reports
        typer.echo(str(folder / "best.safetensors") if reported else "nothing to do: this run is at its end", err=True)


def recipe_of(name: str, changes: Sequence[str] | None) -> "Recipe":
    """A recipe by its name or file, with some keys changed."""
    from rescale.recipe import Recipe, recipes

    path = recipes().get(name) or Path(name)
    if not path.is_file():
        raise UsageError(f"expected a recipe of {', '.join(recipes())} or a TOML file, got {name!r}")
    return Recipe.read(path, changes or ())


def import_(
    file: Annotated[Path, typer.Argument(help="A .pth file of the IRN repository.", show_default=False)],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Weight file to write.", show_default="NAME.safetensors")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Take over a published IRN checkpoint, without running the code in it."""
    from rescale import official

    target = output or Path(f"{file.stem}.safetensors")
    model = official.take_over(file, target, overwrite=overwrite)
    typer.echo(str(target))
    typer.echo(f"IRN x{model.scale}, {model.parameter_count:,} parameters", err=True)


def export(
    model: Annotated[str, typer.Argument(help="A model id, or a .safetensors file.")],
    target: Annotated[Path, typer.Argument(help="What to write: .onnx, or .pt2 for torch.export.")],
    overwrite: Overwrite = False,
) -> None:
    """Write what enlarges, for other programs: pictures of any size in, loaded again and compared."""
    from rescale import weights
    from rescale.export import export as write

    apart = write(weights.load(model).model, target, overwrite=overwrite)
    typer.echo(target)
    typer.echo(f"note: differs from the model by at most {apart:.1g} of a sample in 0 .. 1", err=True)


def release(
    name: Annotated[str, typer.Argument(help="Model id.")],
    file: Annotated[Path, typer.Argument(help="What `rescale train` kept as the best.")],
    sets: Annotated[list[Path], typer.Argument(help="Folders of test pictures.")],
    summary: Annotated[str, typer.Option(help="A few words for `rescale models`.")],
    threads: Threads = None,
) -> None:
    """Take a trained network into the manifest of a checkout, with its scores; for maintainers."""
    from rescale.release import release as take_in

    use_threads(threads)
    for key, score in take_in(name, file, sets, summary).scores.items():
        typer.echo(f"{key}: {score}")
