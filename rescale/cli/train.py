"""`train`: train a model by a recipe."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rescale.cli.options import Json, Threads, use_threads
from rescale.errors import UsageError

if TYPE_CHECKING:
    from rescale.training.recipe import Recipe


RecipeName = Annotated[str, typer.Argument(help="A recipe's name or TOML file.", show_default=False)]
Changes = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change the recipe: loss.guide=0.25.", show_default=False),
]


def train(
    recipe: RecipeName,
    data: Annotated[
        list[Path], typer.Option("-d", "--data", help="Folder of images; may be repeated.", show_default=False)
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
    """Train a model on folders of images; resumes where an earlier run stopped."""
    from dataclasses import asdict

    from rescale.evaluation import plots
    from rescale.training.train import train as learn

    if not plots.has_matplotlib():
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
    """Read a recipe by its name or file, with some keys changed."""
    from rescale.training.recipe import Recipe, recipes

    path = recipes().get(name) or Path(name)
    if not path.is_file():
        raise UsageError(f"expected a recipe of {', '.join(recipes())} or a TOML file, got {name!r}")
    return Recipe.read(path, changes or ())
