"""Choice of the upscaling method: super-resolution, the model in the video's record, or its embedded networks."""

from typing import NamedTuple

import torch

from rescale.device import usable_device
from rescale.errors import RecordError, UsageError
from rescale.geometry import by
from rescale.inference.compatibility import Producer, mismatches
from rescale.inference.rescaler import ModelLike, Rescaler, as_rescaler
from rescale.models import zoo
from rescale.models.zoo import video_model
from rescale.video import transforms
from rescale.video.embedded.bundle import NetworkBundle
from rescale.video.embedded.partition import grid
from rescale.video.io.copies import ATTACHMENT
from rescale.video.io.frames import Frame, StreamInfo, VideoReader
from rescale.video.record import VideoRecord, digest

Device = str | torch.device | None


class VideoTransform(NamedTuple):
    """Method that makes the frames of one video larger or smaller."""

    maker: Producer | Rescaler
    work: transforms.FrameTransform
    made: StreamInfo
    """Properties of the upscaled frames."""
    notes: tuple[str, ...] = ()


def upscaler_for(
    given: VideoReader, model: ModelLike | None, scale: float | None, device: Device, *, force: bool = False
) -> VideoTransform:
    """Choose the method by the arguments of `upscale_video` and the video's record.

    Raises: UsageError, RecordError, WeightsError.
    """
    found = VideoRecord.find(given.container.metadata)
    if found and scale is None:
        brings = found.networks is not None
        return (_by_own_networks if brings else _by_record)(given, found, model, device, force)
    rescaler = as_rescaler(model or video_model(scale), device=device)
    if scale is not None and rescaler.scale != scale:
        raise UsageError(f"expected scale {rescaler.scale} with {rescaler.name}, got {scale:g}")
    note = ("enlarged as an ordinary video; its record would restore it",) if found else ()
    return VideoTransform(rescaler, *transforms.super_resolve(rescaler, given.facts), note)


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
        parcel = _attached(given, found)
        _check_first(found, given.first, force)
    except RecordError as error:
        scale = -(-found.size[0] // given.facts.size[0])
        raise RecordError(error.message, hint=f"scale={scale} enlarges it as an ordinary video") from error
    maker = Producer(f"{found.model}, overfitted", str(found.networks)[:16], usable_device(device))
    original = found.original(given.facts)
    return VideoTransform(
        maker, *transforms.patchwise_restore(parcel, given.facts, original, given.first.pts, maker.device)
    )


def _attached(given: VideoReader, found: VideoRecord) -> NetworkBundle:
    """Read a video's embedded networks. Raises: RecordError where they are missing, damaged, or of another video."""
    data = next((s.data for s in given.container.streams.attachments if s.name == ATTACHMENT), None)
    if data is None:
        raise RecordError("the networks that restore it are missing")
    parcel = NetworkBundle.unpack(data, str(found.networks))
    small, partition = given.facts.size, parcel.partition
    fits = grid(small, partition.side) == tuple(partition.choice.shape[1:])
    is_grey = found.layout.startswith("gray")  # which decoders show with empty chroma
    has_layout = is_grey or found.layout == given.facts.layout
    if not fits or not has_layout or transforms.small_size(found.size, parcel.scale) != small:
        raise RecordError(f"its networks are for another video than one of {small[1]}x{small[0]}")
    return parcel


def _check(found: VideoRecord, rescaler: Rescaler, first: Frame, small: StreamInfo, force: bool) -> None:
    for reason in mismatches(found, rescaler, small.size, f", {by(found.size)}"):
        raise RecordError(reason)
    _check_first(found, first, force)


def _check_first(found: VideoRecord, first: Frame, force: bool) -> None:
    if found.first != digest(first.planes) and not force:
        raise RecordError(
            "re-encoded or edited after it was made small, so it would restore badly", hint="pass options.force=True"
        )
