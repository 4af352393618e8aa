"""The training loop: a recipe decides what to learn; any run can stop at any time and resume."""

import csv
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import partial
from io import StringIO
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from rescale.device import usable_device
from rescale.errors import RescaleError, UsageError
from rescale.evaluation import plots
from rescale.geometry import MAX_SCALE
from rescale.io.storage import publish
from rescale.metrics import psnr
from rescale.models import RescalingModel, weights
from rescale.ops import from_bytes, luma, quantize, size_of
from rescale.ops.resample import resample
from rescale.training.dataset import Pictures, load
from rescale.training.degradation import DegradeRecipe, degrade
from rescale.training.distributed import ProcessGroup, process_group
from rescale.training.recipe import Recipe
from rescale.training.state import State
from rescale.training.watch import KEPT

VALIDATED = (1.5, 2.0, 2.5, 3.0, 3.5, 4.0)
"""Scales at which a model of any scale is validated."""


@dataclass(frozen=True)
class Progress:
    """The report of a run at each validation."""

    step: int
    elapsed_s: float
    loss: float
    hr_db: float
    lr_db: float
    hr_rgb_db: float
    lr_rgb_db: float
    is_best: bool


class Validation(NamedTuple):
    """Mean PSNR of restored images and of LR images against bicubic's, on Y and on RGB."""

    hr_db: float
    lr_db: float
    hr_rgb_db: float
    lr_rgb_db: float


def train(
    recipe: Recipe,
    folders: Sequence[Path],
    run: Path,
    *,
    minutes: float | None = None,
    device: str = "cpu",
    start: str | None = None,
    compiled: bool = False,
) -> Iterator[Progress]:
    """Train a recipe on folders of images; yields at each validation.

    Goes on from `run/last.safetensors` where there is one. `run/best.safetensors` is the averaged network
    that did best on the held-out images, ready for `rescale.load`; `run/log.csv` and `run/curve.png` tell
    how it went. Under torchrun the processes share every batch, and the first of them writes and yields; where
    the loss draws latents, each draws its own, so that these runs are not those of one process.

    Args:
        recipe: recipe to train.
        folders: folders of images; about one image in fifty is held out.
        run: folder of this run, made if missing.
        minutes: squeeze the schedule into so much wall-clock time, over all sessions of this run.
        device: device to train on, which also holds the images.
        start: a model id or weight file to begin from; random weights without.
        compiled: let torch.compile fuse the step: pays on CUDA, not on a CPU.
    Raises: UsageError, InputError; RescaleError where the loss is not finite (the last good state is kept).
    """
    if minutes is not None and not minutes > 0:
        raise UsageError(f"expected more than 0 minutes, got {minutes:g}")
    usable_device(device)
    for folder in folders:
        if run.resolve().is_relative_to(folder.resolve()):
            raise UsageError(f"{run}: the folder of the run lies in {folder}, whose pictures are learned from")
    with process_group(device) as us:
        state = State.begin(recipe, device, start)
        if recipe.adversary and us.size > 1:
            raise UsageError("adversary: expected one process, as the critic is not shared among several")
        share = us.share(recipe.batch)
        learn, held = load(folders, state.model.scale, least=recipe.crop, drawn=recipe.drawn, seed=recipe.seed)
        run.mkdir(parents=True, exist_ok=True)
        data = f"{learn.digest} {held.digest}"
        state.resume(run / "last.safetensors", data)
        learn, learner = learn.to(device), us.together(Loss(state.model, recipe))
        step = partial(_step, state, torch.compile(learner, dynamic=False) if compiled else learner)
        began = time.monotonic() - state.elapsed_s
        budget = 60 * minutes if minutes else math.inf
        while state.step < recipe.steps and state.elapsed_s < budget:
            done = max(state.step / recipe.steps, state.elapsed_s / budget)
            loss = step(_batch(state, learn, share), done, us)
            state.elapsed_s = us.agreed(time.monotonic() - began)
            is_last = state.step == recipe.steps or state.elapsed_s >= budget
            if state.step % recipe.validate_every == 0 or is_last:
                reported = _read(state, loss, us)
                if us.is_lead:
                    yield _check(state, held, run, data, reported)


class Loss(nn.Module):
    """A network with its recipe's loss: hr, bicubic -> the restored images, the loss in units of means."""

    def __init__(
        self, model: RescalingModel, recipe: Recipe, *, layout: torch.memory_format = torch.channels_last
    ) -> None:
        super().__init__()
        self.model = model
        self.recipe = recipe
        self.layout = layout

    def forward(self, hr: Tensor, bicubic: Tensor) -> tuple[Tensor, Tensor]:
        hr = hr.contiguous(memory_format=self.layout)
        shrink = math.sqrt(hr[0].numel() / bicubic[0].numel())
        enabled = self.recipe.bfloat16 and shrink >= self.recipe.bfloat16_above
        with torch.autocast(hr.device.type, torch.bfloat16, enabled=enabled):
            restored, terms = self.model.loss_terms(hr, bicubic)
            parts = [weight * terms[name] for name, weight in self.recipe.loss.items()]
        return restored, torch.stack(parts).sum()


def _draws(state: State) -> torch.Generator:
    """Seed a generator from the seed and the step alone, so that a resumed run sees the same batches."""
    return torch.Generator().manual_seed(state.recipe.seed * 1_000_003 + state.step)


def _batch(state: State, pictures: Pictures, share: slice) -> tuple[Tensor, Tensor]:
    recipe, generator = state.recipe, _draws(state)
    if recipe.scales is None:
        hr, bicubic = pictures.batch(recipe.batch, recipe.crop, generator, share)
        bicubic = degrade(bicubic, recipe.degrade, generator) if recipe.degrade else bicubic
        return _trimmed(hr, bicubic, state.model, generator) if state.model.cell > 1 else (hr, bicubic)
    scales = recipe.scales.draw(generator)
    return pictures.batch_of(recipe.batch, recipe.crop // MAX_SCALE, scales, generator, share)


def _trimmed(hr: Tensor, bicubic: Tensor, model: RescalingModel, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Trim one LR row or column, or both, in half of the batches each: a network of cells learns the remainders."""
    scale, less = model.scale or 1, (torch.rand(2, generator=generator) < 0.5).tolist()
    height, width = (length - by for length, by in zip(size_of(bicubic), less, strict=True))
    return hr[..., : height * scale, : width * scale], bicubic[..., :height, :width]


def _step(
    state: State,
    learner: Callable[..., tuple[Tensor, Tensor]],
    batch: tuple[Tensor, Tensor],
    done: float,
    us: ProcessGroup,
) -> float | Tensor:
    """Take one step of gradient descent. Returns: the loss, the mean over all processes; on a GPU one's own, unread."""
    recipe = state.recipe
    torch.manual_seed((recipe.seed * 1_000_003 + state.step) * us.size + us.rank)
    for group in state.optimiser.param_groups:
        group["lr"] = recipe.rate(state.step, done)
    hr, bicubic = batch
    restored, loss = learner(hr, bicubic)
    if loss.device.type == "cuda":
        state.watch.see("loss", loss, state.step)
        reported: float | Tensor = loss.detach()
    else:
        reported = us.mean(loss.item())
        if not math.isfinite(reported):
            raise RescaleError(f"the loss is {reported} at step {state.step}; {KEPT}")
    total = loss * hr[0].numel() if recipe.reduction == "sum" else loss
    state.step += 1
    if state.adversary and recipe.adversary:
        terms = state.adversary.loss_terms(restored, hr)
        total = total + recipe.adversary.features * terms["features"] + recipe.adversary.weight * terms["adversary"]
    if not recipe.adversary or state.step > recipe.adversary.alone:
        state.descend(total)
    if state.adversary:
        state.adversary.learn(restored.detach(), hr)
    return reported


def _read(state: State, loss: float | Tensor, us: ProcessGroup) -> float:
    """Read the loss, and what is unread of the steps before. Raises: RescaleError where any of it is not finite."""
    state.watch.read()
    return us.mean(loss.item()) if isinstance(loss, Tensor) else loss


def _check(state: State, held: Pictures, run: Path, data: str, loss: float) -> Progress:
    """Validate, keep the best network and the state, and log the results."""
    found = validate(state.network, held, degraded=state.recipe.degrade)
    mean_db = (found.hr_db + found.hr_rgb_db) / 2
    if not math.isfinite(mean_db):
        raise RescaleError(f"the held-out pictures restore at {found.hr_db} dB at step {state.step}; {KEPT}")
    is_best = mean_db > state.best_db and found.lr_rgb_db >= state.recipe.least_lr_rgb_db
    if is_best:
        state.best_db = mean_db
        scores = {"validation": "{:.3f} dB, LR {:.2f} dB; RGB {:.3f} dB, LR {:.2f} dB".format(*found)}
        facts = {"recipe": state.recipe.model_dump(), "steps": state.step, "data": data.split()[0], "scores": scores}
        weights.save(run / "best.safetensors", state.network, **facts, origin=state.origin)
    report = Progress(state.step, state.elapsed_s, loss, *found, is_best)
    state.history.append(asdict(report))
    state.save(run / "last.safetensors", data)
    _log(run / "log.csv", state.history)
    plots.draw(state.history, run / "curve.png", title=f"{run.name}: {state.model.parameter_count:,} parameters")
    return report


def validate(
    model: RescalingModel, held: Pictures, side: int = 256, *, degraded: DegradeRecipe | None = None
) -> Validation:
    """Measure the middles of held-out images; an exact one counts as 99 dB.

    A model of any scale is validated at six, and the mean counts. One that learns from degraded images is
    validated on such, the same at every call.
    """
    device, generator = next(model.parameters()).device, torch.Generator().manual_seed(0)
    scores = []
    with torch.inference_mode():
        for hr, bicubic in _pairs(held, side):
            size, small = size_of(hr), size_of(bicubic)
            lr = quantize(model.downscale(hr.to(device), small))
            lr = degrade(lr, degraded, generator) if degraded else lr
            restored = quantize(model.upscale(lr, size)).to(hr.device)
            pairs = (restored, hr), (lr.to(hr.device), bicubic)
            scores.append([psnr(a, b) for on in (luma, lambda x: x) for a, b in ((on(a), on(b)) for a, b in pairs)])
    return Validation(*torch.tensor(scores).clamp(max=99).mean(dim=0).tolist())


def _pairs(held: Pictures, side: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield middles of images (1, 3, H, W) with their bicubic downscaling, as files would hold them."""
    if held.scale is not None:
        for hr, bicubic in zip(held.hr, held.bicubic, strict=True):
            hr, bicubic = _middles(hr, bicubic, side)
            yield from_bytes(hr)[None], quantize(bicubic.float())[None]
        return
    for hr in held.hr:
        hr = from_bytes(_middles(hr, hr, side)[0])[None]
        for scale in VALIDATED:
            size = math.ceil(hr.shape[-2] / scale), math.ceil(hr.shape[-1] / scale)
            yield hr, quantize(resample(hr, size))


def _middles(hr: Tensor, bicubic: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Crop about `side` HR pixels a side from the middle, and the same from the target."""
    scale = hr.shape[-1] // bicubic.shape[-1]
    small = side // scale
    top, left = (max(length - small, 0) // 2 for length in bicubic.shape[-2:])
    bicubic = bicubic[..., top : top + small, left : left + small]
    hr = hr[..., top * scale : (top + small) * scale, left * scale : (left + small) * scale]
    return hr, bicubic


def _log(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    out = StringIO()
    writer = csv.DictWriter(out, [field.name for field in fields(Progress)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    publish(path, out.getvalue().encode(), overwrite=True)
