"""Which network serves which part of a video: patches in space, slots in time, ordered by how hard they are."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from rescale.geometry import Size

SIDE = 48
"""LR pixels of a patch: small enough to part easy from hard, large enough for its border not to cost too much."""
SLOT_MS = 1000
"""How long a choice holds. Difficulty moves slowly: in the label file that STDO's authors published, nearly half of
the places keep their class for 450 frames. Of a long video slots are longer."""
_MOST_SLOTS = 64


@dataclass(frozen=True)
class Partition:
    """The number of the network for each patch, 0 for the hardest.

    Args:
        choice: (slots, rows, columns) uint8.
        side: LR pixels of a patch.
        slot_ms: of a slot; the first begins at 0.
    """

    choice: Tensor
    side: int = SIDE
    slot_ms: int = SLOT_MS

    def at(self, time_ms: int) -> Tensor:
        """(rows, columns) for a frame; the last slot serves all later times."""
        return self.choice[min(max(time_ms // self.slot_ms, 0), len(self.choice) - 1)]

    @property
    def parts(self) -> int:
        return int(self.choice.max()) + 1


def whole(side: int = SIDE) -> Partition:
    """One network for all patches at all times."""
    return Partition(torch.zeros(1, 1, 1, dtype=torch.uint8), side)


def grid(size: Size, side: int = SIDE) -> Size:
    """Rows and columns of patches that cover a small frame."""
    return -(-size[0] // side), -(-size[1] // side)


def by_difficulty(error: Tensor, times_ms: list[int], parts: int, side: int = SIDE) -> Partition:
    """As many patches to each part, the hardest to the first.

    Args:
        error: (frames, rows, columns), what a generic network misses in each patch.
        times_ms: of the frames, from 0 on.
        parts: how many.
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
    """A stretch of the video to each part, as many slots to each; arguments as above."""
    total, slot_ms = by_slot(error, times_ms)
    choice = _shared_out(len(total), parts)[:, None, None].expand(total.shape)
    return Partition(choice.contiguous(), side, slot_ms)


def by_network(errors: Tensor, times_ms: list[int], side: int = SIDE) -> Partition:
    """To each patch the network that misses least of it.

    Args:
        errors: (parts, frames, rows, columns), what each network misses; some frame of each slot is among them.
        times_ms: of the frames, from 0 on.
        side: LR pixels of a patch.
    """
    totals = [by_slot(error, times_ms) for error in errors]
    choice = torch.stack([total for total, _ in totals]).argmin(dim=0).to(torch.uint8)
    return Partition(choice, side, totals[0][1])


def by_slot(error: Tensor, times_ms: list[int]) -> tuple[Tensor, int]:
    """(frames, rows, columns) -> means (slots, rows, columns), and the length of a slot."""
    slot_ms = max(SLOT_MS, -(-max(times_ms) // _MOST_SLOTS))
    slots = torch.tensor(times_ms).clamp_min(0) // slot_ms
    count = int(slots.max()) + 1
    total = torch.zeros(count, *error.shape[1:], dtype=torch.double).index_add_(0, slots, error.double())
    return total / torch.bincount(slots, minlength=count).clamp_min(1)[:, None, None], slot_ms


def _shared_out(count: int, parts: int) -> Tensor:
    """Numbers of as many parts, but no more than there are things, for each thing in turn."""
    return (torch.arange(count) * min(parts, count) // count).to(torch.uint8)


def by_patch(squares: Tensor, side: int) -> Tensor:
    """(H, W) -> (rows, columns): sums over patches of `side`, the last ones smaller."""
    height, width = squares.shape
    padded = F.pad(squares, (0, -width % side, 0, -height % side))
    return F.avg_pool2d(padded[None, None], side, divisor_override=1)[0, 0]
