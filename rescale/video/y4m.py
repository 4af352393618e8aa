"""Stream frames to a player as yuv4mpeg, which players read from a pipe."""

import contextlib
from contextlib import closing
from pathlib import Path
from typing import IO

import numpy as np
from torch import Tensor

from rescale.video.carriage import find_record
from rescale.video.io.colour import Siting
from rescale.video.io.container import opened
from rescale.video.io.frames import StreamInfo, VideoReader
from rescale.video.pipeline import Clock, worked
from rescale.video.playback import for_player
from rescale.video.upscaler import upscaler_for

_SCALE = 2
_SITINGS: dict[Siting, str] = {"left": "420mpeg2", "center": "420jpeg", "topleft": "420paldv"}
"""Names of 4:2:0 of 8 bits, by where chroma sits."""
_NAMES = {"yuv420p": "420mpeg2", "yuv422p": "422", "yuv444p": "444", "gray": "mono"}
_NAMES |= {f"yuv{by}p{depth}le": f"{by}p{depth}" for by in (420, 422, 444) for depth in (9, 10, 12, 14, 16)}
_NAMES |= {f"gray{depth}le": f"mono{depth}" for depth in (9, 10, 12, 16)}
"""Names of layouts, as FFmpeg reads them."""
_FIELDS = {"": "p", "tff": "t", "bff": "b"}


def pipe(
    source: Path, file: IO[bytes], *, model: str | None = None, scale: float | None = None, device: str | None = None
) -> int:
    """Write all frames of a video, super-resolved, or restored by its record where no scale is given.

    Returns: number of frames, fewer if the reader has closed the pipe.

    The format has one frame rate only: a video of variable rate plays at its mean. It has no rotation and no matrix
    either: frames are turned, and brought to the matrix that players take for their size, in studio range.

    Raises: as `upscale_video`.
    """
    count = 0
    with opened(source) as container:
        given = VideoReader(container, source)
        is_plain = find_record(container, source) is None
        way = upscaler_for(given, model, scale or (_SCALE if is_plain and model is None else None), device)
        shown, brought = for_player(way.made, _NAMES, _SITINGS)
        with (
            contextlib.suppress(BrokenPipeError),
            closing(worked(given.frames(), way.work, Clock(), lambda _: None)) as frames,  # type: ignore[type-var]
        ):
            file.write(_header(shown))
            for frame in frames:
                file.write(b"FRAME\n" + _samples(brought(frame.planes), shown))
                count += 1
            file.flush()
            given.check_whole()
    return count


def _header(facts: StreamInfo) -> bytes:
    (height, width), rate, aspect = facts.size, facts.rate, facts.aspect
    name = _SITINGS[facts.colours.siting] if facts.layout == "yuv420p" else _NAMES[facts.layout]
    said = f"W{width} H{height} F{rate.numerator}:{rate.denominator} I{_FIELDS[facts.fields]}"
    return f"YUV4MPEG2 {said} A{aspect.numerator}:{aspect.denominator} C{name} XCOLORRANGE=LIMITED\n".encode()


def _samples(planes: list[Tensor], facts: StreamInfo) -> bytes:
    dtype = np.uint8 if facts.depth == 8 else np.dtype("<u2")
    return b"".join(plane.cpu().numpy().astype(dtype).tobytes() for plane in planes)
