"""Image rescaling and super-resolution: a picture goes down, and the large one comes back.

>>> import rescale
>>> rescaler = rescale.load("irn-x4-small")
>>> small = rescaler.downscale(image)
>>> large = rescaler.upscale(small)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rescale.files import Done, downscale_file, upscale_file
    from rescale.rescaler import Rescaler, load
    from rescale.video.journeys import downscale_video, frames, upscale_video
    from rescale.video.overfit import overfit

__all__ = ["Done", "Rescaler", "__version__", "downscale_file", "downscale_video", "frames", "load", "overfit",
           "upscale_file", "upscale_video"]  # fmt: skip
__version__ = "0.1.0"

_HOMES = {
    "Done": "files",
    "Rescaler": "rescaler",
    "downscale_file": "files",
    "load": "rescaler",
    "upscale_file": "files",
    "downscale_video": "video.journeys",
    "frames": "video.journeys",
    "overfit": "video.overfit",
    "upscale_video": "video.journeys",
}


def __getattr__(name: str) -> Any:
    """Public names are fetched when first used, so that `rescale --version` need not wait for torch."""
    if name in _HOMES:
        return getattr(import_module(f"rescale.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'rescale' has no attribute {name!r}")
