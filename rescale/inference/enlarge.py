"""Super-resolve an ordinary image to any size: choose the network, run it, resample what it makes to the exact size."""

from dataclasses import replace
from functools import lru_cache

import numpy as np
import torch

from rescale.device import isolated, usable_device
from rescale.errors import UsageError
from rescale.geometry import MAX_SCALE, Geometry, Size, by
from rescale.inference.cache import load_cached
from rescale.inference.rescaler import Rescaler
from rescale.io.picture import Picture, Pixels, to_pixels, to_tensor
from rescale.models import weights
from rescale.models.zoo import super_resolution_model
from rescale.ops.resample import resample

Device = str | torch.device | None


def choose(
    small: Size, full: Size, *, is_lossy: bool, denoise: float | None, device: Device
) -> tuple[Rescaler, list[str]]:
    """Choose the default network for an enlargement; with a note where the source decided.

    Args:
        small: (height, width) of the image.
        full: (height, width) to reach.
        is_lossy: whether a lossy codec has touched the image, so that the network for photos is taken.
        denoise: how far to mix that network in, 0 to 1, whatever the image; None to let it decide.
        device: where to run.
    Raises: UsageError above the largest scale, or where there is no network for photos to mix in.
    """
    scale = max(large / length for large, length in zip(full, small, strict=True))
    clean, photo = (super_resolution_model(scale, is_photo=is_photo) for is_photo in (False, True))
    if denoise is not None and photo == clean:
        raise UsageError(f"expected no denoise at x{scale:g}, as no network for photos is there")
    share = denoise if denoise is not None else float(is_lossy and photo != clean)
    if 0 < share < 1:
        return _mixed(photo.removesuffix("-photo"), photo, share, device), []
    told = share == 1 and denoise is None
    note = f"its codec is lossy, so {photo} cleans it too; --model {clean} or --denoise 0 takes it as it is"
    return load_cached(photo if share else clean, device), [note] * told


def enlarge(rescaler: Rescaler, picture: Picture, full: Size) -> Picture:
    """Return the image at (height, width) `full`, which may be less than the network makes, of any proportions.

    Raises: UsageError where the network makes less than that.
    """
    scale, small = rescaler.scale, picture.size
    if scale is None or not rescaler.model.super_resolves:
        return rescaler.upscale_picture(picture, size=full)
    own = small[0] * scale, small[1] * scale
    if any(asked > made for asked, made in zip(full, own, strict=True)):
        raise UsageError(f"{rescaler.name} works at x{scale} and makes {by(own)} at most, got {by(full)}")
    return resized(picture if full == small and scale > 1 else rescaler.upscale_picture(picture), full)


def full_size(small: Size, asked: Geometry, rescaler: Rescaler | None) -> Size:
    """Return the (height, width) that is asked for. Raises: UsageError where the model has another scale."""
    if rescaler is not None and not rescaler.model.super_resolves:
        return rescaler.sizes.full(small, asked)
    size = asked.large_size(small)
    times = max(large / length for large, length in zip(size, small, strict=True))
    restores = rescaler is not None and rescaler.scale == 1
    if times > MAX_SCALE or (asked.scales == (1, 1) and not restores):
        raise UsageError(
            f"expected more than 1 and at most {MAX_SCALE} times the sides of {by(small)}, got {asked}; beyond, it "
            "would be mostly invention"
        )
    return size


@isolated()
def resized(picture: Picture, size: Size) -> Picture:
    """Return the image resampled (bicubic, antialiased) to (height, width); its alpha too."""
    if picture.size == size:
        return picture
    pixels = np.dstack([_plane(picture.pixels[..., k : k + 1], size) for k in range(picture.pixels.shape[2])])
    alpha = None if picture.alpha is None else _plane(picture.alpha[..., None], size)[..., 0]
    return replace(picture, pixels=pixels, alpha=alpha)


def _plane(pixels: Pixels, size: Size) -> Pixels:
    return to_pixels(resample(to_tensor(pixels), size), 8 * pixels.dtype.itemsize)


@lru_cache(maxsize=2)
def _mixed(clean: str, photo: str, share: float, device: Device) -> Rescaler:
    """Load a network between two: mixed weights, not mixed pixels, at the cost of one."""
    return Rescaler(weights.mixed(weights.load(clean), weights.load(photo), share), device=usable_device(device))
