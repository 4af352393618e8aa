"""Self-test: one generated image, the same on every machine, and the PSNR of a model's LR and restored image.

`weights/manifest.toml` keeps these figures for every shipped model, as `rescale release` took them in float32 on a CPU;
`rescale doctor` takes them again.
"""

import time
from dataclasses import dataclass

import numpy as np

from rescale.geometry import Size
from rescale.inference.rescaler import Rescaler
from rescale.io.picture import Picture
from rescale.metrics import psnr
from rescale.ops.resample import resample

SIZE = 240, 360
"""Height and width, multiples of every scale."""
TOLERANCE_DB = 0.1
"""Tolerance for the order of sums and rounding to bfloat16 or float16, by device and processor."""
_SCALE = 2.5  # of models that serve many


@dataclass(frozen=True)
class Trial:
    """The model's figures on the test image."""

    small_db: float
    """PSNR of the LR image against bicubic, on RGB."""
    restored_db: float
    """PSNR of the restored image against the original, on RGB."""
    down_mps: float
    up_mps: float
    """Megapixels of the HR image a second, downscaled and restored."""

    @property
    def figures(self) -> tuple[float, float]:
        """The figures that the manifest keeps."""
        return round(self.small_db, 3), round(self.restored_db, 3)


def test_image(size: Size = SIZE) -> Picture:
    """Generate shades, rings, tiles and grain in colour; from whole numbers only, the same on every machine."""
    y, x = np.mgrid[: size[0], : size[1]]
    rings = np.abs(((x - 230) ** 2 + (y - 140) ** 2) // 60 % 256 - 128) // 2
    tiles = 50 * ((x // 17 + y // 13) % 2)
    grain = (x * 7919 + y * 104_729 + x * y) % 4
    grey = 40 + rings + tiles + grain
    planes = grey + x // 8, grey + y // 8, grey + (x + y) // 12
    return Picture(np.stack(planes, axis=-1).clip(0, 255).astype(np.uint8))


def trial(rescaler: Rescaler, *, warm_up: bool = False) -> Trial:
    """Downscale and restore the test image, and measure.

    Args:
        rescaler: the model.
        warm_up: run once before the clock starts.
    """
    original = test_image()
    size = rescaler.sizes.small(original.size, None if rescaler.scale else _SCALE)
    if warm_up:
        rescaler.upscale_picture(rescaler.downscale_picture(original, size), size=original.size)
    began = time.perf_counter()
    small = rescaler.downscale_picture(original, size)
    between = time.perf_counter()
    restored = rescaler.upscale_picture(small, size=original.size)
    ended = time.perf_counter()
    megapixels = SIZE[0] * SIZE[1] / 1e6
    bicubic = resample(original.rgb, small.size).clamp(0, 1)
    return Trial(
        small_db=float(psnr(small.rgb, bicubic)),
        restored_db=float(psnr(restored.rgb, original.rgb)),
        down_mps=megapixels / (between - began),
        up_mps=megapixels / (ended - between),
    )


def deviation(found: Trial, kept: tuple[float, float] | None) -> str | None:
    """Describe by how much a trial deviates from the kept figures, or return None."""
    if kept is None or all(abs(a - b) <= TOLERANCE_DB for a, b in zip(found.figures, kept, strict=True)):
        return None
    return "expected {:.2f} dB small and {:.2f} restored, got {:.2f} and {:.2f}".format(*kept, *found.figures)
