"""Scores as tables: Markdown, plain text, CSV and JSON rows."""

import csv
import math
from collections.abc import Iterable, Sequence
from dataclasses import fields
from io import StringIO

from rescale.evaluation.protocol import Scores


def markdown(rows: Sequence[Scores]) -> str:
    """Format the scores as a Markdown table."""
    columns = [
        "model", "scale", "refined", "saved as", "set", "picture", "Y PSNR / SSIM", "RGB PSNR / SSIM", "Cb / Cr PSNR",
        "LPIPS alex / vgg", "LR Y PSNR / SSIM", "LR RGB PSNR", "LR bits / pixel", "s / MP",
    ]  # fmt: skip
    return "\n".join([line(columns), line(["---"] * len(columns)), *(line(_cells(row)) for row in rows)])


def table(rows: Sequence[Scores]) -> str:
    """Format the scores as CSV, with a header of the names of `Scores`; infinite and missing numbers are empty."""
    out = StringIO()
    writer = csv.DictWriter(out, [field.name for field in fields(Scores)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(records(rows))
    return out.getvalue().rstrip()


def _cells(r: Scores) -> list[str]:
    return [
        r.model,
        r.scale,
        r.refined or "-",
        r.saved_as or "-",
        r.set,
        r.picture,
        f"{psnr_text(r.psnr_y)} / {r.ssim_y:.4f}",
        f"{psnr_text(r.psnr_rgb)} / {r.ssim_rgb:.4f}",
        f"{psnr_text(r.psnr_cb)} / {psnr_text(r.psnr_cr)}",
        " / ".join("-" if math.isnan(value) else f"{value:.4f}" for value in (r.lpips_alex, r.lpips_vgg)),
        f"{psnr_text(r.lr_psnr_y)} / {r.lr_ssim_y:.4f}",
        psnr_text(r.lr_psnr_rgb),
        f"{r.bits_per_pixel:.2f}",
        f"{r.seconds_per_megapixel:.2f}",
    ]


def line(cells: Sequence[str]) -> str:
    """Format a row of a Markdown table."""
    return f"| {' | '.join(cells)} |"


def records(rows: Iterable[object]) -> list[dict[str, object]]:
    """Convert rows of scores for JSON, which knows no infinity: an exact image's PSNR is null."""
    return [
        {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in vars(row).items()} for row in rows
    ]


def psnr_text(value: float) -> str:
    """Format a PSNR; infinite for equal images."""
    return f"{value:.2f}" if math.isfinite(value) else "exact"
