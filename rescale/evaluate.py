"""A folder of pictures -> the table of the papers, with the protocol printed beside it.

Protocol: the picture is cropped at the bottom and right to a multiple of the scale; the small picture is rounded
to 8 bits; the restored one is rounded to 8 bits and loses `scale` pixels on each side; PSNR and SSIM on the luma
of BT.601 in studio range, unrounded; means over pictures of each picture's own value. The small picture is
compared with bicubic (a = -0.5, antialiased, symmetric edges) without loss of border. A grey picture is its own
luma. Source: the released code of IRN (2005.05650). The bicubic rows that papers copy from each other are older:
they round the luma to 8 bits, which `round_luma` does.
"""

import math
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import fmean

import torch
from torch import Tensor

from rescale import images
from rescale.errors import InputError
from rescale.images import Picture
from rescale.metrics import psnr, ssim
from rescale.ops import luma, quantize, shave
from rescale.resample import resample
from rescale.rescaler import Rescaler

PROTOCOL = (
    "PSNR in dB / SSIM on Y (BT.601, studio range, {rounding}; grey is its own Y); HR cropped to a multiple of the "
    "scale, restored picture rounded to 8 bits, border of `scale` pixels cut; LR rounded to 8 bits against 8-bit "
    "bicubic (a = -0.5, antialiased, symmetric), no border cut; mean of the pictures' own values"
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
    seconds_per_megapixel: float


def protocol(*, round_luma: bool = False) -> str:
    """The protocol in one sentence, to print with a table."""
    return PROTOCOL.format(rounding="rounded" if round_luma else "unrounded")


def evaluate(rescaler: Rescaler, folder: Path, *, round_luma: bool = False) -> Iterator[Scores]:
    """Score every picture of a folder, in the order of names."""
    for file in images.find(folder):
        yield score(rescaler, images.read(file), folder.name, file.stem, round_luma=round_luma)


def score(rescaler: Rescaler, picture: Picture, set_name: str, name: str, *, round_luma: bool = False) -> Scores:
    """Down, to bytes, up, to bytes, compare: what a user gets through files, without the files."""
    scale = rescaler.scale
    height, width = (length // scale * scale for length in picture.size)
    if min(height, width) <= 2 * scale:
        raise InputError(f"{name}: expected sides above {2 * scale} pixels to score x{scale}, got {picture.size}")
    picture = Picture(picture.pixels[:height, :width])
    began = time.perf_counter()
    small = rescaler.downscale_picture(picture)
    large = rescaler.upscale_picture(small, is_grey=picture.is_grey)
    elapsed = time.perf_counter() - began

    def y(x: Tensor) -> Tensor:
        plane = (luma(x) * 255 - 16) / 219 if picture.is_grey else luma(x)  # full range: of grey, grey itself
        return quantize(plane) if round_luma else plane

    lr, hr, restored = small.rgb, shave(picture.rgb, scale), shave(large.rgb, scale)
    bicubic = quantize(resample(picture.rgb, small.size))
    return Scores(
        model=rescaler.name,
        set=set_name,
        picture=name,
        psnr_y=psnr(y(restored), y(hr)).item(),
        ssim_y=ssim(y(restored), y(hr)).item(),
        psnr_rgb=psnr(restored, hr).item(),
        ssim_rgb=ssim(restored, hr).item(),
        lr_psnr_y=psnr(y(lr), y(bicubic)).item(),
        lr_ssim_y=ssim(y(lr), y(bicubic)).item(),
        lr_psnr_rgb=psnr(lr, bicubic).item(),
        seconds_per_megapixel=elapsed / (height * width / 1e6),
    )


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
    head = "| model | set | picture | Y PSNR / SSIM | RGB PSNR / SSIM | LR Y PSNR / SSIM | LR RGB PSNR | s / MP |"
    return "\n".join([head, "|---" * 8 + "|", *map(_line, rows)])


def _line(r: Scores) -> str:
    return (
        f"| {r.model} | {r.set} | {r.picture} | {decibels(r.psnr_y)} / {r.ssim_y:.4f} "
        f"| {decibels(r.psnr_rgb)} / {r.ssim_rgb:.4f} "
        f"| {decibels(r.lr_psnr_y)} / {r.lr_ssim_y:.4f} | {decibels(r.lr_psnr_rgb)} | {r.seconds_per_megapixel:.2f} |"
    )


def records(rows: Iterable[Scores]) -> list[dict[str, object]]:
    """The table for JSON, which knows no infinity: an exact picture's PSNR is null."""
    return [
        {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in asdict(row).items()}
        for row in rows
    ]


def _finite(value: object) -> object:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def decibels(value: float) -> str:
    """A PSNR as text; infinite where nothing differs."""
    return f"{value:.2f}" if math.isfinite(value) else "exact"


def threads(count: int | None) -> None:
    """CPU threads of all that follows; torch's own choice for None."""
    if count:
        torch.set_num_threads(count)
