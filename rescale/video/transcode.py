"""Decode, transform and encode a video segment by segment, so that a killed run goes on."""

import hashlib
from collections.abc import Iterator
from contextlib import closing
from itertools import chain, islice
from pathlib import Path
from typing import Any

from rescale.device import release_memory
from rescale.errors import UnsupportedError
from rescale.inference.compatibility import Producer
from rescale.inference.rescaler import Rescaler
from rescale.io.object_store import Place
from rescale.video import transforms
from rescale.video.io.container import format_of
from rescale.video.io.encoders import Encoding
from rescale.video.io.frames import Frame, VideoReader
from rescale.video.io.segments import Segments
from rescale.video.io.sequence import files_of
from rescale.video.io.times import tick_of
from rescale.video.options import EncodeOptions, ProgressCallback
from rescale.video.pipeline import Clock, worked

_SEGMENT_S = 10
"""Length of a segment in seconds of video: the most that a killed run loses."""


def transcode(
    segments: Segments,
    given: VideoReader,
    work: transforms.FrameTransform,
    plan: Encoding,
    clock: Clock,
    options: EncodeOptions,
) -> None:
    """Encode the frames that are not yet in the segments."""
    rest = islice(given.frames(), segments.open(), None)
    try:
        _encode(rest, work, plan, segments, clock, options.tell)
    except UnsupportedError:
        segments.discard()  # another run would come no further
        raise
    finally:
        segments.discard_if_empty()
    if not options.allow_truncated:
        kept = f"{segments.folder} holds what was made of it"
        given.check_whole(f"options.allow_truncated=True takes what there is, and {kept}")


def open_reader(container: Any, path: Path, options: EncodeOptions, target: Place) -> VideoReader:
    """Open the video of a container, with the reader's options.

    Raises: as `VideoReader`; UsageError where frames are too close for a target that counts in milliseconds.
    """
    given = VideoReader(
        container, path,
        threads=options.threads, tolerant=options.allow_truncated, max_pixels=options.max_pixels,
        tick=tick_of(format_of(target)), deinterlace=options.deinterlace,
    )  # fmt: skip
    given.check_fine(target.suffix)
    return given


def _encode(
    decoded: Iterator[Frame],
    work: transforms.FrameTransform,
    plan: Encoding,
    segments: Segments,
    clock: Clock,
    tell: ProgressCallback,
) -> None:
    """Encode segment after segment, until the frames end."""
    length = max(round(plan.facts.rate * _SEGMENT_S), 1)
    with closing(worked(decoded, work, clock, tell)) as made:  # type: ignore[type-var]
        for frame in made:
            some = clock.timed("encode", chain([frame], islice(made, length - 1)), -1)  # to wait is not to encode
            segments.add(clock.timed("encode", plan.packets(plan.begin(), some)))
            release_memory()  # or what encoders leave between the frames would grow from segment to segment


def fingerprint(
    source: Path, maker: Producer | Rescaler, plan: Encoding, options: EncodeOptions, said: str | None
) -> dict[str, Any]:
    """Collect everything that decides the packets."""
    files = files_of(source)
    stats = [file.stat() for file in files]
    return {
        "source": [str(source.resolve()), *((facts.st_size, facts.st_mtime_ns) for facts in stats), _ends(files[-1])],
        "weights": maker.digest, "device": maker.device.type, "encoder": plan.encoder, "options": plan.options,
        "threads": plan.threads,
        "layout": plan.pixels, "size": plan.size, "said": said, "deinterlace": options.deinterlace,
    }  # fmt: skip


def _ends(path: Path) -> str:
    """Digest of the first and the last MiB of a file."""
    with path.open("rb") as file:
        total = hashlib.sha256(file.read(2**20))
        file.seek(max(path.stat().st_size - 2**20, 0))
        total.update(file.read())
    return total.hexdigest()
