"""The state of a training run: begun from a recipe, saved at any step, resumed."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from rescale.errors import InputError, UsageError
from rescale.models import RescalingModel, weights
from rescale.training import checkpoint
from rescale.training.adversarial import AdversarialLoss
from rescale.training.muon import Muon
from rescale.training.recipe import Recipe
from rescale.training.watch import Watch

_KIND = "run"


@dataclass
class State:
    """The state of a run between two steps."""

    recipe: Recipe
    model: RescalingModel
    averaged: AveragedModel
    optimiser: torch.optim.Optimizer
    adversary: AdversarialLoss | None
    step: int = 0
    elapsed_s: float = 0.0
    best_db: float = field(default=-math.inf)
    history: list[dict[str, Any]] = field(default_factory=list)
    """Reports of all validations."""
    origin: dict[str, Any] | None = None
    """Name, digest and steps of the weights that the run began from; None where it began from random ones."""
    watch: Watch = field(default_factory=Watch)

    @classmethod
    def begin(
        cls,
        recipe: Recipe,
        device: str = "cpu",
        start: str | None = None,
        layout: torch.memory_format = torch.channels_last,
    ) -> "State":
        """Build the state before the first step.

        Args:
            recipe: recipe to train.
            device: device to train on.
            start: model id or weight file to begin from, of the recipe's own shape; random weights by default.
            layout: memory format of the weights.
        Raises: UsageError where `start` is another network.
        """
        torch.manual_seed(recipe.seed)
        model = recipe.build()
        origin = _begin_from(model, start) if start else None
        model = model.to(device).to(memory_format=layout)
        averaged = AveragedModel(model)
        rival = AdversarialLoss(recipe.crop, recipe.adversary.lr, device) if recipe.adversary else None
        return cls(recipe, model, averaged, _optimiser(recipe, model), rival, origin=origin)

    @property
    def network(self) -> RescalingModel:
        """The averaged network, which is the result of a run."""
        return cast(RescalingModel, self.averaged.module)

    def descend(self, loss: Tensor) -> None:
        """Step down the gradient of the loss.

        Raises: RescaleError where that is not finite, with nothing moved; on a GPU within the next steps, see `Watch`.
        """
        self.optimiser.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip)
        self.watch.see("gradient", norm, self.step)
        self.optimiser.step()
        self._average()

    @torch.no_grad()
    def _average(self) -> None:
        """Update the averaged network: as its `update_parameters` would, which has the host wait for a GPU thrice."""
        averaged: list[Tensor] = list(self.averaged.parameters())
        current: list[Tensor] = list(self.model.parameters())
        count = int(self.averaged.n_averaged)  # which lies on the CPU
        if count:
            _average(self.recipe.ema, averaged, current, count)
        else:
            torch._foreach_copy_(averaged, current)
        self.averaged.n_averaged += 1

    def save(self, path: Path, data: str) -> None:
        """Save the whole state in one file, with the digest of the training data; the inverse of `resume`."""
        facts: dict[str, Any] = {
            "recipe": self.recipe.model_dump(mode="json"),
            "data": data,
            "step": self.step,
            "elapsed_s": self.elapsed_s,
            "best_db": self.best_db,
            "origin": self.origin,
            "history": self.history,
        }
        checkpoint.save(path, _KIND, facts, self._modules(), self._optimisers())

    def resume(self, path: Path, data: str) -> None:
        """Resume from a saved state, if there is one.

        Raises: InputError where it is damaged, or belongs to another recipe or other images.
        """
        if not path.exists():
            return
        try:
            facts, tensors = checkpoint.load(path, _KIND)
            begun_with = facts["recipe"], facts["data"], facts["origin"]
        except checkpoint.DAMAGE as error:
            raise InputError(_damaged(path)) from error
        now = self.recipe.model_dump(mode="json"), data, self.origin or facts["origin"]
        for what, then, this in zip(("recipe", "data", "start"), begun_with, now, strict=True):
            if then != this:
                raise InputError(f"{path} was begun with another {what}; give another folder or that {what}")
        try:
            self._take(facts, tensors)
        except checkpoint.DAMAGE as error:
            raise InputError(_damaged(path)) from error

    def _take(self, facts: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        checkpoint.restore(tensors, self._modules(), self._optimisers())
        self.step, self.elapsed_s, self.best_db = facts["step"], facts["elapsed_s"], facts["best_db"]
        self.history, self.origin = facts["history"], facts["origin"]

    def _modules(self) -> dict[str, nn.Module]:
        own: dict[str, nn.Module] = {"model": self.model, "averaged": self.averaged}
        return own | {"critic": self.adversary.critic} if self.adversary else own

    def _optimisers(self) -> dict[str, torch.optim.Optimizer]:
        own = {"moments": self.optimiser}
        return own | {"critic_moments": self.adversary.optimiser} if self.adversary else own


def _begin_from(model: RescalingModel, start: str) -> dict[str, Any]:
    given = weights.load(start)
    if type(given.model) is not type(model):
        raise UsageError(f"expected weights of {type(model).__name__} to begin from, got {type(given.model).__name__}")
    try:
        model.load_state_dict((given.model if _is_alike(given.model, model) else given.model.folded()).state_dict())
    except RuntimeError as error:
        raise UsageError(f"{given.name} has another shape than the recipe's network: {given.model.config}") from error
    return {"name": given.name, "sha256": given.sha256, "steps": given.header.get("steps", 0)}


def _is_alike(given: RescalingModel, model: RescalingModel) -> bool:
    return given.state_dict().keys() == model.state_dict().keys()


def _optimiser(recipe: Recipe, model: RescalingModel) -> torch.optim.Optimizer:
    if recipe.optimiser == "muon":
        return Muon(model.parameters(), recipe.lr)
    decay = recipe.weight_decay
    return torch.optim.Adam(model.parameters(), lr=recipe.lr, betas=recipe.betas, weight_decay=decay)


def _average(decay: float, averaged: Sequence[Tensor], current: Sequence[Tensor], count: int) -> None:
    """Update an exponential moving average that forgets its untrained beginning."""
    keep = min(decay, (1 + count) / (10 + count))
    torch._foreach_lerp_(list(averaged), list(current), 1 - keep)


def _damaged(path: Path) -> str:
    return f"{path} is no state of a run, or a damaged one; give another folder"
