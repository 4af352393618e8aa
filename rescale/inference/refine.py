"""HCD: refine an LR image so that it restores better, by gradient descent on the image with the networks frozen.

The receiver's network is known, so the sender can look for the LR image that it restores best: among those that
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
from typing import Literal, cast

import torch
from torch import Tensor

from rescale.errors import UsageError
from rescale.geometry import Size, by
from rescale.inference.optimize import optimize_for_inference
from rescale.metrics import gain_db
from rescale.models import RescalingModel
from rescale.ops import crop, luma, pad, quantize, size_of
from rescale.ops.resample import resample
from rescale.ops.tiling import Tile, TileCall, Window, plan

RATE, REACH = 1 / 255, 8 / 255
"""First step of a sample, and the farthest it may move in all."""
FIDELITY = 0.05
"""Weight of the LR image's distance from bicubic, beside the error of the restored one."""
SIDE = 256
"""LR pixels of a tile a side."""
_HALO = 16
"""Largest context around a tile, in LR pixels; what a sample changes beyond is less than a level."""
WHOLE = 4_000_000
"""Pixels of the largest image whose HR stage is tried: it has no tiles, and takes 1 GB for a quarter of that."""
_BETAS = 0.8, 0.95
Stages = Literal["lr", "hr", "hr lr"]
Report = Callable[[float, float], None]
"""Callback after every step: share of the work done, 0 to 1; gain of the current tile so far, in dB."""
_WORDS = re.compile(
    r"((?P<stages>hr lr|hr|lr) )?"
    r"((?P<steps>\d{1,5})|(?P<seconds>\d+(\.\d+)?) ?s|\+?(?P<gain_db>\d+(\.\d+)?) ?dB)"
    r"(, fidelity (?P<fidelity>\d+(\.\d+)?))?"
)


@dataclass(frozen=True)
class RefineBudget:
    """The stages of refining and their limits; the first limit that is met ends it."""

    steps: int = 200
    seconds: float = math.inf
    gain_db: float = math.inf
    stages: Stages = "lr"
    """Stages to run; "hr lr" is the paper's method, each stage with half of the budget. A step on the HR image takes
    twice the time and the memory of one on the LR image; in equal time "lr" gains as much."""
    fidelity: float = FIDELITY
    """Weight of the LR image's distance from bicubic."""

    @classmethod
    def of(cls, asked: "Refinement") -> "RefineBudget":
        """Parse 20 or "20" (steps), "30s" or "+1.0dB"; also "hr lr 20, fidelity 0.1". Raises: UsageError else."""
        if isinstance(asked, RefineBudget):
            return asked
        match = _WORDS.fullmatch(str(asked).strip())
        found = {key: value for key, value in match.groupdict().items() if value} if match else {}
        limits = {key: float(found[key]) for key in ("steps", "seconds", "gain_db") if key in found}
        if not found or not all(limits.values()):
            raise UsageError(f"expected refinement as steps (20), seconds (30s) or a gain (+1.0dB), got {asked!r}")
        steps = int(limits.pop("steps", cls.steps))
        stages = cast(Stages, found.get("stages", cls.stages))
        return cls(steps, **limits, stages=stages, fidelity=float(found.get("fidelity", cls.fidelity)))

    @classmethod
    def maybe(cls, asked: "Refinement | None") -> "RefineBudget | None":
        """The same of what may be None, for not to refine."""
        return None if asked is None else cls.of(asked)

    def half(self) -> "RefineBudget":
        """Return half of the budget, for each of two stages."""
        return replace(self, steps=-(-self.steps // 2), seconds=self.seconds / 2, gain_db=self.gain_db / 2)

    def __str__(self) -> str:
        """Return the text that `of` parses to this budget."""
        before = "" if self.stages == "lr" else f"{self.stages} "
        after = "" if self.fidelity == FIDELITY else f", fidelity {self.fidelity:g}"
        if self.gain_db < math.inf:
            return f"{before}+{self.gain_db:g}dB{after}"
        return f"{before}{self.seconds:g}s{after}" if self.seconds < math.inf else f"{before}{self.steps}{after}"


Refinement = int | str | RefineBudget
"""How long to refine, in any of the forms that `RefineBudget.of` takes."""


def refine_downscaled(
    model: RescalingModel,
    hr: Tensor,
    lr: Tensor,
    effort: RefineBudget,
    *,
    levels: int = 256,
    report: Report | None = None,
) -> Tensor:
    """Refine an LR image so that it restores better, and never worse.

    Args:
        model: both networks; their weights stay as they are.
        hr: (N, 1 or 3, H, W) in [0, 1], of any size; grey if it has one channel.
        lr: (N, 1 or 3, h, w), the model's LR image of it, on the levels of a file.
        effort: stages and limits.
        levels: number of values that a sample of the file can have.
        report: called with the progress.
    Returns: as `lr`.
    """
    if effort.stages == "lr":
        return refine_lr(model, hr, lr, effort, levels=levels, report=report)
    if effort.stages == "hr":
        return refine_hr(model, hr, lr, effort, levels=levels, report=report)
    made = refine_hr(model, hr, lr, effort.half(), levels=levels, report=report and _part_of(report, 0, 2))
    return refine_lr(model, hr, made, effort.half(), levels=levels, report=report and _part_of(report, 1, 2))


def refine_hr(
    model: RescalingModel,
    hr: Tensor,
    lr: Tensor,
    effort: RefineBudget,
    *,
    levels: int = 256,
    report: Report | None = None,
) -> Tensor:
    """Return the LR image of a slightly changed original that restores best to the true one.

    It descends on the HR image, through both networks, and takes the whole of it at once. Arguments as of
    `refine_downscaled`.

    Raises: UsageError for an image of more than `WHOLE` pixels.
    """
    size, full, model = size_of(lr), size_of(hr), optimize_for_inference(model)
    if full[0] * full[1] > WHOLE:
        raise UsageError(f"expected at most {WHOLE:,} pixels for the hr stage, got {by(full)}; the lr stage takes any")

    def see(changed: Tensor) -> tuple[Tensor, Tensor]:
        whole = _as_colours(pad(changed, model.multiple))
        made = crop(model.downscale(whole, size if model.scale is None else None), size)
        made = quantize(made if lr.shape[1] == 3 else made.mean(dim=1, keepdim=True), levels)
        restored = crop(model.upscale(_as_colours(made), full), full)
        return made, restored if hr.shape[1] == 3 else restored.mean(dim=1, keepdim=True)

    goal = _Goal(hr, resample(hr, size), levels, effort.fidelity)
    changed = _descend(hr, see, goal, effort, report, keep_levels=False)
    with torch.no_grad():
        return see(changed)[0]


def refine_lr(
    model: RescalingModel,
    hr: Tensor,
    lr: Tensor,
    effort: RefineBudget,
    *,
    levels: int = 256,
    report: Report | None = None,
) -> Tensor:
    """Descend on the LR image, tile by tile, so that memory stays bounded; arguments as of `refine_downscaled`.

    A tile changes its own LR pixels only, and its loss covers all HR pixels that they reach, given the current state of
    its neighbours; so the error of the whole image falls from tile to tile, and no seam can show.
    """
    size, full, halo, model = size_of(lr), size_of(hr), min(model.halo, _HALO), optimize_for_inference(model)
    tiles = list(plan(size, SIDE, 2 * halo, model.cell))
    bicubic = resample(hr, size)
    end = time.monotonic() + effort.seconds
    lr = lr.clone()
    for done, tile in enumerate(tiles):
        share = replace(effort, seconds=max(end - time.monotonic(), 0.0) / (len(tiles) - done))
        piece = model.tile_call(tile.seen, size, full)
        minded = _reached(tile, size, full, halo)
        inner = _within(minded, piece.target)
        see = partial(_see_lr, piece, lr[..., *tile.seen], tile.inner, inner, is_grey=hr.shape[1] == 1)
        goal = _Goal(hr[..., *_shifted(inner, piece.target)], bicubic[..., *tile.own], levels, effort.fidelity)
        telling = report and _part_of(report, done, len(tiles))
        lr[..., *tile.own] = _descend(lr[..., *tile.own], see, goal, share, telling)
    return lr


def errors(restored: Tensor, hr: Tensor) -> Tensor:
    """Return (N, 2): mean squared errors of all channels and of the luma, each half of the objective."""
    apart = restored - hr
    bright = luma(restored) - luma(hr) if apart.shape[1] == 3 else apart
    return torch.stack([apart.square().mean(dim=(1, 2, 3)), bright.square().mean(dim=(1, 2, 3))], dim=1)


def _see_lr(
    piece: TileCall, around: Tensor, own: Window, minded: Window, changed: Tensor, *, is_grey: bool
) -> tuple[Tensor, Tensor]:
    """Return a tile's own LR pixels, and the HR pixels that the receiver restores from them in their surroundings."""
    lr = around.clone()
    lr[..., *own] = changed
    made = piece.function(_as_colours(lr))[..., *piece.inner]
    made = made.mean(dim=1, keepdim=True) if is_grey else made
    return changed, made[..., *minded]


def _reached(tile: Tile, size: Size, full: Size, halo: int) -> Window:
    """Return the part of the HR image that a tile's own pixels can reach; to the very edge at the image's border."""
    rows, columns = (
        slice(max(part.start - halo, 0) * length // side, -(-min(part.stop + halo, side) * length // side))
        for part, side, length in zip(tile.own, size, full, strict=True)
    )
    return rows, columns


def _within(window: Window, of: Window) -> Window:
    """Return the intersection of two windows, in coordinates of the second."""
    rows, columns = (
        slice(max(a.start, b.start) - b.start, min(a.stop, b.stop) - b.start) for a, b in zip(window, of, strict=True)
    )
    return rows, columns


def _shifted(window: Window, of: Window) -> Window:
    """Return a window in coordinates of the whole image: the inverse of `_within`."""
    rows, columns = (slice(a.start + b.start, a.stop + b.start) for a, b in zip(window, of, strict=True))
    return rows, columns


def _as_colours(x: Tensor) -> Tensor:
    """Expand (N, 1 or 3, H, W) to (N, 3, H, W), in the memory format that convolutions like."""
    return x.expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)


@dataclass(frozen=True)
class _Goal:
    """The objective: the original, restored from levels of a file near to bicubic."""

    hr: Tensor
    bicubic: Tensor
    levels: int
    fidelity: float

    def loss(self, restored: Tensor, lr: Tensor) -> Tensor:
        distance = (lr - self.bicubic).square().mean(dim=(1, 2, 3))
        return (errors(restored, self.hr).mean(dim=1) + self.fidelity * distance).sum()


def _descend(
    start: Tensor,
    see: Callable[[Tensor], tuple[Tensor, Tensor]],
    goal: _Goal,
    effort: RefineBudget,
    report: Report | None,
    *,
    keep_levels: bool = True,
) -> Tensor:
    """Run Adam on a cosine schedule; return the iterate whose true error, rounded, is least in all and in luma."""
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
        gain = gain_db(first.mean() + 1e-12, least.mean() + 1e-12)
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
