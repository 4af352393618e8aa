"""PSNR of an overfitted video, beside bicubic and the generic network."""

from dataclasses import dataclass

import torch
from torch import Tensor

from rescale.metrics import decibels
from rescale.models import LumaSR
from rescale.ops.resample import resample
from rescale.stdo.dataset import FramePairs
from rescale.video.embedded.bundle import NetworkBundle
from rescale.video.embedded.partition import whole
from rescale.video.embedded.patchwise import PatchwiseUpscaler


@dataclass(frozen=True)
class Closeness:
    """PSNR of luma in dB, from the mean squared error over all pixels of all measured frames."""

    bicubic: float
    generic: float
    overfitted: float
    shaved: tuple[float, float, float]
    """PSNR of the same three as STDO's released code measures: without scale + 4 pixels along each patch's edges."""
    frames: int


def measured(pairs: FramePairs, generic: LumaSR, parcel: NetworkBundle) -> Closeness:
    """Measure bicubic, the generic network and a bundle's networks against the original, on all frames of the pairs."""
    device = next(generic.parameters()).device
    networks = [network.to(device) for network in parcel.networks]
    one = whole(parcel.partition.side)
    works = [
        PatchwiseUpscaler([generic], one, pairs.levels),
        PatchwiseUpscaler(networks, parcel.partition, pairs.levels),
    ]
    totals = torch.zeros(2, 3, dtype=torch.double)
    kept = _kept(pairs, parcel.partition.side)
    for k in range(len(pairs)):
        large, small = pairs.large(k).float(), pairs.small(k)
        height, width = large.shape
        made = [_bicubic(small, pairs), *(work(small.to(device), pairs.times_ms[k]).cpu().float() for work in works)]
        for column, picture in enumerate(made):
            squares = (picture[:height, :width] - large).square()
            totals[0, column] += squares.mean().double()
            totals[1, column] += squares[kept].mean().double()
    whole_frames, shaved = decibels((totals / len(pairs)).clamp_min(1e-9), pairs.levels.top).tolist()
    return Closeness(whole_frames[0], whole_frames[1], whole_frames[2], (shaved[0], shaved[1], shaved[2]), len(pairs))


def _kept(pairs: FramePairs, side: int) -> Tensor:
    """Mask (H, W) of the pixels that are further from the edges of their patch than scale + 4."""
    by, shave = side * pairs.scale, pairs.scale + 4
    inner = [
        ((torch.arange(length) % by) - (by - 1) / 2).abs() < by / 2 - shave for length in pairs.hr.shape[1:]
    ]  # fmt: skip
    return inner[0][:, None] & inner[1][None]


def _bicubic(small: Tensor, pairs: FramePairs) -> Tensor:
    height, width = small.shape
    return pairs.levels.rounded(resample(small[None].float(), (height * pairs.scale, width * pairs.scale))[0])
