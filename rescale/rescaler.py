"""The inference object: pictures in, pictures of the same kind out; check, pad, tile, call, clamp, crop."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from rescale import alpha, ops, record, weights
from rescale.errors import RecordError, RescaleError, UsageError
from rescale.images import Picture, from_pil, to_pil
from rescale.models import Rescaling
from rescale.tiles import tiled

Size = tuple[int, int]
Picturelike = TypeVar("Picturelike", Image.Image, NDArray[np.generic], Tensor)
TILE = 1024  # HR pixels a side


def load(model: str | Path = "irn-x4", *, device: str | torch.device | None = None) -> "Rescaler":
    """A model ready to use.

    Args:
        model: an id of `rescale models`, or a safetensors file that `rescale train` wrote.
        device: where to run; a CUDA device if there is one, else the CPU.
    Raises: UsageError for an unknown id; WeightsError where the file is not what it should be.
    """
    return Rescaler(weights.load(model), device=device or ("cuda" if torch.cuda.is_available() else "cpu"))


class Rescaler:
    """Makes pictures small and large again with one model; remembers nothing between calls.

    Takes a Pillow image, a numpy array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) of uint8, uint16 or
    floats in [0, 1], or a tensor (3, H, W) or (N, 3, H, W) of floats in [0, 1]; gives back the same kind.
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

    def downscale(self, image: Picturelike, *, scale: float | None = None, size: Size | None = None) -> Picturelike:
        """The small picture, its values already those that an 8-bit (or the input's 16-bit) file can hold.

        A Pillow result carries its record in `info["rescale"]`, so that `upscale` finds the exact size.

        Args:
            image: see the class.
            scale: if given, must be the model's.
            size: (height, width) of the result; if given, must be what the model makes.
        Raises: UsageError for a scale or size that this model does not make, or another kind of picture.
        """
        self._check_scale(scale)
        if isinstance(image, Tensor):
            self._check_size(size, self.small_size((image.shape[-2], image.shape[-1])), "small")
            return _tensor(image, lambda x: ops.quantize(self._run(x, self._down)))
        picture = _picture(image)
        self._check_size(size, self.small_size(picture.size), "small")
        small = self.downscale_picture(picture)
        return _like(image, small, record=self.describe(small, picture).model_dump_json())

    def upscale(self, image: Picturelike, *, scale: float | None = None, size: Size | None = None) -> Picturelike:
        """The large picture.

        Args:
            image: see the class.
            scale: if given, must be the model's.
            size: (height, width) of the result; without it what the image's record says, else scale times its size.
        Raises: UsageError for a scale or size that does not fit; RecordError if the image was made by another model.
        """
        self._check_scale(scale)
        if isinstance(image, Tensor):
            return _tensor(image, lambda x: self._run(x, self._up, size=self._large_size((x.shape[-2], x.shape[-1]), size)).clamp(0, 1))
        size = size or self._recorded_size(image)
        return _like(image, self.upscale_picture(_picture(image), size=size))

    def downscale_picture(self, picture: Picture) -> Picture:
        """The small picture; grey stays grey, and alpha is a plane of its own."""
        return self._planes(picture, self._down)

    def upscale_picture(self, picture: Picture, *, size: Size | None = None) -> Picture:
        """The large picture of the given (height, width); the opposite of `downscale_picture`."""
        return self._planes(picture, self._up, size=self._large_size(picture.size, size))

    def describe(self, small: Picture, original: Picture) -> record.Record:
        """What the small picture is to say about itself."""
        return record.Record(
            model=self.name,
            weights=self.digest,
            size=original.size,
            depth=8 if original.depth == 8 else 16,
            grey=original.is_grey,
            alpha=original.alpha is not None,
            pixels=record.digest(small),
        )

    def _planes(self, picture: Picture, way: "_Way", size: Size | None = None) -> Picture:
        top = 2**picture.depth - 1
        rgb = _levels(picture.pixels)
        if picture.alpha is None:
            return replace(picture, pixels=self._colours(rgb, top, way, size))
        plane = _levels(picture.alpha[..., None])
        filled = alpha.fill(rgb.float(), plane.float() / top).round().to(rgb.dtype) if (plane == 0).any() else rgb
        small_alpha = self._colours(plane, top, way, size)[..., 0]
        return replace(picture, pixels=self._colours(filled, top, way, size), alpha=np.ascontiguousarray(small_alpha))

    def _colours(self, levels: Tensor, top: int, way: "_Way", size: Size | None) -> NDArray[np.uint8] | NDArray[np.uint16]:
        """(1, 1 or 3, H, W) levels -> (H', W', 1 or 3) levels as numpy."""
        if levels.shape[1] == 1 and bool((levels == levels.flatten()[0]).all()):  # an opaque alpha stays exactly so
            height, width = size or self.small_size((levels.shape[-2], levels.shape[-1]))
            out = levels[..., :1, :1].expand(1, 1, height, width)
        else:
            out = self._run(levels, way, size=size, top=top)
        return out[0].permute(1, 2, 0).contiguous().numpy().astype(np.uint8 if top == 255 else np.uint16)

    def _run(self, source: Tensor, way: "_Way", *, size: Size | None = None, top: int | None = None) -> Tensor:
        """Pad, tile, call, crop. With `top`, levels 0 .. top in and out; else floats."""
        grey = source.shape[1] == 1

        def load(x: Tensor) -> Tensor:
            x = x.to(self.device, torch.float32)
            x = x / top if top else x
            return x.expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)

        def store(y: Tensor) -> Tensor:
            if not torch.isfinite(y).all():
                raise RescaleError(f"{self.name} made numbers that are not finite; nothing was written")
            y = y.mean(dim=1, keepdim=True) if grey else y
            return (y.clamp(0, 1) * top).round().to(source.dtype).cpu() if top else y.cpu()

        is_up = way == self._up
        final = size or self.small_size((source.shape[-2], source.shape[-1]))
        padded = source if is_up else ops.pad(source, self.model.multiple)
        step = 1 if is_up else self.scale
        out = [
            tiled(
                way,
                padded[n : n + 1],
                ratio=(self.scale, 1) if is_up else (1, self.scale),
                side=TILE // self.scale * step,
                halo=self.model.halo * step,
                load=load,
                store=store,
            )
            for n in range(source.shape[0])
        ]
        return ops.crop(torch.cat(out), final)

    def _down(self, x: Tensor) -> Tensor:
        with torch.inference_mode():
            return self.model.downscale(x)

    def _up(self, x: Tensor) -> Tensor:
        with torch.inference_mode():
            return self.model.upscale(x)

    def _large_size(self, small: Size, size: Size | None) -> Size:
        if size is None:
            return small[0] * self.scale, small[1] * self.scale
        if self.small_size(size) != small:
            fits = self.small_size(size)
            raise UsageError(f"expected a small picture of {_by(fits)} for {_by(size)} at x{self.scale}, got {_by(small)}")
        return size

    def _check_scale(self, scale: float | None) -> None:
        if scale is not None and scale != self.scale:
            raise UsageError(f"{self.name} works at x{self.scale}, got x{scale:g}; `rescale models` lists the others")

    def _check_size(self, size: Size | None, made: Size, what: str) -> None:
        if size is not None and tuple(size) != made:
            raise UsageError(f"{self.name} makes a {what} picture of {_by(made)} here, got {_by(size)}")

    def _recorded_size(self, image: object) -> Size | None:
        text = image.info.get(record.KEY) if isinstance(image, Image.Image) else None
        if text is None:
            return None
        found = record.Record.parse(text)
        if (found.model, found.weights) != (self.name, self.digest):
            raise RecordError(f"this picture was made small by {found.model} ({found.weights}); load that, not {self.name}")
        return found.size


_Way = Callable[[Tensor], Tensor]


def _by(size: Size) -> str:
    return f"{size[1]}x{size[0]}"


def _tensor(x: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
    if x.ndim not in (3, 4) or x.shape[-3] != 3 or not x.is_floating_point():
        raise UsageError(f"expected a float tensor of shape (3, H, W) or (N, 3, H, W), got {x.dtype} {tuple(x.shape)}")
    out = function(x if x.ndim == 4 else x[None]).to(x)
    return out if x.ndim == 4 else out[0]


def _levels(pixels: NDArray[np.generic]) -> Tensor:
    """(H, W, C) -> (1, C, H, W); 16 bits as int32, as torch does little with uint16."""
    wide = pixels if pixels.dtype == np.uint8 else pixels.astype(np.int32)
    return torch.from_numpy(wide).permute(2, 0, 1)[None]


def _picture(image: object) -> Picture:
    if isinstance(image, Image.Image):
        return from_pil(image)
    if isinstance(image, np.ndarray):
        return _from_array(image)
    raise UsageError(f"expected a Pillow image, a numpy array or a tensor, got {type(image).__name__}")


def _from_array(array: NDArray[np.generic]) -> Picture:
    pixels = array[..., None] if array.ndim == 2 else array
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 2, 3, 4) or 0 in pixels.shape:
        raise UsageError(f"expected an array of shape (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), got {array.shape}")
    if np.issubdtype(pixels.dtype, np.floating):  # floats take the finest levels there are
        pixels = (np.clip(pixels.astype(np.float64), 0, 1) * 65535).round().astype(np.uint16)
    if pixels.dtype not in (np.uint8, np.uint16):
        raise UsageError(f"expected uint8, uint16 or floats in [0, 1], got {array.dtype}")
    pixels = np.ascontiguousarray(pixels)
    if pixels.shape[2] % 2:
        return Picture(pixels)
    return Picture(np.ascontiguousarray(pixels[..., :-1]), alpha=np.ascontiguousarray(pixels[..., -1]))


def _like(image: object, picture: Picture, **info: str) -> object:
    """The picture as the kind of thing that `image` is."""
    if isinstance(image, Image.Image):
        made = to_pil(picture)
        made.info.update({record.KEY: text for text in info.values()})
        return made
    assert isinstance(image, np.ndarray)
    pixels = picture.pixels if picture.alpha is None else np.dstack([picture.pixels, picture.alpha])
    pixels = pixels[..., 0] if image.ndim == 2 else pixels
    return (pixels / 65535).astype(image.dtype) if np.issubdtype(image.dtype, np.floating) else pixels
