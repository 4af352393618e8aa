"""Training frames of one video: HR luma, and LR luma as its receiver decodes it, side by side on the disk."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rescale.errors import MachineError, RescaleError
from rescale.geometry import Size
from rescale.video.io.colour import Levels
from rescale.video.io.container import opened
from rescale.video.io.frames import Frame, VideoReader
from rescale.video.io.times import MILLISECOND
from rescale.video.transforms import time_ms

MOST_BYTES = 4 * 2**30
"""Maximum bytes of luma on the disk; of a longer video, every n-th frame is taken."""


@dataclass(frozen=True)
class FramePairs:
    """Pairs of HR and LR frames to train and to evaluate on.

    Args:
        hr: (frames, H, W), in levels.
        lr: (frames, h, w), in levels, h·scale ≥ H.
        times_ms: times of the frames, from 0 on.
        levels: depth and range of the samples.
        scale: HR/LR, of the sides.
    """

    hr: NDArray[Any]
    lr: NDArray[Any]
    times_ms: list[int]
    levels: Levels
    scale: int

    def __len__(self) -> int:
        return len(self.times_ms)

    def large(self, k: int) -> Tensor:
        """HR frame k: (H, W), in levels."""
        return _tensor(self.hr[k])

    def small(self, k: int) -> Tensor:
        """LR frame k: (h, w), in levels."""
        return _tensor(self.lr[k])


@contextmanager
def open_pairs(
    source: Path, small: Path, folder: Path, scale: int, *, tolerant: bool = False, deinterlace: bool = False
) -> Iterator[FramePairs]:
    """Decode both videos' luma into files that are removed at the end.

    Args:
        source: the original video.
        small: the LR video, with the same frames.
        folder: holds the files.
        scale: HR/LR, of the sides.
        tolerant: use what can be decoded of a damaged source.
        deinterlace: take the source as whole frames.
    Raises: InputError, MachineError.
    """
    paths = [folder / "hr.luma", folder / "lr.luma"]
    try:
        with opened(source) as first, opened(small) as second:
            large = VideoReader(first, source, tolerant=tolerant, tick=MILLISECOND, deinterlace=deinterlace)
            yield _read(large, VideoReader(second, small), paths, scale)
    except OSError as error:
        raise MachineError(f"cannot write {folder}: {error.strerror or error}") from error
    finally:
        for path in paths:
            path.unlink(missing_ok=True)


def _read(large: VideoReader, small: VideoReader, paths: list[Path], scale: int) -> FramePairs:
    levels = large.facts.colours.levels
    kind = np.dtype(np.uint8 if levels.depth == 8 else np.uint16)
    count = large.stream.frames or round(float((large.container.duration or 0) / 1e6 * large.facts.rate))
    each = sum(s.facts.size[0] * s.facts.size[1] for s in (large, small)) * kind.itemsize
    step = max(-(-count * each // MOST_BYTES), 1)
    times: list[int] = []
    with paths[0].open("wb") as hr, paths[1].open("wb") as lr:
        for k, (a, b) in enumerate(zip(large.frames(), small.frames(), strict=True)):
            if time_ms(a, large.facts, large.first.pts) != time_ms(b, small.facts, small.first.pts):
                raise RescaleError(f"frame {k} of the small video is shown at another time than that of the large one")
            if k % step == 0:
                _append(hr, a, kind)
                _append(lr, b, kind)
                times.append(time_ms(b, small.facts, small.first.pts))
    shapes = [_mapped(path, kind, len(times), s.facts.size) for path, s in zip(paths, (large, small), strict=True)]
    return FramePairs(shapes[0], shapes[1], times, levels, scale)


def _append(file: Any, frame: Frame, kind: np.dtype[Any]) -> None:
    file.write(frame.planes[0].numpy().astype(kind).tobytes())


def _mapped(path: Path, kind: np.dtype[Any], count: int, size: Size) -> NDArray[Any]:
    return np.memmap(path, kind, "r", shape=(count, *size))


def _tensor(levels: NDArray[Any]) -> Tensor:
    return torch.from_numpy(levels.astype(np.uint8 if levels.dtype == np.uint8 else np.int32))
