"""Training: one loop on one screen. A recipe says what; any run can stop at any time and go on."""

import csv
import json
import math
import time
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any, cast

import safetensors.torch
import torch
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from rescale import weights
from rescale.data import Pictures, load
from rescale.errors import InputError, RescaleError, UsageError
from rescale.images import publish
from rescale.metrics import psnr
from rescale.models import MODELS, Rescaling
from rescale.ops import from_bytes, luma, quantize


class Recipe(BaseModel):
    """All that decides what a run learns; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    config: dict[str, Any]
    loss: dict[str, float]
    """Weight of each of the model's terms, by name."""
    steps: int = Field(gt=0)
    batch: int = Field(8, gt=0)
    crop: int = Field(96, gt=0)
    """Side of an HR crop in pixels; a multiple of the scale."""
    lr: float = Field(1e-3, gt=0)
    """Peak learning rate; warmed up over `warmup` steps, then a cosine to zero."""
    warmup: int = Field(100, ge=0)
    clip: float = Field(1.0, gt=0)
    """Largest norm of the gradient."""
    ema: float = Field(0.999, ge=0, lt=1)
    """Decay of the averaged weights, which are the ones validated and kept."""
    bfloat16: bool = False
    """Convolutions in bfloat16; couplings stay in float32."""
    validate_every: int = Field(500, gt=0)
    seed: int = 10

    @classmethod
    def read(cls, path: Path) -> "Recipe":
        try:
            return cls.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
        except ValidationError as error:
            raise UsageError(f"{path}: {_first(error)}") from error
        except (OSError, ValueError) as error:
            raise UsageError(f"{path}: not a recipe: {error}") from error


def recipes() -> dict[str, Path]:
    """The recipes that come with the package, by name."""
    return {path.stem: path for path in sorted((Path(__file__).parent / "recipes").glob("*.toml"))}


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
    recipe: Recipe, folders: Sequence[Path], run: Path, *, minutes: float | None = None, threads: int | None = None
) -> Iterator[Progress]:
    """Learn a recipe from folders of pictures; yields at each validation.

    Goes on from `run/last.safetensors` where there is one. `run/best.safetensors` is the averaged network
    that did best on the held-out pictures, ready for `rescale.load`.

    Args:
        recipe: what to learn.
        folders: of pictures; about one picture in fifty is held out.
        run: folder of this run, made if missing.
        minutes: squeeze the schedule into so much wall-clock time, over all sessions of this run.
        threads: CPU threads.
    Raises: UsageError, InputError; RescaleError where the loss is not finite (the last good state is kept).
    """
    if threads:
        torch.set_num_threads(threads)
    torch.manual_seed(recipe.seed)
    model = build(recipe)
    learn, held = load(folders, model.scale, least=recipe.crop)
    averaged = AveragedModel(model, multi_avg_fn=partial(_average, recipe.ema))
    adam = torch.optim.Adam(model.parameters(), lr=recipe.lr)
    run.mkdir(parents=True, exist_ok=True)
    step, elapsed, best = _resume(run, recipe, model, averaged, adam)
    began = time.monotonic() - elapsed
    budget = 60 * minutes if minutes else math.inf
    while step < recipe.steps and elapsed < budget:
        loss = _step(recipe, model, adam, learn, step, max(step / recipe.steps, elapsed / budget))
        averaged.update_parameters(model)
        step += 1
        elapsed = time.monotonic() - began
        if step % recipe.validate_every == 0 or step == recipe.steps or elapsed >= budget:
            network = cast(Rescaling, averaged.module)
            hr_db, lr_db = validate(network, held)
            is_best = hr_db > best
            if is_best:
                best = hr_db
                scores = {"validation": f"{hr_db:.3f} dB, LR {lr_db:.2f} dB"}
                facts = {"recipe": recipe.model_dump(), "steps": step, "data": learn.digest, "scores": scores}
                weights.save(run / "best.safetensors", network, **facts)
            _checkpoint(run, recipe, model, averaged, adam, step, elapsed, best)
            report = Progress(step, elapsed, loss, hr_db, lr_db, is_best)
            _log(run / "log.csv", report)
            yield report


def build(recipe: Recipe) -> Rescaling:
    """The untrained network of a recipe."""
    try:
        cls = MODELS[recipe.model]
        model = cls(TypeAdapter(cls.Config).validate_python(recipe.config))
    except KeyError as error:
        raise UsageError(f"expected a model of {', '.join(sorted(MODELS))}, got {recipe.model!r}") from error
    except ValidationError as error:
        raise UsageError(f"config of {recipe.model}: {_first(error)}") from error
    if recipe.crop % model.multiple:
        raise UsageError(f"expected crops of a multiple of {model.multiple}, got {recipe.crop}")
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def _average(decay: float, averaged: Sequence[Tensor], current: Sequence[Tensor], count: Tensor | int) -> None:
    """Exponential moving average that forgets its untrained beginning."""
    keep = min(decay, (1 + int(count)) / (10 + int(count)))
    torch._foreach_lerp_(list(averaged), list(current), 1 - keep)


def validate(model: Rescaling, held: Pictures, side: int = 256) -> tuple[float, float]:
    """Mean PSNR on Y of restored pictures and of the LR against bicubic, on the middles of held-out pictures."""
    scores = []
    with torch.inference_mode():
        for hr, bicubic in zip(held.hr, held.bicubic, strict=True):
            hr, bicubic = _middles(hr, bicubic, side)
            hr, bicubic = from_bytes(hr)[None], quantize(bicubic.float())[None]
            lr = quantize(model.downscale(hr))
            scores.append(
                [psnr(luma(quantize(model.upscale(lr))), luma(hr)), psnr(luma(lr), luma(bicubic)).clamp(max=99)]
            )
    hr_db, lr_db = torch.tensor(scores).mean(dim=0).tolist()
    return hr_db, lr_db


def _first(error: ValidationError) -> str:
    """The first of several complaints, with the key that it is about."""
    problem = error.errors()[0]
    return f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}, got {problem['input']!r}"


def _middles(hr: Tensor, bicubic: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """About `side` HR pixels a side from the middle, and the same of the target."""
    scale = hr.shape[-1] // bicubic.shape[-1]
    small = side // scale
    top, left = (max(length - small, 0) // 2 for length in bicubic.shape[-2:])
    bicubic = bicubic[..., top : top + small, left : left + small]
    hr = hr[..., top * scale : (top + small) * scale, left * scale : (left + small) * scale]
    return hr, bicubic


def _step(recipe: Recipe, model: Rescaling, adam: torch.optim.Adam, learn: Pictures, step: int, done: float) -> float:
    """One step of descent; the batch depends on the seed and the step alone, so that a resumed run sees the same."""
    generator = torch.Generator().manual_seed(recipe.seed * 1_000_003 + step)
    hr, bicubic = learn.batch(recipe.batch, recipe.crop, generator)
    torch.manual_seed(int(torch.randint(2**31, (1,), generator=generator)))
    for group in adam.param_groups:
        warm = min(1, (step + 1) / max(recipe.warmup, 1))
        group["lr"] = recipe.lr * warm * (1 + math.cos(math.pi * done)) / 2
    with torch.autocast("cpu", torch.bfloat16, enabled=recipe.bfloat16):
        terms = model.terms(hr.contiguous(memory_format=torch.channels_last), bicubic)
        loss = sum((weight * terms[name] for name, weight in recipe.loss.items()), start=hr.new_zeros(()))
    if not torch.isfinite(loss):
        raise RescaleError(f"the loss is {loss.item()} at step {step}; the state of the last validation is kept")
    adam.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
    adam.step()
    return loss.item()


def _checkpoint(
    run: Path,
    recipe: Recipe,
    model: Rescaling,
    averaged: AveragedModel,
    adam: torch.optim.Adam,
    step: int,
    elapsed: float,
    best: float,
) -> None:
    """The whole state of a run in one file; the opposite of `_resume`."""
    tensors = {f"model.{k}": v for k, v in model.state_dict().items()}
    tensors |= {f"averaged.{k}": v for k, v in averaged.state_dict().items()}
    for index, moments in adam.state_dict()["state"].items():
        tensors |= {f"adam.{index}.{k}": v for k, v in moments.items()}
    facts = {"recipe": recipe.model_dump(), "step": step, "elapsed": elapsed, "best": best}
    tensors = {k: v.detach().contiguous().clone() for k, v in tensors.items()}
    publish(run / "last.safetensors", safetensors.torch.save(tensors, {"run": json.dumps(facts)}), overwrite=True)


def _resume(
    run: Path, recipe: Recipe, model: Rescaling, averaged: AveragedModel, adam: torch.optim.Adam
) -> tuple[int, float, float]:
    path = run / "last.safetensors"
    if not path.exists():
        return 0, 0.0, -math.inf
    with safetensors.safe_open(path, "pt") as file:
        facts = json.loads(file.metadata()["run"])
        tensors = {key: file.get_tensor(key) for key in list(file.keys())}
    if facts["recipe"] != recipe.model_dump():
        raise InputError(f"{path} was begun with another recipe; give another folder or that recipe")
    model.load_state_dict(_under(tensors, "model."))
    averaged.load_state_dict(_under(tensors, "averaged."))
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in _under(tensors, "adam.").items():
        index, _, name = key.partition(".")
        state.setdefault(int(index), {})[name] = value
    adam.load_state_dict({"state": state, "param_groups": adam.state_dict()["param_groups"]})
    return facts["step"], facts["elapsed"], facts["best"]


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def _log(path: Path, report: Progress) -> None:
    is_new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Progress)])
        if is_new:
            writer.writeheader()
        writer.writerow(asdict(report))
