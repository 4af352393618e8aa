"""HCD: make this very picture restore better, by gradient descent on it, with the networks frozen.

The receiver's network is known, so the sender can look for the small picture that it restores best: among those that
the downscaler makes of a slightly changed original (`refine_hr`), and level by level around what came out
(`refine_lr`). Decoding costs nothing more. Source: "Downscaled Representation Matters" (2211.10643), of which only
the abstract was at hand: the objective, the optimiser, the tiles and all figures are ours.
"""

import math
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from rescale.errors import UsageError
from rescale.geometry import Size
from rescale.models import Rescaling
from rescale.ops import luma, quantize
from rescale.resample import resample
from rescale.tiles import HALO, Piece, Tile, Window, plan

RATE, REACH = 1 / 255, 8 / 255
"""First step of a sample, and how far it may go in all."""
FIDELITY = 0.1
"""Weight of the small picture's distance from bicubic, beside the error of the restored one."""
SIDE = 256
"""LR pixels of a tile a side."""
_BETAS = 0.8, 0.95
Stages = Literal["lr", "hr", "hr lr"]
Report = Callable[[float, float], None]
"""Told after every step: how much of the work is done, 0 to 1; what the tile at hand has gained so far, in dB."""


@dataclass(frozen=True)
class Effort:
    """How long to refine; the first limit that is met ends it."""

    steps: int = 200
    seconds: float = math.inf
    gain_db: float = math.inf

    @classmethod
    def of(cls, asked: "int | str | Effort") -> "Effort":
        """From 20 or "20" (steps), "30s" or "+1.0dB". Raises: UsageError for anything else."""
        if isinstance(asked, Effort):
            return asked
        text = str(asked).strip()
        match = re.fullmatch(r"(?P<steps>\d{1,5})|(?P<seconds>\d+(\.\d+)?) ?s|\+?(?P<gain_db>\d+(\.\d+)?) ?dB", text)
        found = {key: float(value) for key, value in match.groupdict().items() if value} if match else {}
        if not all(found.values()) or not found:
            raise UsageError(f"expected refinement as steps (20), seconds (30s) or a gain (+1.0dB), got {asked!r}")
        steps = int(found.pop("steps", cls.steps))
        return cls(steps, found.get("seconds", math.inf), found.get("gain_db", math.inf))

    def __str__(self) -> str:
        """The words that it can be had from."""
        if self.gain_db < math.inf:
            return f"+{self.gain_db:g}dB"
        return f"{self.seconds:g}s" if self.seconds < math.inf else str(self.steps)


def refine(
    model: Rescaling,
    hr: Tensor,
    lr: Tensor,
    effort: Effort,
    *,
    stages: Stages = "lr",
    levels: int = 256,
    report: Report | None = None,
) -> Tensor:
    """A small picture that restores better, and never worse.

    Args:
        model: both networks; their weights stay as they are.
        hr: (N, 1 or 3, H, W) in [0, 1], of any size; grey if it has one channel.
        lr: (N, 1 or 3, h, w), what the model made of it, on the levels of a file.
        effort: when to stop.
        stages: "lr", "hr", or "hr lr", as in the paper, of which each gets half of the effort. A step on the HR takes
            twice the time and memory of one on the LR; in equal time "lr" gains most.
        levels: that a sample of the file can have.
        report: is told how far it is.
    Returns: as `lr`.
    """
    if stages == "lr":
        return refine_lr(model, hr, lr, effort, levels=levels, report=report)
    if stages == "hr":
        return refine_hr(model, hr, effort, size=_size(lr), levels=levels, report=report)
    half = replace(effort, steps=-(-effort.steps // 2), seconds=effort.seconds / 2)
    made = refine_hr(model, hr, half, size=_size(lr), levels=levels, report=report and _part_of(report, 0, 2))
    return refine_lr(model, hr, made, half, levels=levels, report=report and _part_of(report, 1, 2))


def refine_lr(
    model: Rescaling, hr: Tensor, lr: Tensor, effort: Effort, *, levels: int = 256, report: Report | None = None
) -> Tensor:
    """Descend on the LR picture, tile by tile, so that memory stays bounded; arguments as of `refine`.

    A tile changes its own LR pixels only and minds all HR pixels that they reach, amid what its neighbours are by
    then; so the error of the whole picture falls from tile to tile, and no seam can show.
    """
    size, halo = _size(lr), min(model.halo, HALO)
    tiles = list(plan(size, SIDE, 2 * halo))
    bicubic = resample(hr, size)
    end = time.monotonic() + effort.seconds
    lr = lr.clone()
    for done, tile in enumerate(tiles):
        share = replace(effort, seconds=max(end - time.monotonic(), 0.0) / (len(tiles) - done))
        piece = model.part(tile.seen, size, _size(hr))
        minded = _reached(tile, size, _size(hr), halo)
        inner = _within(minded, piece.target)
        see = partial(_see_lr, piece, lr[..., *tile.seen], tile.inner, inner, is_grey=hr.shape[1] == 1)
        goal = _Goal(hr[..., *_shifted(inner, piece.target)], bicubic[..., *tile.own], levels)
        telling = report and _part_of(report, done, len(tiles))
        lr[..., *tile.own] = _descend(lr[..., *tile.own], see, goal, share, telling)
    return lr


def refine_hr(
    model: Rescaling,
    hr: Tensor,
    effort: Effort,
    *,
    size: Size | None = None,
    levels: int = 256,
    report: Report | None = None,
) -> Tensor:
    """The LR of a slightly changed original that restores best to the true one; descends on the HR picture.

    Args:
        model: both networks.
        hr: (N, 3, H, W) in [0, 1], sides multiples of the scale; whole, so not for pictures larger than memory.
        effort: when to stop.
        size: of the LR, for a model that serves every scale.
        levels: that a sample of the file can have.
        report: is told how far it is.
    Returns: (N, 3, h, w) on the levels of a file.
    """
    with torch.no_grad():
        bicubic = resample(hr, _size(model.downscale(hr, size)))

    def see(changed: Tensor) -> tuple[Tensor, Tensor]:
        lr = quantize(model.downscale(changed, size), levels)
        return lr, model.upscale(lr, _size(hr))

    changed = _descend(hr, see, _Goal(hr, bicubic, levels), effort, report, keep_levels=False)
    with torch.no_grad():
        return see(changed)[0]


def errors(restored: Tensor, hr: Tensor) -> Tensor:
    """(N, 2): mean squared errors of all channels and of the luma, either half of what is sought."""
    apart = restored - hr
    bright = luma(restored) - luma(hr) if apart.shape[1] == 3 else apart
    return torch.stack([apart.square().mean(dim=(1, 2, 3)), bright.square().mean(dim=(1, 2, 3))], dim=1)


def _see_lr(
    piece: Piece, around: Tensor, own: Window, minded: Window, changed: Tensor, *, is_grey: bool
) -> tuple[Tensor, Tensor]:
    """A tile's own pixels, and what the receiver makes of them amid what is around them."""
    lr = around.clone()
    lr[..., *own] = changed
    made = piece.function(lr.expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last))[..., *piece.inner]
    made = made.mean(dim=1, keepdim=True) if is_grey else made
    return changed, made[..., *minded]


def _reached(tile: Tile, size: Size, full: Size, halo: int) -> Window:
    """The part of the large picture that a tile's own pixels can reach; all of its side at the picture's border."""
    rows, columns = (
        slice(max(part.start - halo, 0) * length // side, -(-min(part.stop + halo, side) * length // side))
        for part, side, length in zip(tile.own, size, full, strict=True)
    )
    return rows, columns


def _within(window: Window, of: Window) -> Window:
    """What two windows share, seen from the beginning of the second."""
    rows, columns = (
        slice(max(a.start, b.start) - b.start, min(a.stop, b.stop) - b.start) for a, b in zip(window, of, strict=True)
    )
    return rows, columns


def _shifted(window: Window, of: Window) -> Window:
    """The opposite of `_within`: seen from the beginning of the picture again."""
    rows, columns = (slice(a.start + b.start, a.stop + b.start) for a, b in zip(window, of, strict=True))
    return rows, columns


def _size(x: Tensor) -> Size:
    return x.shape[-2], x.shape[-1]


@dataclass(frozen=True)
class _Goal:
    """What is sought: the original, restored from levels of a file near to bicubic."""

    hr: Tensor
    bicubic: Tensor
    levels: int

    def loss(self, restored: Tensor, lr: Tensor) -> Tensor:
        distance = (lr - self.bicubic).square().mean(dim=(1, 2, 3))
        return (errors(restored, self.hr).mean(dim=1) + FIDELITY * distance).sum()


def _descend(
    start: Tensor,
    see: Callable[[Tensor], tuple[Tensor, Tensor]],
    goal: _Goal,
    effort: Effort,
    report: Report | None,
    *,
    keep_levels: bool = True,
) -> Tensor:
    """Adam along a cosine; of all iterates the one whose true error, after rounding, is least in all and in luma."""
    began = time.monotonic()
    moved, mean, square = (torch.zeros_like(start) for _ in range(3))
    best, least, first = start, torch.empty(0), torch.empty(0)
    for step in range(effort.steps + 1):
        point = (start + moved).requires_grad_()
        seen = quantize(point, goal.levels) if keep_levels else point
        lr, restored = see(seen)
        with torch.no_grad():
            found = errors(quantize(restored.detach(), goal.levels), goal.hr)
            if step == 0:
                first = least = found
            better = ((found <= first).all(dim=1) & (found.mean(dim=1) < least.mean(dim=1)))[:, None]
            least = torch.where(better, found, least)
            best = torch.where(better[..., None, None], seen.detach(), best)
        gain = float(10 * torch.log10((first.mean() + 1e-12) / (least.mean() + 1e-12)))
        spent = time.monotonic() - began
        is_late = spent + spent / (step + 1) > effort.seconds  # another step would end after the time is up
        done = 1.0 if is_late else max(step / effort.steps, spent / effort.seconds, gain / effort.gain_db)
        if report:
            report(min(done, 1.0), gain)
        if done >= 1 or not first.any():
            break
        (gradient,) = torch.autograd.grad(goal.loss(restored, lr), point)
        mean = mean.lerp(gradient, 1 - _BETAS[0])
        square = square.lerp(gradient.square(), 1 - _BETAS[1])
        direction = mean / (1 - _BETAS[0] ** (step + 1)) / ((square / (1 - _BETAS[1] ** (step + 1))).sqrt() + 1e-12)
        rate = RATE * (1 + math.cos(math.pi * done)) / 2
        moved = (moved - rate * direction).clamp(-REACH, REACH)
    return best


def _part_of(report: Report, done: int, among: int) -> Report:
    return lambda progress, gain: report((done + progress) / among, gain)
