"""Interlaced frames: their fields apart and together again, or made whole frames by FFmpeg's bwdif."""

from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Any, Literal

import torch
from torch import Tensor

from rescale.video.io.container import library

Order = Literal["", "tff", "bff"]
"""Field that is shown first: the top or the bottom one; empty for progressive frames."""
_BOTTOM = (3, 5)
"""FFmpeg's numbers of a field order in which the bottom field is shown first."""


def field_order(frame: Any, context: Any) -> Order:
    """Tell which field of a frame is shown first; DV's is the bottom one, others that do not say have the top one."""
    if not frame.interlaced_frame:
        return ""
    return "bff" if context.field_order in _BOTTOM or (not context.field_order and context.name == "dvvideo") else "tff"


def fields_of(planes: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """Part planes into those of the top and of the bottom field."""
    return [plane[0::2] for plane in planes], [plane[1::2] for plane in planes]


def woven(top: list[Tensor], bottom: list[Tensor]) -> list[Tensor]:
    """Weave the planes of two fields: the opposite of `fields_of`."""
    return [torch.stack(pair, dim=1).flatten(0, 1) for pair in zip(top, bottom, strict=True)]


def deinterlaced(frames: Iterable[Any], base: Fraction) -> Iterator[Any]:
    """Make whole frames of interlaced ones, one of each, at its time.

    Frames that say that they are progressive stay as they are, unless the first one says so: then none is believed.

    Args:
        frames: decoded frames.
        base: seconds in a tick of their times.
    """
    graph: _Graph | None = None
    for frame in frames:
        if graph is None or not graph.fits(frame):
            yield from graph.rest() if graph else ()
            graph = _Graph(frame, base)
        yield from graph.put(frame)
    yield from graph.rest() if graph else ()


class _Graph:
    """Filter graph for frames of one size and format."""

    def __init__(self, frame: Any, base: Fraction) -> None:
        self.base, self.kind = base, _kind(frame)
        self.graph = library().filter.Graph()
        source = self.graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=base)
        which = "interlaced" if frame.interlaced_frame else "all"
        self.graph.link_nodes(
            source, self.graph.add("bwdif", f"mode=send_frame:deint={which}"), self.graph.add("buffersink")
        ).configure()

    def fits(self, frame: Any) -> bool:
        return _kind(frame) == self.kind

    def put(self, frame: Any) -> Iterator[Any]:
        """Take a frame, and yield those that are done; it waits for the next one."""
        self.graph.push(frame)
        yield from self._done()

    def rest(self) -> Iterator[Any]:
        """Yield what is left."""
        self.graph.push(None)
        yield from self._done()

    def _done(self) -> Iterator[Any]:
        av = library()
        while True:
            try:
                frame = self.graph.pull()
            except (av.BlockingIOError, av.EOFError):
                return
            frame.pts, frame.time_base = round(frame.pts * frame.time_base / self.base), self.base
            yield frame


def _kind(frame: Any) -> tuple[int, int, str]:
    return frame.width, frame.height, frame.format.name


class FieldMarker:
    """Mark frames for an encoder as interlaced, which PyAV does not let one do by itself."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self._graph: Any = None

    def __call__(self, frame: Any) -> Any:
        """Return the frame, marked."""
        if not self.order:
            return frame
        if self._graph is None:
            graph = library().filter.Graph()
            source = graph.add_buffer(template=None, width=frame.width, height=frame.height, format=frame.format,
                                      time_base=frame.time_base)  # fmt: skip
            self._graph = graph.link_nodes(source, graph.add("setfield", self.order), graph.add("buffersink"))
            self._graph.configure()
        self._graph.push(frame)
        return self._graph.pull()
