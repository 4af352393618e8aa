"""The command line: each verb parses, calls the package, prints. Results on stdout, all else on stderr."""

import os
import signal
import sys
import traceback
from contextlib import suppress
from typing import Annotated, NoReturn

import typer

from rescale.cli import bench, cycles, demo, doctor, evaluate, overfit, play, train, weights
from rescale.cli.console import fail, sentence
from rescale.cli.progress import cleared
from rescale.cli.rescale import down, up
from rescale.errors import UsageError, as_rescale_error
from rescale.version import __version__

_INTERRUPTED, _TERMINATED = 130, 143
app = typer.Typer(
    help="Downscale images so that they can be restored, restore them, and super-resolve ordinary ones.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
for verb in (
    down, up, overfit.overfit, play.play, demo.demo, evaluate.evaluate, cycles.cycles, train.train,
    weights.models, weights.export, doctor.doctor,
):  # fmt: skip
    app.command()(verb)
app.command("import")(weights.import_)
app.add_typer(bench.bench, name="bench")
app.command(hidden=True)(weights.release)


@app.callback(invoke_without_command=True)
def root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    """Answer --version; every verb has its own help."""
    if version:
        typer.echo(__version__)
        raise typer.Exit


def _interrupted(*_: object) -> None:
    """Clean up at the first interrupt; exit at the second without waiting."""
    signal.signal(signal.SIGINT, lambda *_: os._exit(_INTERRUPTED))
    raise KeyboardInterrupt


def _leave(error: BaseException, code: int, sentence: str = "") -> NoReturn:
    """Let interrupted work clean up, then exit at once: running torch threads can hang an interpreter."""
    traceback.clear_frames(error.__traceback__)  # which ends generators, and so their threads and files
    if sentence:
        typer.echo(f"error: {sentence}", err=True)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def main() -> None:
    """Run the command line: every error becomes one sentence and its exit code."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(_TERMINATED))
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # and not ignored, as in the background
        signal.signal(signal.SIGINT, _interrupted)
    try:
        with cleared():
            code = app(standalone_mode=False)
        if code == _INTERRUPTED:  # typer has caught it in silence
            raise KeyboardInterrupt
        sys.exit(code)
    except (KeyboardInterrupt, typer.Abort) as error:
        _leave(error, _INTERRUPTED, "interrupted")
    except SystemExit as error:
        if error.code != _TERMINATED:
            raise
        _leave(error, _TERMINATED)
    except Exception as error:
        if hasattr(error, "format_message"):  # typer's own complaints about options
            fail(f"{error.format_message()} (see --help)" if error.format_message() else "", UsageError.exit_code)
        fault = as_rescale_error(error)
        fail(sentence(fault.message, fault.hint), fault.exit_code)
    finally:  # what is decided stays so while the interpreter is taken down, which takes its handlers first
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
