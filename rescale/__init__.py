"""Image rescaling and super-resolution: downscale images so that they can be restored, and super-resolve others.

>>> import rescale
>>> rescaler = rescale.load("irn-x4-small")
>>> small = rescaler.downscale(image)
>>> large = rescaler.upscale(small)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from rescale.version import __version__

if TYPE_CHECKING:
    from rescale.inference.files import FileResult, downscale_file, upscale_file
    from rescale.inference.rescaler import Rescaler, load
    from rescale.stdo.overfit import overfit
    from rescale.video.files import downscale_video, frames, upscale_video

__all__ = ["FileResult", "Rescaler", "__version__", "downscale_file", "downscale_video", "frames", "load", "overfit",
           "upscale_file", "upscale_video"]  # fmt: skip

_HOMES = {
    "FileResult": "inference.files",
    "Rescaler": "inference.rescaler",
    "downscale_file": "inference.files",
    "load": "inference.rescaler",
    "upscale_file": "inference.files",
    "downscale_video": "video.files",
    "frames": "video.files",
    "overfit": "stdo.overfit",
    "upscale_video": "video.files",
}


def __getattr__(name: str) -> Any:
    """Import public names at first use, so that `rescale --version` need not wait for torch."""
    if name in _HOMES:
        return getattr(import_module(f"rescale.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'rescale' has no attribute {name!r}")
