"""Evaluate a folder of images by the protocol of the papers, which is printed beside the table.

Protocol: the image is cropped at the bottom and right to a multiple of the scale, if that is whole; the LR image is
rounded to 8 bits; the restored one is rounded to 8 bits and loses `scale` pixels on each side, rounded up (the larger
of two); PSNR and SSIM on the luma of BT.601 in studio range, unrounded; means over images of each image's own value.
The LR image is compared with bicubic (a = -0.5, antialiased, symmetric edges) without loss of border. A grey image
is its own luma. Source: the released code of IRN (2005.05650). The bicubic rows that papers copy from each other are
older: they round the luma to 8 bits, which `round_luma` does.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from torch import Tensor

from rescale.device import isolated
from rescale.errors import InputError
from rescale.geometry import MAX_SCALE, Geometry, Scale
from rescale.inference.refine import RefineBudget, Refinement, Report
from rescale.inference.rescaler import ModelLike, Rescaler, as_rescaler
from rescale.io import images
from rescale.io.budget import Lossy
from rescale.io.images import Picture
from rescale.io.picture import to_8_bits
from rescale.metrics import psnr, ssim
from rescale.ops import chroma, full_range_luma, luma, quantize, shave
from rescale.ops.resample import resample

PROTOCOL = (
    "PSNR in dB / SSIM on Y (BT.601, studio range, {rounding}; grey is its own Y), on RGB, PSNR on Cb / Cr; HR cropped "
    "to a multiple of a whole scale, restored picture rounded to 8 bits, border of `scale` pixels, rounded up, cut; "
    "LR rounded to 8 bits against 8-bit bicubic (a = -0.5, antialiased, symmetric), no border cut; LPIPS on RGB "
    "without that border; bits of the LR as PNG, or as it was saved, and seconds down and up, by HR pixels; mean of "
    "the pictures' own values"
)


@dataclass(frozen=True)
class Scores:
    """Scores of one image by one model; PSNR in dB, infinite for equal images."""

    model: str
    scale: str
    """Scale such as x2.5, or x1.5x4 for that of the width and of the height."""
    refined: str
    """Budget that the LR image was refined by, see `RefineBudget`; empty if it was not."""
    saved_as: str
    """Lossy format that the LR image was saved in, as jpeg:75; empty where it stayed lossless."""
    set: str
    picture: str
    psnr_y: float
    ssim_y: float
    psnr_rgb: float
    ssim_rgb: float
    psnr_cb: float
    psnr_cr: float
    """On the two differences of colour, in studio range as Y is: what a network that optimises luma gives away."""
    lr_psnr_y: float
    lr_ssim_y: float
    lr_psnr_rgb: float
    bits_per_pixel: float
    """Bits of the LR image as PNG, or as it was saved, for each pixel of the HR image."""
    seconds_per_megapixel: float
    """Seconds to downscale and restore, for each million pixels of the HR image."""
    lpips_alex: float = math.nan
    lpips_vgg: float = math.nan
    """LPIPS; not a number where it was not asked for."""


def protocol(*, round_luma: bool = False) -> str:
    """Return the protocol in one sentence, to print with a table."""
    return PROTOCOL.format(rounding="rounded" if round_luma else "unrounded")


Distance = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Trial:
    """One image downscaled and restored by one model."""

    model: str
    scale: Geometry
    refined: str
    """Budget that the LR image was refined by; empty if it was not."""
    saved_as: str
    """Lossy format that the LR image was saved in; empty if it was not."""
    picture: Picture
    """The original, cropped to a multiple of a whole scale."""
    small: Picture
    """The LR image that is restored, as it is read again."""
    small_bytes: int
    restored: Picture
    elapsed_s: float

    @property
    def border(self) -> int:
        """Pixels that the protocol cuts on each side."""
        return _border(self.scale)


def evaluate(
    model: ModelLike,
    folder: Path | str,
    *,
    scale: Scale | None = None,
    refine: Refinement | None = None,
    saved_as: Lossy | None = None,
    round_luma: bool = False,
    lpips: Mapping[str, Distance] | None = None,
) -> Iterator[Scores]:
    """Score every image of a folder, in the order of names, by the protocol of the papers, see `protocol`.

    Args:
        model: an id, a weight file, or a `Rescaler`.
        folder: of images.
        scale: for a model that serves many.
        refine: how long to refine each LR image, see `Rescaler.downscale`.
        saved_as: lossy format that each LR image is saved in before it is restored.
        round_luma: round Y to 8 bits, as in the older rows of the papers.
        lpips: distances of `metrics.lpips.lpips` by trunk; each row has those as well.
    Returns: a row for each image, as it is done.
    Raises: UsageError, InputError: see `round_trip`.
    """
    rescaler, folder = as_rescaler(model), Path(folder)
    for file in images.find(folder):
        trial = round_trip(rescaler, images.read(file), file.stem, scale, refine=refine, saved_as=saved_as)
        yield score(trial, folder.name, file.stem, round_luma=round_luma, lpips=lpips)


def round_trip(
    rescaler: Rescaler,
    picture: Picture,
    name: str,
    scale: Scale | None = None,
    *,
    refine: Refinement | None = None,
    saved_as: Lossy | None = None,
    report: Report | None = None,
) -> Trial:
    """Downscale, round to 8 bits, restore, round to 8 bits: the same as a round trip through files, without the files.

    Args:
        rescaler: the model.
        picture: its alpha is left out, and 16 bits are rounded to 8.
        name: name for error messages.
        scale: scale, for a model that serves many.
        refine: budget to refine the LR image by.
        saved_as: lossy format that the LR image is saved in before it is restored.
        report: called with the progress of refining.
    Raises: InputError for sides that the protocol's cut borders would use up; UsageError for another scale.
    """
    geometry = Geometry.of(scale if scale is not None else rescaler.scale or MAX_SCALE)
    picture = cropped(picture, geometry)
    if min(picture.size) <= 2 * _border(geometry):
        raise InputError(
            f"{name}: expected sides above {2 * _border(geometry)} pixels to score {geometry}, got {picture.size}"
        )
    size, budget = rescaler.sizes.small(picture.size, geometry), RefineBudget.maybe(refine)
    began = time.perf_counter()
    small = rescaler.downscale_picture(picture, size, refine=budget, report=report)
    elapsed_s = time.perf_counter() - began
    small, n_bytes = saved_as.saved(small) if saved_as else (small, len(images.encode("PNG", small)[0]))
    began = time.perf_counter()
    restored = rescaler.upscale_picture(small, size=picture.size, is_grey=picture.is_grey)
    elapsed_s += time.perf_counter() - began
    told = str(budget or ""), str(saved_as or "")
    return Trial(rescaler.name, geometry, *told, picture, small, n_bytes, restored, elapsed_s)


def cropped(picture: Picture, geometry: Geometry) -> Picture:
    """Crop an image for the protocol: 8 bits, sides that are multiples of the scales that are whole, no alpha."""
    scales = geometry.scales or (1.0, 1.0)
    height, width = (
        length // int(scale) * int(scale) if scale == int(scale) else length
        for length, scale in zip(picture.size, scales, strict=True)
    )
    return Picture(to_8_bits(picture.pixels[:height, :width]))


def _border(geometry: Geometry) -> int:
    return max(math.ceil(scale) for scale in geometry.scales or (1.0, 1.0))


@isolated()
def score(
    trial: Trial,
    set_name: str,
    name: str,
    *,
    round_luma: bool = False,
    lpips: Mapping[str, Distance] | None = None,
) -> Scores:
    """Compare the restored image with the original, and the LR image with bicubic.

    Args:
        trial: result of `round_trip`.
        set_name: name of the set, for the row.
        name: name of the image, for the row.
        round_luma: round Y to 8 bits, as in the older rows of the papers.
        lpips: distances of `metrics.lpips` by trunk, for RGB without the border.
    """
    picture, small, border = trial.picture, trial.small, trial.border

    def y(x: Tensor) -> Tensor:
        plane = luma_of(x, picture)
        return quantize(plane) if round_luma else plane

    def colour(x: Tensor, channel: int) -> Tensor:
        return chroma(x)[:, channel : channel + 1]

    lr, hr, restored = small.rgb, shave(picture.rgb, border), shave(trial.restored.rgb, border)
    bicubic = quantize(resample(picture.rgb, small.size))
    pixels = picture.size[0] * picture.size[1]
    return Scores(
        model=trial.model,
        scale=str(trial.scale),
        refined=trial.refined,
        saved_as=trial.saved_as,
        set=set_name,
        picture=name,
        psnr_y=psnr(y(restored), y(hr)).item(),
        ssim_y=ssim(y(restored), y(hr)).item(),
        psnr_rgb=psnr(restored, hr).item(),
        ssim_rgb=ssim(restored, hr).item(),
        psnr_cb=psnr(colour(restored, 0), colour(hr, 0)).item(),
        psnr_cr=psnr(colour(restored, 1), colour(hr, 1)).item(),
        lr_psnr_y=psnr(y(lr), y(bicubic)).item(),
        lr_ssim_y=ssim(y(lr), y(bicubic)).item(),
        lr_psnr_rgb=psnr(lr, bicubic).item(),
        bits_per_pixel=8 * trial.small_bytes / pixels,
        seconds_per_megapixel=trial.elapsed_s / (pixels / 1e6),
        **{f"lpips_{trunk}": distance(restored, hr).item() for trunk, distance in (lpips or {}).items()},
    )


def luma_of(rgb: Tensor, picture: Picture) -> Tensor:
    """Compute the luma on which an image is measured: studio range, but that of a grey one is grey itself."""
    return full_range_luma(rgb) if picture.is_grey else luma(rgb)


NUMBERS = tuple(field.name for field in fields(Scores) if field.type is float or field.type == "float")


def means(rows: Iterable[Scores]) -> list[Scores]:
    """Average to one row for each model, scale, refinement, codec and set, in order of appearance."""
    groups: dict[tuple[str, ...], list[Scores]] = {}
    for row in rows:
        groups.setdefault((row.model, row.scale, row.refined, row.saved_as, row.set), []).append(row)
    return [replace(group[0], picture="mean", **_means(group)) for group in groups.values()]


def _means(rows: Sequence[Scores]) -> dict[str, Any]:
    return {key: mean([getattr(row, key) for row in rows]) for key in NUMBERS}


def mean(values: Sequence[float]) -> float:
    """Average; among others, an exact image counts as 99 dB."""
    if all(value == math.inf for value in values):
        return math.inf
    return fmean(99.0 if value == math.inf else value for value in values)
