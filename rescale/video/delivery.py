"""Delivery of frames from a GPU: one copy each into pinned memory, several under way while the next are computed."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rescale.device import begin_download
from rescale.errors import RescaleError
from rescale.inference.tiled import NOT_FINITE

_UNDER_WAY = 3
"""Frames on their way to the host: enough that it never waits for one that has only just been begun."""


class DevicePlanes(list[Tensor]):
    """Planes of a frame in a GPU's memory; whether what made them was finite is to be read with them.

    Args:
        planes: (h, w) each, all of one integer type.
        is_finite: one truth value, in the same memory.
    """

    def __init__(self, planes: Iterable[Tensor], is_finite: Tensor) -> None:
        super().__init__(planes)
        self.is_finite = is_finite


@dataclass(frozen=True)
class Arrival:
    """A frame on its way to the host, or there already."""

    planes: list[Tensor]
    pts: int
    wait: Callable[[], None] | None = None
    """Waits until it is there; None for one that is."""
    is_finite: Tensor | None = None

    def landed(self) -> list[Tensor]:
        """Return the planes once they are there. Raises: RescaleError where what made them was not finite."""
        if self.wait:
            self.wait()
        if self.is_finite is not None and not self.is_finite:
            raise RescaleError(NOT_FINITE)
        return self.planes


def checked(planes: list[Tensor], flags: Sequence[Tensor]) -> list[Tensor]:
    """Return planes of which each flag says that they are finite: at once on a CPU; on a GPU that is read later.

    Raises: RescaleError where one says that they are not.
    """
    if planes[0].device.type == "cuda":
        return DevicePlanes(planes, torch.stack([flag.reshape(()) for flag in flags]).all())
    if not all(flags):
        raise RescaleError(NOT_FINITE)
    return planes


def flags_of(*frames: list[Tensor]) -> list[Tensor]:
    """Return what is still to be read of frames; nothing of those that were checked."""
    return [frame.is_finite for frame in frames if isinstance(frame, DevicePlanes)]


def send(planes: list[Tensor], pts: int) -> Arrival:
    """Begin to bring a frame to the host: its planes and what tells of them in one copy; nothing for one there."""
    first = planes[0]
    if first.device.type != "cuda":
        return Arrival(planes, pts)
    flags = [flag.to(first.dtype)[None] for flag in flags_of(planes)]
    packed, wait = begin_download(torch.cat([plane.reshape(-1) for plane in planes] + flags))
    parts = packed.split([plane.numel() for plane in planes] + [1] * len(flags))
    views = [part.view(plane.shape) for part, plane in zip(parts, planes, strict=False)]
    return Arrival(views, pts, wait, parts[-1] if flags else None)


def landed(arrivals: Iterable[Arrival], spent: Callable[[float], None]) -> Iterator[Arrival]:
    """Yield frames as they arrive, those from a GPU a few frames later.

    Args:
        arrivals: frames as they are sent.
        spent: is told the seconds that waiting for one took.
    """
    under_way: deque[Arrival] = deque()

    def next_one() -> Arrival:
        start, arrival = time.perf_counter(), under_way.popleft()
        arrival.landed()
        spent(time.perf_counter() - start)
        return arrival

    for arrival in arrivals:
        under_way.append(arrival)
        while under_way and (not under_way[0].wait or len(under_way) > _UNDER_WAY):
            yield next_one()
    while under_way:
        yield next_one()
