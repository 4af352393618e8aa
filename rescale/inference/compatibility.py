"""Whether an image or a video may be restored by its record, and what speaks against it."""

from typing import NamedTuple

import torch

from rescale.errors import RecordError
from rescale.inference.rescaler import ModelLike, Rescaler
from rescale.io import record
from rescale.io.images import Picture
from rescale.models.zoo import is_known


def find_record(
    small: Picture, model: ModelLike | None, scale: float | None, force: bool
) -> tuple[record.Record | None, list[str]]:
    """What to restore by, None for a picture to be taken as an ordinary one; and what the user should know."""
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


def check_record(found: record.Record, small: Picture, rescaler: Rescaler, force: bool) -> list[str]:
    """What speaks against restoring by this record: an error, or with `force` a list of notes."""
    against = rescaler.objections(found, small)
    if against and not force:
        raise RecordError("; ".join(against), hint="pass options.force=True to go on all the same")
    return [f"forced: {reason}" for reason in against]


class Producer(NamedTuple):
    """What decides about the frames that are made, beside the source; a `Rescaler` is one."""

    name: str
    digest: str
    device: torch.device
