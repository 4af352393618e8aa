"""Decode, network, encode: three threads with short queues between them, and a clock that shows the slowest stage."""

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

from rescale.video.delivery import Arrival, landed, send
from rescale.video.io.frames import Frame
from rescale.video.transforms import FrameTransform

T = TypeVar("T")
_AHEAD = 4
"""Maximum frames queued between two stages: enough to even out, few enough for any memory."""
_END = object()


@dataclass
class Clock:
    """Working time of each stage."""

    frames: int = 0
    total: int | None = None
    """Total number of frames, if known."""
    busy: dict[str, float] = field(default_factory=lambda: dict.fromkeys(("decode", "network", "encode"), 0.0))
    began: float = field(default_factory=time.monotonic)
    notes: tuple[str, ...] = ()
    """Notes on the source, known before the first frame is done."""

    def timed(self, stage: str, items: Iterable[T], sign: int = 1) -> Iterator[T]:
        """Yield items while timing how long each takes to come; a sign of -1 subtracts that time."""
        iterator = iter(items)
        while True:
            start = time.perf_counter()
            item = next(iterator, _END)
            self.busy[stage] += sign * (time.perf_counter() - start)
            if item is _END:
                return
            yield item  # type: ignore[misc]

    @property
    def rates(self) -> dict[str, float]:
        """Frames a second of each stage, if it had not to wait for the others."""
        return {stage: self.frames / busy for stage, busy in self.busy.items() if busy}

    @property
    def rate(self) -> float:
        """Frames a second so far."""
        return self.frames / max(time.monotonic() - self.began, 1e-9)


def ahead(items: Iterable[T]) -> Iterator[T]:
    """Iterate in a thread of its own, a few items ahead; an error there is raised here.

    A caller that stops early should close the iterator: the thread then ends after its current item.
    """
    waiting: queue.Queue[Any] = queue.Queue(_AHEAD)
    stopped = threading.Event()

    def put(item: Any) -> bool:
        while not stopped.is_set():
            try:
                waiting.put(item, timeout=0.1)
                return True
            except queue.Full:
                pass
        return False

    def make() -> None:
        try:
            for item in items:
                if not put((item, None)):
                    break
            else:
                put((None, _END))
        except BaseException as error:
            put((None, error))

    thread = threading.Thread(target=make, daemon=True)
    thread.start()
    try:
        while True:
            item, problem = waiting.get()
            if problem is _END:
                return
            if problem is not None:
                raise problem
            yield item
    finally:
        stopped.set()
        thread.join()


def worked(
    frames: Iterable[Frame], work: FrameTransform, clock: Clock, tell: Callable[[Clock], None]
) -> Iterator[Frame]:
    """Run each frame's planes through a network, with decoding and inference ahead in threads of their own.

    A GPU is given the next frames before the first has come back.
    """

    def spent(seconds: float) -> None:
        clock.busy["network"] += seconds

    def sent(decoded: Iterator[Frame]) -> Iterator[Arrival]:
        for frame in decoded:
            start = time.perf_counter()
            arrival = send(work(frame), frame.pts)
            spent(time.perf_counter() - start)
            yield arrival

    def through(decoded: Iterator[Frame]) -> Iterator[Frame]:
        for arrival in landed(sent(decoded), spent):
            clock.frames += 1
            tell(clock)
            yield Frame(arrival.planes, arrival.pts)

    decoded = ahead(clock.timed("decode", frames))
    try:
        yield from ahead(through(decoded))
    finally:
        decoded.close()  # type: ignore[attr-defined]
