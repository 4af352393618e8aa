"""Layout of the page: four tabs, with their settings kept in the URL, so that a link shows the same page."""

import json
from pathlib import Path
from typing import Any

import gradio as gr

from rescale.demo import tasks
from rescale.demo.error_maps import VIEWS
from rescale.demo.handlers import AGAINST, AUTO, MOST_STEPS, Desk, models
from rescale.demo.tasks import MAX_SECONDS, SCALES

TABS = {"rescale": "Rescale", "restore": "Restore", "super-resolve": "Super-resolve", "video": "Video"}
FONTS = ["system-ui", "sans-serif"], ["ui-monospace", "monospace"]
"""Fonts of the user's own machine: nothing is fetched from elsewhere."""
CSS = """
.gradio-container { max-width: min(1200px, 100vw) !important; margin: auto; overflow-x: clip; }
.gradio-container :is(.main, main, .wrap, .column, .tabs, .tabitem) { min-width: 0; max-width: 100%; }
#small .image-frame, #small .image-container { overflow: auto; width: 100%; }
#small img { width: auto !important; height: auto !important; max-width: none !important; max-height: none !important;
  object-fit: none; margin: auto; }
#table table { display: block; overflow-x: auto; border: none; font-variant-numeric: tabular-nums; }
#table :is(td, th) { white-space: nowrap; padding: 0.4em 0.6em; word-break: normal; overflow-wrap: normal; }
footer { display: none !important; }
"""
_INTRO = """# rescale
**Drop a photograph: it becomes a small picture that any viewer shows, and that one gives the large one back.**"""
_WORK: dict[str, Any] = {"concurrency_id": "work", "concurrency_limit": 1}
"""Queue options: one job at a time, since each takes all cores."""
_RAW: dict[str, Any] = {"preprocess": False, "api_visibility": "private"}
"""Listener options: values come as they were sent, and no file is opened before `images.read` does."""
_AT_ONCE: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
_STILL: dict[str, Any] = {"type": "filepath", "format": "png", "image_mode": None}


def build(desk: Desk, pictures: list[Path]) -> gr.Blocks:
    """Build the page, ready to be served.

    Args:
        desk: handlers of the buttons.
        pictures: example images.
    """
    with gr.Blocks(title="rescale", analytics_enabled=False, delete_cache=(300, 3600)) as page:
        gr.Markdown(_INTRO)
        with gr.Tabs(selected="rescale") as tabs:
            made = {name: gr.Tab(label, id=name, elem_id=f"tab-{name}") for name, label in TABS.items()}
        kept: dict[str, Any] = {}
        for (name, tab), fill in zip(made.items(), (_rescale, _restore, _enlarge, _film), strict=True):
            with tab:
                kept |= fill(desk, pictures)
            tab.select(None, js=_remember({"tab": name}, []), api_visibility="private")
        gr.on([c.change for c in kept.values()], None, [*kept.values()], js=_remember({}, list(kept)),
              api_visibility="private")  # fmt: skip
        page.load(_Remembered(kept), None, [tabs, *kept.values()], **_AT_ONCE).then(
            None, js="() => { window.isRemembered = true; return []; }", api_visibility="private"
        )
        page.unload(desk.leave)
    return page


def _rescale(desk: Desk, pictures: list[Path]) -> dict[str, Any]:
    with gr.Row():
        with gr.Column(scale=2, min_width=280):
            photo = _dropped("Photograph", "photo")
            gallery = gr.Gallery(
                [(str(path), path.stem) for path in pictures], label="or one of these", columns=len(pictures),
                height=140, allow_preview=False, interactive=False, elem_id="examples", buttons=[],
            )  # fmt: skip
            scale = gr.Textbox("4", label="How many times smaller", max_lines=1, elem_id="scale",
                               info="or to which size: 2.7, 1.5x2.5, 50%, 800x600")  # fmt: skip
            model = gr.Dropdown(models(), value=AUTO, label="Network", elem_id="model")
            steps = gr.Slider(0, MOST_STEPS, 0, step=5, label="Refinement steps", elem_id="steps",
                              info="to look for a small picture that restores better; takes longer")  # fmt: skip
            run, stop = _buttons("Rescale", "rescale")
        with gr.Column(scale=5, min_width=320):
            slider = _slider("compare", "restored | original")
            with gr.Row():
                against = gr.Radio(AGAINST, value="original", label="On the right", elem_id="against")
                view = gr.Radio(VIEWS, value="picture", label="Show", elem_id="view")
            small = gr.Image(label="The small picture, pixel for pixel", interactive=False, elem_id="small",
                             buttons=["fullscreen"], visible=False, **_STILL)  # fmt: skip
            download = gr.DownloadButton("Download the small picture", interactive=False, elem_id="download",
                                         variant="primary")  # fmt: skip
            words = gr.Markdown("*The result, and what JPEG, WebP and AVIF make of as many bytes.*", elem_id="table")
    inputs, outputs = [photo, scale, model, steps], [slider, small, download, words, against, view]
    job: dict[str, Any] = {"show_progress_on": [slider], **_WORK, **_RAW}
    gr.on([run.click, photo.upload], desk.rescale, inputs, outputs, **job)
    gallery.select(_Picked(pictures), None, [photo], **_AT_ONCE).then(desk.rescale, inputs, outputs, **job)
    stop.click(desk.stop, **_AT_ONCE)
    gr.on([against.change, view.change], desk.look, [against, view], [slider], **_RAW)
    return {"scale": scale, "model": model, "steps": steps}


def _restore(desk: Desk, _: list[Path]) -> dict[str, Any]:
    with gr.Row():
        with gr.Column(scale=2, min_width=280):
            small = _dropped("Small picture, made here or by `rescale down`", "small-input")
            force = gr.Checkbox(False, label="Restore it even if it was edited", elem_id="force")
            run, stop = _buttons("Restore", "restore")
        slider, download, words = _result("restored", "bicubic | restored")
    gr.on([run.click, small.upload], desk.restore, [small, force], [slider, download, words],
          show_progress_on=[slider], **_WORK, **_RAW)  # fmt: skip
    stop.click(desk.stop, **_AT_ONCE)
    return {}


def _enlarge(desk: Desk, _: list[Path]) -> dict[str, Any]:
    with gr.Row():
        with gr.Column(scale=2, min_width=280):
            photo = _dropped("Any picture", "ordinary")
            factors = [str(scale) for scale in tasks.factors(desk.model)]
            factor = gr.Radio(factors, value=factors[0], label="Times larger", elem_id="factor")
            run, stop = _buttons("Enlarge", "enlarge")
        slider, download, words = _result("enlarged", "bicubic | super-resolution")
    gr.on([run.click, photo.upload], desk.enlarge, [photo, factor], [slider, download, words],
          show_progress_on=[slider], **_WORK, **_RAW)  # fmt: skip
    stop.click(desk.stop, **_AT_ONCE)
    return {"factor": factor}


def _film(desk: Desk, _: list[Path]) -> dict[str, Any]:
    with gr.Row():
        with gr.Column(scale=2, min_width=280):
            clip = gr.File(label=f"Clip of up to {MAX_SECONDS} seconds: MP4, MOV, MKV, WebM", elem_id="clip",
                           type="filepath", file_types=[".mp4", ".m4v", ".mov", ".mkv", ".webm"])  # fmt: skip
            times = gr.Radio([str(scale) for scale in SCALES], value="2", label="Times larger", elem_id="times",
                             info="a clip made small by rescale knows itself")  # fmt: skip
            run, stop = _buttons("Enlarge", "film")
        with gr.Column(scale=5, min_width=320):
            slider = _slider("frame", "first frame: bicubic | network")
            film = gr.Video(label="The clip", interactive=False, elem_id="film", buttons=[])
            download = gr.DownloadButton("Download", interactive=False, elem_id="film-download")
            words = gr.Markdown(elem_id="film-words")
    gr.on([run.click, clip.upload], desk.film, [clip, times], [slider, film, download, words],
          show_progress_on=[slider], **_WORK, **_RAW)  # fmt: skip
    stop.click(desk.stop, **_AT_ONCE)
    return {"times": times}


def _dropped(label: str, name: str) -> gr.Image:
    return gr.Image(label=label, sources=["upload", "clipboard"], elem_id=name, height=240, buttons=[], **_STILL)


def _buttons(label: str, name: str) -> tuple[gr.Button, gr.Button]:
    with gr.Row():
        run = gr.Button(label, variant="primary", elem_id=f"{name}-run", min_width=120)
        stop = gr.Button("Stop", variant="stop", elem_id=f"{name}-stop", min_width=80)
    return run, stop


def _slider(name: str, label: str) -> gr.ImageSlider:
    return gr.ImageSlider(
        label=label, type="filepath", format="png", interactive=False, elem_id=name, buttons=["fullscreen"],
        max_height=560,
    )  # fmt: skip


def _result(name: str, label: str) -> tuple[gr.ImageSlider, gr.DownloadButton, gr.Markdown]:
    with gr.Column(scale=5, min_width=320):
        slider = _slider(name, label)
        words = gr.Markdown(elem_id=f"{name}-words")
        return slider, gr.DownloadButton("Download", interactive=False, elem_id=f"{name}-download"), words


class _Picked:
    """Callable that returns the path of the clicked example."""

    def __init__(self, pictures: list[Path]) -> None:
        self.pictures = pictures

    def __call__(self, chosen: gr.SelectData) -> str:
        """Look it up by its place in the gallery."""
        return str(self.pictures[int(chosen.index)])


class _Remembered:
    """Callable that applies the settings in the URL; missing or invalid ones stay as they are."""

    def __init__(self, kept: dict[str, Any]) -> None:
        self.kept = kept

    def __call__(self, request: gr.Request) -> list[Any]:
        """Return an update for the tabs, and one for each setting."""
        told = dict(request.query_params)
        tab = gr.Tabs(selected=told["tab"]) if told.get("tab") in TABS else gr.skip()
        return [tab, *(_value(component, told.get(name)) for name, component in self.kept.items())]


def _value(component: Any, told: str | None) -> Any:
    if told is None or len(told) > 40:
        return gr.skip()
    if isinstance(component, gr.Slider):
        return int(told) if told.isdigit() and int(told) <= component.maximum else gr.skip()
    choices = getattr(component, "choices", None)
    return told if choices is None or told in [value for _, value in choices] else gr.skip()


def _remember(fixed: dict[str, str], names: list[str]) -> str:
    """Return JavaScript that writes values into the page's URL."""
    return f"""(...values) => {{
        if (!window.isRemembered) return [];  // the page itself selects its first tab
        const query = new URLSearchParams(window.location.search);
        Object.entries({json.dumps(fixed)}).forEach(([name, value]) => query.set(name, value));
        {json.dumps(names)}.forEach((name, k) => query.set(name, values[k]));
        window.history.replaceState(null, "", "?" + query);
        return [];
    }}"""
