"""`demo`: serve the demo page."""

import threading
from typing import Annotated

import typer

from rescale.cli.console import loaded
from rescale.cli.options import Threads, use_machine


def demo(
    host: Annotated[str, typer.Option(help="Where to serve; other machines reach 0.0.0.0.")] = "127.0.0.1",
    port: Annotated[
        int | None, typer.Option(help="The first free one from 7860 on if not given.", show_default=False)
    ] = None,
    open_browser: Annotated[bool, typer.Option("--open", help="Show it in the browser.")] = False,
    model: Annotated[
        str | None,
        typer.Option("-m", "--model", help="A model id, a weight file, or hf:OWNER/NAME.", show_default=False),
    ] = None,
    threads: Threads = None,
) -> None:
    """Serve a page for the browser: drop an image, see it downscaled and restored. Ends with Ctrl-C."""
    from rescale.demo.server import Address, served
    from rescale.inference.cache import load_cached

    use_machine(threads)
    chosen = None if model is None else loaded(model, None) or load_cached(model)
    with served(Address(host, port, open_browser), chosen) as url:
        typer.echo(url)
        threading.Event().wait()
