"""Choice of the upscaling method: super-resolution, the model in the video's record, or its embedded networks."""

import hashlib
from collections.abc import Callable
from typing import NamedTuple, cast

import torch

from rescale.device import usable_device
from rescale.errors import RecordError, UsageError
from rescale.geometry import Size, by
from rescale.inference.compatibility import Producer, mismatches
from rescale.inference.rescaler import ModelLike, Rescaler, as_rescaler
from rescale.models import LumaSR, zoo
from rescale.models.zoo import video_model
from rescale.video import transforms
from rescale.video.carriage import find_networks, find_record
from rescale.video.embedded.bundle import NetworkBundle
from rescale.video.embedded.partition import grid
from rescale.video.io.container import opened
from rescale.video.io.frames import Frame, StreamInfo, VideoReader
from rescale.video.known import FrameFinder
from rescale.video.record import VideoRecord, digest

Device = str | torch.device | None


class VideoTransform(NamedTuple):
    """Method that makes the frames of one video larger or smaller."""

    maker: Producer | Rescaler
    work: transforms.FrameTransform
    made: StreamInfo
    """Properties of the upscaled frames."""
    notes: tuple[str, ...] = ()
    met: Callable[[], tuple[str, ...]] = tuple
    """Notes on what was met in the frames that were made so far."""


def upscaler_for(
    given: VideoReader, model: ModelLike | None, scale: float | None, device: Device, *, force: bool = False
) -> VideoTransform:
    """Choose the method by the arguments of `upscale_video` and the video's record.

    Raises: UsageError, RecordError, WeightsError.
    """
    found = _record(given, is_needed=scale is None)
    if found and scale is None:
        brings = found.networks is not None
        return (_by_own_networks if brings else _by_record)(given, found, model, device, force)
    rescaler = as_rescaler(model or video_model(scale), device=device)
    if scale is not None and rescaler.scale != scale:
        raise UsageError(f"expected scale {rescaler.scale} with {rescaler.name}, got {scale:g}")
    note = ("enlarged as an ordinary video; its record would restore it",) if found else ()
    return VideoTransform(rescaler, *transforms.super_resolve(rescaler, given.facts), note)


def _record(given: VideoReader, *, is_needed: bool) -> VideoRecord | None:
    """Read a video's record; None for a damaged one where an ordinary enlarging is asked for."""
    try:
        return find_record(given.container, given.path)
    except RecordError:
        if is_needed:
            raise
        return None


def _by_record(
    given: VideoReader, found: VideoRecord, model: ModelLike | None, device: Device, force: bool
) -> VideoTransform:
    if model is None and not zoo.is_known(found.model):
        raise RecordError(f"made small by {found.model!r}, which this rescale does not have", hint="pass model=")
    rescaler = as_rescaler(model or found.model, device=device)
    _check(found, rescaler, given.first, given.facts, force)
    return VideoTransform(rescaler, *transforms.restore(rescaler, given.facts, found.original(given.facts)))


def _by_own_networks(
    given: VideoReader, found: VideoRecord, model: ModelLike | None, device: Device, force: bool
) -> VideoTransform:
    if model is not None:
        raise UsageError(
            "the video brings its own networks", hint="model= goes with scale=, which enlarges it without them"
        )
    try:
        bundles = _attached(given, found)
        has_table, start = bool(bundles[0].frames.slots), bundles[0].start
        generic = start.network if start else cast(LumaSR, as_rescaler(video_model(bundles[0].scale), device).model)
        finder = FrameFinder(bundles, generic, is_trusting=force or not has_table)
        if not (has_table and _is_of(finder, given)):
            _check_first(found, given.first, force)
    except RecordError as error:
        scale = -(-found.size[0] // given.facts.size[0])
        raise RecordError(error.message, hint=f"scale={scale} enlarges it as an ordinary video") from error
    maker = Producer(f"{found.model}, overfitted", str(found.networks)[:16], usable_device(device))
    original = found.original(given.facts)
    work, made = transforms.patchwise_restore(finder, given.facts, original, given.first.pts, maker.device)
    return VideoTransform(maker, work, made, met=lambda: finder.notes)


def _is_of(finder: FrameFinder, given: VideoReader) -> bool:
    """Tell whether any frame of a video is in a table; all are decoded where it is joined to the end of another."""
    if finder.knows(given.first):
        return True
    with opened(given.path) as container:
        return any(map(finder.knows, VideoReader(container, given.path, tolerant=True).frames()))


def _attached(given: VideoReader, found: VideoRecord) -> list[NetworkBundle]:
    """Read a video's embedded networks: those of its record, and with a table those of videos that were joined to it.

    Raises: RecordError where those of the record are missing, damaged, or of another video.
    """
    data = find_networks(given.container, given.path)
    if not data:
        raise RecordError("the networks that restore it are missing")
    digests = [hashlib.sha256(one).hexdigest() for one in data]
    number = digests.index(str(found.networks)) if found.networks in digests else 0
    parcel = NetworkBundle.unpack(data[number], str(found.networks))
    small, is_grey = given.facts.size, found.layout.startswith("gray")  # which decoders show with empty chroma
    has_layout = is_grey or found.layout == given.facts.layout
    if not _fits(parcel, small) or not has_layout or transforms.small_size(found.size, parcel.scale) != small:
        raise RecordError(f"its networks are for another video than one of {small[1]}x{small[0]}")
    others = [_joined(one, sha256) for one, sha256 in zip(data, digests, strict=True) if sha256 != found.networks]
    return [parcel, *(one for one in others if one and one.scale == parcel.scale and _fits(one, small))]


def _joined(data: bytes, sha256: str) -> NetworkBundle | None:
    """Read networks that no record names; None where they cannot be used, as their frames can do without."""
    try:
        return NetworkBundle.unpack(data, sha256)
    except RecordError:
        return None


def _fits(parcel: NetworkBundle, small: Size) -> bool:
    partition = parcel.partition
    return grid(small, partition.side) == tuple(partition.choice.shape[1:])


def _check(found: VideoRecord, rescaler: Rescaler, first: Frame, small: StreamInfo, force: bool) -> None:
    for reason in mismatches(found, rescaler, small.size, f", {by(found.size)}"):
        raise RecordError(reason)
    _check_first(found, first, force)


def _check_first(found: VideoRecord, first: Frame, force: bool) -> None:
    if found.first != digest(first.planes) and not force:
        raise RecordError(
            "re-encoded or edited after it was made small, so it would restore badly", hint="pass options.force=True"
        )
