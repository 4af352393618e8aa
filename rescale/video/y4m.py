"""Stream frames to a player as yuv4mpeg, which players read from a pipe."""

import contextlib
from contextlib import closing
from pathlib import Path
from typing import IO

import numpy as np

from rescale.errors import UnsupportedError
from rescale.video.io.container import opened
from rescale.video.io.frames import Frame, StreamInfo, VideoReader
from rescale.video.pipeline import Clock, worked
from rescale.video.record import VideoRecord
from rescale.video.upscaler import upscaler_for

_SCALE = 2
_NAMES = {"yuv420p": "420mpeg2", "yuv422p": "422", "yuv444p": "444", "gray": "mono", "yuv420p10le": "420p10",
          "yuv422p10le": "422p10", "yuv444p10le": "444p10", "yuv420p12le": "420p12"}  # fmt: skip


def pipe(
    source: Path, file: IO[bytes], *, model: str | None = None, scale: float | None = None, device: str | None = None
) -> int:
    """Write all frames of a video, super-resolved, or restored by its record where no scale is given.

    Returns: number of frames, fewer if the reader has closed the pipe.

    The format has one frame rate only: a video of variable rate plays at its mean.

    Raises: UnsupportedError for planes that the format does not support; else as `upscale_video`.
    """
    count = 0
    with opened(source) as container:
        given = VideoReader(container, source)
        is_plain = VideoRecord.find(container.metadata) is None
        _, work, made, _ = upscaler_for(given, model, scale or (_SCALE if is_plain and model is None else None), device)
        if made.layout not in _NAMES:
            raise UnsupportedError(f"{source}: expected one of {', '.join(_NAMES)} to pipe, got {made.layout}")
        with (
            contextlib.suppress(BrokenPipeError),
            closing(worked(given.frames(), work, Clock(), lambda _: None)) as frames,  # type: ignore[type-var]
        ):
            file.write(_header(made))
            for frame in frames:
                file.write(b"FRAME\n" + _samples(frame, made))
                count += 1
            file.flush()
            given.check_whole()
    return count


def _header(facts: StreamInfo) -> bytes:
    (height, width), rate, aspect = facts.size, facts.rate, facts.aspect
    range_ = "FULL" if facts.colours.levels.is_full else "LIMITED"
    said = f"W{width} H{height} F{rate.numerator}:{rate.denominator} Ip A{aspect.numerator}:{aspect.denominator}"
    return f"YUV4MPEG2 {said} C{_NAMES[facts.layout]} XCOLORRANGE={range_}\n".encode()


def _samples(frame: Frame, facts: StreamInfo) -> bytes:
    dtype = np.uint8 if facts.colours.levels.depth == 8 else np.dtype("<u2")
    return b"".join(plane.cpu().numpy().astype(dtype).tobytes() for plane in frame.planes)
