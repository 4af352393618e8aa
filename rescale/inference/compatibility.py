"""Checks that an image or a video may be restored by its record, and the objections where it may not."""

from typing import NamedTuple, Protocol

import torch

from rescale.errors import RecordError
from rescale.geometry import Size, Sizes, by
from rescale.io import record
from rescale.io.images import Picture
from rescale.models.zoo import is_known


def find_record(
    small: Picture, model: object | None, scale: object | None, force: bool
) -> tuple[record.Record | None, list[str]]:
    """Return the record to restore by, None for an ordinary image to super-resolve; and notes for the user."""
    if scale is not None:
        marked = record.find(small) is not None
        return None, ["enlarged as an ordinary picture; its record would restore it"] * marked
    try:
        found = record.extract(small)
    except RecordError as error:
        if model is None or not force:
            raise RecordError(
                error.message,
                hint="pass model= and options.force=True to restore it with the model that made it, or scale= to "
                "enlarge it as an ordinary picture",
            ) from error
        return None, [f"forced: {error}"]
    if found is None and model is None:
        raise RecordError(
            "this picture carries no record of how it was made small",
            hint="pass scale= to enlarge it as an ordinary picture, or model= to restore it with the model that made "
            "it (and scale=, if that serves many)",
        )
    if found is not None and model is None and not is_known(found.model):
        raise RecordError(
            f"made small by {found.model!r}, which this rescale does not have", hint="pass model= with its weight file"
        )
    return found, []


class Restorer(Protocol):
    """A model that is to restore by a record; a `Rescaler` is one."""

    name: str
    digest: str

    @property
    def scale(self) -> int | None: ...

    @property
    def sizes(self) -> Sizes: ...


class Claim(Protocol):
    """What the records of images and of videos have in common."""

    @property
    def model(self) -> str: ...

    @property
    def weights(self) -> str: ...

    @property
    def size(self) -> Size: ...


def mismatches(
    found: Claim, rescaler: Restorer, small: Size, sizes: str, *, fits: bool = True, change: str = ""
) -> list[str]:
    """List what of a record does not fit the model or the LR size, one clause each; empty if all does.

    Args:
        found: the record of an image or a video.
        rescaler: the model that is to restore it.
        small: height and width of the LR.
        sizes: the record's sizes, as the clause on them puts them.
        fits: False if the record itself names another LR size.
        change: the clause on samples that are not the record's; empty where they are.
    """
    against = []
    if found.weights != rescaler.digest:
        against.append(f"made small by {found.model} ({found.weights}), not by {rescaler.name} ({rescaler.digest})")
    if not fits or not rescaler.sizes.fit(found.size, small):
        against.append(f"its record speaks of another size{sizes}")
    elif change:
        against.append(change)
    return against


def objections(found: record.Record, small: Picture, rescaler: Restorer) -> list[str]:
    """List what speaks against restoring an image by its record, one clause each; empty if nothing does."""
    known = found.small or (small.size if rescaler.scale else None)  # rescale 0.1 knew models of one scale only
    made = f"{by(known)} of {by(found.size)}" if known else f"{by(found.size)}, made to no known size"
    change = "edited, re-compressed or converted after it was made small, so it would restore badly"
    change = change if found.pixels != record.digest(small) else ""
    return mismatches(found, rescaler, small.size, f": {made}", fits=known == small.size, change=change)


def check_record(found: record.Record, small: Picture, rescaler: Restorer, force: bool) -> list[str]:
    """Return the objections to restoring by this record as notes with `force`, else raise them as a RecordError."""
    against = objections(found, small, rescaler)
    if against and not force:
        raise RecordError("; ".join(against), hint="pass options.force=True to go on all the same")
    return [f"forced: {reason}" for reason in against]


class Producer(NamedTuple):
    """The model that makes the frames: all that decides about them besides the source; a `Rescaler` is one."""

    name: str
    digest: str
    device: torch.device
