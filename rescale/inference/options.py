"""Choices for a picture file that is made: one value, handed whole from the caller to the work."""

from dataclasses import dataclass

import torch

from rescale.errors import UsageError
from rescale.inference.refine import Report
from rescale.inference.search import Aim
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
    verify: bool | None = None
    """Restore what `down` is about to write, and tell how close it comes; by default where a GPU does it in passing."""
    min_psnr: float | None = None
    """Refuse to write what would restore at fewer dB on RGB; verifies."""
    aim: Aim | None = None
    """Search for the scale at which an LR file has so many bytes, or restores at so many dB."""
    denoise: float | None = None
    """How far to clean an ordinary picture that is enlarged, 0 to 1; by default 1 if its codec is lossy, else 0."""
    report: Report | None = None
    """Is told how far refining is."""

    def verifies(self, device: torch.device) -> bool:
        """Tell whether an LR file is to be verified."""
        asked = self.verify if self.min_psnr is None else True
        return device.type == "cuda" if asked is None else asked

    def __post_init__(self) -> None:
        if self.background is not None:
            background.parse(self.background)
        if self.min_psnr is not None and self.verify is False:
            raise UsageError("expected verify with min_psnr, as only that can tell")
        if self.min_psnr is not None and not 0 < self.min_psnr < 100:
            raise UsageError(f"expected a least PSNR between 0 and 100 dB, got {self.min_psnr:g}")
        if self.denoise is not None and not 0 <= self.denoise <= 1:
            raise UsageError(f"expected denoise from 0 to 1, got {self.denoise:g}")
