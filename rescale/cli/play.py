"""`play`: super-resolve or restore a video for a player."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from rescale.cli.options import Device, Threads, use_threads_for_video
from rescale.errors import MachineError, UsageError


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
    """Show a video, super-resolved or restored on the fly; without sound."""
    from rescale.video.y4m import pipe

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
        raise MachineError("expected ffplay or mpv on this machine, found neither; pass -o - to pipe the frames")
    quiet = ["-loglevel", "error", "-autoexit"] if player.endswith("ffplay") else ["--really-quiet"]
    with subprocess.Popen([player, *quiet, "-"], stdin=subprocess.PIPE) as shown:  # noqa: S603 - a player's own path
        assert shown.stdin is not None
        pipe(source, shown.stdin, model=model, scale=scale, device=device)
        shown.stdin.close()
