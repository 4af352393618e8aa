"""The inference object: pictures in, pictures of the same kind out; check, pad, tile, call, clamp, crop."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rescale import alpha, kinds, ops, record, weights
from rescale.errors import RecordError, RescaleError, UsageError
from rescale.images import Picture
from rescale.kinds import Kind
from rescale.models import Rescaling
from rescale.tiles import HALO, tiled

Size = tuple[int, int]
TILE = 1024
"""HR pixels a side: the overlap costs little, and the features of one tile fit any machine."""


def load(model: str | Path = "irn-x4-small", *, device: str | torch.device | None = None) -> "Rescaler":
    """A model ready to use.

    Args:
        model: an id of `rescale models`, or a safetensors file that `rescale train` wrote.
        device: where to run; a CUDA device if there is one, else the CPU.
    Raises: UsageError for an unknown id; WeightsError where the file is not what it should be.
    """
    where = ops.usable(device)
    return Rescaler(weights.load(model), device=where)


class Rescaler:
    """Makes pictures small and large again with one model; remembers nothing between calls.

    Takes a Pillow image; a numpy array (H, W) or (H, W, 1 to 4) of uint8 or uint16, or (H, W) or (H, W, 3) of
    floats in [0, 1]; or a tensor (3, H, W) or (N, 3, H, W) of floats in [0, 1]. Gives back the same kind.

    The small picture of a grey one is RGB where the model hides detail between the channels (IRN does); a Pillow
    image comes back grey by its record, an array if `upscale` is told so.
    """

    def __init__(self, source: weights.Weights, *, device: str | torch.device = "cpu") -> None:
        self.name = source.name
        self.digest = source.sha256[:16]
        self.device = torch.device(device)
        self.model: Rescaling = source.model.to(self.device).eval()
        self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def scale(self) -> int:
        return self.model.scale

    def small_size(self, size: Size) -> Size:
        """The size (height, width) of the small picture: rounded up, so that it covers the original."""
        return -(-size[0] // self.scale), -(-size[1] // self.scale)

    def downscale(self, image: Kind, *, scale: float | None = None, size: Size | None = None) -> Kind:
        """The small picture, its values already those that an 8-bit file can hold (16-bit, for 16-bit input).

        A Pillow result carries its record in `info["rescale"]`, so that `upscale` finds the exact size; Pillow's own
        `save` leaves it out, `rescale.downscale_file` writes it.

        Args:
            image: see the class.
            scale: if given, must be the model's.
            size: (height, width) of the result; if given, must be what the model makes.
        Raises: UsageError for a scale or size that this model does not make, or another kind of picture.
        """
        self._check_scale(scale)
        if not kinds.is_levels(image):
            x = kinds.to_batch(image)
            self._check_small(size, _size(x))
            y = ops.quantize(self._run(x, self._down(_size(x))))
            return kinds.from_batch(y, image, is_grey=kinds.is_grey(image) and not self.model.hides_detail)
        picture = kinds.to_picture(image)
        self._check_small(size, picture.size)
        small = self.downscale_picture(picture)
        said = self.describe(small, picture).model_dump_json()
        return kinds.with_info(kinds.from_picture(small, image), record.KEY, said)

    def upscale(
        self, image: Kind, *, scale: float | None = None, size: Size | None = None, grey: bool | None = None
    ) -> Kind:
        """The large picture: the opposite of `downscale`.

        Args:
            image: see the class.
            scale: if given, must be the model's.
            size: (height, width) of the result; without it what the image's record says, else scale times its size.
            grey: whether the result is grey; without it what the record says, else whether the image is.
        Raises: UsageError for a scale or size that does not fit; RecordError if the image's record says that it was
            made by another model or changed since.
        """
        self._check_scale(scale)
        if not kinds.is_levels(image):
            x = kinds.to_batch(image)
            y = self._run(x, self._up(_size(x), size)).clamp(0, 1)
            return kinds.from_batch(y, image, is_grey=kinds.is_grey(image) if grey is None else grey)
        picture = kinds.to_picture(image)
        found = self._recorded(image, picture)
        if found is not None:
            size, grey = size or found.size, found.grey if grey is None else grey
        return kinds.from_picture(self.upscale_picture(record.strip(picture), size=size, is_grey=grey), image)

    def downscale_picture(self, picture: Picture) -> Picture:
        """The small picture; alpha is a plane of its own."""
        is_grey = picture.is_grey and not self.model.hides_detail
        return self._planes(_with_colours_filled(picture), self._down(picture.size), is_grey=is_grey)

    def upscale_picture(self, picture: Picture, *, size: Size | None = None, is_grey: bool | None = None) -> Picture:
        """The large picture of the given (height, width), grey if the small one is or if told so."""
        is_grey = picture.is_grey if is_grey is None else is_grey
        whole = picture if self.model.hides_detail else _with_colours_filled(picture)
        return self._planes(whole, self._up(picture.size, size), is_grey=is_grey)

    def describe(self, small: Picture, original: Picture) -> record.Record:
        """What the small picture is to say about itself."""
        return record.Record(
            version=1,
            model=self.name,
            weights=self.digest,
            size=original.size,
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
        if self.small_size(found.size) != small.size:
            against.append(f"its record speaks of another size: {_by(found.size)} at x{self.scale}")
        elif found.pixels != record.digest(small):
            against.append("edited, re-compressed or converted after it was made small, so it would restore badly")
        return against

    def _down(self, size: Size) -> "_Way":
        return _Way(self.model.downscale, (1, self.scale), self.model.multiple, self.small_size(size))

    def _up(self, small: Size, size: Size | None) -> "_Way":
        full = small[0] * self.scale, small[1] * self.scale
        if size is not None and self.small_size(_checked(size)) != small:
            fits = self.small_size(size)
            raise UsageError(
                f"expected a small picture of {_by(fits)} for {_by(size)} at x{self.scale}, got {_by(small)}"
            )
        return _Way(self.model.upscale, (self.scale, 1), 1, size or full)

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
        out = self._run(levels, way, top=top, is_grey=is_grey)
        return out[0].permute(1, 2, 0).contiguous().numpy().astype(np.uint8 if top == 255 else np.uint16)

    def _run(self, source: Tensor, way: "_Way", *, top: int | None = None, is_grey: bool = False) -> Tensor:
        """Pad, tile, call, crop; with `top`, levels 0 .. top in and out, else floats; if grey, the mean of RGB."""
        down = way.ratio[1]

        def load(x: Tensor) -> Tensor:
            x = x.to(self.device, torch.float32)
            x = x / top if top else x
            return x.expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)

        def call(x: Tensor) -> Tensor:
            with torch.inference_mode():
                return way.function(x)

        def store(y: Tensor) -> Tensor:
            if not torch.isfinite(y).all():
                raise RescaleError(f"{self.name} made numbers that are not finite; nothing was written")
            y = y.mean(dim=1, keepdim=True) if is_grey else y
            return (y.clamp(0, 1) * top).round().to(source.dtype).cpu() if top else y.cpu()

        # The geometry of tiles is the same in both directions and for every picture.
        side, halo = TILE // self.scale * down, min(self.model.halo, HALO) * down
        results = [
            tiled(call, one[None], ratio=way.ratio, side=side, halo=halo, load=load, store=store)
            for one in ops.pad(source, way.multiple)
        ]
        return ops.crop(torch.cat(results), way.size)

    def _check_scale(self, scale: float | None) -> None:
        if scale is not None and scale != self.scale:
            raise UsageError(f"{self.name} works at x{self.scale}, got {scale!r}; `rescale models` lists the others")

    def _check_small(self, size: Size | None, original: Size) -> None:
        made = self.small_size(original)
        if size is not None and _checked(size) != made:
            raise UsageError(f"{self.name} makes {_by(made)} of this picture, got size {_by(size)}")

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

    function: Callable[[Tensor], Tensor]
    ratio: tuple[int, int]
    multiple: int
    size: Size


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


def _size(x: Tensor) -> Size:
    return x.shape[-2], x.shape[-1]


def _checked(size: Size) -> Size:
    if not isinstance(size, tuple | list) or len(size) != 2 or not all(isinstance(n, int) and n > 0 for n in size):
        raise UsageError(f"expected a size of (height, width) in whole pixels, got {size!r}")
    return size[0], size[1]


def _by(size: Size) -> str:
    return f"{size[1]}x{size[0]}"
