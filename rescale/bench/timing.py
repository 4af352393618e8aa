"""Interleaved timing: turns, repeats, and the limits of the machine."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Race:
    """Speed-up of a contender over its baseline, turn by turn."""

    contender: str
    baseline: str
    contender_s: float
    baseline_s: float
    ratio: float
    """Median over the turns, as are the seconds."""
    least: float
    most: float


def race(
    contender: tuple[str, Callable[[], object]], baseline: tuple[str, Callable[[], object]], *, turns: int = 5
) -> Race:
    """Time both in turns, after one warm-up each that does not count."""
    for _, work in (contender, baseline):
        work()
    times = [(_seconds(contender[1]), _seconds(baseline[1])) for _ in range(turns)]
    ratios = [slow / fast for fast, slow in times]
    fast, slow = (statistics.median(column) for column in zip(*times, strict=True))
    return Race(contender[0], baseline[0], fast, slow, statistics.median(ratios), min(ratios), max(ratios))


def matmul_gflops(dtype: torch.dtype, device: torch.device, *, side: int = 2048, turns: int = 7) -> float:
    """Measure a large matrix product in billions of operations a second: the upper limit for a convolution."""
    a, b = (torch.rand(side, side, device=device).to(dtype) for _ in range(2))
    a @ b
    return 2e-9 * side**3 / statistics.median(_seconds(lambda: a @ b) for _ in range(turns))


def copy_gbytes(device: torch.device, *, size: int = 2**28, turns: int = 7) -> float:
    """Measure a copy of `size` bytes: billions of bytes a second, read and written together."""
    a, b = (torch.zeros(size // 4, device=device) for _ in range(2))
    return 2e-9 * size / statistics.median(_seconds(lambda: b.copy_(a)) for _ in range(turns))


def _seconds(work: Callable[[], object]) -> float:
    time.sleep(0.1)  # the threads of whoever ran before may spin a while in hope of more
    _wait()
    began = time.perf_counter()
    work()
    _wait()
    return time.perf_counter() - began


def _wait() -> None:
    """Synchronise the device, so that the clock is read when the work is done."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
