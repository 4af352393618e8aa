"""Recipes: all that decides what a training run learns, as TOML files that are checked key by key."""

import math
import tomllib
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, ValidationError, model_validator

from rescale.errors import UsageError, first_problem
from rescale.geometry import MAX_SCALE
from rescale.models import RescalingModel, build
from rescale.training.degradation import DegradeRecipe
from rescale.training.schema import Table, check_order

Beta = Annotated[float, Field(ge=0, lt=1)]


class AdversaryRecipe(Table):
    """The perceptual half of IRN+; weights are of sums over a crop, with a reduction of "sum"."""

    features: float = Field(ge=0)
    """Weight of the distance of VGG's features."""
    weight: float = Field(ge=0)
    """Weight of the adversarial loss."""
    lr: float = Field(1e-4, gt=0)
    """Learning rate of the discriminator."""
    alone: int = Field(0, ge=0)
    """Steps in which only the discriminator learns."""


class ScalesRecipe(Table):
    """The scales that a model of any scale learns; one pair a batch."""

    least: float = Field(1.1, gt=1, le=MAX_SCALE)
    most: float = Field(4.0, gt=1, le=MAX_SCALE)
    step: float = Field(0.1, ge=0.001)
    power: float = Field(2.0, ge=0, le=16)
    """Exponent of the scale in its probability: large scales are drawn more often by this power."""
    asymmetric: float = Field(0.25, ge=0, le=1)
    """Share of the batches whose two axes have scales of their own: any two of them and 1, all as often."""

    @model_validator(mode="after")
    def _least_is_least(self) -> "ScalesRecipe":
        check_order(self.least, self.most)
        return self

    def draw(self, generator: torch.Generator) -> tuple[float, float]:
        """Draw the scales of rows and columns. Source of the rule for one scale: AIDN's code (2201.12576)."""
        count = int((self.most - self.least) / self.step + 1e-9) + 1
        known = self.least + self.step * torch.arange(count, dtype=torch.float64)
        if torch.rand(1, generator=generator).item() >= self.asymmetric:
            scale = known[torch.multinomial(known**self.power, 1, generator=generator)].item()
            return scale, scale
        pair = torch.randperm(count + 1, generator=generator)[:2]
        rows, columns = torch.cat([known, torch.ones(1)])[pair].tolist()
        return rows, columns


class Recipe(Table):
    """A training recipe; unknown keys are refused."""

    model: str
    config: dict[str, Any]
    loss: dict[str, Annotated[float, Field(ge=0)]]
    """Weight of each of the model's terms, by name, in units of mean errors."""
    reduction: Literal["mean", "sum"] = "mean"
    """Reduction of the loss; "sum" is over a crop and mean over the batch, as in IRN's code: the mean times the samples
    of a crop."""
    steps: int = Field(gt=0)
    batch: int = Field(8, gt=0)
    crop: int = Field(96, gt=0)
    """Side of an HR crop in pixels; a multiple of the scale. If scales are drawn, the side of a crop at x4: the LR side
    is a quarter of it at all scales."""
    drawn: float = Field(0.0, ge=0, lt=0.9)
    """Share of the training pixels that is drawn or grey: flat colours, shapes, text; see `graphics`."""
    degrade: DegradeRecipe | None = None
    """How LR crops are degraded, for networks of super-resolution; None for clean ones."""
    scales: ScalesRecipe | None = None
    """Scales to draw; required for a model of any scale, refused for others."""
    lr: float = Field(1e-3, gt=0, le=1e4)
    """Peak learning rate."""
    schedule: Literal["cosine", "halving"] = "cosine"
    """Learning rate schedule: from the peak along a cosine to zero, or halved at each milestone."""
    milestones: Annotated[tuple[int, ...], Field(strict=False)] = ()
    warmup: int = Field(100, ge=0)
    """Steps in which the learning rate rises from zero."""
    optimiser: Literal["adam", "muon"] = "adam"
    """Optimiser; "muon" takes orthogonal steps, see `muon`. It has betas and no weight decay of its own."""
    betas: Annotated[tuple[Beta, Beta], Field(strict=False)] = (0.9, 0.999)
    weight_decay: float = Field(0.0, ge=0)
    """Adam's coupled L2 penalty."""
    clip: float = Field(1.0, gt=0)
    """Largest norm of the gradient."""
    ema: float = Field(0.999, ge=0, lt=1)
    """Decay of the averaged weights, which are the ones validated and kept; 0 keeps the weights themselves."""
    bfloat16: bool = False
    """Run convolutions in bfloat16; couplings stay in float32."""
    bfloat16_above: float = Field(0.0, ge=0)
    """Least scale for bfloat16; smaller scales need the low bits, and stay in float32 altogether."""
    adversary: AdversaryRecipe | None = None
    """Adversarial and perceptual loss, which makes restored images look real; None for no such loss."""
    validate_every: int = Field(500, gt=0)
    least_lr_rgb_db: float = Field(0.0, ge=0)
    """Least PSNR on RGB of LR images against bicubic; below it no step is kept as the best."""
    seed: int = Field(10, ge=0, lt=2**31)

    @model_validator(mode="after")
    def _milestones_go_with_halving(self) -> "Recipe":
        if bool(self.milestones) != (self.schedule == "halving"):
            raise ValueError("milestones belong to the schedule 'halving', and it needs them")
        if self.optimiser == "muon" and {"betas", "weight_decay"} & self.model_fields_set:
            raise ValueError("betas and weight_decay belong to the optimiser 'adam'")
        return self

    @model_validator(mode="after")
    def _a_critic_sees_several_large_crops(self) -> "Recipe":
        if self.adversary and (self.model != "irn" or self.crop < 32 or self.batch < 2):
            raise ValueError("adversary: expected the model irn, crops of at least 32 and a batch of at least 2")
        return self

    @classmethod
    def read(cls, path: Path, changes: Sequence[str] = ()) -> "Recipe":
        """Read a recipe from its file.

        Args:
            path: the TOML file.
            changes: lines of TOML that replace single keys, such as "steps=3000" or "loss.guide=0.25".
        Raises: UsageError that names the file, or the change, and the key.
        """
        try:
            content = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise UsageError(f"{path}: not a recipe: {error}") from error
        for change in changes:
            try:
                _replace(content, tomllib.loads(change))
            except (ValueError, RecursionError) as error:
                raise UsageError(f"change {change}: expected KEY=VALUE as in TOML: {error}") from error
        try:
            recipe = cls.model_validate(content)
            recipe.build()
        except ValidationError as error:
            raise UsageError(f"{path}: {_first(error)}") from error
        except UsageError as error:
            raise UsageError(f"{path}: {error}") from error
        return recipe

    def rate(self, step: int, done: float) -> float:
        """Return the learning rate of a step, `done` (0 to 1) being the share of the run that lies behind it."""
        warm = min(1.0, (step + 1) / max(self.warmup, 1))
        if self.schedule == "cosine":
            return self.lr * warm * (1 + math.cos(math.pi * done)) / 2
        passed = sum(done * self.steps >= milestone for milestone in self.milestones)
        return self.lr * warm * 0.5**passed

    def build(self) -> RescalingModel:
        """Build the untrained network. Raises: UsageError for a model or a config that cannot be."""
        model = build(self.model, self.config)
        if (model.scale is None) != (self.scales is not None):
            raise UsageError("scales: expected them for a model of any scale, and only for one")
        if self.degrade and not model.super_resolves:
            raise UsageError(f"degrade: expected a model of super-resolution, got {self.model}")
        multiple = model.multiple if model.scale else MAX_SCALE
        if self.crop % multiple:
            raise UsageError(f"crop: expected a multiple of {multiple}, got {self.crop}")
        if not model.parameter_count:
            raise UsageError(f"model: {self.model} has nothing to learn")
        side, small = 2 * multiple, 2 * multiple // (model.scale or MAX_SCALE)
        _, terms = model.loss_terms(torch.zeros(1, 3, side, side), torch.zeros(1, 3, small, small))
        if not self.loss or not self.loss.keys() <= terms.keys():
            raise UsageError(f"loss: expected some of {', '.join(terms)}, got {', '.join(self.loss) or 'none'}")
        return model


def recipes() -> dict[str, Path]:
    """Return the recipes that come with the package, by name."""
    return {
        path.stem: path for path in sorted((Path(str(resources.files("rescale.training"))) / "recipes").glob("*.toml"))
    }


def _replace(content: dict[str, Any], change: dict[str, Any]) -> None:
    for key, value in change.items():
        if isinstance(value, dict) and isinstance(content.get(key), dict):
            _replace(content[key], value)
        else:
            content[key] = value


def _first(error: ValidationError) -> str:
    """Format the first of several validation errors, with the key that it is about."""
    key, problem = first_problem(error)
    if not key or problem["type"] == "missing":
        return f"{key}: {problem['msg']}" if key else problem["msg"]
    return f"{key}: {problem['msg']}, got {problem['input']!r:.80}"
