"""The table of the papers: a row for each method, a column for each set, published rows among ours."""

import math
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources

from pydantic import BaseModel

from rescale.evaluation.protocol import Scores
from rescale.evaluation.tables import line, psnr_text
from rescale.geometry import Geometry

_SAME = {"BSD100": "B100", "DIV2K_valid_HR": "DIV2K"}


@dataclass(frozen=True)
class Method:
    """A row: the scores of a method on each set."""

    name: str
    scale: str
    """Scale such as x2.5."""
    parameters: int
    scores: dict[str, str]
    """PSNR in dB / SSIM on Y of the restored image, by set."""
    rgb: dict[str, str]
    """PSNR in dB of the restored image on RGB, by set."""
    lr: dict[str, str]
    """PSNR in dB of the LR image against bicubic, on Y / RGB, by set; missing where a paper does not state it."""
    cite: str = ""


class _Row(BaseModel):
    method: str
    scale: float
    parameters: int
    scores: dict[str, str]
    rgb: dict[str, str] = {}
    lr: dict[str, str] = {}


class _Source(BaseModel):
    cite: str
    row: list[_Row]


def published() -> list[Method]:
    """Return the rows of `published.toml`."""
    content = tomllib.loads((resources.files("rescale.evaluation") / "published.toml").read_text(encoding="utf-8"))
    return [
        Method(row.method, f"x{row.scale:g}", row.parameters, row.scores, row.rgb, row.lr, source.cite)
        for source in map(_Source.model_validate, content["source"])
        for row in source.row
    ]


def measured(means: Iterable[Scores], parameters: Mapping[str, int]) -> list[Method]:
    """Convert our means to rows; `parameters` gives the count of each model by its name."""
    rows: dict[tuple[str, str], Method] = {}
    for mean in means:
        name = f"{mean.model}, refined {mean.refined}" if mean.refined else mean.model
        name = f"{name}, LR as {mean.saved_as}" if mean.saved_as else name
        new = Method(name, mean.scale, parameters[mean.model], {}, {}, {})
        row = rows.setdefault((name, mean.scale), new)
        row.scores[mean.set] = f"{psnr_text(mean.psnr_y)} / {mean.ssim_y:.4f}"
        row.rgb[mean.set] = psnr_text(mean.psnr_rgb)
        row.lr[mean.set] = "exact" if mean.lr_psnr_rgb == math.inf else f"{mean.lr_psnr_y:.2f} / {mean.lr_psnr_rgb:.2f}"
    return list(rows.values())


def markdown(ours: Sequence[Method]) -> str:
    """Format our rows and the published ones of their scales and sets, sorted by scale and by the score on one set."""
    sets = list(dict.fromkeys(name for row in ours for name in row.scores))
    scales = {row.scale for row in ours}
    theirs = [row for row in published() if row.scale in scales and any(_of(row.scores, name) for name in sets)]
    leading = next((name for name in sets if any(_of(row.scores, name) for row in theirs)), sets[0])
    rows = sorted([*ours, *theirs], key=lambda row: (_area(row.scale), _first_number(_of(row.scores, leading))))
    heads = [f"{name}: {what}" for name in sets for what in ("Y / SSIM", "RGB", "LR Y / RGB")]
    columns = ["scale", "model", "parameters", *heads]
    body = [line(_cells(row, sets)) for row in rows]
    cites = sorted({f"Published rows: {row.cite}." for row in theirs})
    return "\n".join([line(columns), line(["---"] * len(columns)), *body, *(["", *cites] if cites else [])])


def _cells(row: Method, sets: Sequence[str]) -> list[str]:
    name = f"{row.name}, published" if row.cite else f"`{row.name}`"
    count = f"{row.parameters:,}" if row.parameters else "-"
    scores = [_of(column, name) or "-" for name in sets for column in (row.scores, row.rgb, row.lr)]
    return [row.scale, name, count, *scores]


def _of(column: Mapping[str, str], name: str) -> str:
    return column.get(name, column.get(_SAME.get(name, ""), ""))


def _area(scale: str) -> float:
    return math.prod(Geometry.of(scale[1:]).scales or ())


def _first_number(score: str) -> float:
    text = score.split("/")[0]
    return float(text) if text and text.strip() != "exact" else math.inf
