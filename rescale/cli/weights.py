"""`models`, `import`, `export` and `release`: weight files."""

import json
from pathlib import Path
from typing import Annotated

import typer

from rescale.cli.console import printable
from rescale.cli.options import Json, Overwrite, Threads, use_threads


def import_(
    file: Annotated[Path, typer.Argument(help="A .pth file of the IRN repository.", show_default=False)],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Weight file to write.", show_default="NAME.safetensors")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Convert a published IRN checkpoint, without running the code in it."""
    from rescale.models import import_irn

    target = output or Path(f"{file.stem}.safetensors")
    model = import_irn.import_checkpoint(file, target, overwrite=overwrite)
    typer.echo(str(target))
    typer.echo(f"IRN x{model.scale}, {model.parameter_count:,} parameters", err=True)


def export(
    model: Annotated[str, typer.Argument(help="A model id, or a .safetensors file.")],
    target: Annotated[Path, typer.Argument(help="What to write: .onnx, or .pt2 for torch.export.")],
    overwrite: Overwrite = False,
) -> None:
    """Export the upscaling network for other programs; takes images of any size, and is loaded again and compared."""
    from rescale.models import weights
    from rescale.models.export import export as write

    apart = write(weights.load(model).model, target, overwrite=overwrite)
    typer.echo(target)
    typer.echo(f"note: differs from the model by at most {apart:.1g} of a sample in 0 .. 1", err=True)


def release(
    name: Annotated[str, typer.Argument(help="Model id.")],
    file: Annotated[Path, typer.Argument(help="What `rescale train` kept as the best.")],
    sets: Annotated[list[Path], typer.Argument(help="Folders of test images.")],
    summary: Annotated[str, typer.Option(help="A few words for `rescale models`.")],
    threads: Threads = None,
) -> None:
    """Add a trained network to the manifest of a checkout, with its scores; for maintainers."""
    from rescale.training.release import release as take_in

    use_threads(threads)
    for key, score in take_in(name, file, sets, summary).scores.items():
        typer.echo(f"{key}: {score}")


def models(
    inspect: Annotated[
        str | None,
        typer.Option(help="Say what this weight file is: .safetensors, .pth or hf:OWNER/NAME.", show_default=False),
    ] = None,
    as_json: Json = False,
) -> None:
    """List the models that come with the package, or describe a weight file."""
    from dataclasses import asdict

    from rescale.models.zoo import manifest

    if inspect is not None:
        _inspect(inspect, as_json=as_json)
        return
    rows = manifest()
    if as_json:
        for name, entry in rows.items():
            typer.echo(json.dumps({"name": name, **asdict(entry)}))
        return
    for name, entry in rows.items():
        scale = f"x{entry.scale}" if entry.scale else "x1 to x4"
        typer.echo(f"{name:<16} {scale:<8}  {entry.parameters:>9,} parameters  {entry.summary}")
        typer.echo("".join(f"{'':<16} {key}: {value}\n" for key, value in entry.scores.items()), nl=False)


def _inspect(model: str, *, as_json: bool) -> None:
    from rescale.models import weights

    facts = weights.load(model).facts()
    if as_json:
        typer.echo(json.dumps(facts))
        return
    facts |= {"scale": f"x{facts['scale']}" if facts["scale"] else "x1 to x4", "tags": ", ".join(facts["tags"])}
    facts |= {"parameters": f"{facts['parameters']:,}", "licence": facts["licence"] or "not stated in the file"}
    for key, value in facts.items():
        typer.echo(f"{key:<14}{printable(str(value))}".rstrip())
