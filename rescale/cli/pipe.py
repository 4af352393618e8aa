"""One image through a pipe: `-` is stdin as an input, and stdout as an output."""

import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from rescale.cli.console import in_flags, tell
from rescale.errors import InputError, MachineError, RefusedError, UsageError, machine_error
from rescale.io import formats
from rescale.video.io.demuxers import HEAD, demuxer

if TYPE_CHECKING:
    from rescale.batch.task import RescaleTask
    from rescale.inference.options import RescaleOptions
    from rescale.inference.results import EncodedResult
    from rescale.io.object_store import Place
    from rescale.video.options import ProgressCallback

Work = Callable[[bytes, str, str], "EncodedResult"]
"""What is done with the bytes of an image, its name, and the format of the result."""
_PIPE = "-"
_OUT = re.compile(r"(?:(\w+):)?-")


def is_piped(inputs: Sequence[str], output: str | None) -> bool:
    """Tell whether stdin or stdout is asked for; a file of that name is ./-"""
    return _PIPE in inputs or (output is not None and _OUT.fullmatch(output) is not None)


def run(inputs: Sequence[str], output: str | None, work: Work, options: "RescaleOptions", *, as_json: bool) -> None:
    """Do one image: its result goes to stdout or to a file, all else to stderr. Raises: UsageError, RefusedError."""
    from rescale.batch.task import as_row

    source, (target, format) = _source(inputs), _target(output, is_json=as_json)
    if target:
        from rescale.io.targets import check_target

        check_target(source or Path("stdin"), target, overwrite=options.overwrite)
    try:
        data = _read(source, options.max_pixels)
        made = work(data, source.name if source else "stdin", format)
        facts = as_row(vars(made.publish(source or Path(_PIPE), target, data, options))) if target else {}
        if not target:
            _write(made.data)
    except Exception as error:
        _fail(source, error, as_json=as_json)
    facts |= {"source": str(source or "stdin"), "target": str(target or ""), "notes": made.notes}
    tell(facts, as_json=as_json)


def takes_video(inputs: Sequence[str], output: str | None) -> bool:
    """Tell whether stdin is asked for as a video: by the name of its result."""
    return list(inputs) == [_PIPE] and output is not None and Path(output).suffix.lower() in formats.SUFFIXES


def run_video(output: str, task: "RescaleTask", progress: "ProgressCallback", *, as_json: bool) -> None:
    """Do a video that comes from stdin, by way of a file beside its result. Raises: UsageError, MachineError."""
    from rescale.batch.task import FileJob
    from rescale.io.storage import spooled

    _source([_PIPE])  # or nothing would ever come
    target = Path(output)
    if not target.parent.is_dir():
        raise UsageError(f"{target.parent} is no folder; make it first")
    with spooled(sys.stdin.buffer, target.parent) as path:
        facts = in_flags(task.start(tell=progress)(FileJob(path, target)))
    named = {"error": facts["error"].replace(str(path), "stdin")} if "error" in facts else {}
    facts |= {"source": "stdin", **named}
    tell(facts, as_json=as_json)
    if "error" in facts:
        raise typer.Exit(facts["exit_code"])


def refuse(**options: object) -> None:
    """Refuse options that need files at both ends. Raises: UsageError."""
    for name, value in options.items():
        if value:
            raise UsageError(f"--{name.replace('_', '-')} is for files, not for -")


def _fail(source: "Place | None", error: Exception, *, as_json: bool) -> None:
    from rescale.executors.base import failed

    facts = in_flags(failed(source or Path("stdin"), error))
    tell(facts, as_json=as_json)
    raise typer.Exit(facts["exit_code"]) from error


def _source(inputs: Sequence[str]) -> "Place | None":
    """Return the one file among the inputs, or None for stdin."""
    from rescale.batch import sources

    if list(inputs) == [_PIPE]:
        if sys.stdin is None or sys.stdin.isatty():
            raise UsageError("expected an image on stdin, got a terminal or nothing")
        return None
    if _PIPE in inputs:
        raise UsageError(f"- is one image from stdin and stands alone, got {len(inputs)} inputs")
    found, _ = sources.find(sources.words_of(inputs), lambda _: {})
    if len(found) != 1:
        raise UsageError(f"expected one image for stdout, got {len(found)}; pass a folder or a template with -o")
    if formats.is_video(found[0].file):
        raise UsageError(f"{found[0].file}: a video cannot go to stdout")
    return found[0].file


def _target(output: str | None, *, is_json: bool) -> "tuple[Place | None, str]":
    """Return the target, None for stdout, and its format: PNG on stdout, or as in webp:-"""
    from rescale.io.object_store import place

    asked = _OUT.fullmatch(output or _PIPE)
    if not asked:
        if "{" in str(output) or str(output).endswith("/") or Path(str(output)).is_dir():
            raise UsageError(f"expected -o with a file for what comes from stdin, got {output}")
        target = place(str(output))
        return target, formats.format_of(target)
    if is_json:
        raise UsageError("--json and an image cannot both go to stdout")
    if sys.stdout is None or sys.stdout.isatty():
        raise UsageError("expected a file or a program behind stdout, got a terminal or nothing; pass a file with -o")
    return None, formats.format_of(Path(f"stdout.{asked[1] or 'png'}"))


def _read(source: "Place | None", max_pixels: int) -> bytes:
    from rescale.io import images

    if source:
        return images.fetch(source, max_pixels=max_pixels)
    most = images.max_bytes(max_pixels)
    try:
        data = sys.stdin.buffer.read(most + 1)
    except OSError as error:
        raise machine_error("cannot read stdin", error) from error
    if len(data) > most:
        raise RefusedError(f"stdin: more than the {most:,} bytes that are read here")
    if not data:
        raise InputError("stdin: expected an image, got nothing")
    if demuxer(data[:HEAD]) not in (None, "gif", "apng"):
        raise UsageError("stdin: expected an image, got a video, which needs -o with a file that ends in .mkv or .mp4")
    return data


def _write(data: bytes) -> None:
    """Write to stdout past its buffer, which would try again at the end. Raises: MachineError."""
    left = memoryview(data)
    try:
        sys.stdout.flush()
        while left:
            left = left[os.write(sys.stdout.fileno(), left) :]
    except OSError as error:
        raise MachineError(f"cannot write to stdout: {error.strerror}") from error
