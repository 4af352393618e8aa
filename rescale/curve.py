"""What a training run reported -> its learning curve, as a picture to look at."""

import importlib.util
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from rescale.images import publish


def is_available() -> bool:
    """Whether matplotlib, which draws, is installed."""
    return importlib.util.find_spec("matplotlib") is not None


def draw(rows: Sequence[Mapping[str, Any]], target: Path, *, title: str) -> None:
    """PSNR of held-out pictures and of their small ones over the steps; nothing without matplotlib."""
    if not is_available():
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
    out = BytesIO()
    figure.savefig(out, format="png", dpi=110)
    publish(target, out.getvalue(), overwrite=True)
