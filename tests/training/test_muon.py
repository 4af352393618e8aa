"""Muon: orthogonal updates, and what they are worth."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from rescale.training.muon import Muon, orthogonal


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 99))
def test_singular_values_become_one(rows, columns, seed):
    x = torch.randn(3, rows, columns, generator=torch.Generator().manual_seed(seed))
    values = torch.linalg.svdvals(x)
    x = x[values[:, -1] > 1e-2 * values[:, 0]]  # what is a thousandth of the largest takes more steps
    made = orthogonal(x)
    assert made.shape == x.shape
    assert ((torch.linalg.svdvals(made) - 1).abs() < 0.35).all()


def test_directions_are_kept():
    """The nearest orthogonal matrix is that of the polar decomposition."""
    x = torch.randn(5, 16, 27, generator=torch.Generator().manual_seed(1))
    left, _, right = torch.linalg.svd(x, full_matrices=False)
    nearest = left @ right
    cosine = (orthogonal(x) * nearest).sum(dim=(1, 2)) / orthogonal(x).norm(dim=(1, 2)) / nearest.norm(dim=(1, 2))
    assert (cosine > 0.98).all()


def test_nothing_comes_of_nothing():
    assert orthogonal(torch.zeros(2, 3, 4)).eq(0).all()


def test_a_step_is_as_large_as_it_says():
    kernel = nn.Parameter(torch.zeros(16, 8, 3, 3))
    kernel.grad = torch.randn(kernel.shape, generator=torch.Generator().manual_seed(2))
    Muon([kernel], lr=0.1).step()
    assert kernel.pow(2).mean().sqrt().item() == pytest.approx(0.2 * 0.1, rel=0.15)


def test_vectors_move_as_adam_moves_them():
    ours, theirs = (nn.Parameter(torch.linspace(-1, 1, 7)) for _ in range(2))
    muon, adam = Muon([ours], lr=0.1), torch.optim.Adam([theirs], lr=0.03, betas=(0.9, 0.95), eps=1e-10)
    for step in range(5):
        for parameter in (ours, theirs):
            parameter.grad = torch.sin(parameter.detach() * (step + 1))
        muon.step()
        adam.step()
    assert torch.allclose(ours, theirs, atol=1e-6)


def test_parameters_without_a_gradient_stay():
    kernels = [nn.Parameter(torch.ones(2, 2, 3, 3)), nn.Parameter(torch.ones(3))]
    Muon(kernels, lr=1.0).step()
    assert all(kernel.eq(1).all() for kernel in kernels)


def moved_one_by_one(parameter: nn.Parameter, state: dict, lr: float, momentum: float = 0.95) -> None:
    """A step as the formulas have it, for one parameter."""
    gradient, state["step"] = parameter.grad, state["step"] + 1
    if parameter.ndim == 4:
        state["mean"].lerp_(gradient, 1 - momentum)
        shape = 1, len(parameter), parameter[0].numel()
        update = orthogonal(torch.lerp(gradient, state["mean"], momentum).reshape(shape)).reshape(parameter.shape)
        parameter.data.sub_(update, alpha=lr * 0.2 * max(shape[1:]) ** 0.5)
        return
    state["mean"].lerp_(gradient, 1 - 0.9)
    state["square"].lerp_(gradient.square(), 1 - 0.95)
    mean, square = state["mean"] / (1 - 0.9 ** state["step"]), state["square"] / (1 - 0.95 ** state["step"])
    parameter.data.sub_(mean / (square.sqrt() + 1e-10), alpha=0.3 * lr)


def test_parameters_move_together_as_they_would_one_by_one():
    draw = torch.Generator().manual_seed(4)
    shapes = [(7,), (1,), (4, 3), (6, 5, 3, 3), (2, 9, 1, 1), (30,)]
    ours = [nn.Parameter(torch.randn(shape, generator=draw)) for shape in shapes]
    theirs = [nn.Parameter(p.detach().clone()) for p in ours]
    states = [{"step": torch.tensor(0.0), "mean": torch.zeros_like(p), "square": torch.zeros_like(p)} for p in theirs]
    muon = Muon(ours, lr=0.02)
    for step in range(6):
        for a, b, state in zip(ours, theirs, states, strict=True):
            a.grad = None if step == 2 and a.ndim == 2 else torch.randn(a.shape, generator=draw)
            b.grad = a.grad
            if b.grad is not None:
                moved_one_by_one(b, state, 0.02)
        muon.step()
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True)), step
