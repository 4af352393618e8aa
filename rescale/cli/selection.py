"""Selection of the models to score, the scales and the images."""

import math
from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from rescale.cli.console import in_flags, told
from rescale.cli.progress import bar
from rescale.errors import InputError, UsageError

if TYPE_CHECKING:
    from rescale.executors.base import Result
    from rescale.geometry import Geometry
    from rescale.inference.rescaler import Rescaler

Folders = Annotated[list[Path], typer.Argument(help="Folders of images.", show_default=False)]
Models = Annotated[
    list[str] | None,
    typer.Option("-m", "--model", help="Model id or weight file; may be repeated; or all.", show_default=False),
]
Scales = Annotated[
    list[str] | None,
    typer.Option(
        "-s",
        "--scale",
        help="Of models that serve many: 2.7, 1.5x4 (width x height), or 1.1:4:0.1 for a range; may be repeated.",
        show_default=False,
    ),
]


class Contender(NamedTuple):
    """One model at one scale."""

    model: str
    """Model as the user named it: an id, or a weight file."""
    rescaler: "Rescaler"
    scale: "Geometry"


def contenders_of(names: list[str] | None, scales: list[str], device: str | None) -> list[Contender]:
    """List the models, each at every scale that it is to be scored at."""
    from rescale.geometry import Geometry
    from rescale.inference.rescaler import load
    from rescale.models.zoo import ANY_SCALE_MODEL, DEFAULT_MODEL
    from rescale.training.train import VALIDATED

    default = [ANY_SCALE_MODEL, "bicubic"] if scales else [DEFAULT_MODEL, "bicubic-x4"]
    named = _all_models() if names == ["all"] else names or default
    rescalers = _told_apart([load(name, device=device) for name in named], named)
    asked = [geometry for text in scales for geometry in _range(text)] or [Geometry.of(s) for s in VALIDATED]
    if scales and all(rescaler.scale for rescaler in rescalers):
        known = ", ".join(rescaler.name for rescaler in rescalers)
        raise UsageError(
            f"expected --scale for models that serve many, such as {ANY_SCALE_MODEL} and bicubic, got only {known}"
        )
    return [
        Contender(model, rescaler, rescaler.sizes.check(geometry))
        for model, rescaler in zip(named, rescalers, strict=True)
        for geometry in ([Geometry.of(rescaler.scale)] if rescaler.scale else asked)
    ]


def _range(text: str) -> "list[Geometry]":
    """Parse a scale, or from:to:step with both ends included."""
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


def pictures_of(folders: list[Path]) -> dict[Path, list[Path]]:
    """List the files of each folder, of which none may be empty."""
    from rescale.io import images

    found = {folder: images.find(folder) if folder.exists() else [] for folder in folders}
    if empty := [str(folder) for folder, files in found.items() if not files]:
        raise InputError(f"expected folders with pictures, found none in {', '.join(empty)}")
    return found


def turns_of(
    contenders: list[Contender], folders: list[Path], found: dict[Path, list[Path]]
) -> list[tuple[Contender, Path, str]]:
    """Pair every model with every image and the name of its test set."""
    return [
        (contender, file, _set_name(folder, folders))
        for folder, files in found.items()
        for contender in contenders
        for file in files
    ]


def collected(answers: "Generator[Result, None, None]", count: int) -> "tuple[list[Result], int]":
    """Collect results, which come in any order, by their numbers, and count failures; each failure is reported."""
    kept: list[Result] = []
    failures = 0
    with bar(count, "evaluating") as step, closing(answers):
        for facts in map(in_flags, answers):
            kept += [facts] if "number" in facts else []  # of a process that died there is none
            if "error" in facts:
                failures += 1
                typer.echo(f"error: {told(facts['source'], facts['error'])}", err=True)
            step()
    if failures:
        typer.echo(f"{failures} of {count} could not be scored", err=True)
    return sorted(kept, key=lambda facts: facts["number"]), failures


def _all_models() -> list[str]:
    """List every shipped model, and the bicubic baseline."""
    from rescale.models.zoo import manifest

    return ["bicubic", *manifest()]


def _told_apart(rescalers: "list[Rescaler]", given: list[str]) -> "list[Rescaler]":
    """Name weight files of the same name by their paths, or their means would be merged."""
    names = [rescaler.name for rescaler in rescalers]
    for rescaler, path in zip(rescalers, given, strict=True):
        if names.count(rescaler.name) > 1:
            rescaler.name = path
    return rescalers


def _set_name(folder: Path, folders: list[Path]) -> str:
    """Name a test set by its folder, or by its path where several have the same name."""
    name = folder.resolve().name
    return str(folder) if [other.resolve().name for other in folders].count(name) > 1 else name
