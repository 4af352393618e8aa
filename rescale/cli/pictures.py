"""`down` and `up`: pictures and videos to small ones and back."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rescale.cli.moving import Codec, Crf, Preset, Truncated, either
from rescale.cli.options import (
    PIXELS,
    Device,
    DryRun,
    Inputs,
    Json,
    MaxPixels,
    Model,
    Output,
    Overwrite,
    Quality,
    Refine,
    Threads,
    use_machine,
)
from rescale.console import Gauge, printable, run
from rescale.errors import UsageError
from rescale.video.containers import check_small, is_video

if TYPE_CHECKING:
    from rescale.batch import Plan


def down(
    inputs: Inputs,
    output: Output = None,
    model: Model = None,
    scale: Annotated[
        str | None,
        typer.Option(
            "-s",
            "--scale",
            help="2.7, 1.5x2.5 (width x height), 50%, or a size: 800x600, 800x, x600, with ! > or < as in ImageMagick; "
            "x4 if not given.",
            show_default=False,
        ),
    ] = None,
    refine: Refine = None,
    device: Device = None,
    threads: Threads = None,
    quality: Quality = None,
    codec: Codec = None,
    crf: Crf = None,
    preset: Preset = None,
    allow_truncated: Truncated = False,
    max_pixels: MaxPixels = PIXELS,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Make pictures or videos small; each small one says how to restore it."""
    from rescale import batch, files, load
    from rescale.collaborate import Effort
    from rescale.geometry import Geometry

    effort = None if refine is None else Effort.of(refine)
    asked = Geometry.of(scale) if scale is not None else None
    rescaler = load(model or files.downscaler(asked or Geometry.of(4)), device=device)
    use_machine(threads)
    if asked and asked.scales:
        rescaler.sizes.check(asked)
    wanted = asked or Geometry.of(rescaler.scale or 4)
    name = str(wanted)
    words = {"scale": name.removeprefix("x") if wanted.scales else name, "model": rescaler.name}
    plan = _planned(batch.plan(inputs, output, lambda f: files.small_name(f, wanted), **words))
    for source, target in plan:
        if not is_video(source):
            files.carrier(target)
            continue
        check_small(target, codec)
        if effort:
            raise UsageError(f"{source}: --refine is for pictures, not for videos")
    how: dict[str, Any] = {"overwrite": overwrite, "max_pixels": max_pixels}
    still = partial(files.downscale_file, rescaler, scale=wanted, quality=quality, refine=effort, report=Gauge(), **how)
    how |= {"model": model or rescaler.name, "scale": wanted, "device": device}
    filming = {"codec": codec, "quality": crf, "preset": preset, "allow_truncated": allow_truncated, **how}
    work = either(plan, still, threads, is_down=True, **filming)
    run(plan, work, overwrite=overwrite, dry_run=dry_run, as_json=as_json)


def up(
    inputs: Inputs,
    output: Output = None,
    model: Model = None,
    scale: Annotated[
        float | None,
        typer.Option(
            "-s", "--scale", help="Enlarge ordinary pictures by 2, 3 or 4; or by what -m serves.", show_default=False
        ),
    ] = None,
    device: Device = None,
    threads: Threads = None,
    force: Annotated[bool, typer.Option("--force", help="Restore even where the record does not fit.")] = False,
    quality: Quality = None,
    codec: Codec = None,
    crf: Crf = None,
    preset: Preset = None,
    allow_truncated: Truncated = False,
    max_pixels: MaxPixels = PIXELS,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Restore small pictures or videos by their own record; with --scale, enlarge ordinary ones."""
    from rescale import batch, files

    use_machine(threads)
    words = {"scale": scale and f"{scale:g}", "model": model and Path(model).name.removesuffix(".safetensors")}
    known = {key: value for key, value in words.items() if value is not None}
    plan = _planned(batch.plan(inputs, output, lambda f: files.large_name(f, is_restored=scale is None), **known))
    how: dict[str, Any] = {"model": model, "scale": scale, "device": device, "force": force}
    how |= {"overwrite": overwrite, "max_pixels": max_pixels}
    still = partial(files.upscale_file, quality=quality, **how)
    filming = {"codec": codec, "quality": crf, "preset": preset, "allow_truncated": allow_truncated, **how}
    work = either(plan, still, threads, is_down=False, **filming)
    run(plan, work, overwrite=overwrite, dry_run=dry_run, as_json=as_json)


def _planned(plan: "tuple[Plan, list[Path]]") -> "Plan":
    pairs, left_out = plan
    if left_out:
        first = printable(str(left_out[0]))
        typer.echo(f"note: {len(left_out)} files left out, as they are results of others: {first} ...", err=True)
    return pairs
