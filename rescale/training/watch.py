"""The watch over the numbers of a training run: a step whose loss or gradient is not finite ends it."""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from rescale.errors import RescaleError

KEPT = "the state of the last validation is kept"
EVERY = 50
"""Steps of a GPU that are read together: to read one is to wait for it."""


@dataclass
class Watch:
    """Values that are not read yet; none on a CPU."""

    unread: list[tuple[str, int, Tensor]] = field(default_factory=list)

    def see(self, name: str, value: Tensor, step: int) -> None:
        """Check one number: at once on a CPU, on a GPU with those of the next steps.

        Raises: RescaleError where this one, or one of those before, is not finite.
        """
        self.unread.append((name, step, value.detach()))
        first = self.unread[0][1]
        if value.device.type != "cuda" or step - first >= EVERY:
            self.read()

    def read(self) -> None:
        """Check all that is unread. Raises: RescaleError with the first that is not finite."""
        unread, self.unread = self.unread, []
        numbers = torch.stack([value for _, _, value in unread]).tolist() if unread else []
        for (name, step, _), number in zip(unread, numbers, strict=True):
            if not math.isfinite(number):
                raise RescaleError(f"the {name} is {number} at step {step}; {KEPT}")
