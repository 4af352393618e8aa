"""Demo server: serves the page on loopback, with a limit on everything, and leaves no files behind."""

import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rescale.demo.comparison import warm
from rescale.demo.sessions import Sessions
from rescale.errors import MachineError, UsageError
from rescale.inference.rescaler import Rescaler

MAX_BYTES = 64 * 2**20
"""Maximum bytes of an upload: a clip, or 16 megapixels of 16 bits."""
_QUEUE = 16
_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Address:
    """Address of the server."""

    host: str = "127.0.0.1"
    port: int | None = None
    """Port; the first free one from 7860 on if None."""
    is_opened: bool = False
    """Open the page in a browser."""


@contextmanager
def served(address: Address | None = None, model: Rescaler | None = None) -> Iterator[str]:
    """Serve the page until the block ends; yields its URL.

    Args:
        address: where to serve.
        model: super-resolves instead of the shipped models.
    Raises: MachineError without Gradio, or where the port is taken; UsageError for an invalid port.
    """
    address = address or Address()
    if address.port is not None and not 1 <= address.port <= 65_535:
        raise UsageError(f"expected a port from 1 to 65535, got {address.port}")
    with tempfile.TemporaryDirectory(prefix="rescale-demo-") as folder:
        root = Path(folder).resolve()
        with _surroundings(root):
            warm()
            visits = Sessions(root / "visits")
            page, settings = _page(root, visits, model)
            try:
                _, url, _ = page.launch(
                    server_name=address.host, server_port=address.port, inbrowser=address.is_opened, **settings
                )
            except OSError as error:
                raise MachineError(f"cannot serve on {address.host}: {error}") from error
            try:
                yield url
            finally:
                visits.end_all()
                page.close(verbose=False)


def _page(root: Path, visits: Sessions, model: Rescaler | None = None) -> tuple[Any, dict[str, Any]]:
    """Build the page, and the settings by which Gradio serves it."""
    try:
        from gradio.themes import Default
        from starlette.middleware import Middleware
    except ImportError as error:
        raise MachineError("the demo needs Gradio: pip install 'rescale[demo]'") from error
    from rescale.demo.handlers import Desk
    from rescale.demo.middleware import Guard
    from rescale.demo.ui import CSS, FONTS, build

    page = build(Desk(visits, _lpips(), model), _examples(root / "examples"))
    page.queue(max_size=_QUEUE, default_concurrency_limit=1, api_open=False)
    guard = Middleware(Guard, uploads=root / "uploads", inputs=_inputs(page), max_bytes=MAX_BYTES)
    theme = Default(font=FONTS[0], font_mono=FONTS[1])
    return page, {
        "app_kwargs": {"middleware": [guard]}, "css": CSS, "theme": theme, "max_file_size": MAX_BYTES, "quiet": True,
        "prevent_thread_lock": True, "share": False, "show_error": True, "enable_monitoring": False, "ssr_mode": False,
        "mcp_server": False, "allowed_paths": [], "footer_links": [], "pwa": False, "run_history": False,
    }  # fmt: skip


def _inputs(page: Any) -> Callable[[int], list[Any] | None]:
    """Look up, for each value that a job takes, the data model that Gradio parses it into."""

    def of(number: int) -> list[Any] | None:
        job = page.fns.get(number)
        return None if job is None else [getattr(block, "data_model", None) for block in job.inputs]

    return of


def _lpips() -> Any:
    from rescale.metrics.lpips import is_at_hand, lpips

    return lpips("alex") if is_at_hand("alex") else None


def _examples(folder: Path) -> list[Path]:
    """Copy the example images to where Gradio may read them."""
    folder.mkdir()
    packed = _HERE / "pictures"
    found = sorted((packed if packed.is_dir() else _HERE.parent.parent / "demo").glob("*.png"))
    return [Path(shutil.copy(path, folder)) for path in found if path.stem in ("cat", "chart", "photo")]


@contextmanager
def _surroundings(root: Path) -> Iterator[None]:
    """Work in an empty folder, since Gradio serves the working folder, and set Gradio's environment variables."""
    wanted = {
        "GRADIO_TEMP_DIR": str(root / "uploads"), "GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1",
        "GRADIO_SHARE": "False", "GRADIO_ALLOWED_PATHS": "", "GRADIO_MCP_SERVER": "False", "GRADIO_SSR_MODE": "False",
    }  # fmt: skip
    before, place = {key: os.environ.get(key) for key in wanted}, Path.cwd()
    for name in ("empty", "uploads", "visits"):
        (root / name).mkdir()
    os.environ.update(wanted)
    os.chdir(root / "empty")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        yield
    finally:
        os.chdir(place)
        for key, value in before.items():
            os.environ.pop(key, None) if value is None else os.environ.update({key: value})
