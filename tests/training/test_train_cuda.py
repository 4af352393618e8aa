"""Steps of training on a GPU that is not there: nothing waits but once in fifty, and what is not finite is told."""

import math
from unittest import mock

import pytest
import torch
from ledger import CUDA, Ledger, fake_cuda, to_fake

from rescale.errors import RescaleError
from rescale.training.distributed import ProcessGroup
from rescale.training.recipe import Recipe
from rescale.training.state import State, _optimiser
from rescale.training.train import Loss, _step
from rescale.training.watch import EVERY, Watch

RECIPE = {
    "model": "irn", "config": {"scale": 2, "blocks": (2,), "growth": 8, "depth": 3}, "crop": 16, "batch": 2,
    "steps": 99,
    "loss": {"restore": 1.0, "luma": 1.0, "guide": 1.0, "guide_grey": 1.0},
    "lr": 1e-3, "optimiser": "muon",
}  # fmt: skip


@pytest.mark.parametrize("optimiser", ["muon", "adam"])
def test_a_step_waits_for_nothing(optimiser):
    recipe = Recipe.model_validate(RECIPE | {"optimiser": optimiser})
    state = State.begin(recipe)

    def backward(_loss: torch.Tensor) -> None:  # the real one asks the driver for a context
        for parameter in state.model.parameters():
            parameter.grad = torch.zeros_like(parameter)

    with fake_cuda() as mode, mock.patch.object(torch.Tensor, "backward", backward):
        to_fake(state.model, mode)
        to_fake(state.network, mode)
        state.optimiser = _optimiser(recipe, state.model)
        learner = Loss(state.model, recipe)
        batch = torch.rand(2, 3, 16, 16, device=CUDA), torch.rand(2, 3, 8, 8, device=CUDA)
        with Ledger():
            _step(state, learner, batch, 0.0, ProcessGroup())
        with Ledger() as said:
            loss = _step(state, learner, batch, 0.0, ProcessGroup())
    assert loss.is_cuda
    assert not (said.waits or said.up or said.down), str(said)
    assert len(state.watch.unread) == 4  # two steps, each with its loss and its gradient


def test_values_of_a_cpu_are_checked_at_once():
    watch = Watch()
    watch.see("loss", torch.tensor(1.0), 3)
    assert not watch.unread
    with pytest.raises(RescaleError, match="the gradient is nan at step 4; the state of the last validation is kept"):
        watch.see("gradient", torch.tensor(math.nan), 4)


def test_values_of_a_gpu_are_read_together_and_the_first_that_is_bad_is_told():
    """On a stand-in: only the name of its device is looked at."""

    class Away:
        device = CUDA

        def __init__(self, value: float) -> None:
            self.value = value

        def detach(self) -> torch.Tensor:
            return torch.tensor(self.value)

    watch = Watch()
    for step in range(10, 10 + EVERY):
        watch.see("loss", Away(math.inf if step >= 30 else 1.0), step)
    assert len(watch.unread) == EVERY
    with pytest.raises(RescaleError, match="the loss is inf at step 30"):
        watch.see("loss", Away(1.0), 10 + EVERY)
    watch.read()
