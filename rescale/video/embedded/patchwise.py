"""Super-resolve luma by several networks, each on its own patches."""

import torch
from torch import Tensor, nn

from rescale.device import upload
from rescale.errors import RescaleError
from rescale.inference.optimize import Precision
from rescale.inference.tiled import NOT_FINITE
from rescale.models import LumaSR
from rescale.video.embedded.partition import Partition
from rescale.video.io.colour import Levels
from rescale.video.luma_upscaler import LumaUpscaler, mirror_pad


class PatchwiseUpscaler(nn.Module):
    """Networks of one video, each run on its own patches.

    Each patch comes with its halo, the network's receptive field into neighbouring patches, so that
    patches match at their borders as closely as two networks agree.

    Args:
        networks: networks of one configuration.
        partition: the network's number for each patch; patches are of whole cells.
        levels: depth and range of the samples.
        precision: as of `LumaUpscaler`.
    """

    def __init__(
        self, networks: list[LumaSR], partition: Partition, levels: Levels, precision: Precision = "auto"
    ) -> None:
        super().__init__()
        self.enlargers = nn.ModuleList(LumaUpscaler(network, levels, precision) for network in networks)
        self.partition = partition

    def forward(self, y: Tensor, time_ms: int) -> Tensor:
        """Super-resolve a frame shown at `time_ms`: (h, w) levels -> (scale·h, scale·w) levels.

        Raises: RescaleError where numbers come out that are not finite.
        """
        large, flags = self.enlarge(y, time_ms)
        if not all(flags):
            raise RescaleError(NOT_FINITE)
        return large

    @torch.inference_mode()
    def enlarge(self, y: Tensor, time_ms: int) -> tuple[Tensor, list[Tensor]]:
        """Super-resolve a frame, and tell of each network whether its numbers were finite, as `LumaUpscaler` does."""
        choice = self.partition.at(time_ms).flatten()
        first, *others = choice.unique().tolist()
        if not others:
            large, flag = self._enlarger(first).enlarge(y)
            return large, [flag]
        enlarger, side = self._enlarger(first), self.partition.side
        windows = windows_of(y, side, enlarger.halo)
        rows, columns = windows.shape[:2]
        by = side * enlarger.scale
        fine = torch.empty(rows * columns, by, by, dtype=enlarger.dtype, device=y.device)
        flags = []
        for number in (first, *others):
            mine = upload((choice == number).nonzero()[:, 0], y.device)  # found on the host, which need not wait
            fine[mine], flag = self._enlarger(number).fine(windows.flatten(0, 1)[mine])
            flags.append(flag)
        whole = fine.reshape(rows, columns, by, by).transpose(1, 2).reshape(rows * by, columns * by)
        return enlarger.added(y, whole[: y.shape[0] * enlarger.scale, : y.shape[1] * enlarger.scale]), flags

    def _enlarger(self, number: int) -> LumaUpscaler:
        found = self.enlargers[number]
        assert isinstance(found, LumaUpscaler)
        return found


def windows_of(y: Tensor, side: int, halo: int) -> Tensor:
    """Cut into patches with their halo: (h, w) -> (rows, columns, side + 2·halo, side + 2·halo)."""
    reach = side + 2 * halo
    return mirror_pad(y, halo, side).unfold(0, reach, side).unfold(1, reach, side)
