"""Image rescaling and super-resolution: downscale images so that they can be restored, and super-resolve others.

>>> import rescale
>>> rescaler = rescale.load("irn-x4-small")
>>> small = rescaler.downscale(image)
>>> large = rescaler.upscale(small)
"""

from typing import TYPE_CHECKING, Any

from rescale.version import __version__

if TYPE_CHECKING:
    from rescale.errors import (
        DiskFullError,
        InputError,
        MachineError,
        RecordError,
        RefusedError,
        RescaleError,
        UnsupportedError,
        UsageError,
        WeightsError,
    )
    from rescale.evaluation.protocol import evaluate
    from rescale.inference.files import downscale_file, upscale_file
    from rescale.inference.options import RescaleOptions
    from rescale.inference.refine import RefineBudget
    from rescale.inference.rescaler import Rescaler, load
    from rescale.inference.results import FileResult
    from rescale.io.picture import Picture
    from rescale.ops.pixels import quantize
    from rescale.stdo.overfit import OverfitBudget, OverfitResult, overfit
    from rescale.video.files import VideoFrames, VideoResult, downscale_video, frames, upscale_video
    from rescale.video.options import EncodeOptions

_HOMES = {
    "errors": ("DiskFullError", "InputError", "MachineError", "RecordError", "RefusedError", "RescaleError",
               "UnsupportedError", "UsageError", "WeightsError"),
    "evaluation.protocol": ("evaluate",),
    "inference.files": ("downscale_file", "upscale_file"),
    "inference.options": ("RescaleOptions",),
    "inference.refine": ("RefineBudget",),
    "inference.rescaler": ("Rescaler", "load"),
    "inference.results": ("FileResult",),
    "io.picture": ("Picture",),
    "ops.pixels": ("quantize",),
    "stdo.overfit": ("OverfitBudget", "OverfitResult", "overfit"),
    "video.files": ("VideoFrames", "VideoResult", "downscale_video", "frames", "upscale_video"),
    "video.options": ("EncodeOptions",),
}  # fmt: skip
"""The modules of the public names, as above."""

__all__ = ["DiskFullError", "EncodeOptions", "FileResult", "InputError", "MachineError", "OverfitBudget",
           "OverfitResult", "Picture", "RecordError", "RefineBudget", "RefusedError", "RescaleError", "RescaleOptions",
           "Rescaler", "UnsupportedError", "UsageError", "VideoFrames", "VideoResult", "WeightsError", "__version__",
           "downscale_file", "downscale_video", "evaluate", "frames", "load", "overfit", "quantize", "upscale_file",
           "upscale_video"]  # fmt: skip


def __getattr__(name: str) -> Any:
    """Import public names at first use, so that `rescale --version` need not wait for torch."""
    from importlib import import_module

    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"rescale.{module}"), name)
    raise AttributeError(f"module 'rescale' has no attribute {name!r}")


def __dir__() -> list[str]:
    """The public names, fetched already or not."""
    return sorted([*__all__, *(name for name in globals() if name.startswith("__") and name not in __all__)])
