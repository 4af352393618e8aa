"""`cycles`: what is left of pictures that are made small and large again and again."""

import json
from enum import Enum
from typing import Annotated, Any

import typer

from rescale.cli.contest import Folders, Models, Scales, contenders_of, pictures_of, set_name
from rescale.cli.options import Device, Json, Threads, use_threads
from rescale.console import progress, told
from rescale.errors import InputError, RescaleError, UsageError


class Kind(Enum):
    """As `rescale.cycles` has them."""

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
    """Score models where pictures are made small and large again and again."""
    from rescale import images
    from rescale.cycles import cycles as go_round
    from rescale.cycles import markdown, records

    if kind is Kind.random and scale:
        raise UsageError("expected --kind random without --scale")
    use_threads(threads)
    contenders = contenders_of(model, scale or [], device)
    if kind is Kind.random:  # which draws its scales itself
        contenders = list({rescaler.name: (rescaler, geometry) for rescaler, geometry in contenders}.values())
    found = pictures_of(folders)
    jobs = [(contender, folder, file) for folder, files in found.items() for contender in contenders for file in files]
    rows: list[Any] = []
    failures: list[RescaleError] = []
    for (rescaler, geometry), folder, file in progress(jobs, "evaluating"):
        name = set_name(folder, folders)
        try:
            rows += list(go_round(rescaler, images.read(file), count, geometry, kind=kind.value, set_name=name))
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
