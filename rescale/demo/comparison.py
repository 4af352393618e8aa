"""Comparison of one photograph, downscaled and restored, with bicubic, JPEG, WebP and AVIF of the same bytes."""

import math
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from rescale.demo.sessions import ProgressCallback
from rescale.errors import RefusedError
from rescale.evaluation.protocol import Distance, luma_of
from rescale.geometry import Geometry, Size, by
from rescale.inference import files
from rescale.inference.cache import load_cached
from rescale.inference.options import RescaleOptions
from rescale.inference.rescaler import Rescaler
from rescale.io import images, storage, targets
from rescale.io.budget import CODECS, codecs_for, encoded, largest
from rescale.io.picture import Picture
from rescale.metrics import psnr, ssim
from rescale.models import zoo

MAX_PIXELS = 16_000_000
_LEAST = 32
"""Smallest side in pixels; below it there is nothing to measure."""


@dataclass(frozen=True)
class Entry:
    """One way to spend bytes on an image."""

    name: str
    shown: Path
    """File of the full-size image, for the browser."""
    n_bytes: int
    """Bytes that would be sent."""
    seconds: float
    psnr: float
    ssim: float
    lpips: float = math.nan


@dataclass(frozen=True)
class Exhibit:
    """Comparison of one photograph, as the page shows it."""

    original: Path
    small: Path
    """LR image with its record: `rescale up` restores it."""
    small_size: Size
    entries: list[Entry]
    """The network first, then bicubic, then the codecs."""
    notes: tuple[str, ...] = field(default=())

    def named(self, name: str) -> Path:
        """Return the full-size image of an entry, or the original."""
        return next((entry.shown for entry in self.entries if entry.name == name), self.original)


@dataclass(frozen=True)
class Asked:
    """Options for the comparison of a photograph."""

    scale: Geometry
    model: str | None = None
    """Model id; the one that fits the scale if not given."""
    steps: int = 0
    """Steps of refining the LR image."""


def rescaled(
    source: Path, asked: Asked, folder: Path, tell: ProgressCallback, lpips: Distance | None = None
) -> Iterator[Exhibit]:
    """Downscale and restore a photograph, shown at once; then encode it with each codec to as many bytes.

    Args:
        source: the photograph, up to `MAX_PIXELS`.
        asked: options.
        folder: receives all files.
        tell: called with the progress; an exception that it raises ends the work.
        lpips: the LPIPS distance, if available.
    Raises: as `downscale_file`; RefusedError for an image that is too small to measure.
    """
    tell(0.02, "reading")
    original = images.read(source, max_pixels=MAX_PIXELS)
    _check(original)
    rescaler = load_cached(asked.model or zoo.downscaling_model(asked.scale))
    judge = _Judge(original, lpips)
    ours, small, notes = _restored(rescaler, source, asked, folder, judge, _part(tell, 0.05, 0.6))
    tell(0.6, "bicubic at the same scale")
    bicubic = _bicubic(source, images.read(small).size, folder, judge)
    shown = folder / "original.png"
    images.write(shown, Picture(original.pixels, original.alpha))
    first = Exhibit(shown, small, images.read(small).size, [ours, bicubic], notes)
    yield first
    tell(0.7, "JPEG, WebP and AVIF of as many bytes")
    with ThreadPoolExecutor() as pool:
        codecs = list(pool.map(lambda name: _coded(name, original, ours.n_bytes, folder, judge), codecs_for(original)))
    tell(1.0, "done")
    yield replace(first, entries=[ours, bicubic, *codecs])


def warm() -> None:
    """Warm up, so that the first image need not wait for weights and kernels."""
    rescaler = load_cached(zoo.downscaling_model(Geometry.of("4")))
    rescaler.upscale_picture(rescaler.downscale_picture(Picture(np.zeros((256, 256, 3), np.uint8))))


def _check(original: Picture) -> None:
    if min(original.size) < _LEAST:
        raise RefusedError(f"expected a picture of at least {_LEAST} pixels a side, got {by(original.size)}")


def _part(tell: ProgressCallback, start: float, end: float) -> ProgressCallback:
    return lambda share, words: tell(start + share * (end - start), words)


def _restored(
    rescaler: Rescaler, source: Path, asked: Asked, folder: Path, judge: "_Judge", tell: ProgressCallback
) -> tuple[Entry, Path, tuple[str, ...]]:
    """Downscale and restore through files, so that the page shows what the command line writes."""
    small = folder / targets.small_name(source, asked.scale)
    large = folder / targets.large_name(small, is_restored=True)
    options = RescaleOptions(
        max_pixels=MAX_PIXELS, report=lambda done, gain: tell(0.2 + 0.6 * done, f"refining, {gain:+.2f} dB so far")
    )
    began = time.perf_counter()
    tell(0, f"making it small with {rescaler.name}")
    down = files.downscale_file(rescaler, source, small, scale=asked.scale, refine=asked.steps or None, options=options)
    tell(0.8, "restoring it")
    up = files.upscale_file(small, large, options=options)
    seconds = time.perf_counter() - began
    notes = (*down.notes, *up.notes)
    return judge.entry(rescaler.name, large, small.stat().st_size, seconds), small, notes


def _bicubic(source: Path, size: Size, folder: Path, judge: "_Judge") -> Entry:
    small, large = folder / "bicubic.small.png", folder / "bicubic.png"
    began = time.perf_counter()
    exactly = Geometry.of(f"{size[1]}x{size[0]}!")
    options = RescaleOptions(max_pixels=MAX_PIXELS)
    files.downscale_file("bicubic", source, small, scale=exactly, options=options)
    files.upscale_file(small, large, options=options)
    return judge.entry("bicubic", large, small.stat().st_size, time.perf_counter() - began)


def _coded(name: str, original: Picture, budget: int, folder: Path, judge: "_Judge") -> Entry:
    """Encode the original in a lossy format, at the highest quality that the bytes allow."""
    began = time.perf_counter()
    data = largest(lambda quality: encoded(name, original, quality), budget)
    path = folder / f"{name.lower()}{CODECS[name].suffixes[0]}"
    storage.publish(path, data)
    return judge.entry(name, path, len(data), time.perf_counter() - began)


class _Judge:
    """Metrics by the papers' protocol, but on the whole image: no border is cut, nothing is cropped."""

    def __init__(self, original: Picture, lpips: Distance | None) -> None:
        self.original, self.lpips = original, lpips

    def entry(self, name: str, path: Path, n_bytes: int, seconds: float) -> Entry:
        made, original = images.read(path).rgb, self.original.rgb
        y, y0 = (luma_of(x, self.original) for x in (made, original))
        distance = self.lpips(made, original).item() if self.lpips else math.nan
        return Entry(name, path, n_bytes, seconds, psnr(y, y0).item(), ssim(y, y0).item(), distance)


def table(entries: Sequence[Entry]) -> str:
    """Format the entries as a Markdown table; the best of each column stands out."""
    best = max(entries, key=lambda entry: entry.psnr)
    rows = ["| | bytes | PSNR | SSIM | LPIPS | time |", "| --- | ---: | ---: | ---: | ---: | ---: |"]
    for entry in entries:
        mark = "**" if entry is best else ""
        distance = "-" if math.isnan(entry.lpips) else f"{entry.lpips:.4f}"
        quality = f"{mark}{entry.psnr:.2f} dB{mark}" if math.isfinite(entry.psnr) else f"{mark}exact{mark}"
        cells = [entry.name, f"{entry.n_bytes:,}", quality, f"{entry.ssim:.4f}", distance, f"{entry.seconds:.1f} s"]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)
