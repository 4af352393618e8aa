"""`overfit`: an LR video that carries the networks which restore it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rescale.cli.options import (
    PIXELS,
    Codec,
    Crf,
    Device,
    Json,
    MaxPixels,
    Model,
    Overwrite,
    Preset,
    Threads,
    Truncated,
    use_machine,
)
from rescale.cli.progress import Lessons

if TYPE_CHECKING:
    from rescale.stdo.overfit import OverfitResult


def overfit(
    source: Annotated[Path, typer.Argument(help="A video.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", help="An .mkv, .mp4 or .mov; clip.rescale.mkv if not given.", show_default=False
        ),
    ] = None,
    scale: Annotated[int, typer.Option("-s", "--scale", help="2, 3 or 4.")] = 2,
    model: Model = None,
    parts: Annotated[
        int | None,
        typer.Option(
            min=1, max=16, help="Networks, each for its part of the frame; as many as make 40,000 parameters."
        ),
    ] = None,
    minutes: Annotated[float | None, typer.Option(min=0.01, help="For how long to learn; 10 if not given.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="How many steps to learn, instead of minutes.")] = None,
    emphasis: Annotated[
        float | None, typer.Option(min=0.0, max=2.0, help="How strongly hard patches are preferred; 0 is not at all.")
    ] = None,
    refine: Annotated[
        int | None, typer.Option(min=0, help="Steps to move each small frame to where it restores better (HCD).")
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(help="Which patches share a network: network (that knows them best), time, difficulty (STDO's)."),
    ] = None,
    device: Device = None,
    threads: Threads = None,
    codec: Codec = None,
    crf: Crf = None,
    preset: Preset = None,
    allow_truncated: Truncated = False,
    max_pixels: MaxPixels = PIXELS,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Downscale a video and embed networks that were overfitted to it: `rescale up` restores it, in real time."""
    from rescale.stdo.overfit import OverfitBudget
    from rescale.stdo.overfit import overfit as run
    from rescale.video.options import EncodeOptions

    use_machine(threads)
    chosen = {"parts": parts, "minutes": minutes, "steps": steps, "emphasis": emphasis, "by": by, "refine": refine}
    budget = OverfitBudget(**{key: value for key, value in chosen.items() if value is not None})  # type: ignore[arg-type]
    options = EncodeOptions(
        codec=codec, quality=crf, preset=preset, overwrite=overwrite, allow_truncated=allow_truncated,
        max_pixels=max_pixels, threads=threads or 0, device=device,
    )  # fmt: skip
    target = output or Path(f"{source.stem}.rescale.mkv")
    done = run(source, target, model=model, scale=scale, budget=budget, options=options, tell=Lessons())
    _report(done, as_json=as_json)


def _report(done: "OverfitResult", *, as_json: bool) -> None:
    from dataclasses import asdict

    from rescale.cli.console import tell

    facts = asdict(done)
    if as_json:
        tell({**facts, "source": str(done.source), "target": str(done.target)}, as_json=True)
        return
    tell({"source": str(done.source), "target": str(done.target), "notes": done.notes}, as_json=False)
    near = done.closeness
    for name, whole, shaved in zip(
        ("bicubic", done.model, "overfitted"), (near.bicubic, near.generic, near.overfitted), near.shaved, strict=True
    ):
        typer.echo(f"{name:<16} {whole:6.2f} dB, {shaved:6.2f} without the edges of patches", err=True)
    share = done.networks_bytes / done.stream_bytes
    typer.echo(
        f"{near.overfitted - near.generic:+.2f} dB by {done.steps} steps in {done.elapsed_s:.0f} s; small video "
        f"{done.stream_bytes:,} bytes, networks {done.networks_bytes:,} ({share:.1%}), its map {done.map_bytes:,}",
        err=True,
    )
