"""Which way a video goes up: as an ordinary one, by its record, or by the networks that it brings."""

from typing import NamedTuple

from rescale.device import usable_device
from rescale.errors import RecordError, UsageError
from rescale.inference.compatibility import Maker
from rescale.inference.rescaler import Rescaler, load
from rescale.models import zoo
from rescale.models.zoo import enlarger_of
from rescale.video import transforms
from rescale.video.embedded.bundle import Parcel
from rescale.video.embedded.partition import grid
from rescale.video.io.frames import Facts, Frame, Source
from rescale.video.io.mux import ATTACHMENT
from rescale.video.record import Label, digest


class Way(NamedTuple):
    """How the frames of one video are made larger."""

    maker: Maker | Rescaler
    work: transforms.Work
    made: Facts
    """What the work's results are."""
    notes: tuple[str, ...] = ()


def way_up(given: Source, model: str | None, scale: float | None, device: str | None, *, force: bool = False) -> Way:
    """The way that the arguments of `upscale_video` ask for.

    Raises: UsageError, RecordError, WeightsError.
    """
    found = Label.find(given.container.metadata)
    if found and scale is None:
        brings = found.networks is not None
        return (_by_own_networks if brings else _by_record)(given, found, model, device, force)
    rescaler = load(model or enlarger_of(scale), device=device)
    if scale is not None and rescaler.scale != scale:
        raise UsageError(f"expected scale {rescaler.scale} with {rescaler.name}, got {scale:g}")
    note = ("enlarged as an ordinary video; without --scale its record would restore it",) if found else ()
    return Way(rescaler, *transforms.enlarger(rescaler, given.facts), note)


def _by_record(given: Source, found: Label, model: str | None, device: str | None, force: bool) -> Way:
    if model is None and not zoo.comes_with_us(found.model):
        raise RecordError(f"made small by {found.model!r}, which this rescale does not have; pass --model")
    rescaler = load(model or found.model, device=device)
    _check(found, rescaler, given.first, given.facts, force)
    return Way(rescaler, *transforms.restorer(rescaler, given.facts, found.original(given.facts)))


def _by_own_networks(given: Source, found: Label, model: str | None, device: str | None, force: bool) -> Way:
    if model is not None:
        raise UsageError("the video brings its own networks; -m goes with --scale, which enlarges it without them")
    try:
        parcel = _attached(given, found)
        _check_first(found, given.first, force)
    except RecordError as error:
        scale = -(-found.size[0] // given.facts.size[0])
        raise RecordError(f"{error}; --scale {scale} enlarges it as an ordinary video") from error
    maker = Maker(f"{found.model}, overfitted", str(found.networks)[:16], usable_device(device))
    original = found.original(given.facts)
    return Way(maker, *transforms.overfitted(parcel, given.facts, original, given.first.pts, maker.device))


def _attached(given: Source, found: Label) -> Parcel:
    """The networks that a video brings. Raises: RecordError where they are missing, damaged, or of another video."""
    data = next((s.data for s in given.container.streams.attachments if s.name == ATTACHMENT), None)
    if data is None:
        raise RecordError("the networks that restore it are missing")
    parcel = Parcel.unpack(data, str(found.networks))
    small, partition = given.facts.size, parcel.partition
    fits = grid(small, partition.side) == tuple(partition.choice.shape[1:])
    is_grey = found.layout.startswith("gray")  # which decoders show with empty chroma
    has_layout = is_grey or found.layout == given.facts.layout
    if not fits or not has_layout or transforms.small_size(found.size, parcel.scale) != small:
        raise RecordError(f"its networks are for another video than one of {small[1]}x{small[0]}")
    return parcel


def _check(found: Label, rescaler: Rescaler, first: Frame, small: Facts, force: bool) -> None:
    if found.weights != rescaler.digest:
        raise RecordError(f"made small by {found.model} ({found.weights}), not by {rescaler.name} ({rescaler.digest})")
    if not rescaler.sizes.fit(found.size, small.size):
        raise RecordError(f"its record speaks of another size, {found.size[1]}x{found.size[0]}")
    _check_first(found, first, force)


def _check_first(found: Label, first: Frame, force: bool) -> None:
    if found.first != digest(first.planes) and not force:
        raise RecordError("re-encoded or edited after it was made small, so it would restore badly; pass --force")
