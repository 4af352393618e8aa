"""`down` and `up`: downscale images and videos, and upscale them again."""

from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rescale.cli import pipe
from rescale.cli.console import loaded, run
from rescale.cli.options import (
    PIXELS,
    Background,
    Codec,
    Crf,
    Deinterlace,
    DryRun,
    Inputs,
    Json,
    KeepMetadata,
    Machine,
    MaxPixels,
    Model,
    Output,
    Overwrite,
    Preset,
    Quality,
    Refine,
    Report,
    Resume,
    Truncated,
    spread,
    use_machine,
    use_threads_for_video,
)
from rescale.cli.progress import Gauge, Meter
from rescale.errors import UsageError
from rescale.io.formats import is_video
from rescale.video.io.container import check_small

if TYPE_CHECKING:
    from rescale.batch.plan import Plan
    from rescale.batch.task import RescaleTask
    from rescale.geometry import Geometry
    from rescale.inference.options import RescaleOptions
    from rescale.inference.rescaler import Rescaler
    from rescale.inference.search import Aim
    from rescale.io.folders import LeftOut
    from rescale.video.options import EncodeOptions


@dataclass(frozen=True)
class Shared:
    """Options of both verbs."""

    output: Output = None
    model: Model = None
    quality: Quality = None
    background: Background = None
    keep_metadata: KeepMetadata = True
    codec: Codec = None
    crf: Crf = None
    preset: Preset = None
    allow_truncated: Truncated = False
    deinterlace: Deinterlace = False
    max_pixels: MaxPixels = PIXELS
    overwrite: Overwrite = False
    resume: Resume = False
    report: Report = None
    dry_run: DryRun = False
    as_json: Json = False

    def options(self, machine: Machine, *, force: bool = False) -> "tuple[RescaleOptions, EncodeOptions]":
        """Build the options for images and those for videos."""
        from rescale.inference.options import RescaleOptions
        from rescale.video.options import EncodeOptions

        picture = RescaleOptions(
            self.quality, self.overwrite, self.resume, self.max_pixels, force, machine.device,
            background=self.background, keep_metadata=self.keep_metadata,
        )  # fmt: skip
        video = EncodeOptions(
            codec=self.codec, quality=self.crf, preset=self.preset, overwrite=self.overwrite,
            allow_truncated=self.allow_truncated, max_pixels=self.max_pixels, threads=machine.threads or 0,
            force=force, device=machine.device, deinterlace=self.deinterlace,
        )  # fmt: skip
        return picture, video


@dataclass(frozen=True)
class Wish:
    """What an LR image is to be worth: options of `down` for pictures."""

    verify: Annotated[
        bool | None,
        typer.Option(
            "--verify/--no-verify",
            help="Restore what is written, and tell in dB how close it comes; by itself on a GPU.",
            show_default=False,
        ),
    ] = None
    min_psnr: Annotated[
        float | None,
        typer.Option(help="Write nothing that would restore at fewer dB on RGB; verifies.", show_default=False),
    ] = None
    target_bytes: Annotated[
        str | None,
        typer.Option(help="Search for the scale at which the file has so many bytes: 50k, 1.5M.", show_default=False),
    ] = None
    target_psnr: Annotated[
        float | None,
        typer.Option(help="Search for the scale at which it restores at so many dB on RGB.", show_default=False),
    ] = None

    @property
    def given(self) -> "list[str]":
        """The options that are given, as a user writes them."""
        return ["--" + field.name.replace("_", "-") for field in fields(self) if getattr(self, field.name) is not None]

    @property
    def aim(self) -> "Aim | None":
        """What to search for."""
        from rescale.inference.search import Aim, parse_bytes

        if self.target_bytes is None and self.target_psnr is None:
            return None
        return Aim(parse_bytes(self.target_bytes) if self.target_bytes else None, self.target_psnr)


@spread
def down(
    inputs: Inputs,
    scale: Annotated[
        str | None,
        typer.Option(
            "-s",
            "--scale",
            "--size",
            help="2.7 or x2.7, 1.5x2.5 (width x height), 50%, or a size: 800x600, 800x, x600, with ! > or < as in "
            "ImageMagick; x4 if not given.",
            show_default=False,
        ),
    ] = None,
    refine: Refine = None,
    *,
    wish: Wish,
    shared: Shared,
    machine: Machine,
) -> None:
    """Downscale images or videos; each low-resolution file says how to restore it."""
    from rescale.batch import plan as planning
    from rescale.batch import results
    from rescale.batch.task import RescaleTask
    from rescale.inference import files
    from rescale.inference.refine import RefineBudget
    from rescale.io import formats, targets

    effort = None if refine is None else RefineBudget.of(refine)
    model, rescaler, wanted = _chosen(scale, wish, shared, machine)
    options, video = shared.options(machine)
    options = replace(options, verify=wish.verify, min_psnr=wish.min_psnr, aim=wish.aim)
    for_pictures = ["--refine"] * (effort is not None) + wish.given
    if shared.output and pipe.takes_video(inputs, shared.output):
        check_small(Path(shared.output), shared.codec)
        _refuse_for_video("stdin", for_pictures)
        _pipe_video(RescaleTask("down", model, wanted, None, options, video), shared, machine)
        return
    if pipe.is_piped(inputs, shared.output):
        make = partial(files.downscale_bytes, rescaler, scale=wanted, refine=effort, options=options)
        _pipe(inputs, lambda data, name, kind: make(data, name, formats.carrying(kind)), options, shared, machine)
        return
    told = targets.scale_name(wanted)
    words = {"scale": told.removeprefix("x") if wanted and wanted.scales else told, "model": rescaler.name}
    name = partial(targets.small_name, scale=wanted)
    plan, left_out = planning.plan(inputs, shared.output, name, results.of_down, **words)
    _check_targets(plan, shared.codec, for_pictures)
    task = RescaleTask("down", model, wanted, effort, options, video)
    _run((plan, left_out), task, shared, machine)


def _chosen(scale: str | None, wish: Wish, shared: Shared, machine: Machine) -> "tuple[str, Rescaler, Geometry | None]":
    """Choose the model of `down`, and its scale; None where a search is to find it."""
    from rescale.geometry import Geometry
    from rescale.inference.cache import load_cached
    from rescale.models import zoo

    asked, aim = Geometry.of(scale) if scale is not None else None, wish.aim
    model = shared.model or (zoo.ANY_SCALE_MODEL if aim else zoo.downscaling_model(asked or Geometry.of(4)))
    rescaler = loaded(model, machine.device) or load_cached(model, machine.device)
    if aim and asked:
        raise UsageError("expected --scale or a target to search a scale for, got both")
    if asked and asked.scales:
        rescaler.sizes.check(asked)
    return model, rescaler, None if aim else asked or Geometry.of(rescaler.scale or 4)


def _check_targets(plan: "Plan", codec: str | None, for_pictures: list[str]) -> None:
    """Check that every target can carry a record, and that no option for pictures is given with a video."""
    from rescale.io import formats

    for source, target in plan:
        if not is_video(source):
            formats.carrier(target)
            continue
        check_small(target, codec)
        _refuse_for_video(str(source), for_pictures)


def _refuse_for_video(name: str, for_pictures: list[str]) -> None:
    """Refuse options that a video would not heed. Raises: UsageError."""
    for flag in for_pictures:
        raise UsageError(f"{name}: {flag} is for pictures, not for videos")


@spread
def up(
    inputs: Inputs,
    scale: Annotated[
        str | None,
        typer.Option(
            "-s",
            "--scale",
            "--size",
            help="Super-resolve ordinary images: 2, 2.5, 1.5x2 (width x height), or to a size: 1920x, x1080.",
            show_default=False,
        ),
    ] = None,
    denoise: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="With --scale: how far to clean what codecs, blur and noise left; 1 for JPEG and its like, else 0.",
            show_default=False,
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Restore even where the record does not fit.")] = False,
    *,
    shared: Shared,
    machine: Machine,
) -> None:
    """Restore low-resolution images or videos by their own record; with --scale, super-resolve ordinary ones."""
    from rescale.batch import plan as planning
    from rescale.batch import results
    from rescale.batch.task import RescaleTask
    from rescale.geometry import Geometry, enlargement
    from rescale.inference import files
    from rescale.io import targets
    from rescale.models.zoo import stem

    model, times = shared.model, None if scale is None else enlargement(scale)
    options, video = shared.options(machine, force=force)
    options = replace(options, denoise=denoise)
    for_pictures = ["--denoise"] * (denoise is not None)
    if shared.output and pipe.takes_video(inputs, shared.output):
        _refuse_for_video("stdin", for_pictures)
        _pipe_video(RescaleTask("up", model, times, None, options, video), shared, machine)
        return
    if pipe.is_piped(inputs, shared.output):
        make = partial(files.upscale_bytes, model=model, scale=times, options=options)
        _pipe(inputs, make, options, shared, machine)
        return
    loaded(model, machine.device)
    words = {
        "scale": times and (times if isinstance(times, Geometry) else f"{times:g}"),
        "model": model and stem(model),
    }
    known = {key: value for key, value in words.items() if value is not None}
    name = partial(targets.large_name, is_restored=times is None)
    rule = partial(results.of_up, has_model=model is not None, has_scale=times is not None)
    plan, left_out = planning.plan(inputs, shared.output, name, rule, **known)
    for source in (source for source, _ in plan if is_video(source)):
        _refuse_for_video(str(source), for_pictures)
    task = RescaleTask("up", model, times, None, options, video)
    _run((plan, left_out), task, shared, machine)


def _pipe(inputs: list[str], work: pipe.Work, options: "RescaleOptions", shared: Shared, machine: Machine) -> None:
    pipe.refuse(resume=shared.resume, report=shared.report, dry_run=shared.dry_run)
    use_machine(machine.threads)
    pipe.run(inputs, shared.output, work, replace(options, report=Gauge()), as_json=shared.as_json)


def _pipe_video(task: "RescaleTask", shared: Shared, machine: Machine) -> None:
    pipe.refuse(resume=shared.resume, report=shared.report, dry_run=shared.dry_run)
    use_threads_for_video(machine.threads)
    pipe.run_video(str(shared.output), task, Meter(), as_json=shared.as_json)


def _run(planned: "tuple[Plan, LeftOut]", task: "RescaleTask", shared: Shared, machine: Machine) -> None:
    plan, left_out = planned
    has_video = any(is_video(source) for source, _ in plan)
    (use_threads_for_video if has_video else use_machine)(machine.threads)
    engine = machine.executor_for(len(plan), report=Gauge(), tell=Meter())
    run(
        plan, task, engine,
        left_out=left_out, report=shared.report, dry_run=shared.dry_run, as_json=shared.as_json,
    )  # fmt: skip
