"""The inference object: take images, check, pad, tile, call, clamp, crop, and return images of the same kind."""

import copy
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from rescale import ops
from rescale.device import isolated, usable_device
from rescale.errors import RecordError
from rescale.geometry import Scale, Size, Sizes
from rescale.inference.compatibility import objections
from rescale.inference.optimize import Precision
from rescale.inference.refine import RefineBudget, Refinement, Report, errors, refine_downscaled
from rescale.inference.tiled import Direction, TiledRunner
from rescale.io import conversion, record
from rescale.io.conversion import Kind
from rescale.io.images import Picture, Pixels
from rescale.io.picture import from_levels, to_levels
from rescale.models import RescalingModel, weights
from rescale.models.zoo import DEFAULT_MODEL
from rescale.ops import alpha


def load(
    model: str | Path = DEFAULT_MODEL,
    *,
    device: str | torch.device | None = None,
    precision: Precision = "auto",
) -> "Rescaler":
    """Load a model for inference.

    Args:
        model: an id of `rescale models`, a safetensors file that `rescale train` wrote, a community model's file
            (.safetensors or .pth, with the extra `models`), or hf:owner/name of the Hugging Face Hub.
        device: device to run on; by default a CUDA device if there is one, else the CPU.
        precision: data type of the convolutions; "auto" takes bfloat16 where that is faster, for less than 0.02 dB
            (ESPCN: 0.04).
    Raises: UsageError for an unknown id; WeightsError where the file is not what it should be.
    """
    where = usable_device(device)
    return Rescaler(weights.load(model), device=where, precision=precision)


class Rescaler:
    """One model, ready to downscale images and to restore them; remembers nothing between calls.

    Takes a Pillow image; a numpy array (H, W) or (H, W, 1 to 4) of uint8 or uint16, or (H, W) or (H, W, 3) of
    floats in [0, 1]; or a tensor (3, H, W) or (N, 3, H, W) of floats in [0, 1]. Gives back the same kind.

    The LR image of a grey one is RGB where the model hides detail between the channels (IRN does); a Pillow image is
    restored as grey by its record, an array if `upscale` is told so.
    """

    def __init__(
        self, source: weights.Weights, *, device: str | torch.device = "cpu", precision: Precision = "auto"
    ) -> None:
        self.name = source.name
        self.digest = source.sha256[:16]
        self.notes = source.notes
        self.device, self.precision = torch.device(device), precision
        with isolated():
            self.model: RescalingModel = source.model.to(self.device).eval().requires_grad_(False)
            self.model.to(memory_format=torch.channels_last)
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
        """The pairs of HR and LR sizes that the model serves."""
        return Sizes(self.name, self.scale)

    def downscale(
        self,
        image: Kind,
        *,
        scale: Scale | None = None,
        size: Size | None = None,
        refine: Refinement | None = None,
    ) -> Kind:
        """Return the LR image, its values already those that an 8-bit file can hold (16-bit, for 16-bit input).

        A Pillow result carries its record in `info["rescale"]`, so that `upscale` finds the exact size; Pillow's own
        `save` leaves it out, `rescale.downscale_file` writes it.

        Args:
            image: see the class.
            scale: how many times smaller; may be left out where the model has a scale of its own.
            size: (height, width) of the result, instead of a scale.
            refine: search for an LR image that restores better, by gradient descent on it, for so many steps (20),
                seconds ("30s") or until a gain ("+1.0dB"); restoring costs no more.
        Raises: UsageError for a scale or size that this model does not make, another kind of
            image, or a tensor that requires a gradient.
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
        """Return the HR image restored from an LR image: the inverse of `downscale`.

        Args:
            image: see the class.
            scale: how many times larger; may be left out where the model has a scale of its own.
            size: (height, width) of the result; by default what the image's record says, else scale times its size.
            grey: whether the result is grey; by default what the record says, else whether the image is.
        Raises: UsageError for a scale or size that does not fit, or a tensor that requires a gradient; RecordError
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
        """Return the LR image, of the given (height, width) if the model serves many; alpha is a plane of its own."""
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
        top = picture.top
        hr, lr = (to_levels(p.pixels).float() / top for p in (filled, small))
        better = self._refined(hr, lr, budget, top + 1, report)
        return replace(small, pixels=from_levels(ops.to_levels(better, top), picture.depth))

    @isolated()
    def upscale_picture(self, picture: Picture, *, size: Size | None = None, is_grey: bool | None = None) -> Picture:
        """Return the HR image of the given (height, width), grey if the LR image is or if told so."""
        is_grey = picture.is_grey if is_grey is None else is_grey
        whole = picture if self.model.hides_detail else _with_colours_filled(picture)
        return self._planes(
            whole, self.runner.up(picture.size, self.sizes.full(picture.size, size=size)), is_grey=is_grey
        )

    def describe(self, small: Picture, original: Picture, refined: RefineBudget | None = None) -> record.Record:
        """Build the record that the LR image is to carry."""
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

    def _refined(
        self, hr: Tensor, lr: Tensor, effort: RefineBudget, levels: int, report: Report | None = None
    ) -> Tensor:
        """Return (N, 1 or 3, h, w): each LR image refined, if in the end that restores the whole better."""
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
        colours = self._plane(picture.pixels, way, is_grey)
        if picture.alpha is None:
            return replace(picture, pixels=colours)
        made: Pixels
        if (picture.alpha == picture.alpha.flat[0]).all():  # opaque stays exactly that
            made = np.full(way.size, picture.alpha.flat[0])
        else:
            made = np.ascontiguousarray(self._plane(picture.alpha[..., None], way, is_grey=True)[..., 0])
        return replace(picture, pixels=colours, alpha=made)

    def _plane(self, pixels: Pixels, way: Direction, is_grey: bool) -> Pixels:
        """Run on (H, W, 1 or 3) uint8 or uint16 -> (H', W', 1 or 3), the same."""
        levels = self.runner.run(to_levels(pixels), way, top=np.iinfo(pixels.dtype).max, is_grey=is_grey)
        return from_levels(levels, 8 * pixels.dtype.itemsize)

    def _recorded(self, image: object, picture: Picture) -> record.Record | None:
        """Return the image's record, from its file's metadata or from Pillow's `info`."""
        text = record.find(picture) or getattr(image, "info", {}).get(record.KEY)
        if text is None:
            return None
        found = record.Record.parse(text)
        against = objections(found, picture, self)
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
    """Replace colours under zero alpha by their neighbours', or they would bleed into visible pixels."""
    if picture.alpha is None or picture.alpha.all():
        return picture
    plane = to_levels(picture.alpha[..., None]).float() / picture.top
    filled = alpha.fill(to_levels(picture.pixels).float(), plane).round()
    return replace(picture, pixels=from_levels(filled, picture.depth))
