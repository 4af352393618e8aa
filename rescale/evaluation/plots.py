"""Plots as image files: the curve of a training run, PSNR over the scales."""

import importlib.util
import math
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from rescale.errors import MachineError
from rescale.evaluation.protocol import Scores
from rescale.geometry import Geometry
from rescale.io.storage import publish


def has_matplotlib() -> bool:
    """Tell whether matplotlib, which draws, is installed."""
    return importlib.util.find_spec("matplotlib") is not None


def draw(rows: Sequence[Mapping[str, Any]], target: Path, *, title: str) -> None:
    """Plot PSNR of held-out images and of their LR images over the steps; nothing without matplotlib."""
    if not has_matplotlib():
        return
    from matplotlib.figure import Figure  # no pyplot: it would keep every figure

    steps = [row["step"] for row in rows]
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    left = figure.add_subplot(title=title, xlabel="steps", ylabel="restored, dB")
    right = left.twinx()
    right.set_ylabel("small picture against bicubic, dB")
    left.plot(steps, [row["hr_db"] for row in rows], color="C0", label="restored")
    right.plot(steps, [row["lr_db"] for row in rows], color="C1", label="small picture")
    left.grid(visible=True, alpha=0.3)
    figure.legend(loc="outside lower center", ncols=2)
    _publish(figure, target, overwrite=True)


def draw_scales(rows: Sequence[Scores], target: Path, *, overwrite: bool = False) -> None:
    """Plot PSNR of restored images over the scale, a line for each model and set."""
    from matplotlib.figure import Figure

    lines: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        scales = Geometry.of(row.scale[1:]).scales or (1.0, 1.0)
        lines.setdefault(f"{row.model}, {row.set}", []).append((math.sqrt(math.prod(scales)), min(row.psnr_y, 99.0)))
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot(xlabel="scale", ylabel="restored, dB on Y")
    for name, points in lines.items():
        axes.plot(*zip(*sorted(points), strict=True), marker=".", label=name)
    axes.grid(visible=True, alpha=0.3)
    figure.legend(loc="outside lower center", ncols=2)
    _publish(figure, target, overwrite=overwrite)


def draw_rates(lines: Mapping[str, Sequence[tuple[int, float]]], target: Path, *, overwrite: bool = False) -> None:
    """Plot PSNR of a video over its bytes, a line for each way to spend them."""
    if not has_matplotlib():
        raise MachineError("to draw needs matplotlib: pip install matplotlib")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot(xlabel="kB of video and networks", ylabel="dB on Y", xscale="log")
    for name, points in lines.items():
        sizes, psnrs = zip(*sorted(points), strict=True)
        axes.plot([size / 1000 for size in sizes], psnrs, marker=".", label=name)
    axes.grid(visible=True, alpha=0.3, which="both")
    figure.legend(loc="outside lower center", ncols=len(lines))
    _publish(figure, target, overwrite=overwrite)


def _publish(figure: Any, target: Path, *, overwrite: bool) -> None:
    out = BytesIO()
    figure.savefig(out, format="png", dpi=110)
    publish(target, out.getvalue(), overwrite=overwrite)
