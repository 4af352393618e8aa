"""A run's checkpoint: networks, optimisers and facts in one safetensors file, saved whole and restored."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from rescale.io.storage import publish

Modules = Mapping[str, nn.Module]
Optimisers = Mapping[str, torch.optim.Optimizer]
DAMAGE = (OSError, KeyError, TypeError, ValueError, RuntimeError, safetensors.SafetensorError)
"""What `load` and `restore` raise for a file that is damaged, or of another run."""


def save(
    path: Path, kind: str, facts: Mapping[str, Any], modules: Modules, optimisers: Optimisers, **tensors: Tensor
) -> None:
    """Save a checkpoint in place of an older one; the inverse of `load` and `restore`.

    Args:
        path: the file.
        kind: key of the facts in its header.
        facts: whatever JSON can hold.
        modules: networks, by the names that their tensors begin with.
        optimisers: optimisers, of which the moments are saved, likewise.
        tensors: further ones, by their names.
    """
    flat = {f"{part}.{key}": value for part, module in modules.items() for key, value in module.state_dict().items()}
    for part, optimiser in optimisers.items():
        for index, moments in optimiser.state_dict()["state"].items():
            flat |= {f"{part}.{index}.{key}": value for key, value in moments.items()}
    copies = {key: value.detach().cpu().contiguous().clone() for key, value in (flat | tensors).items()}
    publish(path, safetensors.torch.save(copies, {kind: json.dumps(facts)}), overwrite=True)


def load(path: Path, kind: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the facts of a checkpoint, and its tensors by their flat names. Raises: see `DAMAGE`."""
    with safetensors.safe_open(path, "pt") as file:
        return json.loads(file.metadata()[kind]), {key: file.get_tensor(key) for key in file.keys()}


def restore(tensors: Mapping[str, Tensor], modules: Modules, optimisers: Optimisers) -> None:
    """Put the tensors of `load` back into networks and optimisers. Raises: see `DAMAGE`."""
    for part, module in modules.items():
        module.load_state_dict(_under(tensors, f"{part}."))
    for part, optimiser in optimisers.items():
        groups = optimiser.state_dict()["param_groups"]
        moments = _moments_of(_under(tensors, f"{part}."), optimiser.param_groups[0]["params"])
        optimiser.load_state_dict({"state": moments, "param_groups": groups})


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors of one part, by their own names."""
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def _moments_of(tensors: dict[str, Tensor], parameters: list[Tensor]) -> dict[int, dict[str, Tensor]]:
    """Return the moments by the parameter's index, each laid out in memory like its parameter."""
    moments: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, _, name = key.partition(".")
        like = parameters[int(index)]
        laid_out = torch.empty_like(like).copy_(value) if value.shape == like.shape else value
        moments.setdefault(int(index), {})[name] = laid_out
    return moments
