"""A folder of pictures -> the table of the papers, with the protocol printed beside it.

Protocol: the picture is cropped at the bottom and right to a multiple of the scale; the small picture is rounded
to 8 bits; the restored one is rounded to 8 bits and loses `scale` pixels on each side; PSNR and SSIM on the luma
of BT.601 in studio range, unrounded; means over pictures of each picture's own value. The small picture is
compared with bicubic (a = -0.5, antialiased, symmetric edges) without loss of border. A grey picture is its own
luma. Source: the released code of IRN (2005.05650). The bicubic rows that papers copy from each other are older:
they round the luma to 8 bits, which `round_luma` does.
"""

import csv
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from io import StringIO
from pathlib import Path
from statistics import fmean

import numpy as np
from torch import Tensor

from rescale import images
from rescale.errors import InputError
from rescale.images import Picture, Pixels
from rescale.metrics import psnr, ssim
from rescale.ops import luma, quantize, shave
from rescale.resample import resample
from rescale.rescaler import Rescaler

PROTOCOL = (
    "PSNR in dB / SSIM on Y (BT.601, studio range, {rounding}; grey is its own Y); HR cropped to a multiple of the "
    "scale, restored picture rounded to 8 bits, border of `scale` pixels cut; LR rounded to 8 bits against 8-bit "
    "bicubic (a = -0.5, antialiased, symmetric), no border cut; LPIPS on RGB "
    "without that border; bits of the LR as PNG and seconds down and up, by HR pixels; mean of the pictures' own values"
)


@dataclass(frozen=True)
class Scores:
    """One picture through one model; PSNR in dB, infinite where nothing differs."""

    model: str
    set: str
    picture: str
    psnr_y: float
    ssim_y: float
    psnr_rgb: float
    ssim_rgb: float
    lr_psnr_y: float
    lr_ssim_y: float
    lr_psnr_rgb: float
    bits_per_pixel: float
    """Of the LR as PNG, for each pixel of the HR."""
    seconds_per_megapixel: float
    """Down and up, for each million pixels of the HR."""
    lpips_alex: float = math.nan
    lpips_vgg: float = math.nan
    """Not a number where it was not asked for."""


def protocol(*, round_luma: bool = False) -> str:
    """The protocol in one sentence, to print with a table."""
    return PROTOCOL.format(rounding="rounded" if round_luma else "unrounded")


Distance = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Trial:
    """One picture that went through one model."""

    model: str
    scale: int
    picture: Picture
    """The original, cropped to a multiple of the scale."""
    small: Picture
    restored: Picture
    elapsed_s: float


def evaluate(
    rescaler: Rescaler, folder: Path, *, round_luma: bool = False, lpips: Mapping[str, Distance] | None = None
) -> Iterator[Scores]:
    """Score every picture of a folder, in the order of names; arguments as of `score`."""
    for file in images.find(folder):
        trial = try_out(rescaler, images.read(file), file.stem)
        yield score(trial, folder.name, file.stem, round_luma=round_luma, lpips=lpips)


def try_out(rescaler: Rescaler, picture: Picture, name: str) -> Trial:
    """Down, to bytes, up, to bytes: what a user gets through files, without the files.

    Args:
        rescaler: the model.
        picture: its alpha is left out, and 16 bits are rounded to 8.
        name: for the error.
    Raises: InputError for sides that the protocol's cut borders would use up.
    """
    scale = rescaler.scale
    height, width = (length // scale * scale for length in picture.size)
    if min(height, width) <= 2 * scale:
        raise InputError(f"{name}: expected sides above {2 * scale} pixels to score x{scale}, got {picture.size}")
    picture = Picture(_as_bytes(picture.pixels[:height, :width]))
    began = time.perf_counter()
    small = rescaler.downscale_picture(picture)
    restored = rescaler.upscale_picture(small, is_grey=picture.is_grey)
    return Trial(rescaler.name, scale, picture, small, restored, time.perf_counter() - began)


def score(
    trial: Trial,
    set_name: str,
    name: str,
    *,
    round_luma: bool = False,
    lpips: Mapping[str, Distance] | None = None,
) -> Scores:
    """Compare what went in with what came out.

    Args:
        trial: of `try_out`.
        set_name: for the row.
        name: for the row.
        round_luma: round Y to 8 bits, as in the older rows of the papers.
        lpips: distances of `perceptual.lpips` by trunk, for RGB without the border.
    """
    picture, small, scale = trial.picture, trial.small, trial.scale

    def y(x: Tensor) -> Tensor:
        plane = (luma(x) * 255 - 16) / 219 if picture.is_grey else luma(x)  # full range: of grey, grey itself
        return quantize(plane) if round_luma else plane

    lr, hr, restored = small.rgb, shave(picture.rgb, scale), shave(trial.restored.rgb, scale)
    bicubic = quantize(resample(picture.rgb, small.size))
    pixels = picture.size[0] * picture.size[1]
    return Scores(
        model=trial.model,
        set=set_name,
        picture=name,
        psnr_y=psnr(y(restored), y(hr)).item(),
        ssim_y=ssim(y(restored), y(hr)).item(),
        psnr_rgb=psnr(restored, hr).item(),
        ssim_rgb=ssim(restored, hr).item(),
        lr_psnr_y=psnr(y(lr), y(bicubic)).item(),
        lr_ssim_y=ssim(y(lr), y(bicubic)).item(),
        lr_psnr_rgb=psnr(lr, bicubic).item(),
        bits_per_pixel=8 * len(images.encode("PNG", small)[0]) / pixels,
        seconds_per_megapixel=trial.elapsed_s / (pixels / 1e6),
        **{f"lpips_{trunk}": distance(restored, hr).item() for trunk, distance in (lpips or {}).items()},
    )


def _as_bytes(pixels: Pixels) -> Pixels:
    """The protocol knows 8 bits only."""
    return pixels if pixels.dtype == np.uint8 else (pixels / 257).round().astype(np.uint8)


NUMBERS = tuple(field.name for field in fields(Scores) if field.type is float or field.type == "float")


def means(rows: Iterable[Scores]) -> list[Scores]:
    """One row for each model and set, in order of appearance."""
    groups: dict[tuple[str, str], list[Scores]] = {}
    for row in rows:
        groups.setdefault((row.model, row.set), []).append(row)
    return [
        Scores(model, name, "mean", **{key: fmean(getattr(row, key) for row in group) for key in NUMBERS})
        for (model, name), group in groups.items()
    ]


def markdown(rows: Sequence[Scores]) -> str:
    """The table as Markdown."""
    columns = [
        "model", "set", "picture", "Y PSNR / SSIM", "RGB PSNR / SSIM", "LPIPS alex / vgg", "LR Y PSNR / SSIM",
        "LR RGB PSNR", "LR bits / pixel", "s / MP",
    ]  # fmt: skip
    return "\n".join([line(columns), line(["---"] * len(columns)), *(line(_cells(row)) for row in rows)])


def table(rows: Sequence[Scores]) -> str:
    """The table as CSV, with a header of the names of `Scores`; infinite and missing numbers are empty."""
    out = StringIO()
    writer = csv.DictWriter(out, [field.name for field in fields(Scores)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(records(rows))
    return out.getvalue().rstrip()


def _cells(r: Scores) -> list[str]:
    return [
        r.model,
        r.set,
        r.picture,
        f"{decibels(r.psnr_y)} / {r.ssim_y:.4f}",
        f"{decibels(r.psnr_rgb)} / {r.ssim_rgb:.4f}",
        " / ".join("-" if math.isnan(value) else f"{value:.4f}" for value in (r.lpips_alex, r.lpips_vgg)),
        f"{decibels(r.lr_psnr_y)} / {r.lr_ssim_y:.4f}",
        decibels(r.lr_psnr_rgb),
        f"{r.bits_per_pixel:.2f}",
        f"{r.seconds_per_megapixel:.2f}",
    ]


def line(cells: Sequence[str]) -> str:
    """A row of a Markdown table."""
    return f"| {' | '.join(cells)} |"


def records(rows: Iterable[Scores]) -> list[dict[str, object]]:
    """The table for JSON, which knows no infinity: an exact picture's PSNR is null."""
    return [
        {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in asdict(row).items()}
        for row in rows
    ]


def decibels(value: float) -> str:
    """A PSNR as text; infinite where nothing differs."""
    return f"{value:.2f}" if math.isfinite(value) else "exact"
