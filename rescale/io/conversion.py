"""Convert PIL images, NumPy arrays and tensors to the internal form, and back to the caller's type."""

import warnings
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from rescale.errors import UsageError
from rescale.io.images import Picture, from_pil, to_pil

_SLACK = 1e-3  # what rounding may add to 1
Kind = TypeVar("Kind", Image.Image, NDArray[Any], Tensor)


def is_levels(image: object) -> bool:
    """Tell whether an image holds integer levels (Pillow, integer array) rather than floats in [0, 1]."""
    return isinstance(image, Image.Image) or (isinstance(image, np.ndarray) and np.issubdtype(image.dtype, np.integer))


def refuse_gradient(image: object, path: str) -> None:
    """Raises: UsageError for a tensor whose gradient would be lost without a word."""
    if isinstance(image, Tensor) and image.requires_grad and torch.is_grad_enabled():
        raise UsageError(
            f"expected a tensor that requires no gradient, as none passes here; rescaler.{path} passes them on",
            hint="compose rescaler.model.downscale, rescale.quantize and rescaler.model.upscale, whose weights "
            "rescaler.model.requires_grad_(True) makes trainable; or pass x.detach()",
        )


def to_picture(image: object) -> Picture:
    """Convert to a Picture. Raises: UsageError for a shape or type that is no image."""
    if isinstance(image, Image.Image):
        picture = from_pil(image)
        if picture.notes:
            warnings.warn("; ".join(picture.notes), stacklevel=3)
        return picture
    assert isinstance(image, np.ndarray)
    pixels = image[..., None] if image.ndim == 2 else image
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 2, 3, 4) or 0 in pixels.shape:
        raise UsageError(f"expected an array of shape (H, W) or (H, W, 1 to 4), got {image.shape}")
    if pixels.dtype not in (np.uint8, np.uint16):
        raise UsageError(f"expected uint8, uint16 or floats in [0, 1], got {image.dtype}")
    has_alpha = pixels.shape[2] % 2 == 0
    colours = _own(pixels[..., :-1] if has_alpha else pixels)
    return Picture(colours, alpha=_own(pixels[..., -1]) if has_alpha else None)


def from_picture(picture: Picture, like: Kind) -> Kind:
    """Convert back to the caller's type: the opposite of `to_picture`."""
    if isinstance(like, Image.Image):
        return to_pil(picture)
    assert isinstance(like, np.ndarray)
    return picture.samples[..., 0] if like.ndim == 2 and picture.samples.shape[2] == 1 else picture.samples


def to_batch(image: object) -> Tensor:
    """Convert floats in [0, 1] to (N, 3, H, W) float32. Raises: UsageError for another shape or type."""
    x = _planes(image) if isinstance(image, np.ndarray) else image
    if not isinstance(x, Tensor) or x.ndim not in (3, 4) or x.shape[-3] != 3 or not x.is_floating_point():
        raise UsageError(
            "expected a Pillow image, an integer array, floats in [0, 1] as an array (H, W) or (H, W, 3), "
            f"or as a tensor (3, H, W) or (N, 3, H, W); got {_described(image)}"
        )
    if 0 in x.shape:
        raise UsageError(f"expected at least one pixel, got {tuple(x.shape)}")
    least, most = (edge.item() for edge in x.aminmax())
    if not -_SLACK <= least <= most <= 1 + _SLACK:
        raise UsageError(f"expected floats in [0, 1], got {least:g} to {most:g}")
    x = x.clone() if x.is_inference() else x.detach()  # or refining could not learn through it
    return (x if x.ndim == 4 else x[None]).float()


def _planes(image: NDArray[Any]) -> Tensor | None:
    """Convert floats (H, W[, C]) to (3 or C, H, W); None for another shape or type."""
    if image.ndim not in (2, 3) or image.dtype not in (np.float16, np.float32, np.float64):
        return None
    x = torch.from_numpy(_own(image[..., None] if image.ndim == 2 else image)).permute(2, 0, 1)
    return x.expand(3, -1, -1) if x.shape[0] == 1 else x


def _own(samples: NDArray[Any]) -> NDArray[Any]:
    """Return a contiguous, writable array, as torch needs it; a view of a Pillow image, say, is neither."""
    return np.require(samples, requirements=["C", "W"])


def levels_of(pixels: NDArray[Any]) -> Tensor:
    """(H, W, C) -> (1, C, H, W); 16 bits as int32, as torch does little with uint16."""
    wide = np.require(pixels, requirements=["C", "W"]) if pixels.dtype == np.uint8 else pixels.astype(np.int32)
    return torch.from_numpy(wide).permute(2, 0, 1)[None]


def pixels_of(levels: Tensor, top: int) -> NDArray[Any]:
    """The opposite of `levels_of`."""
    return levels[0].permute(1, 2, 0).contiguous().numpy().astype(np.uint8 if top == 255 else np.uint16)


def is_grey(image: object) -> bool:
    """Tell whether an array holds one channel only."""
    return isinstance(image, np.ndarray) and (image.ndim == 2 or image.shape[2] == 1)


def from_batch(x: Tensor, like: Kind, *, is_grey: bool) -> Kind:
    """Convert back to the caller's type: the opposite of `to_batch`; if grey, an array of one channel."""
    if isinstance(like, Tensor):
        return (x if like.ndim == 4 else x[0]).to(like)
    assert isinstance(like, np.ndarray)
    pixels = x[0].permute(1, 2, 0).cpu().numpy().astype(like.dtype)
    return pixels.mean(axis=2, keepdims=like.ndim == 3 and like.shape[2] == 1) if is_grey else pixels


def with_info(image: Kind, key: str, value: str) -> Kind:
    """Store a text in a Pillow image's `info`; arrays and tensors have no place for one."""
    if isinstance(image, Image.Image):
        image.info[key] = value
    return image


def _described(image: object) -> str:
    shape = getattr(image, "shape", None)
    return f"{type(image).__name__} {getattr(image, 'dtype', '')} {tuple(shape) if shape is not None else ''}".strip()
