"""`play`, and the options of videos."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from rescale.cli.options import Device, Threads, use_machine
from rescale.errors import EnvironmentFault, UsageError

Codec = Annotated[
    str | None,
    typer.Option(help="Of a video: h264, h265, av1, vp9, ffv1; h264 for 8 bits if not given.", show_default=False),
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


def use_threads_for_video(threads: int | None) -> None:
    """One core is left to the decoder and the encoder, or their threads would wait for each other."""
    import os

    use_machine(threads or max((os.cpu_count() or 2) - 1, 1))


def play(
    source: Annotated[Path, typer.Argument(help="A video.")],
    scale: Annotated[
        int | None, typer.Option("-s", "--scale", help="2, 3 or 4; 2 if not given, and its record does not say.")
    ] = None,
    model: Annotated[str | None, typer.Option("-m", "--model", help="A model id, or a .safetensors file.")] = None,
    output: Annotated[
        str | None, typer.Option("-o", "--output", help="- writes frames to stdout as yuv4mpeg, for ffplay or mpv.")
    ] = None,
    device: Device = None,
    threads: Threads = None,
) -> None:
    """Show a video enlarged or restored, as it is being made; without sound."""
    from rescale.video.live import pipe

    use_threads_for_video(threads)
    if output not in (None, "-"):
        raise UsageError(f"expected -o -, got {output}; `rescale up` writes files")
    if output == "-":
        if sys.stdout is None:
            raise UsageError("expected a standard output to write to, found it closed")
        pipe(source, sys.stdout.buffer, model=model, scale=scale, device=device)
        return
    player = next((found for found in map(shutil.which, ("ffplay", "mpv")) if found), None)
    if player is None:
        raise EnvironmentFault("expected ffplay or mpv on this machine, found neither; pass -o - to pipe the frames")
    quiet = ["-loglevel", "error", "-autoexit"] if player.endswith("ffplay") else ["--really-quiet"]
    with subprocess.Popen([player, *quiet, "-"], stdin=subprocess.PIPE) as shown:  # noqa: S603 - a player's own path
        assert shown.stdin is not None
        pipe(source, shown.stdin, model=model, scale=scale, device=device)
        shown.stdin.close()
