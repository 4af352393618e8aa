"""Partition of a video among networks: patches in space, slots in time, ordered by difficulty."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from rescale.geometry import Size

SIDE = 48
"""LR pixels of a patch's side: small enough to separate easy from hard, large enough for its border to cost little."""
SLOT_MS = 1000
"""Length of a slot. Difficulty changes slowly: in the label file that STDO's authors published, nearly half of
the places keep their class for 450 frames. A long video has longer slots."""
_MOST_SLOTS = 64


@dataclass(frozen=True)
class Partition:
    """Network number of each patch; 0 is the hardest part where ordered by difficulty.

    Args:
        choice: (slots, rows, columns) uint8.
        side: LR pixels of a patch.
        slot_ms: length of a slot; the first begins at 0.
    """

    choice: Tensor
    side: int = SIDE
    slot_ms: int = SLOT_MS

    def at(self, time_ms: int) -> Tensor:
        """Select a frame's network numbers (rows, columns); the last slot serves all later times."""
        return self.choice[self.slot(time_ms)]

    def slot(self, time_ms: int) -> int:
        """Return the number of a time's slot."""
        return min(max(time_ms // self.slot_ms, 0), len(self.choice) - 1)

    @property
    def parts(self) -> int:
        return int(self.choice.max()) + 1


def whole(side: int = SIDE) -> Partition:
    """Assign all patches at all times to one network."""
    return Partition(torch.zeros(1, 1, 1, dtype=torch.uint8), side)


def grid(size: Size, side: int = SIDE) -> Size:
    """Count the rows and columns of patches that cover an LR frame."""
    return -(-size[0] // side), -(-size[1] // side)


def by_difficulty(error: Tensor, times_ms: list[int], parts: int, side: int = SIDE) -> Partition:
    """Assign as many patches to each part, the hardest to the first.

    Args:
        error: (frames, rows, columns), squared error of a generic network in each patch.
        times_ms: times of the frames, from 0 on.
        parts: number of parts.
        side: LR pixels of a patch.
    Source: STDO (2303.08331), section 3.2 and its released code: quantiles over space and time together. The mean
        over a slot, instead of a class for each frame, is ours.
    """
    total, slot_ms = by_slot(error, times_ms)
    order = total.flatten().argsort(descending=True, stable=True)
    choice = torch.empty(order.numel(), dtype=torch.uint8)
    choice[order] = _shared_out(order.numel(), parts)
    return Partition(choice.reshape(total.shape), side, slot_ms)


def by_time(error: Tensor, times_ms: list[int], parts: int, side: int = SIDE) -> Partition:
    """Assign a stretch of the video to each part, with as many slots each; arguments as above."""
    total, slot_ms = by_slot(error, times_ms)
    choice = _shared_out(len(total), parts)[:, None, None].expand(total.shape)
    return Partition(choice.contiguous(), side, slot_ms)


def by_network(errors: Tensor, times_ms: list[int], side: int = SIDE) -> Partition:
    """Assign each patch to the network with the least error there.

    Args:
        errors: (parts, frames, rows, columns), squared error of each network; each slot needs one of the frames.
        times_ms: times of the frames, from 0 on.
        side: LR pixels of a patch.
    """
    totals = [by_slot(error, times_ms) for error in errors]
    choice = torch.stack([total for total, _ in totals]).argmin(dim=0).to(torch.uint8)
    return Partition(choice, side, totals[0][1])


def by_slot(error: Tensor, times_ms: list[int]) -> tuple[Tensor, int]:
    """Average over slots: (frames, rows, columns) -> (slots, rows, columns), and the length of a slot."""
    slot_ms = max(SLOT_MS, -(-max(times_ms) // _MOST_SLOTS))
    slots = torch.tensor(times_ms).clamp_min(0) // slot_ms
    count = int(slots.max()) + 1
    total = torch.zeros(count, *error.shape[1:], dtype=torch.double).index_add_(0, slots, error.double())
    return total / torch.bincount(slots, minlength=count).clamp_min(1)[:, None, None], slot_ms


def _shared_out(count: int, parts: int) -> Tensor:
    """Divide items into consecutive parts of about equal size, none of them empty: each item's part."""
    return (torch.arange(count) * min(parts, count) // count).to(torch.uint8)


def by_patch(squares: Tensor, side: int) -> Tensor:
    """Sum over patches of `side`, the last ones smaller: (H, W) -> (rows, columns)."""
    height, width = squares.shape
    padded = F.pad(squares, (0, -width % side, 0, -height % side))
    return F.avg_pool2d(padded[None, None], side, divisor_override=1)[0, 0]
