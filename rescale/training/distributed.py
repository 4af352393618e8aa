"""Data-parallel training by several processes, as torchrun starts them; without it, a group of one."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from rescale.errors import UsageError


@dataclass(frozen=True)
class ProcessGroup:
    """One process among `size`, each of which keeps the same weights and learns from its share of every batch."""

    rank: int = 0
    size: int = 1

    @property
    def is_lead(self) -> bool:
        """True in the process that validates, writes and reports."""
        return self.rank == 0

    def share(self, batch: int) -> slice:
        """Return this process's slice of a batch. Raises: UsageError where the batch cannot be split evenly."""
        if batch % self.size:
            raise UsageError(f"batch: expected a multiple of the {self.size} processes, got {batch}")
        return slice(self.rank * batch // self.size, (self.rank + 1) * batch // self.size)

    def together(self, module: nn.Module) -> nn.Module:
        """Wrap the module so that gradients are means over all processes."""
        if self.size == 1:
            return module
        for buffer in module.buffers():  # 1x1 kernels in channels_last have strides that cannot be sent
            buffer.data = buffer.data.clone(memory_format=torch.contiguous_format)
        return DistributedDataParallel(module)

    def agreed(self, value: float) -> float:
        """Broadcast the lead's value to every process."""
        return self._reduced(value if self.is_lead else 0.0)

    def mean(self, value: float) -> float:
        """Average a value over all processes, in every process."""
        return self._reduced(value / self.size)

    def _reduced(self, value: float) -> float:
        if self.size == 1:
            return value
        total = torch.tensor(value, dtype=torch.float64, device=_device())
        dist.all_reduce(total)
        return float(total)


@contextmanager
def process_group(device: str) -> Iterator[ProcessGroup]:
    """Join the group; over NCCL where `device` is CUDA, else over gloo. torchrun assigns the ranks."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield ProcessGroup()
        return
    is_cuda = device.startswith("cuda")
    if is_cuda:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if is_cuda else "gloo")
    try:
        yield ProcessGroup(dist.get_rank(), dist.get_world_size())
        dist.barrier()  # the lead may still be writing
    finally:
        dist.destroy_process_group()


def _device() -> str:
    return "cuda" if dist.get_backend() == "nccl" else "cpu"
