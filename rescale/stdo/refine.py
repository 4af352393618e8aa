"""HCD for LR frames of a video: gradient descent moves each frame to where its networks restore it better."""

import torch
from torch import Tensor

from rescale.models import LumaSR
from rescale.video.embedded.bundle import NetworkBundle
from rescale.video.embedded.patchwise import windows_of
from rescale.video.io.colour import Levels
from rescale.video.io.frames import Frame, StreamInfo
from rescale.video.transforms import FrameTransform, repeated, time_ms

_STEP = 0.5
"""Step size, in levels of 8 bits."""
_FIDELITY = 0.3
"""Weight of the squared distance from bicubic, against the restored frame's error; or the encoder would not follow."""


def refined_downscale(
    reduce: FrameTransform, facts: StreamInfo, origin: int, parcel: NetworkBundle, steps: int, device: torch.device
) -> FrameTransform:
    """Extend `reduce` by gradient descent on the luma that it makes.

    Args:
        reduce: makes the LR frames.
        facts: stream information of the original.
        origin: time of the original's first frame, in ticks.
        parcel: the networks, which stay fixed.
        steps: number of steps for each frame.
        device: where to run.
    Source: HCD (2211.10643), its second stage; Adam, and staying near bicubic, are ours.
    """
    levels, partition, scale = facts.colours.levels, parcel.partition, parcel.scale
    networks = [network.to(device).requires_grad_(False) for network in parcel.networks]

    def work(frame: Frame) -> list[Tensor]:
        small, *chroma = reduce(frame)
        choice = partition.at(time_ms(frame, facts, origin)).flatten().to(device)
        by = partition.side * scale
        large = repeated(frame.planes[0], (small.shape[0] * scale, small.shape[1] * scale)).to(device)
        targets = windows_of(large.float(), by, 0).flatten(0, 1)
        moved = _descend(small.to(device).float(), targets, choice, networks, partition.side, levels, steps)
        return [levels.rounded(moved).to(small.dtype).cpu(), *chroma]

    return work


def _descend(
    begin: Tensor, targets: Tensor, choice: Tensor, networks: list[LumaSR], side: int, levels: Levels, steps: int
) -> Tensor:
    with torch.inference_mode(mode=False), torch.enable_grad():
        start, targets = begin.clone(), targets.clone()
        small = start.clone().requires_grad_(True)
        optimiser = torch.optim.Adam([small], lr=_STEP * 2 ** (levels.depth - 8))
        for _ in range(steps):
            optimiser.zero_grad()
            missed = _missed(small, targets, choice, networks, side, levels)
            (missed + _FIDELITY * (small - start).square().mean()).backward()
            optimiser.step()
        return small.detach()


def _missed(
    small: Tensor, targets: Tensor, choice: Tensor, networks: list[LumaSR], side: int, levels: Levels
) -> Tensor:
    """Mean squared error of the restored frame, in levels."""
    halo, scale = networks[0].halo, networks[0].config.scale
    windows = windows_of(small, side, halo).flatten(0, 1)
    total = small.new_zeros(())
    for number in choice.unique().tolist():
        mine = choice == number
        made = networks[number](levels.to_unit(windows[mine][:, None]))[:, 0]
        made = made[:, halo * scale : -halo * scale, halo * scale : -halo * scale]
        total = total + ((made * levels.unit - (targets[mine] - _foot(levels))).square()).sum()
    return total / targets.numel()


def _foot(levels: Levels) -> float:
    """Level that the networks' input maps to zero."""
    return float(-levels.to_unit(torch.zeros(())) * levels.unit)
