"""`bench`: speed, as a ratio to a named baseline measured in the same run."""

import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rescale.cli.options import Json, Overwrite, Threads, use_machine, use_threads
from rescale.cli.train import Changes, RecipeName, recipe_of
from rescale.errors import UsageError

if TYPE_CHECKING:
    from rescale.bench.timing import Race

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
    """Time a training step of a recipe, against plain contiguous float32."""
    from rescale.bench.images import training

    use_threads(threads)
    _tell(training(recipe_of(recipe, changes), turns=turns, device=device), "times as fast", as_json=as_json)


@bench.command()
def refine(
    model: Annotated[
        str | None,
        typer.Argument(help="A model id, or a .safetensors file; else irn-x4-small.", show_default=False),
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Of refining.")] = 20,
    side: Annotated[int, typer.Option(min=16, help="Side of the image, in pixels.")] = 512,
    turns: Annotated[int, typer.Option(min=1, help="How often both are measured.")] = 3,
    threads: Threads = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, ...")] = "cpu",
    as_json: Json = False,
) -> None:
    """Time refining an LR image, in round trips (downscale and upscale)."""
    from rescale.bench.images import refining
    from rescale.models.zoo import DEFAULT_MODEL

    use_threads(threads)
    race = refining(model or DEFAULT_MODEL, steps=steps, side=side, turns=turns, device=device)
    _tell(race, "round trips", as_json=as_json)


@bench.command()
def rescale(
    model: Annotated[
        str | None,
        typer.Argument(
            help="A model id, a .safetensors file, or a recipe, whose network is then random; else irn-x4-small.",
            show_default=False,
        ),
    ] = None,
    size: Annotated[str, typer.Option(help="Size of the image, width x height.")] = "512x512",
    turns: Annotated[int, typer.Option(min=1, help="How often both are measured.")] = 5,
    threads: Threads = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, ...")] = "cpu",
    as_json: Json = False,
) -> None:
    """Time downscaling and upscaling, against plain float32 PyTorch, other programs, and the machine's own limit."""
    from rescale.bench.images import rescaling
    from rescale.models.zoo import DEFAULT_MODEL

    sides = re.fullmatch(r"(\d{2,5})x(\d{2,5})", size)
    if not sides:
        raise UsageError(f"expected a size of width x height such as 512x512, got {size!r}")

    use_threads(threads)
    speed = rescaling(model or DEFAULT_MODEL, full=(int(sides[2]), int(sides[1])), turns=turns, device=device)
    if as_json:
        typer.echo(json.dumps(asdict(speed)))
        return
    typer.echo(speed.processor)
    for race in filter(None, (speed.down, speed.up, *speed.rivals)):
        _tell(race, "times as fast", as_json=False)
    ways = "down and up" if speed.down else "up"
    typer.echo(f"{ways} {speed.total:.2f} times as fast, at {speed.gflops:.0f} GFLOP/s:")
    limits = (
        f"{speed.limit_gflops:.0f} GFLOP/s in a matrix product, {speed.limit_convolution:.0f} in a convolution of 64 "
        f"to 64 channels, {speed.limit_gbytes:.0f} GB/s in a copy, in the same turns"
    )
    typer.echo(f"{speed.share:.0%} of what this machine allows: {limits}")
    typer.echo(f"restored pictures differ by at most {speed.levels:.2f} of 255 levels")


@bench.command()
def video(
    source: Annotated[
        Path, typer.Argument(help="A large video; its beginning is downscaled, and super-resolved again.")
    ],
    model: Annotated[
        str | None, typer.Argument(help="A model id, or a .safetensors file; else espcn-x2-rt.", show_default=False)
    ] = None,
    seconds: Annotated[float, typer.Option(min=0.1, help="How much of it.")] = 10.0,
    turns: Annotated[int, typer.Option(min=1, help="How often both are measured.")] = 3,
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Super-resolve a video, against FFmpeg's scale=lanczos with the same encoder: PSNR and speed."""
    from rescale.bench.video import contest
    from rescale.cli.options import use_threads_for_video
    from rescale.models.zoo import video_model

    use_threads_for_video(threads)
    model = model or video_model(2)
    found = contest(source, model, seconds=seconds, turns=turns)
    if as_json:
        typer.echo(json.dumps(asdict(found)))
        return
    typer.echo(found.processor)
    typer.echo(f"{found.frames} frames of {found.size[1]}x{found.size[0]}, decoded, enlarged and encoded:")
    for title, psnr, fps, size in (
        ("scale=lanczos", found.lanczos_psnr, found.lanczos_fps, found.lanczos_bytes),
        (model, found.psnr, found.fps, found.bytes),
    ):
        typer.echo(f"{title:<24} {psnr:6.2f} dB {fps:7.1f} frames a second {size:>12,} bytes")
    more = f"{found.bytes / found.lanczos_bytes - 1:+.0%} bytes at the encoder's same setting"
    spread = f"({found.least:.2f} to {found.most:.2f})"
    typer.echo(f"{found.psnr - found.lanczos_psnr:+.2f} dB, {more}, {found.ratio:.2f} times as fast {spread}")
    typer.echo(f"the network alone, on luma of 960x540: {found.alone_fps:.0f} frames a second")


@bench.command()
def overfit(
    source: Annotated[Path, typer.Argument(help="A large video.")],
    small: Annotated[list[Path], typer.Argument(help="What `rescale overfit` made of it; several make a curve.")],
    seconds: Annotated[float, typer.Option(min=0.1, help="How much of it.")] = 10.0,
    plot: Annotated[Path | None, typer.Option(help="Draw PSNR over bytes, as a .png.", show_default=False)] = None,
    with_lpips: Annotated[bool, typer.Option("--lpips", help="As well; fetches its trunk, once.")] = False,
    threads: Threads = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Compare an overfitted video with bicubic, its generic network, and full-size H.264 and H.265 of as many bytes."""
    from rescale.bench import rate_distortion
    from rescale.evaluation.plots import draw_rates
    from rescale.metrics.lpips import lpips

    use_machine(threads)
    distance = lpips("alex") if with_lpips else None
    lines: dict[str, list[tuple[int, float]]] = {}
    for path in small:
        found = rate_distortion.compare(source, path, seconds=seconds, distance=distance)
        for shown in found:
            if as_json:
                typer.echo(json.dumps({"small": str(path)} | asdict(shown)))
                continue
            far = f"{shown.lpips:.4f}" if shown.lpips is not None else "-"
            scores = f"{shown.psnr:6.2f} dB  SSIM {shown.ssim:.4f}  LPIPS {far}"
            typer.echo(f"{shown.name:<20} {shown.bytes:>10,} bytes  {scores}")
        for shown in found[:3]:
            lines.setdefault(shown.name, []).append((shown.bytes, shown.psnr))
    if plot:
        sizes = [size for points in lines.values() for size, _ in points]
        for codec in rate_distortion.CODECS:
            lines[codec] = rate_distortion.curve(source, codec, seconds, min(sizes), max(sizes) * 2)
        draw_rates(lines, plot, overwrite=overwrite)


def _tell(race: "Race", unit: str, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(asdict(race)))
        return
    typer.echo(f"{race.baseline:<40} {race.baseline_s:8.3f} s")
    typer.echo(f"{race.contender:<40} {race.contender_s:8.3f} s")
    typer.echo(f"{race.ratio:.2f} {unit} ({race.least:.2f} to {race.most:.2f})")
