"""Repeated downscaling and restoring: the quality that is left of an image after each cycle.

An image and its LR image are rounded to 8 bits in every cycle, as files would. Source of the idea: "Towards
Bidirectional Arbitrary Image Rescaling" (2203.00911), whose test is not described further; what is measured is ours.
"""

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from rescale.errors import InputError, UsageError
from rescale.evaluation.protocol import cropped, luma_of, mean
from rescale.evaluation.tables import line, psnr_text
from rescale.geometry import MAX_SCALE, Geometry
from rescale.inference.rescaler import Rescaler
from rescale.io.picture import Picture
from rescale.metrics import psnr
from rescale.ops import quantize
from rescale.ops.resample import resample

Kind = Literal["same", "random", "shift"]
"""The same scale in every cycle; one drawn from 1.1 .. 4; or one pixel cut off at the top left between cycles."""
SHOWN = (1, 2, 3, 5, 10, 20, 50, 100)


@dataclass(frozen=True)
class Cycle:
    """The quality left after some cycles; PSNR in dB on Y."""

    model: str
    scale: str
    set: str
    count: int
    psnr_y: float
    """PSNR of the image against the original."""
    lr_psnr_y: float
    """PSNR of the LR image against bicubic of the original."""


def cycles(
    rescaler: Rescaler, picture: Picture, count: int, scale: Geometry, *, kind: Kind = "same", set_name: str = ""
) -> Iterator[Cycle]:
    """Downscale and restore an image `count` times; yields after each.

    Raises: UsageError for scales drawn at random where the model has one of its own; InputError for an image that is
    too small for the scale and as many cuts.
    """
    if kind == "random" and rescaler.scale is not None:
        raise UsageError(f"{rescaler.name} works at x{rescaler.scale}; random scales are for models that serve all")
    least = count + 2 * max(math.ceil(s) for s in scale.scales or (MAX_SCALE,))
    if min(picture.size) < least:
        raise InputError(f"expected sides of at least {least} pixels for {count} cycles, got {picture.size}")
    draw = random.Random(10)  # noqa: S311 - scales to try, no secrets
    original = now = cropped(picture, scale)
    for done in range(1, count + 1):
        if kind == "shift" and done > 1:
            original, now = (replace(p, pixels=p.pixels[1:, 1:]) for p in (original, now))
        chosen = Geometry.of(draw.uniform(1.1, 4.0)) if kind == "random" else scale
        small = rescaler.downscale_picture(now, rescaler.sizes.small(now.size, chosen))
        now = rescaler.upscale_picture(small, size=now.size, is_grey=now.is_grey)
        bicubic = quantize(resample(original.rgb, small.size))
        yield Cycle(
            rescaler.name,
            {"same": str(scale), "random": "x1.1..x4", "shift": f"{scale}, shifted"}[kind],
            set_name,
            done,
            psnr(luma_of(now.rgb, original), luma_of(original.rgb, original)).item(),
            psnr(luma_of(small.rgb, original), luma_of(bicubic, original)).item(),
        )


def markdown(rows: Sequence[Cycle]) -> str:
    """Format means over images as a table: a row for each model, scale and set, a column for each count."""
    groups: dict[tuple[str, str, str], dict[int, list[Cycle]]] = {}
    for row in rows:
        groups.setdefault((row.model, row.scale, row.set), {}).setdefault(row.count, []).append(row)
    counts = [n for n in SHOWN if n <= max(row.count for row in rows)]
    columns = ["model", "scale", "set", *(f"after {n}" for n in counts), *(f"LR after {n}" for n in counts)]
    body = [
        line([*key, *(_mean(by[n], "psnr_y") for n in counts), *(_mean(by[n], "lr_psnr_y") for n in counts)])
        for key, by in groups.items()
    ]
    return "\n".join([line(columns), line(["---"] * len(columns)), *body])


def _mean(rows: Sequence[Cycle], number: str) -> str:
    return psnr_text(mean([getattr(row, number) for row in rows]))
