"""The inference object: pictures in, pictures of the same kind out; check, pad, tile, call, clamp, crop."""

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rescale import alpha, collaborate, engine, kinds, ops, record, weights
from rescale.collaborate import Effort, Report
from rescale.engine import Precision
from rescale.errors import RecordError, RescaleError
from rescale.geometry import Size
from rescale.images import Picture
from rescale.kinds import Kind
from rescale.models import Rescaling
from rescale.sizes import Scale, Sizes, by
from rescale.tiles import Piece, tiled, whole

TILE = 2048
"""HR pixels a side: the overlap costs little, and the features of one tile fit any machine."""


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
        precision: of the convolutions; "auto" takes bfloat16 where that is faster and costs less than 0.02 dB.
    Raises: UsageError for an unknown id; WeightsError where the file is not what it should be.
    """
    where = ops.usable(device)
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
        self.device = torch.device(device)
        self.model: Rescaling = source.model.to(self.device).eval().requires_grad_(False)
        self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._fast = engine.fastest(self.model, precision)
        self._careful = engine.fastest(self.model, "float32") if self.model.bfloat16_from > 1 else self._fast

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
        refine: int | str | Effort | None = None,
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
        Raises: UsageError for a scale or size that this model does not make, or another kind of picture.
        """
        effort = None if refine is None else Effort.of(refine)
        if not kinds.is_levels(image):
            x = kinds.to_batch(image)
            full = ops.size_of(x)
            y = ops.quantize(self._run(x, self._down(full, self.sizes.small(full, scale, size))))
            y = y if effort is None else self._refined(x, y, effort, 256)
            return kinds.from_batch(y, image, is_grey=kinds.is_grey(image) and not self.model.hides_detail)
        picture = kinds.to_picture(image)
        small = self.downscale_picture(picture, self.sizes.small(picture.size, scale, size), refine=effort)
        said = self.describe(small, picture, effort).model_dump_json()
        return kinds.with_info(kinds.from_picture(small, image), record.KEY, said)

    def upscale(
        self, image: Kind, *, scale: Scale | None = None, size: Size | None = None, grey: bool | None = None
    ) -> Kind:
        """The large picture: the opposite of `downscale`.

        Args:
            image: see the class.
            scale: how many times larger; may be left out where the model has a scale of its own.
            size: (height, width) of the result; without it what the image's record says, else scale times its size.
            grey: whether the result is grey; without it what the record says, else whether the image is.
        Raises: UsageError for a scale or size that does not fit; RecordError if the image's record says that it was
            made by another model or changed since.
        """
        if not kinds.is_levels(image):
            x = kinds.to_batch(image)
            small = ops.size_of(x)
            y = self._run(x, self._up(small, self.sizes.full(small, scale, size))).clamp(0, 1)
            return kinds.from_batch(y, image, is_grey=kinds.is_grey(image) if grey is None else grey)
        picture = kinds.to_picture(image)
        found = self._recorded(image, picture)
        if found is not None:
            size, grey = size or found.size, found.grey if grey is None else grey
        full = self.sizes.full(picture.size, scale, size)
        return kinds.from_picture(self.upscale_picture(record.strip(picture), size=full, is_grey=grey), image)

    def downscale_picture(
        self,
        picture: Picture,
        size: Size | None = None,
        *,
        refine: Effort | None = None,
        report: Report | None = None,
    ) -> Picture:
        """The small picture, of the given (height, width) if the model serves many; alpha is a plane of its own."""
        size = self.sizes.small(picture.size, None, size)
        if self._is_itself(picture.size, size):
            return picture
        began = time.monotonic()
        is_grey = picture.is_grey and not self.model.hides_detail
        filled = _with_colours_filled(picture)
        small = self._planes(filled, self._down(picture.size, size), is_grey=is_grey)
        if refine is None:
            return small
        left = refine.seconds - 3 * (time.monotonic() - began)  # to compare two restored pictures takes twice as long
        if left <= 0:
            return small
        refine = replace(refine, seconds=left)
        top = 2**picture.depth - 1
        hr, lr = (_levels(p.pixels).float() / top for p in (filled, small))
        better = self._refined(hr, lr, refine, top + 1, report)
        return replace(small, pixels=_pixels((better * top).round(), top))

    def upscale_picture(self, picture: Picture, *, size: Size | None = None, is_grey: bool | None = None) -> Picture:
        """The large picture of the given (height, width), grey if the small one is or if told so."""
        is_grey = picture.is_grey if is_grey is None else is_grey
        whole = picture if self.model.hides_detail else _with_colours_filled(picture)
        return self._planes(whole, self._up(picture.size, self.sizes.full(picture.size, size=size)), is_grey=is_grey)

    def describe(self, small: Picture, original: Picture, refined: Effort | None = None) -> record.Record:
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

    def _refined(self, hr: Tensor, lr: Tensor, effort: Effort, levels: int, report: Report | None = None) -> Tensor:
        """(N, 1 or 3, h, w): each small picture refined, if in the end that restores the whole better."""
        hr, lr = hr.to(self.device), lr.to(self.device)
        better = collaborate.refine(self.model, hr, lr, effort, levels=levels, report=report)
        way = self._up(ops.size_of(lr), ops.size_of(hr))
        before, after = (
            collaborate.errors(ops.quantize(self._run(x, way, is_grey=hr.shape[1] == 1), levels).to(hr), hr)
            for x in (lr, better)
        )
        is_better = (after <= before).all(dim=1)[:, None, None, None]
        return torch.where(is_better, better, lr).cpu()

    def _down(self, full: Size, small: Size) -> "_Way":
        if self._is_itself(full, small):
            return _Way([whole(lambda x: x, full, small)], 1, small, small)
        by = self.model.multiple
        padded = -(-full[0] // by) * by, -(-full[1] // by) * by
        inner = (padded[0] // self.scale, padded[1] // self.scale) if self.scale else small
        return _Way(list(self._network(padded, inner).shrinking(padded, inner, TILE)), by, inner, small)

    def _up(self, small: Size, full: Size) -> "_Way":
        if self._is_itself(full, small):
            return _Way([whole(lambda x: x, small, full)], 1, full, full)
        inner = (small[0] * self.scale, small[1] * self.scale) if self.scale else full
        return _Way(list(self._network(inner, small).growing(small, inner, TILE)), 1, inner, full)

    def _network(self, full: Size, small: Size) -> Rescaling:
        """The fastest that is exact enough for these sizes."""
        least = min(a / b for a, b in zip(full, small, strict=True))
        return self._fast if least >= self.model.bfloat16_from else self._careful

    def _is_itself(self, full: Size, small: Size) -> bool:
        """Whether no network is needed: at scale 1 the small picture is the picture."""
        return self.scale is None and full == small

    def _planes(self, picture: Picture, way: "_Way", *, is_grey: bool) -> Picture:
        top = 2**picture.depth - 1
        colours = _levels(picture.pixels)
        if picture.alpha is None:
            return replace(picture, pixels=self._plane(colours, top, way, is_grey))
        plane = _levels(picture.alpha[..., None])
        made: NDArray[Any]
        if (plane == plane.flatten()[0]).all():  # opaque stays exactly that
            made = np.full(way.size, picture.alpha.flat[0])
        else:
            made = np.ascontiguousarray(self._plane(plane, top, way, is_grey=True)[..., 0])
        return replace(picture, pixels=self._plane(colours, top, way, is_grey), alpha=made)

    def _plane(self, levels: Tensor, top: int, way: "_Way", is_grey: bool) -> NDArray[Any]:
        """(1, 1 or 3, H, W) levels 0 .. top -> (H', W', 1 or 3), the same as uint8 or uint16."""
        return _pixels(self._run(levels, way, top=top, is_grey=is_grey), top)

    def _run(self, source: Tensor, way: "_Way", *, top: int | None = None, is_grey: bool = False) -> Tensor:
        """Pad, tile, call, crop; with `top`, levels 0 .. top in and out, else floats; if grey, the mean of RGB."""

        def load(x: Tensor) -> Tensor:
            x = x.to(self.device, torch.float32)
            x = x / top if top else x
            return x.expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)

        def store(y: Tensor) -> Tensor:
            if not torch.isfinite(y).all():
                raise RescaleError(f"{self.name} made numbers that are not finite; nothing was written")
            y = y.mean(dim=1, keepdim=True) if is_grey else y
            return (y.clamp(0, 1) * top).round().to(source.dtype).cpu() if top else y.cpu()

        with torch.inference_mode():
            results = [
                tiled(way.pieces, one[None], way.inner, load=load, store=store) for one in ops.pad(source, way.multiple)
            ]
        return ops.crop(torch.cat(results), way.size)

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


@dataclass(frozen=True)
class _Way:
    """Down or up: what to call, and the sizes that go with it."""

    pieces: list[Piece]
    multiple: int
    """Of the sides of what goes in."""
    inner: Size
    """Of what comes out."""
    size: Size
    """Of what is kept of that."""


def _with_colours_filled(picture: Picture) -> Picture:
    """Colours under zero alpha replaced by their neighbours', or they would bleed into what is seen."""
    if picture.alpha is None or picture.alpha.all():
        return picture
    plane = _levels(picture.alpha[..., None]).float() / (2**picture.depth - 1)
    filled = alpha.fill(_levels(picture.pixels).float(), plane)[0].permute(1, 2, 0).round()
    return replace(picture, pixels=filled.numpy().astype(picture.pixels.dtype))


def _levels(pixels: NDArray[Any]) -> Tensor:
    """(H, W, C) -> (1, C, H, W); 16 bits as int32, as torch does little with uint16."""
    wide = np.require(pixels, requirements=["C", "W"]) if pixels.dtype == np.uint8 else pixels.astype(np.int32)
    return torch.from_numpy(wide).permute(2, 0, 1)[None]


def _pixels(levels: Tensor, top: int) -> NDArray[Any]:
    """The opposite of `_levels`."""
    return levels[0].permute(1, 2, 0).contiguous().numpy().astype(np.uint8 if top == 255 else np.uint16)
