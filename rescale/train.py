"""Training: one loop on one screen. A recipe says what; any run can stop at any time and go on."""

import csv
import json
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import cast

import safetensors.torch
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from rescale import weights
from rescale.data import Pictures, load
from rescale.errors import InputError, RescaleError, UsageError
from rescale.images import publish
from rescale.metrics import psnr
from rescale.models import Rescaling
from rescale.muon import Muon
from rescale.ops import from_bytes, luma, quantize
from rescale.recipe import Recipe


@dataclass(frozen=True)
class Progress:
    """What a run reports at each validation."""

    step: int
    elapsed_s: float
    loss: float
    hr_db: float
    lr_db: float
    is_best: bool


def train(
    recipe: Recipe,
    folders: Sequence[Path],
    run: Path,
    *,
    minutes: float | None = None,
    device: str = "cpu",
) -> Iterator[Progress]:
    """Learn a recipe from folders of pictures; yields at each validation.

    Goes on from `run/last.safetensors` where there is one. `run/best.safetensors` is the averaged network
    that did best on the held-out pictures, ready for `rescale.load`.

    Args:
        recipe: what to learn.
        folders: of pictures; about one picture in fifty is held out.
        run: folder of this run, made if missing.
        minutes: squeeze the schedule into so much wall-clock time, over all sessions of this run.
        device: where to learn.
    Raises: UsageError, InputError; RescaleError where the loss is not finite (the last good state is kept).
    """
    if minutes is not None and minutes <= 0:
        raise UsageError(f"expected more than 0 minutes, got {minutes:g}")
    state = State.begin(recipe, device)
    learn, held = load(folders, state.model.scale, least=recipe.crop)
    run.mkdir(parents=True, exist_ok=True)
    data = f"{learn.digest} {held.digest}"
    state.resume(run / "last.safetensors", data)
    began = time.monotonic() - state.elapsed_s
    budget = 60 * minutes if minutes else math.inf
    while state.step < recipe.steps and state.elapsed_s < budget:
        loss = _step(state, learn, done=max(state.step / recipe.steps, state.elapsed_s / budget))
        state.elapsed_s = time.monotonic() - began
        is_last = state.step == recipe.steps or state.elapsed_s >= budget
        if state.step % recipe.validate_every == 0 or is_last:
            hr_db, lr_db = validate(state.network, held)
            is_best = hr_db > state.best_db
            if is_best:
                state.best_db = hr_db
                scores = {"validation": f"{hr_db:.3f} dB, LR {lr_db:.2f} dB"}
                facts = {"recipe": recipe.model_dump(), "steps": state.step, "data": learn.digest, "scores": scores}
                weights.save(run / "best.safetensors", state.network, **facts)
            state.save(run / "last.safetensors", data)
            report = Progress(state.step, state.elapsed_s, loss, hr_db, lr_db, is_best)
            _log(run / "log.csv", report)
            yield report


@dataclass
class State:
    """All that a run is in the midst of."""

    recipe: Recipe
    model: Rescaling
    averaged: AveragedModel
    optimiser: torch.optim.Optimizer
    step: int = 0
    elapsed_s: float = 0.0
    best_db: float = field(default=-math.inf)

    @classmethod
    def begin(cls, recipe: Recipe, device: str = "cpu") -> "State":
        torch.manual_seed(recipe.seed)
        model = recipe.build().to(device)
        averaged = AveragedModel(model, multi_avg_fn=partial(_average, recipe.ema))
        return cls(recipe, model, averaged, _optimiser(recipe, model))

    @property
    def network(self) -> Rescaling:
        """The averaged network, which is what a run is for."""
        return cast(Rescaling, self.averaged.module)

    def save(self, path: Path, data: str) -> None:
        """The whole state in one file, with the digest of what it learns from; the opposite of `resume`."""
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        tensors |= {f"averaged.{k}": v for k, v in self.averaged.state_dict().items()}
        for index, moments in self.optimiser.state_dict()["state"].items():
            tensors |= {f"moments.{index}.{k}": v for k, v in moments.items()}
        facts = {"step": self.step, "elapsed_s": self.elapsed_s, "best_db": self.best_db}
        header = {"run": json.dumps({"recipe": self.recipe.model_dump(mode="json"), "data": data, **facts})}
        copies = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
        publish(path, safetensors.torch.save(copies, header), overwrite=True)

    def resume(self, path: Path, data: str) -> None:
        """Go on from a saved state, if there is one.

        Raises: InputError where it is damaged, or belongs to another recipe or other pictures.
        """
        if not path.exists():
            return
        try:
            with safetensors.safe_open(path, "pt") as file:
                facts = json.loads(file.metadata()["run"])
                tensors = {key: file.get_tensor(key) for key in file.keys()}
            same = {"recipe": facts["recipe"] == self.recipe.model_dump(mode="json"), "data": facts["data"] == data}
        except (OSError, KeyError, TypeError, ValueError, safetensors.SafetensorError) as error:
            raise InputError(f"{path} is no state of a run, or a damaged one; give another folder") from error
        for what, is_same in same.items():
            if not is_same:
                raise InputError(f"{path} was begun with another {what}; give another folder or that {what}")
        self.model.load_state_dict(_under(tensors, "model."))
        self.averaged.load_state_dict(_under(tensors, "averaged."))
        moments: dict[int, dict[str, Tensor]] = {}
        for key, value in _under(tensors, "moments.").items():
            index, _, name = key.partition(".")
            moments.setdefault(int(index), {})[name] = value
        self.optimiser.load_state_dict({"state": moments, "param_groups": self.optimiser.state_dict()["param_groups"]})
        self.step, self.elapsed_s, self.best_db = facts["step"], facts["elapsed_s"], facts["best_db"]


def validate(model: Rescaling, held: Pictures, side: int = 256) -> tuple[float, float]:
    """Mean PSNR on Y of restored pictures and of the LR against bicubic, on the middles of held-out pictures."""
    device = next(model.parameters()).device
    scores = []
    with torch.inference_mode():
        for hr, bicubic in zip(held.hr, held.bicubic, strict=True):
            hr, bicubic = (x.to(device) for x in _middles(hr, bicubic, side))
            hr, bicubic = from_bytes(hr)[None], quantize(bicubic.float())[None]
            lr = quantize(model.downscale(hr))
            restored = quantize(model.upscale(lr))
            scores.append([psnr(luma(restored), luma(hr)), psnr(luma(lr), luma(bicubic)).clamp(max=99)])
    hr_db, lr_db = torch.tensor(scores).mean(dim=0).tolist()
    return hr_db, lr_db


def _step(state: State, learn: Pictures, done: float) -> float:
    """One step of descent; the batch depends on the seed and the step alone, so that a resumed run sees the same."""
    recipe, model = state.recipe, state.model
    device = next(model.parameters()).device
    generator = torch.Generator().manual_seed(recipe.seed * 1_000_003 + state.step)
    hr, bicubic = (x.to(device) for x in learn.batch(recipe.batch, recipe.crop, generator))
    torch.manual_seed(int(torch.randint(2**31, (1,), generator=generator)))
    for group in state.optimiser.param_groups:
        group["lr"] = recipe.rate(state.step, done)
    with torch.autocast(device.type, torch.bfloat16, enabled=recipe.bfloat16):
        terms = model.terms(hr.contiguous(memory_format=torch.channels_last), bicubic)
        loss = sum((weight * terms[name] for name, weight in recipe.loss.items()), start=hr.new_zeros(()))
    if not torch.isfinite(loss):
        raise RescaleError(f"the loss is {loss.item()} at step {state.step}; the state of the last validation is kept")
    state.optimiser.zero_grad()
    (loss * hr[0].numel() if recipe.reduction == "sum" else loss).backward()
    nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
    state.optimiser.step()
    state.averaged.update_parameters(model)
    state.step += 1
    return loss.item()


def _optimiser(recipe: Recipe, model: Rescaling) -> torch.optim.Optimizer:
    if recipe.optimiser == "muon":
        return Muon(model.parameters(), recipe.lr)
    decay = recipe.weight_decay
    return torch.optim.Adam(model.parameters(), lr=recipe.lr, betas=recipe.betas, weight_decay=decay)


def _average(decay: float, averaged: Sequence[Tensor], current: Sequence[Tensor], count: Tensor | int) -> None:
    """Exponential moving average that forgets its untrained beginning."""
    keep = min(decay, (1 + int(count)) / (10 + int(count)))
    torch._foreach_lerp_(list(averaged), list(current), 1 - keep)


def _middles(hr: Tensor, bicubic: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """About `side` HR pixels a side from the middle, and the same of the target."""
    scale = hr.shape[-1] // bicubic.shape[-1]
    small = side // scale
    top, left = (max(length - small, 0) // 2 for length in bicubic.shape[-2:])
    bicubic = bicubic[..., top : top + small, left : left + small]
    hr = hr[..., top * scale : (top + small) * scale, left * scale : (left + small) * scale]
    return hr, bicubic


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def _log(path: Path, report: Progress) -> None:
    is_new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Progress)])
        if is_new:
            writer.writeheader()
        writer.writerow(asdict(report))
