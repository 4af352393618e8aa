"""Interleaved timing: turns, repeats, and the limits of the machine in the same turns."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from rescale.device import processor_name
from rescale.inference.optimize import multiplies_bfloat16

Work = Callable[[], object]


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


@dataclass(frozen=True)
class Limits:
    """What the machine itself can do, measured in the turns of a race: billions a second, turn by turn."""

    product: list[float]
    """Operations of a large matrix product, in the network's compute type."""
    convolution: list[float]
    """Operations of a 3x3 convolution of 64 to 64 channels, in the same."""
    copied: list[float]
    """Bytes that a large copy reads and writes."""

    @property
    def operations(self) -> list[float]:
        """The faster of both ways to multiply, turn by turn."""
        return [max(pair) for pair in zip(self.product, self.convolution, strict=True)]


def race(contender: tuple[str, Work], baseline: tuple[str, Work], *, turns: int = 5) -> Race:
    """Time both in turns, after one warm-up each that does not count."""
    return raced(contender[0], baseline[0], timed(dict([contender, baseline]), turns))


def raced(contender: str, baseline: str, times: Mapping[str, list[float]]) -> Race:
    """Compare two of the works that were timed."""
    ratios = [slow / fast for fast, slow in zip(times[contender], times[baseline], strict=True)]
    fast, slow = (statistics.median(times[name]) for name in (contender, baseline))
    return Race(contender, baseline, fast, slow, statistics.median(ratios), min(ratios), max(ratios))


def timed(works: Mapping[str, Work], turns: int) -> dict[str, list[float]]:
    """Return the seconds of each work in each turn, in which all of them run one after the other."""
    for work in works.values():
        work()
    rows = [{name: _seconds(work) for name, work in works.items()} for _ in range(turns)]
    return {name: [row[name] for row in rows] for name in works}


def limiting(dtype: torch.dtype, device: torch.device) -> dict[str, Work]:
    """Return the works that find out what a machine can do, to be timed in turns with others; see `limits`."""
    side = 8192 if device.type == "cuda" else 2048
    a, b = (torch.rand(side, side, device=device).to(dtype) for _ in range(2))
    x = torch.rand(1, 64, 256, 256, device=device).to(dtype).contiguous(memory_format=torch.channels_last)
    kernel = torch.rand(64, 64, 3, 3, device=device).to(dtype).contiguous(memory_format=torch.channels_last)
    source, target = (torch.zeros(_COPIED // 4, device=device) for _ in range(2))
    return {
        "product": lambda: a @ b,
        "convolution": lambda: torch.nn.functional.conv2d(x, kernel, padding=1),
        "copy": lambda: target.copy_(source),
    }


def limits(times: Mapping[str, list[float]], device: torch.device) -> Limits:
    """Turn the seconds of the works of `limiting` into rates."""
    side = 8192 if device.type == "cuda" else 2048
    made = {"product": 2e-9 * side**3, "convolution": 2e-9 * 256**2 * 64 * 64 * 9, "copy": 2e-9 * _COPIED}
    return Limits(*([made[name] / seconds for seconds in times[name]] for name in made))


_COPIED = 2**28
"""Bytes of the large copy."""


def processor() -> str:
    """Name the processor, and what of it PyTorch uses, as every figure of speed depends on it."""
    kind = torch.backends.cpu.get_cpu_capability()
    kind += ", bfloat16" * multiplies_bfloat16(torch.device("cpu"))
    return f"{processor_name()}, {kind}, {torch.get_num_threads()} threads"


def _seconds(work: Work) -> float:
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
