"""Options that several verbs share: their names, help texts and effects."""

import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rescale.errors import UsageError

if TYPE_CHECKING:
    from rescale.executors.base import Executor, Pool

Inputs = Annotated[
    list[str],
    typer.Argument(
        help="Images, videos, folders of images with all below, globs, s3:// or gs:// URLs; @FILE for a list of these; "
        "- for one image or video from stdin.",
        show_default=False,
    ),
]
Output = Annotated[
    str | None,
    typer.Option(
        "-o",
        "--output",
        help="File, folder, or template: {stem} {suffix} {folder} {path} {scale} {model}; - or webp:- for stdout.",
        show_default=False,
    ),
]
Model = Annotated[
    str | None, typer.Option("-m", "--model", help="A model id, a weight file, or hf:OWNER/NAME.", show_default=False)
]
Refine = Annotated[
    str | None,
    typer.Option(help="Search for an LR image that restores better: 20 (steps), 30s, or +1.0dB.", show_default=False),
]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, ...; CUDA where there is one.", show_default=False)]
Threads = Annotated[int | None, typer.Option(min=1, help="CPU threads.", show_default=False)]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace existing files; a source never.")]
DryRun = Annotated[bool, typer.Option("-n", "--dry-run", help="Say what would be written, and stop.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object a line on stdout.")]
Quality = Annotated[
    int | None,
    typer.Option(min=1, max=100, help="Of JPEG, AVIF and WebP; WebP is lossless without.", show_default=False),
]
Background = Annotated[
    str | None,
    typer.Option(help="Colour (white, #f0f0f0) for what shows through, in formats without alpha.", show_default=False),
]
KeepMetadata = Annotated[
    bool, typer.Option("--keep-metadata/--strip", help="Keep EXIF, XMP and text, or leave them out.")
]
MaxPixels = Annotated[int, typer.Option(min=1, help="Refuse larger sources and results.")]
Workers = Annotated[int, typer.Option("-w", "--workers", min=1, help="Processes that share the files.")]
ExecutorName = Annotated[
    str, typer.Option("--executor", "--engine", help="local, or ray: --workers are processes of Ray.")
]
Address = Annotated[
    str | None, typer.Option("--address", help="A Ray cluster to use; this machine if not given.", show_default=False)
]
Resume = Annotated[
    bool, typer.Option("--resume", help="Note what is done in .rescale.jsonl beside it, and do only what is not.")
]
Report = Annotated[
    Path | None, typer.Option("--report", help="Write all rows and a summary into a JSON file.", show_default=False)
]
PIXELS = 100_000_000


def spread(verb: Callable[..., None]) -> Callable[..., None]:
    """Let a verb take options as dataclasses, its last arguments, whose fields typer sees one by one."""
    taken = inspect.signature(verb).parameters.values()
    groups: dict[str, Any] = {
        parameter.name: parameter.annotation for parameter in taken if is_dataclass(parameter.annotation)
    }
    shown = [parameter for parameter in taken if parameter.name not in groups] + [
        inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=field.type)
        for group in groups.values()
        for field in fields(group)
    ]

    @wraps(verb)
    def called(**given: Any) -> None:
        chosen = {
            name: group(**{field.name: given.pop(field.name) for field in fields(group)})
            for name, group in groups.items()
        }
        verb(**given, **chosen)

    called.__signature__ = inspect.Signature(shown)  # type: ignore[attr-defined]
    called.__annotations__ = {parameter.name: parameter.annotation for parameter in shown}
    return called


@dataclass(frozen=True)
class Machine:
    """Execution options: device, threads, worker processes and executor."""

    device: Device = None
    threads: Threads = None
    workers: Workers = 1
    executor: ExecutorName = "local"
    address: Address = None

    def executor_for(self, count: int, **at_hand: Any) -> "Executor":
        """Choose the executor: this process, or worker processes that share the cores, our own or Ray's.

        Args:
            count: number of jobs.
            at_hand: passed on to `local.work`.
        Raises: UsageError for options that contradict each other.
        """
        from rescale.executors import processes
        from rescale.executors import ray as ray_executor
        from rescale.executors.local import work

        if self.executor not in ("local", "ray"):
            raise UsageError(f"expected --executor local or ray, got {self.executor}")
        if self.address and self.executor != "ray":
            raise UsageError("--address is of a Ray cluster; pass --executor ray with it")
        workers = max(min(self.workers, count), 1)
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        threads = self.threads or max(cores // workers, 1)
        if self.executor != "ray" and workers < 2:
            return partial(work, **at_hand)
        pool: Pool = partial(ray_executor.work, address=self.address) if self.executor == "ray" else processes.work
        return partial(pool, count=workers, threads=threads)


def use_threads(count: int | None) -> None:
    """Limit torch to so many CPU threads; without a count it chooses."""
    if count:
        import torch

        torch.set_num_threads(count)


def use_machine(threads: int | None) -> None:
    """Set up torch for a program that has the process to itself: keep freed memory, set threads."""
    from rescale.device import keep_memory

    keep_memory()
    use_threads(threads)


Codec = Annotated[
    str | None,
    typer.Option(
        help="Of a video: h264, h265, av1, vp9, ffv1, prores; h264 for 8 bits if not given.", show_default=False
    ),
]


Crf = Annotated[
    int | None, typer.Option(min=0, max=63, help="Of a video: lower is better and larger.", show_default=False)
]


Preset = Annotated[
    str | None, typer.Option(help="Of a video: the encoder's own word, such as veryfast or 8.", show_default=False)
]


Truncated = Annotated[
    bool, typer.Option("--allow-truncated", help="Take what there is of a video that is cut short or damaged.")
]


Deinterlace = Annotated[
    bool, typer.Option("--deinterlace", help="Make whole frames of an interlaced video, one of each.")
]


def use_threads_for_video(threads: int | None) -> None:
    """Leave one core to the decoder and the encoder, or their threads would wait for each other."""
    import os

    use_machine(threads or max((os.cpu_count() or 2) - 1, 1))
