"""Samples of frames: decoded frames as planes of levels, and planes as frames for an encoder."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from rescale.ops.alpha import fill
from rescale.video.io.colour import Colours
from rescale.video.io.container import library
from rescale.video.io.layouts import LAYOUTS, has_alpha, with_alpha


def planes_of(frame: Any, depth: int) -> list[Tensor]:
    """Copy the samples of a decoded frame."""
    return [_samples(plane, depth, copy=True) for plane in frame.planes]


def split(frame: Any, layout: str) -> tuple[list[Tensor], Tensor | None]:
    """Return the planes of a frame of any pixel format in a layout, and its alpha; None where it is opaque all over."""
    depth = LAYOUTS[layout][1]
    if frame.format.name.startswith("ya"):
        grey, alpha = _grey_and_alpha(frame, depth)
        return [grey], _visible(alpha, depth)
    is_clear = has_alpha(frame.format)
    planes = planes_of(_converted(frame, with_alpha(layout) if is_clear else layout), depth)
    return (planes[:-1], _visible(planes[-1], depth)) if is_clear else (planes, None)


def _visible(alpha: Tensor, depth: int) -> Tensor | None:
    return None if bool((alpha >= 2**depth - 1).all()) else alpha


def _grey_and_alpha(frame: Any, depth: int) -> tuple[Tensor, Tensor]:
    """Split samples that lie side by side."""
    frame = frame.reformat(format="ya8" if depth == 8 else "ya16le")
    (plane,), dtype = frame.planes, np.dtype(np.uint8 if depth == 8 else "<u2")
    both = np.frombuffer(plane, dtype).reshape(plane.height, -1)[:, : 2 * plane.width]
    grey, alpha = (torch.from_numpy(both[:, k::2].astype(np.uint8 if depth == 8 else np.int32)) for k in (0, 1))
    return grey, alpha


def _converted(frame: Any, layout: str) -> Any:
    """Convert a frame to a layout, through formats between which FFmpeg only moves samples, or not at all."""
    name = frame.format.name
    if name.endswith("be"):
        frame = frame.reformat(format=f"{name[:-2]}le")
    name = frame.format.name.replace("yuvj", "yuv").replace("gray8", "gray")
    if name == layout:
        return frame
    if layout.startswith("gb") and max(part.bits for part in frame.format.components) not in (8, 16):
        frame = frame if name.startswith("gb") else frame.reformat(format=_packed(layout))
    return frame if frame.format.name == layout else frame.reformat(format=layout)


def _packed(layout: str) -> str:
    """Return the packed format of the samples of planar RGB."""
    is_shallow = layout in ("gbrp", "gbrap")
    if layout.startswith("gbrap"):
        return "rgba" if is_shallow else "rgba64le"
    return "rgb24" if is_shallow else "rgb48le"


def to_frame(planes: list[Tensor], layout: str) -> Any:
    """Make a PyAV frame of planes: the opposite of `planes_of`. A plane of alpha that is missing is opaque."""
    height, width = planes[0].shape
    frame = library().VideoFrame(width, height, layout)
    depth = LAYOUTS[layout.replace("gbrap", "gbrp").replace("yuva", "yuv")][1]
    for plane, samples in zip(frame.planes, planes, strict=len(planes) == len(frame.planes)):
        _samples(plane, depth)[...] = samples.cpu()
    for plane in frame.planes[len(planes) :]:
        _samples(plane, depth)[...] = 2**depth - 1
    return frame


def _samples(plane: Any, depth: int, *, copy: bool = False) -> Any:
    """Read a plane without the padding of its lines: a copy as a tensor, or a view to write into."""
    dtype = np.dtype(np.uint8 if depth == 8 else "<u2")
    lines = np.frombuffer(plane, dtype).reshape(plane.height, plane.line_size // dtype.itemsize)
    seen = lines[:, : plane.width]
    if not copy:
        return seen
    return torch.from_numpy(seen.astype(np.uint8 if depth == 8 else np.int32))


def on_black(planes: list[Tensor], alpha: Tensor, colours: Colours) -> list[Tensor]:
    """Lay planes with transparency on black."""
    share = alpha.float() / colours.levels.top
    black = colours.black(len(planes))
    return [_mixed(plane, level, shrunk(share, plane)) for plane, level in zip(planes, black, strict=True)]


def _mixed(plane: Tensor, level: float, share: Tensor) -> Tensor:
    return (level + (plane.float() - level) * share).round().to(plane.dtype)


def shrunk(share: Tensor, plane: Tensor) -> Tensor:
    """Average (h, w) to the size of a plane, which may have fewer samples."""
    return (
        share if share.shape == plane.shape else F.adaptive_avg_pool2d(share[None], (plane.shape[0], plane.shape[1]))[0]
    )


def under(planes: list[Tensor], alpha: Tensor) -> list[Tensor]:
    """Fill what is invisible with the colours around it, which would otherwise bleed into what is visible."""
    share = (alpha > 0).float()
    return [_filled(plane, shrunk(share, plane)) for plane in planes]


def _filled(plane: Tensor, share: Tensor) -> Tensor:
    if bool((share > 0).all()):
        return plane
    return fill(plane[None, None].float(), share[None, None])[0, 0].round().to(plane.dtype)
