"""`demo`: serve the demo page."""

import threading
from typing import Annotated

import typer

from rescale.cli.options import Threads, use_machine


def demo(
    host: Annotated[str, typer.Option(help="Where to serve; other machines reach 0.0.0.0.")] = "127.0.0.1",
    port: Annotated[
        int | None, typer.Option(help="The first free one from 7860 on if not given.", show_default=False)
    ] = None,
    open_browser: Annotated[bool, typer.Option("--open", help="Show it in the browser.")] = False,
    threads: Threads = None,
) -> None:
    """Serve a page for the browser: drop an image, see it downscaled and restored. Ends with Ctrl-C."""
    from rescale.demo.server import Address, served

    use_machine(threads)
    with served(Address(host, port, open_browser)) as url:
        typer.echo(url)
        threading.Event().wait()
