"""Choices for a picture file that is made: one value, handed whole from the caller to the work."""

from dataclasses import dataclass

import torch

from rescale.inference.refine import Report
from rescale.io import background
from rescale.io.images import MAX_PIXELS


@dataclass(frozen=True)
class RescaleOptions:
    """Choices for a picture file that is made, beside the model and the scale."""

    quality: int | None = None
    """Of a lossy target, 1 to 100; WebP is written without loss if it is not given."""
    overwrite: bool = False
    """Replace an existing target; never a source."""
    resume: bool = False
    """Take an existing target as done if it holds the very bytes that would be written."""
    max_pixels: int = MAX_PIXELS
    """Refuse larger sources and larger results."""
    force: bool = False
    """Restore even though the record does not fit the pixels or the model, or is damaged."""
    device: str | torch.device | None = None
    """Where to run; CUDA if there is one, else the CPU. A `Rescaler` stays where it is without."""
    background: str | None = None
    """Colour (white, #f0f0f0) to lay an image on whose format holds no transparency; refused without."""
    keep_metadata: bool = True
    """Keep EXIF, XMP and PNG text; colour profile, resolution and record always stay."""
    report: Report | None = None
    """Is told how far refining is."""

    def __post_init__(self) -> None:
        if self.background is not None:
            background.parse(self.background)
