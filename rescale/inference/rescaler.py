"""The inference object: pictures in, pictures of the same kind out; check, pad, tile, call, clamp, crop."""

import copy
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rescale import ops
from rescale.device import isolated, usable_device
from rescale.errors import RecordError
from rescale.geometry import Scale, Size, Sizes, by
from rescale.inference.optimize import Precision
from rescale.inference.refine import RefineBudget, Refinement, Report, errors, refine_downscaled
from rescale.inference.tiled import Direction, TiledRunner
from rescale.io import conversion, record
from rescale.io.conversion import Kind
from rescale.io.images import Picture
from rescale.models import RescalingModel, weights
from rescale.ops import alpha


def load(
    model: str | Path = "irn-x4-small",
    *,
    device: str | torch.device | None = None,
    precision: Precision = "auto",
) -> "Rescaler":
    """A model ready to use.

    Args:
        model: an id of `rescale models`, or a safetensors file that `rescale train` wrote.
        device: where to run; a CUDA device if there is one, else the CPU.
        precision: of the convolutions; "auto" takes bfloat16 where that is faster, for less than 0.02 dB (ESPCN: 0.04).
    Raises: UsageError for an unknown id; WeightsError where the file is not what it should be.
    """
    where = usable_device(device)
    return Rescaler(weights.load(model), device=where, precision=precision)


class Rescaler:
    """Makes pictures small and large again with one model; remembers nothing between calls.

    Takes a Pillow image; a numpy array (H, W) or (H, W, 1 to 4) of uint8 or uint16, or (H, W) or (H, W, 3) of
    floats in [0, 1]; or a tensor (3, H, W) or (N, 3, H, W) of floats in [0, 1]. Gives back the same kind.

    The small picture of a grey one is RGB where the model hides detail between the channels (IRN does); a Pillow
    image comes back grey by its record, an array if `upscale` is told so.
    """

    def __init__(
        self, source: weights.Weights, *, device: str | torch.device = "cpu", precision: Precision = "auto"
    ) -> None:
        self.name = source.name
        self.digest = source.sha256[:16]
        self.device, self.precision = torch.device(device), precision
        with isolated():
            self.model: RescalingModel = source.model.to(self.device).eval().requires_grad_(False)
            self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            self.runner = TiledRunner(self.model, self.device, precision)

    def __repr__(self) -> str:
        precision = str(self.runner.dtype).removeprefix("torch.")
        return f"Rescaler({self.name!r}, device={str(self.device)!r}, precision={precision!r})"

    def __reduce__(self) -> tuple[Callable[..., "Rescaler"], tuple[weights.Weights, str, Precision]]:
        """Pickled and copied with its weights; all else is made anew, on a device of the same name."""
        return _rebuilt, (self._weights(), str(self.device), self.precision)

    def to(self, device: str | torch.device) -> "Rescaler":
        """The same model on another device; this one stays where it is."""
        return self if torch.device(device) == self.device else _rebuilt(self._weights(), device, self.precision)

    def _weights(self) -> weights.Weights:
        with isolated():
            return weights.Weights(self.name, self.digest, copy.deepcopy(self.model).cpu(), {})

    @property
    def scale(self) -> int | None:
        """The model's own scale; None if it serves all from 1 to 4."""
        return self.model.scale

    @property
    def sizes(self) -> Sizes:
        """Which sizes go with which."""
        return Sizes(self.name, self.scale)

    def downscale(
        self,
        image: Kind,
        *,
        scale: Scale | None = None,
        size: Size | None = None,
        refine: Refinement | None = None,
    ) -> Kind:
        """The small picture, its values already those that an 8-bit file can hold (16-bit, for 16-bit input).

        A Pillow result carries its record in `info["rescale"]`, so that `upscale` finds the exact size; Pillow's own
        `save` leaves it out, `rescale.downscale_file` writes it.

        Args:
            image: see the class.
            scale: how many times smaller; may be left out where the model has a scale of its own.
            size: (height, width) of the result, instead of a scale.
            refine: how long to look for a small picture that restores better, by gradient descent on it: steps (20),
                seconds ("30s") or a gain ("+1.0dB"); restoring costs no more.
        Raises: UsageError for a scale or size that this model does not make, another kind of picture, or a tensor
            that a gradient is wanted of.
        """
        conversion.refuse_gradient(image, "model.downscale")
        effort = RefineBudget.maybe(refine)
        if not conversion.is_levels(image):
            with isolated():
                return self._downscale_floats(image, scale, size, effort)
        picture = conversion.to_picture(image)
        small = self.downscale_picture(picture, self.sizes.small(picture.size, scale, size), refine=effort)
        said = self.describe(small, picture, effort).model_dump_json()
        return conversion.with_info(conversion.from_picture(small, image), record.KEY, said)

    def _downscale_floats(
        self, image: Kind, scale: Scale | None, size: Size | None, effort: RefineBudget | None
    ) -> Kind:
        x = conversion.to_batch(image)
        full = ops.size_of(x)
        y = ops.quantize(self.runner.run(x, self.runner.down(full, self.sizes.small(full, scale, size))))
        y = y if effort is None else self._refined(x, y, effort, 256)
        return conversion.from_batch(y, image, is_grey=conversion.is_grey(image) and not self.model.hides_detail)

    def upscale(
        self, image: Kind, *, scale: Scale | None = None, size: Size | None = None, grey: bool | None = None
    ) -> Kind:
        """The large picture: the opposite of `downscale`.

        Args:
            image: see the class.
            scale: how many times larger; may be left out where the model has a scale of its own.
            size: (height, width) of the result; without it what the image's record says, else scale times its size.
            grey: whether the result is grey; without it what the record says, else whether the image is.
        Raises: UsageError for a scale or size that does not fit, or a tensor that a gradient is wanted of; RecordError
            if the image's record says that it was made by another model or changed since.
        """
        conversion.refuse_gradient(image, "model.upscale")
        if not conversion.is_levels(image):
            with isolated():
                return self._upscale_floats(image, scale, size, grey)
        picture = conversion.to_picture(image)
        found = self._recorded(image, picture)
        if found is not None:
            size, grey = size or found.size, found.grey if grey is None else grey
        full = self.sizes.full(picture.size, scale, size)
        return conversion.from_picture(self.upscale_picture(record.strip(picture), size=full, is_grey=grey), image)

    def _upscale_floats(self, image: Kind, scale: Scale | None, size: Size | None, grey: bool | None) -> Kind:
        x = conversion.to_batch(image)
        small = ops.size_of(x)
        y = self.runner.run(x, self.runner.up(small, self.sizes.full(small, scale, size))).clamp(0, 1)
        return conversion.from_batch(y, image, is_grey=conversion.is_grey(image) if grey is None else grey)

    @isolated()
    def downscale_picture(
        self,
        picture: Picture,
        size: Size | None = None,
        *,
        refine: Refinement | None = None,
        report: Report | None = None,
    ) -> Picture:
        """The small picture, of the given (height, width) if the model serves many; alpha is a plane of its own."""
        size, budget = self.sizes.small(picture.size, None, size), RefineBudget.maybe(refine)
        if self.scale is None and picture.size == size:
            return picture
        began = time.monotonic()
        is_grey = picture.is_grey and not self.model.hides_detail
        filled = _with_colours_filled(picture)
        small = self._planes(filled, self.runner.down(picture.size, size), is_grey=is_grey)
        if budget is None:
            return small
        left = budget.seconds - 3 * (time.monotonic() - began)  # to compare two restored pictures takes twice as long
        if left <= 0:
            return small
        budget = replace(budget, seconds=left)
        top = 2**picture.depth - 1
        hr, lr = (conversion.levels_of(p.pixels).float() / top for p in (filled, small))
        better = self._refined(hr, lr, budget, top + 1, report)
        return replace(small, pixels=conversion.pixels_of((better * top).round(), top))

    @isolated()
    def upscale_picture(self, picture: Picture, *, size: Size | None = None, is_grey: bool | None = None) -> Picture:
        """The large picture of the given (height, width), grey if the small one is or if told so."""
        is_grey = picture.is_grey if is_grey is None else is_grey
        whole = picture if self.model.hides_detail else _with_colours_filled(picture)
        return self._planes(
            whole, self.runner.up(picture.size, self.sizes.full(picture.size, size=size)), is_grey=is_grey
        )

    def describe(self, small: Picture, original: Picture, refined: RefineBudget | None = None) -> record.Record:
        """What the small picture is to say about itself."""
        return record.Record(
            version=1,
            model=self.name,
            weights=self.digest,
            size=original.size,
            small=small.size,
            refined=str(refined or ""),
            depth=8 if original.depth == 8 else 16,
            grey=original.is_grey,
            alpha=original.alpha is not None,
            pixels=record.digest(small),
        )

    def objections(self, found: record.Record, small: Picture) -> list[str]:
        """What speaks against restoring this picture by that record, one clause each; empty if nothing does."""
        against = []
        if found.weights != self.digest:
            against.append(f"made small by {found.model} ({found.weights}), not by {self.name} ({self.digest})")
        known = found.small or (small.size if self.scale else None)  # rescale 0.1 knew models of one scale only
        if known != small.size or not self.sizes.fit(found.size, small.size):
            made = f"{by(known)} of {by(found.size)}" if known else f"{by(found.size)}, made to no known size"
            against.append(f"its record speaks of another size: {made}")
        elif found.pixels != record.digest(small):
            against.append("edited, re-compressed or converted after it was made small, so it would restore badly")
        return against

    def _refined(
        self, hr: Tensor, lr: Tensor, effort: RefineBudget, levels: int, report: Report | None = None
    ) -> Tensor:
        """(N, 1 or 3, h, w): each small picture refined, if in the end that restores the whole better."""
        hr, lr = hr.to(self.device), lr.to(self.device)
        better = refine_downscaled(self.model, hr, lr, effort, levels=levels, report=report)
        way = self.runner.up(ops.size_of(lr), ops.size_of(hr))
        before, after = (
            errors(ops.quantize(self.runner.run(x, way, is_grey=hr.shape[1] == 1), levels).to(hr), hr)
            for x in (lr, better)
        )
        is_better = (after <= before).all(dim=1)[:, None, None, None]
        return torch.where(is_better, better, lr).cpu()

    def _planes(self, picture: Picture, way: Direction, *, is_grey: bool) -> Picture:
        top = 2**picture.depth - 1
        colours = conversion.levels_of(picture.pixels)
        if picture.alpha is None:
            return replace(picture, pixels=self._plane(colours, top, way, is_grey))
        plane = conversion.levels_of(picture.alpha[..., None])
        made: NDArray[Any]
        if (plane == plane.flatten()[0]).all():  # opaque stays exactly that
            made = np.full(way.size, picture.alpha.flat[0])
        else:
            made = np.ascontiguousarray(self._plane(plane, top, way, is_grey=True)[..., 0])
        return replace(picture, pixels=self._plane(colours, top, way, is_grey), alpha=made)

    def _plane(self, levels: Tensor, top: int, way: Direction, is_grey: bool) -> NDArray[Any]:
        """(1, 1 or 3, H, W) levels 0 .. top -> (H', W', 1 or 3), the same as uint8 or uint16."""
        return conversion.pixels_of(self.runner.run(levels, way, top=top, is_grey=is_grey), top)

    def _recorded(self, image: object, picture: Picture) -> record.Record | None:
        """What the image says about itself, in its file's metadata or in Pillow's `info`."""
        text = record.find(picture) or getattr(image, "info", {}).get(record.KEY)
        if text is None:
            return None
        found = record.Record.parse(text)
        against = self.objections(found, picture)
        if against:
            raise RecordError(f"{'; '.join(against)}; an array of its pixels is taken without its record")
        return found


ModelLike = str | Path | Rescaler
"""A model by its id, its weight file, or loaded."""


def as_rescaler(model: ModelLike, device: str | torch.device | None = None) -> Rescaler:
    """The model ready to use: loaded, or the rescaler itself; on the device, if one is named."""
    if not isinstance(model, Rescaler):
        return load(model, device=device)
    return model if device is None else model.to(device)


def _rebuilt(source: weights.Weights, device: str | torch.device, precision: Precision) -> Rescaler:
    return Rescaler(source, device=usable_device(device), precision=precision)


def _with_colours_filled(picture: Picture) -> Picture:
    """Colours under zero alpha replaced by their neighbours', or they would bleed into what is seen."""
    if picture.alpha is None or picture.alpha.all():
        return picture
    plane = conversion.levels_of(picture.alpha[..., None]).float() / (2**picture.depth - 1)
    filled = alpha.fill(conversion.levels_of(picture.pixels).float(), plane)[0].permute(1, 2, 0).round()
    return replace(picture, pixels=filled.numpy().astype(picture.pixels.dtype))
