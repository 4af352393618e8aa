"""Verify an LR file: measure how close what it restores comes to the original, also where it is worst."""

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from rescale.errors import RefusedError
from rescale.io.budget import codecs_for, encoded, largest
from rescale.io.decode import decode
from rescale.io.picture import Picture, to_8_bits, to_tensor
from rescale.metrics import decibels
from rescale.ops import full_range_luma, luma

BLOCK = 64
"""Side of the blocks of which the worst is told, in pixels."""
_BAD_DB = 30.0
"""PSNR on RGB below which an image should rather be kept another way."""
_FAINTEST = 1e-10
"""Mean square that an exact image counts as: 100 dB."""


@dataclass(frozen=True)
class Verification:
    """How close the restored image is to the original: PSNR in dB, at most 100."""

    psnr_y: float
    psnr_rgb: float
    worst_rgb: float
    """PSNR on RGB of the worst block of 64 x 64 pixels."""

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences for the user."""
        found = f"{self.psnr_y:.2f} dB on Y, {self.psnr_rgb:.2f} dB on RGB, {self.worst_rgb:.2f} dB in the worst block"
        badly = "served badly, as text, charts and noise are; WebP or AVIF at full size would keep it better"
        return (f"verified: restores at {found}", *[badly] * (self.psnr_rgb < _BAD_DB))

    def check(self, least: float | None) -> None:
        """Raise RefusedError where that is less than `least` dB on RGB."""
        if least is not None and self.psnr_rgb < least:
            raise RefusedError(
                f"would restore at {self.psnr_rgb:.2f} dB on RGB, less than the {least:g} asked for",
                hint="a smaller scale= or another model= may reach it",
            )


def compare(restored: Picture, original: Picture) -> Verification:
    """Compare images of one size, block by block; colours under zero alpha do not count."""
    totals, worst = torch.zeros(3, dtype=torch.float64), 0.0
    for top in range(0, original.size[0], BLOCK):
        rows = slice(top, top + BLOCK)
        y, rgb, seen = _squares(restored, original, rows)
        totals += torch.stack([y.sum(), rgb.sum(), seen.sum()])
        sums, counts = (torch.stack([part.sum() for part in x.split(BLOCK, dim=1)]) for x in (rgb, seen))
        worst = max(worst, (sums / counts.clamp(min=1)).max().item())
    return Verification(*(_db(x) for x in (totals[0] / totals[2], totals[1] / totals[2], worst)))


def against_codecs(original: Picture, most: int, verified: Verification) -> str:
    """Say how the best of the ordinary codecs does at full size within as many bytes."""
    coded = {name: largest(partial(encoded, name, original), most) for name in codecs_for(original)}
    found = [(_coded_psnr(original, data), name) for name, data in coded.items() if len(data) <= most]
    if not found:
        return "at full size no codec needs as few bytes"
    rgb, name = max(found)
    verdict = "better" if rgb > verified.psnr_rgb else "worse"
    return f"{name} at full size, in as many bytes, comes back at {rgb:.2f} dB on RGB, which is {verdict}"


def _coded_psnr(original: Picture, data: bytes) -> float:
    made = decode(data, "the coded picture", max_pixels=original.size[0] * original.size[1])
    return compare(made, Picture(to_8_bits(original.pixels), original.alpha)).psnr_rgb


def _squares(restored: Picture, original: Picture, rows: slice) -> tuple[Tensor, Tensor, Tensor]:
    """Return (h, W) squared errors of luma and, as means, of RGB; and where they count."""
    pair = [to_tensor(np.ascontiguousarray(x.pixels[rows])).double() for x in (restored, original)]
    pair = [x.expand(1, 3, -1, -1) for x in pair]
    y = full_range_luma if original.is_grey else luma
    errors = [(of(pair[0]) - of(pair[1])).square().mean(dim=1)[0] for of in (y, lambda x: x)]
    seen = torch.ones_like(errors[0]) if original.alpha is None else torch.from_numpy(original.alpha[rows] > 0).double()
    return errors[0] * seen, errors[1] * seen, seen


def _db(square: Tensor | float) -> float:
    mean = float(square)
    return decibels(_FAINTEST if not mean > _FAINTEST else mean).item()
