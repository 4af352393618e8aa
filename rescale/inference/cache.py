"""The last few models that were loaded, so that the next image need not wait for them."""

from functools import lru_cache
from pathlib import Path

import torch

from rescale.inference.rescaler import ModelLike, Rescaler, as_rescaler, load
from rescale.io import storage


def load_cached(model: ModelLike, device: str | torch.device | None = None) -> Rescaler:
    """Load a model, and cache it for the next image; a file is read anew once it has changed."""
    if isinstance(model, Rescaler):
        return as_rescaler(model, device)
    return _load(str(model), device, storage.stamp(Path(model)))


@lru_cache(maxsize=4)
def _load(model: str, device: str | torch.device | None, _stamp: tuple[int, ...]) -> Rescaler:
    return load(model, device=device)
