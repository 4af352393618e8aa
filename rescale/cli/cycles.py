"""`cycles`: what is left of images that are downscaled and upscaled again and again."""

import json
from collections.abc import Generator
from enum import Enum
from typing import TYPE_CHECKING, Annotated

import typer

from rescale.cli.options import Device, Json, Threads, use_machine
from rescale.cli.selection import Folders, Models, Scales, collected, contenders_of, pictures_of, turns_of
from rescale.errors import InputError, UsageError

if TYPE_CHECKING:
    from rescale.executors.base import Result


class Kind(Enum):
    """Kinds of cycles, as `rescale.cycles` has them."""

    same = "same"
    random = "random"
    shift = "shift"


def cycles(
    folders: Folders,
    model: Models = None,
    scale: Scales = None,
    count: Annotated[int, typer.Option("-n", "--count", min=1, max=100, help="How often.")] = 10,
    kind: Annotated[
        Kind, typer.Option(help="Whether scales are drawn at random, or a pixel cut off each time.")
    ] = Kind.same,
    device: Device = None,
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Score models on images that are downscaled and upscaled again and again."""
    from rescale.evaluation.cycles import cycles as go_round
    from rescale.evaluation.cycles import markdown
    from rescale.evaluation.tables import records
    from rescale.executors.base import failed
    from rescale.io import images

    if kind is Kind.random and scale:
        raise UsageError("expected --kind random without --scale")
    use_machine(threads)
    contenders = contenders_of(model, scale or [], device)
    if kind is Kind.random:  # which draws its scales itself
        contenders = list({contender.rescaler.name: contender for contender in contenders}.values())
        if fixed := [rescaler.name for _, rescaler, _ in contenders if rescaler.scale]:
            raise UsageError(f"expected models that serve all scales for --kind random, got {', '.join(fixed)}")

    turns = turns_of(contenders, folders, pictures_of(folders))

    def answers() -> "Generator[Result, None, None]":
        for number, ((_, rescaler, geometry), file, set_name) in enumerate(turns):
            try:
                rounds = go_round(rescaler, images.read(file), count, geometry, kind=kind.value, set_name=set_name)
                yield {"number": number, "rows": list(rounds)}
            except Exception as error:
                yield failed(file, error)

    kept, failures = collected(answers(), len(turns))
    rows = [row for facts in kept for row in facts["rows"]]
    if rows:
        typer.echo(json.dumps(records(rows)) if as_json else markdown(rows))
    if failures:
        raise typer.Exit(InputError.exit_code)
