"""Choices for a video file that is made: one value, handed whole from the caller to the work."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from rescale.io.images import MAX_PIXELS
from rescale.video.pipeline import Clock

ProgressCallback = Callable[[Clock], None]


def _untold(_: Clock) -> None:
    """Nobody wants to know."""


@dataclass(frozen=True)
class EncodeOptions:
    """Choices for a video file that is made, beside the model and the scale."""

    codec: str | None = None
    """h264, h265, av1, vp9, ffv1 or prores; by the container and the depth if not given."""
    quality: int | None = None
    """The encoder's CRF: lower is better and larger."""
    preset: str | None = None
    """The encoder's own word, such as veryfast or 8."""
    overwrite: bool = False
    """Replace an existing target; never a source."""
    allow_truncated: bool = False
    """Take what there is of a file that ends before its header says."""
    deinterlace: bool = False
    """Make whole frames of interlaced ones, one of each."""
    max_pixels: int = MAX_PIXELS
    """Refuse larger frames."""
    threads: int = 0
    """Of the decoder, and of the encoder; 0 lets each choose."""
    force: bool = False
    """Restore even if the small video was changed since it was made."""
    device: str | torch.device | None = None
    """Where to run; CUDA if there is one, else the CPU. A `Rescaler` stays where it is without."""
    tell: ProgressCallback = field(default=_untold)
    """Is told after each frame how far all is."""
