"""Event handlers of the page: raw values in, component updates out."""

import html
import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gradio as gr

from rescale.demo import tasks
from rescale.demo.comparison import Asked, Exhibit, rescaled, table
from rescale.demo.error_maps import VIEWS, view
from rescale.demo.sessions import Sessions, StoppedError
from rescale.errors import RescaleError, UsageError, as_rescale_error
from rescale.evaluation.protocol import Distance
from rescale.geometry import Geometry
from rescale.inference.refine import RefineBudget
from rescale.inference.rescaler import Rescaler
from rescale.io import images
from rescale.io.budget import CODECS
from rescale.models import zoo

AUTO = "fits the scale"
MOST_STEPS = 200
AGAINST = ("original", "bicubic", *CODECS)
_log = logging.getLogger(__name__)
_PROGRESS = gr.Progress()
"""Placeholder by which Gradio finds where to pass its own progress object."""


def models() -> list[str]:
    """List the models that downscale images."""
    return [AUTO, *(name for name, entry in zoo.manifest().items() if entry.model in ("irn", "iarn"))]


class Desk:
    """Handlers of the page's buttons.

    Args:
        visits: the sessions.
        lpips: the LPIPS distance, if available.
        model: super-resolves instead of the shipped models, if whoever serves the page has chosen one.
    """

    def __init__(self, visits: Sessions, lpips: Distance | None = None, model: Rescaler | None = None) -> None:
        self.visits, self.lpips, self.model = visits, lpips, model

    def rescale(
        self, photo: Any, scale: Any, model: Any, steps: Any, request: gr.Request, progress: gr.Progress = _PROGRESS
    ) -> Iterator[list[Any]]:
        """Downscale and restore a photograph; then show what else the bytes would buy."""
        with _sentences():
            asked, source = _asked(scale, model, steps), _path(photo, "a photograph")
            visit = self.visits.of(_key(request))
            with visit.job() as folder:
                for made in rescaled(source, asked, folder, visit.told(progress), self.lpips):
                    visit.shown = made
                    yield self._seen(made)

    def _seen(self, made: Exhibit) -> list[Any]:
        button = gr.DownloadButton(value=str(made.small), label=f"Download {made.small.name}", interactive=True)
        small = gr.Image(value=str(made.small), visible=True)
        words = gr.Markdown(_words(made, self.lpips is not None))
        return [self._compared(made, "original", "picture"), small, button, words, "original", "picture"]

    def look(self, against: Any, kind: Any, request: gr.Request) -> Any:
        """Show another pair of images under the slider."""
        with _sentences():
            made = self.visits.of(_key(request)).shown
            if not isinstance(made, Exhibit):
                return gr.skip()
            if against not in AGAINST:
                raise UsageError(f"expected one of {', '.join(AGAINST)}, got {against!r:.40}")
            return self._compared(made, against, kind)

    def _compared(self, made: Exhibit, against: str, kind: str) -> gr.ImageSlider:
        pair = [_shown(made, name, kind) for name in (made.entries[0].name, against)]
        label = f"{made.entries[0].name} | {against}" + ("" if kind == "picture" else f", {kind}")
        return gr.ImageSlider(value=(str(pair[0]), str(pair[1])), label=label)

    def restore(self, small: Any, force: Any, request: gr.Request, progress: gr.Progress = _PROGRESS) -> list[Any]:
        """Restore an LR image by its record."""
        with _sentences():
            source, visit = _path(small, "a small picture"), self.visits.of(_key(request))
            with visit.job() as folder:
                return _enlarged(tasks.restore(source, folder, visit.told(progress), force=force is True))

    def enlarge(self, photo: Any, scale: Any, request: gr.Request, progress: gr.Progress = _PROGRESS) -> list[Any]:
        """Super-resolve an ordinary image."""
        with _sentences():
            source, visit = _path(photo, "a picture"), self.visits.of(_key(request))
            with visit.job() as folder:
                tell, factor = visit.told(progress), _number(scale)
                return _enlarged(tasks.super_resolve(source, folder, tell, scale=factor, model=self.model))

    def film(
        self, clip: Any, scale: Any, request: gr.Request, progress: gr.Progress = _PROGRESS
    ) -> Iterator[list[Any]]:
        """Upscale a clip: its first frame at once, then all of it."""
        with _sentences():
            source, visit = _path(clip, "a clip"), self.visits.of(_key(request))
            with visit.job() as folder:
                for made in tasks.upscale_clip(source, folder, visit.told(progress), scale=_number(scale)):
                    yield _filmed(made)

    def stop(self, request: gr.Request) -> None:
        """End the job at its next step."""
        self.visits.of(_key(request)).stopped.set()

    def leave(self, request: gr.Request) -> None:
        """End the session of a closed page."""
        self.visits.end(_key(request))


def _key(request: gr.Request) -> str:
    return str(request.session_hash)


@contextmanager
def _sentences() -> Iterator[None]:
    """Show every error as one sentence on the page; log only our own mistakes."""
    try:
        yield
    except StoppedError as error:
        raise gr.Error(f"{error}.", title="Stopped", duration=3, print_exception=False) from None
    except Exception as error:
        text = tasks.sentence(_understood(error))
        raise gr.Error(text, title="This did not work", print_exception=False) from None


def _understood(error: Exception) -> RescaleError:
    try:
        return as_rescale_error(error)
    except Exception:
        _log.exception("a mistake of ours")
        return RescaleError("something went wrong here that should not have; the server's log says what")


def _path(sent: Any, what: str) -> Path:
    if not isinstance(sent, dict) or not isinstance(sent.get("path"), str):
        raise UsageError(f"expected {what}: drop one first")
    return Path(sent["path"])


def _number(sent: Any) -> int:
    if not isinstance(sent, int | float | str) or not str(sent).isdigit():
        raise UsageError(f"expected a whole number, got {sent!r:.40}")
    return int(sent)


def _asked(scale: Any, model: Any, steps: Any) -> Asked:
    if model not in models():
        raise UsageError(f"expected one of {', '.join(models())}, got {model!r:.40}")
    if not isinstance(steps, int | float) or not math.isfinite(steps) or not 0 <= steps <= MOST_STEPS:
        raise UsageError(f"expected 0 to {MOST_STEPS} steps, got {steps!r:.40}")
    if not isinstance(scale, str):
        raise UsageError(f"expected a scale or a size in words, got {scale!r:.40}")
    effort = RefineBudget(int(steps)) if steps else None
    return Asked(Geometry.of(scale), None if model == AUTO else model, effort.steps if effort else 0)


def _shown(made: Exhibit, name: str, kind: str) -> Path:
    """Return the file of a view, made at its first request."""
    source = made.named(name)
    if kind == "picture":
        return source
    target = made.original.with_name(f"{source.stem}.{VIEWS.index(kind) if kind in VIEWS else 'x'}.view.png")
    if not target.exists():
        images.write(target, view(kind, images.read(source), images.read(made.original)), overwrite=True)
    return target


def _words(made: Exhibit, has_lpips: bool) -> str:
    """Format the table, and its summary in words."""
    ours, bicubic = made.entries[:2]
    winner = max(made.entries, key=lambda entry: entry.psnr)
    height, width = made.small_size
    text = (
        f"{table(made.entries)}\n\nThe small picture ({width}x{height}, {ours.n_bytes:,} bytes) restores "
        f"**{ours.psnr - bicubic.psnr:+.2f} dB** closer than bicubic does."
    )
    if winner is not ours:
        text += (
            f" As many bytes of {winner.name} at full size would be {winner.psnr - ours.psnr:.2f} dB closer still, "
            "but there is no small picture in them."
        )
    notes = [*made.notes] + ([] if has_lpips else ["LPIPS needs `rescale[lpips]` and its trunk at hand"])
    return "\n\n".join([text, *(f"*{html.escape(note, quote=False)}.*" for note in notes)])


def _enlarged(made: tasks.Enlarged) -> list[Any]:
    return [
        gr.ImageSlider(value=(str(made.before), str(made.after)), visible=True),
        gr.DownloadButton(value=str(made.after), label=f"Download {made.after.name}", interactive=True),
        made.words,
    ]


def _filmed(made: tasks.Clip) -> list[Any]:
    pair = (str(made.before), str(made.after)) if made.before else None
    film = str(made.film) if made.film else None
    button = gr.DownloadButton(value=film, interactive=film is not None)
    return [gr.ImageSlider(value=pair, visible=pair is not None), film, button, made.words]
