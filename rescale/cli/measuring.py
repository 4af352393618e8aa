"""`bench`: speed, as a ratio to a named baseline measured in the same run."""

import json
from typing import Annotated

import typer

from rescale.cli.options import Json, Threads, use_threads
from rescale.cli.training import Changes, RecipeName, recipe_of

bench = typer.Typer(help="Measure speed as a ratio to a named baseline, in one run.", no_args_is_help=True)


@bench.command()
def train(
    recipe: RecipeName,
    changes: Changes = None,
    turns: Annotated[int, typer.Option(min=1, help="How often both are measured.")] = 5,
    threads: Threads = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, ...")] = "cpu",
    as_json: Json = False,
) -> None:
    """A training step as the recipe has it, against plain contiguous float32."""
    from dataclasses import asdict

    from rescale.bench import training

    use_threads(threads)
    race = training(recipe_of(recipe, changes), turns=turns, device=device)
    if as_json:
        typer.echo(json.dumps(asdict(race)))
        return
    typer.echo(f"{race.baseline:<40} {race.baseline_s:8.3f} s a step")
    typer.echo(f"{race.contender:<40} {race.contender_s:8.3f} s a step")
    typer.echo(f"{race.ratio:.2f} times as fast ({race.least:.2f} to {race.most:.2f} in {turns} turns)")
