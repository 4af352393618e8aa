"""Video super-resolution against FFmpeg's own filter: closeness to the original, and speed, in one run."""

import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from rescale.bench.timing import processor, race
from rescale.errors import UnsupportedError
from rescale.geometry import Size
from rescale.inference.rescaler import load
from rescale.metrics import decibels
from rescale.models import ESPCN
from rescale.ops.resample import resample
from rescale.video.files import upscale_video
from rescale.video.io.colour import Levels
from rescale.video.io.container import library, opened
from rescale.video.io.encoders import encoding
from rescale.video.io.frames import Frame, VideoReader
from rescale.video.io.planes import planes_of
from rescale.video.luma_upscaler import LumaUpscaler


@dataclass(frozen=True)
class Contest:
    """Results of both methods on the same LR video, with the same encoder at the same settings."""

    model: str
    size: tuple[int, int]
    """Height and width of the upscaled video."""
    frames: int
    psnr: float
    """PSNR of luma in dB, decoded from the written file; from the mean squared error of all frames."""
    lanczos_psnr: float
    fps: float
    """Frames a second: decoding, super-resolution and encoding together."""
    lanczos_fps: float
    bytes: int
    lanczos_bytes: int
    ratio: float
    """Speed-up over FFmpeg's filter: the median over turns in which both run one after the other."""
    least: float
    most: float
    alone_fps: float
    """Luma frames of 960x540 that the network alone super-resolves a second."""
    processor: str


def contest(source: Path, model: str, *, seconds: float = 10.0, turns: int = 3) -> Contest:
    """Downscale the beginning of a video by bicubic, losslessly, and super-resolve it by both methods, in turns.

    Args:
        source: the original video, of 8 bits and with chroma halved along both axes.
        model: a super-resolution model for video.
        seconds: how much of the source to use.
        turns: number of times that both are measured, after one that does not count.
    Raises: UnsupportedError for another video.
    """
    scale = load(model).model.scale or 2
    with tempfile.TemporaryDirectory() as folder:
        small, ours, theirs = (Path(folder) / name for name in ("small.mkv", "ours.mp4", "theirs.mp4"))
        large = _shrink(source, small, scale, seconds)
        found = race(
            (model, lambda: upscale_video(small, ours, scale=scale, model=model, overwrite=True)),
            ("scale=lanczos", lambda: _lanczos(small, theirs, scale)),
            turns=turns,
        )
        count = len(large)
        return Contest(
            model, (large[0].shape[0], large[0].shape[1]), count, _psnr(large, ours), _psnr(large, theirs),
            count / found.contender_s, count / found.baseline_s, ours.stat().st_size, theirs.stat().st_size,
            found.ratio, found.least, found.most, alone(model), processor(),
        )  # fmt: skip


def alone(model: str, *, size: Size = (540, 960), turns: int = 30) -> float:
    """Measure the frames of `size` (height, width) a second that the network alone super-resolves, luma only."""
    network = LumaUpscaler(cast(ESPCN, load(model).model), Levels())
    luma = torch.randint(0, 256, size, dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    times = []
    for _ in range(turns):
        began = time.perf_counter()
        network(luma)
        times.append(time.perf_counter() - began)
    return 1 / statistics.median(times)


def _shrink(source: Path, target: Path, scale: int, seconds: float) -> list[Tensor]:
    """Downscale the frames. Returns: the luma of the original's frames, cropped to a multiple of the scale."""
    luma: list[Tensor] = []
    with opened(source) as container, library().open(str(target), "w") as made:
        given = VideoReader(container, source)
        if given.facts.layout != "yuv420p":
            raise UnsupportedError(f"{source}: expected yuv420p to compare with, got {given.facts.layout}")
        height, width = (side // (2 * scale) * 2 * scale for side in given.facts.size)
        plan, _ = encoding(given.facts, (height // scale, width // scale), "matroska", codec="ffv1")
        stream = made.add_stream(plan.encoder, rate=plan.facts.rate)
        plan.fit(stream.codec_context)

        def frames() -> Iterator[Frame]:
            for frame in given.frames():
                if frame.pts * given.facts.time_base > seconds:
                    return
                planes = [p[: height // k, : width // k] for p, k in zip(frame.planes, (1, 2, 2), strict=True)]
                luma.append(planes[0])
                yield Frame([_smaller(plane, scale) for plane in planes], frame.pts)

        for packet in plan.packets(stream.codec_context, frames()):
            packet.stream = stream
            made.mux(packet)
    return luma


def _smaller(plane: Tensor, scale: int) -> Tensor:
    size = plane.shape[0] // scale, plane.shape[1] // scale
    return Levels().rounded(resample(plane[None].float(), size)[0]).to(torch.uint8)


def _lanczos(source: Path, target: Path, scale: int) -> None:
    """Run FFmpeg's scale=lanczos with the encoder and the options that `upscale_video` takes."""
    av: Any = library()
    with opened(source) as container, av.open(str(target), "w") as made:
        given = VideoReader(container, source)
        facts, stream_in = given.facts, given.stream
        size = facts.size[0] * scale, facts.size[1] * scale
        plan, _ = encoding(facts, size, "mp4")
        stream = made.add_stream(plan.encoder, rate=Fraction(facts.rate))
        plan.fit(stream.codec_context)
        graph = av.filter.Graph()
        begin, end = graph.add_buffer(template=stream_in), graph.add("buffersink")
        filtered = graph.add("scale", f"{size[1]}:{size[0]}:flags=lanczos")
        begin.link_to(filtered)
        filtered.link_to(end)
        graph.configure()
        container.seek(0)
        for frame in container.decode(stream_in):
            graph.push(frame)
            filtered_frame = graph.pull()
            filtered_frame.pict_type = 0  # or the encoder would make every frame a key frame, as in the source
            made.mux(stream.encode(filtered_frame))
        made.mux(stream.encode(None))


def _psnr(large: list[Tensor], path: Path) -> float:
    with opened(path) as container:
        made = (planes_of(frame, 8)[0] for frame in container.decode(video=0))
        errors = [(a.float() - b.float()).square().mean() for a, b in zip(large, made, strict=True)]
    return decibels(torch.stack(errors).mean(), 255).item()
