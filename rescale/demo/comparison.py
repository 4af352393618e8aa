"""One photograph made small and restored, and what bicubic, JPEG, WebP and AVIF make of the same bytes."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from rescale.demo.sessions import ProgressCallback
from rescale.errors import RefusedError
from rescale.evaluation.protocol import Distance, luma_of
from rescale.geometry import Geometry, Size, by
from rescale.inference import files
from rescale.inference.options import RescaleOptions
from rescale.inference.rescaler import Rescaler
from rescale.io import images, storage, targets
from rescale.io.picture import Picture
from rescale.metrics import psnr, ssim
from rescale.models import zoo

MAX_PIXELS = 16_000_000
CODECS = {"JPEG": "jpg", "WebP": "webp", "AVIF": "avif"}
"""Names, and the suffixes of their files."""
_LEAST = 32
"""Pixels of a side, below which there is nothing to measure."""


@dataclass(frozen=True)
class Entry:
    """One way to spend bytes on a picture."""

    name: str
    shown: Path
    """A file of the large picture, for the browser."""
    n_bytes: int
    """Of what would be sent."""
    seconds: float
    psnr: float
    ssim: float
    lpips: float = math.nan


@dataclass(frozen=True)
class Exhibit:
    """All that is shown of one photograph."""

    original: Path
    small: Path
    """With its record: `rescale up` restores it."""
    small_size: Size
    entries: list[Entry]
    """The network first, then bicubic, then the codecs."""
    notes: tuple[str, ...] = field(default=())

    def named(self, name: str) -> Path:
        """The file of the large picture of an entry, or of the original."""
        return next((entry.shown for entry in self.entries if entry.name == name), self.original)


@dataclass(frozen=True)
class Asked:
    """What to make of a photograph."""

    scale: Geometry
    model: str | None = None
    """The one that fits the scale without."""
    steps: int = 0
    """Of refining."""


def rescaled(
    source: Path, asked: Asked, folder: Path, tell: ProgressCallback, lpips: Distance | None = None
) -> Iterator[Exhibit]:
    """Make a photograph small and restore it, to be seen at once; then let the codecs spend as many bytes.

    Args:
        source: the photograph, up to `MAX_PIXELS`.
        asked: how.
        folder: where all files go.
        tell: is told how far it is; what it raises ends the work.
        lpips: a distance, if there is one at hand.
    Raises: as `downscale_file`; RefusedError for a picture that is too small to measure.
    """
    tell(0.02, "reading")
    original = images.read(source, max_pixels=MAX_PIXELS)
    _check(original)
    rescaler = files.load_cached(asked.model or zoo.downscaling_model(asked.scale))
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
        codecs = list(pool.map(lambda name: _coded(name, original, ours.n_bytes, folder, judge), CODECS))
    tell(1.0, "done")
    yield replace(first, entries=[ours, bicubic, *codecs])


def warm() -> None:
    """What only the first picture would have to wait for."""
    rescaler = files.load_cached(zoo.downscaling_model(Geometry.of("4")))
    rescaler.upscale_picture(rescaler.downscale_picture(Picture(np.zeros((256, 256, 3), np.uint8))))


def _check(original: Picture) -> None:
    if min(original.size) < _LEAST:
        raise RefusedError(f"expected a picture of at least {_LEAST} pixels a side, got {by(original.size)}")


def _part(tell: ProgressCallback, start: float, end: float) -> ProgressCallback:
    return lambda share, words: tell(start + share * (end - start), words)


def _restored(
    rescaler: Rescaler, source: Path, asked: Asked, folder: Path, judge: "_Judge", tell: ProgressCallback
) -> tuple[Entry, Path, tuple[str, ...]]:
    """Down and up by files, so that what is shown is what the command line makes."""
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
    """The large picture itself, in a lossy format, at the highest quality that the bytes allow."""
    began = time.perf_counter()
    data = largest(lambda quality: encoded(name, original, quality), budget)
    path = folder / f"{name.lower()}.{CODECS[name]}"
    storage.publish(path, data)
    return judge.entry(name, path, len(data), time.perf_counter() - began)


def encoded(name: str, picture: Picture, quality: int) -> bytes:
    """Colours only, in 8 bits: what all of these formats hold."""
    pixels = picture.pixels if picture.depth == 8 else (picture.pixels / 257).round().astype(np.uint8)
    return images.encode(name.upper(), Picture(pixels), quality=quality)[0]


def largest(encode: Callable[[int], bytes], budget: int) -> bytes:
    """The largest file within a number of bytes that a quality from 1 to 100 gives; the smallest if none is."""
    low, high, best = 1, 100, encode(1)
    while low < high and len(best) <= budget:
        middle = (low + high + 1) // 2
        data = encode(middle)
        if len(data) <= budget:
            low, best = middle, data
        else:
            high = middle - 1
    return best


class _Judge:
    """Measures by the papers' protocol, but on the whole picture: no border is cut, nothing is cropped."""

    def __init__(self, original: Picture, lpips: Distance | None) -> None:
        self.original, self.lpips = original, lpips

    def entry(self, name: str, path: Path, n_bytes: int, seconds: float) -> Entry:
        made, original = images.read(path).rgb, self.original.rgb
        y, y0 = (luma_of(x, self.original) for x in (made, original))
        distance = self.lpips(made, original).item() if self.lpips else math.nan
        return Entry(name, path, n_bytes, seconds, psnr(y, y0).item(), ssim(y, y0).item(), distance)


def table(entries: Sequence[Entry]) -> str:
    """Markdown; what is best in a column stands out."""
    best = max(entries, key=lambda entry: entry.psnr)
    rows = ["| | bytes | PSNR | SSIM | LPIPS | time |", "| --- | ---: | ---: | ---: | ---: | ---: |"]
    for entry in entries:
        mark = "**" if entry is best else ""
        distance = "-" if math.isnan(entry.lpips) else f"{entry.lpips:.4f}"
        quality = f"{mark}{entry.psnr:.2f} dB{mark}" if math.isfinite(entry.psnr) else f"{mark}exact{mark}"
        cells = [entry.name, f"{entry.n_bytes:,}", quality, f"{entry.ssim:.4f}", distance, f"{entry.seconds:.1f} s"]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)
