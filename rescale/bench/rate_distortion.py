"""Rate and distortion of an overfitted video, against bicubic, its generic network and one full-size encoding."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rescale.errors import InputError
from rescale.inference.rescaler import load
from rescale.metrics import decibels, ssim
from rescale.ops.resample import resample
from rescale.video import transforms
from rescale.video.carriage import carried_bytes, find_record
from rescale.video.io.colour import to_rgb
from rescale.video.io.container import library, opened
from rescale.video.io.copies import ATTACHMENT
from rescale.video.io.encoders import Encoding, encoding
from rescale.video.io.frames import Frame, StreamInfo, VideoReader
from rescale.video.io.planes import planes_of
from rescale.video.upscaler import upscaler_for

CODECS = ("h264", "h265")
_SAMPLED = 16
"""Frames, spread over the video, on which SSIM and LPIPS are measured."""
_TURNS = 7
"""Encodings tried in the search for a size."""
_WORST_CRF = 51.0


@dataclass(frozen=True)
class Shown:
    """Quality that a viewer gets for so many bytes of video, sound not counted."""

    name: str
    bytes: int
    psnr: float
    """PSNR of luma in dB, from the mean squared error over all pixels of all frames."""
    ssim: float
    """SSIM of luma, mean over some frames."""
    lpips: float | None
    """LPIPS of RGB, mean over the same frames; None where it was not requested."""


@dataclass
class _Score:
    facts: StreamInfo
    count: int
    distance: Callable[[Tensor, Tensor], Tensor] | None
    squares: float = 0.0
    pixels: int = 0
    seen: int = 0
    likeness: list[float] = field(default_factory=list)
    distances: list[float] = field(default_factory=list)

    def add(self, original: list[Tensor], made: list[Tensor]) -> None:
        a, b = original[0].float(), made[0].float()
        self.squares += (a - b).square().sum(dtype=torch.double).item()
        self.pixels += a.numel()
        if self.seen % max(self.count // _SAMPLED, 1) == 0:
            top = self.facts.colours.levels.top
            self.likeness.append(ssim(a[None, None] / top, b[None, None] / top).item())
            if self.distance:
                pair = [to_rgb(planes, self.facts.colours).clamp(0, 1)[None] for planes in (original, made)]
                self.distances.append(self.distance(*pair).item())
        self.seen += 1

    def shown(self, name: str, size: int) -> Shown:
        mean = max(self.squares / max(self.pixels, 1), 1e-9)
        psnr = decibels(mean, self.facts.colours.levels.top).item()
        far = sum(self.distances) / len(self.distances) if self.distances else None
        return Shown(name, size, psnr, sum(self.likeness) / max(len(self.likeness), 1), far)


def compare(
    source: Path, small: Path, *, seconds: float = 10.0, distance: Callable[[Tensor, Tensor], Tensor] | None = None
) -> list[Shown]:
    """Compare, on a video's beginning: bicubic, generic network, overfitted, and full-size encodings of as many bytes.

    Args:
        source: the original video.
        small: the LR video that `overfit` made of it.
        seconds: how much of it to compare.
        distance: LPIPS, if requested.
    Raises: InputError where the LR video belongs to another original, or is not overfitted.
    """
    with opened(small) as container:
        label = find_record(container, small)
        if label is None or label.networks is None:
            raise InputError(f"{small}: expected an overfitted video")
        attached = next((len(s.data) for s in container.streams.attachments if s.name == ATTACHMENT), 0)
        in_stream = 0 if attached else carried_bytes(container, small)
        scale = -(-label.size[0] // VideoReader(container, small).facts.size[0])
    stream = _stream_bytes(small, seconds) - in_stream  # all of it in the first packet
    ways: list[tuple[str, Callable[[VideoReader], transforms.FrameTransform], int]] = [
        ("bicubic", lambda s: _bicubic(s.facts, scale), stream),
        (label.model, lambda s: transforms.super_resolve(load(label.model), s.facts)[0], stream),
        ("overfitted", lambda s: upscaler_for(s, None, None, None).work, stream + attached + in_stream),
    ]
    found = [_scored(source, small, seconds, name, work, size, distance) for name, work, size in ways]
    for codec in CODECS:
        plain = plain_at(source, codec, found[-1].bytes, seconds)
        found.append(_plainly(source, plain, seconds, distance))
    return found


def curve(source: Path, codec: str, seconds: float, least: int, most: int) -> list[tuple[int, float]]:
    """Measure bytes and PSNR of full-size encodings, from about `least` to `most` bytes."""
    points = [
        (_plainly(source, plan, seconds, None))
        for plan in (plain_at(source, codec, round(least * (most / least) ** (k / 4)), seconds) for k in range(5))
    ]
    return sorted((point.bytes, point.psnr) for point in points)


def plain_at(source: Path, codec: str, size: int, seconds: float) -> Encoding:
    """Find the full-size encoding whose packets come nearest to so many bytes, preset medium."""
    with opened(source) as container:
        facts = VideoReader(container, source).facts
    even = facts.size[0] // 2 * 2, facts.size[1] // 2 * 2
    low, high = 0.0, _WORST_CRF
    best: tuple[float, Encoding] | None = None
    for _ in range(_TURNS):
        middle = round((low + high) / 2, 2)
        plan, _notes = encoding(replace(facts, size=even), even, "matroska", codec=codec, preset="medium")
        plan = replace(plan, quality=middle)  # encoders take fractions
        got = sum(packet.size for packet in _packets(source, plan, seconds))
        if best is None or abs(math.log(got / size)) < best[0]:
            best = abs(math.log(got / size)), plan
        low, high = (middle, high) if got > size else (low, middle)
    assert best
    return best[1]


def _plainly(
    source: Path, plan: Encoding, seconds: float, distance: Callable[[Tensor, Tensor], Tensor] | None
) -> Shown:
    context = plan.begin()
    packets = [bytes(packet) for packet in plan.packets(context, _cropped(source, plan, seconds))]
    decoder = library().CodecContext.create("h264" if "264" in plan.encoder else "hevc", "r")
    decoder.extradata = context.extradata
    with opened(source) as container:
        given = VideoReader(container, source)
        score = _Score(replace(given.facts, size=plan.size), len(packets), distance)
        frames = (frame for data in [*packets, None] for frame in _decoded(decoder, data))
        for original, frame in zip(given.frames(), frames, strict=False):
            made = planes_of(frame, given.facts.colours.levels.depth)
            score.add(_to_size(original.planes, made), made)
    return score.shown(f"{plan.encoder}, CRF {plan.quality:g}", sum(map(len, packets)))


def _decoded(decoder: Any, data: bytes | None) -> list[Any]:
    return list(decoder.decode(library().Packet(data) if data is not None else None))


def _packets(source: Path, plan: Encoding, seconds: float) -> Iterator[Any]:
    yield from plan.packets(plan.begin(), _cropped(source, plan, seconds))


def _cropped(source: Path, plan: Encoding, seconds: float) -> Iterator[Frame]:
    """Yield the first frames, cropped to the even size that encoders take."""
    with opened(source) as container:
        given = VideoReader(container, source)
        (tall, wide), (height, width) = given.facts.colours.chroma, plan.size
        for frame in _beginning(given, seconds):
            first, *chroma = frame.planes
            cut = [first[:height, :width], *(plane[: height // tall, : width // wide] for plane in chroma)]
            yield Frame(cut, frame.pts)


def _beginning(given: VideoReader, seconds: float) -> Iterator[Frame]:
    count = max(round(seconds * given.facts.rate), 1)
    return islice(given.frames(), count)


def _scored(
    source: Path,
    small: Path,
    seconds: float,
    name: str,
    work: Callable[[VideoReader], transforms.FrameTransform],
    size: int,
    distance: Callable[[Tensor, Tensor], Tensor] | None,
) -> Shown:
    with opened(source) as first, opened(small) as second:
        large, little = VideoReader(first, source), VideoReader(second, small)
        through, count = work(little), max(round(seconds * large.facts.rate), 1)
        score = _Score(large.facts, min(count, large.stream.frames or count), distance)
        for a, b in zip(_beginning(large, seconds), _beginning(little, seconds), strict=True):
            score.add(a.planes, [*_to_size(through(b), a.planes)])
    return score.shown(name, size)


def _bicubic(facts: StreamInfo, scale: int) -> transforms.FrameTransform:
    levels = facts.colours.levels

    def work(frame: Frame) -> list[Tensor]:
        sizes = [(plane.shape[0] * scale, plane.shape[1] * scale) for plane in frame.planes]
        large = [resample(p[None].float(), size)[0] for p, size in zip(frame.planes, sizes, strict=True)]
        return [levels.rounded(plane) for plane in large]

    return work


def _to_size(planes: list[Tensor], like: list[Tensor]) -> list[Tensor]:
    return [a[: b.shape[0], : b.shape[1]] for a, b in zip(planes, like, strict=True)]


def _stream_bytes(path: Path, seconds: float) -> int:
    """Count the bytes of the video packets at the beginning."""
    with opened(path) as container:
        stream = container.streams.video[0]
        return sum(p.size for p in container.demux(stream) if p.size and p.pts * p.time_base < seconds)
