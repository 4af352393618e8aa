"""Image in memory: upright pixels with all metadata of the file; conversion to tensors and to Pillow."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from rescale import ops
from rescale.errors import UnsupportedError
from rescale.io import icc

Pixels = NDArray[Any]  # uint8 or uint16


@dataclass(frozen=True)
class Picture:
    """Contents of an image file. Nothing is dropped silently: the notes say what could not be kept."""

    pixels: Pixels
    """Samples: (H, W, 1) grey or (H, W, 3) RGB; uint8 or uint16, as in the file."""
    alpha: Pixels | None = None
    """Alpha plane: (H, W), of the same type; straight, not premultiplied."""
    icc: bytes | None = None
    exif: bytes | None = None
    """EXIF without orientation, which has been applied, and without thumbnail, which would show the old image."""
    xmp: bytes | None = None
    dpi: tuple[float, float] | None = None
    text: tuple[tuple[str, str], ...] = ()
    """Keys and values of PNG text chunks."""
    colour_chunks: tuple[tuple[bytes, bytes], ...] = ()
    """PNG chunks that change how the samples are displayed: gAMA, cHRM, sRGB, cICP and the like."""
    notes: tuple[str, ...] = ()
    """Notes on what could not be kept as it was, one sentence each."""

    def without_metadata(self) -> "Picture":
        """Leave out EXIF, XMP and text; profile, colours and resolution stay, as they say how it looks."""
        return replace(self, exif=None, xmp=None, text=())

    @property
    def size(self) -> tuple[int, int]:
        return self.pixels.shape[0], self.pixels.shape[1]

    @property
    def is_grey(self) -> bool:
        return self.pixels.shape[2] == 1

    @property
    def depth(self) -> int:
        return 8 * self.pixels.dtype.itemsize

    @property
    def top(self) -> int:
        """The highest level of a sample."""
        return 2**self.depth - 1

    @property
    def rgb(self) -> Tensor:
        """Colours as (1, 3, H, W) float32 in [0, 1]; grey is repeated."""
        return to_tensor(self.pixels).expand(1, 3, -1, -1)

    @property
    def samples(self) -> Pixels:
        """Pixels with alpha, if any, as the last channel: (H, W, 1 to 4)."""
        return self.pixels if self.alpha is None else np.dstack([self.pixels, self.alpha])


def to_levels(pixels: Pixels) -> Tensor:
    """Convert (H, W, C) uint8 or uint16 to (1, C, H, W) levels; 16 bits as int32, as torch does little with uint16."""
    wide = np.require(pixels, requirements=["C", "W"]) if pixels.dtype == np.uint8 else pixels.astype(np.int32)
    return torch.from_numpy(wide).permute(2, 0, 1)[None]


def from_levels(levels: Tensor, depth: int) -> Pixels:
    """Convert (1, C, H, W) levels to (H, W, C) uint8 or uint16: the inverse of `to_levels`."""
    return levels[0].permute(1, 2, 0).contiguous().cpu().numpy().astype(np.uint8 if depth == 8 else np.uint16)


def to_tensor(pixels: Pixels) -> Tensor:
    """Convert (H, W, C) uint8 or uint16 to (1, C, H, W) float32 in [0, 1]."""
    return to_levels(pixels).float() / np.iinfo(pixels.dtype).max


def to_pixels(x: Tensor, depth: int) -> Pixels:
    """Convert (1, C, H, W) in [0, 1] to (H, W, C) uint8 or uint16, rounded: the inverse of `to_tensor`."""
    return from_levels(ops.to_levels(x, 2**depth - 1), depth)


def to_8_bits(pixels: Pixels) -> Pixels:
    """Round the levels of 16 bits to those of 8; leave 8 bits as they are."""
    return pixels if pixels.dtype == np.uint8 else (pixels / 257).round().astype(np.uint8)


def to_pil(picture: Picture) -> Image.Image:
    """Convert to a Pillow image with ICC, EXIF, XMP, resolution and text in its `info`; Pillow has no 16-bit colour."""
    samples = picture.samples
    modes = {(8, 1): "L", (8, 2): "LA", (8, 3): "RGB", (8, 4): "RGBA", (16, 1): "I;16"}
    mode = modes.get((picture.depth, samples.shape[2]))
    if mode is None:
        raise UnsupportedError("Pillow has no 16-bit colour or alpha; pass the array instead")
    image = Image.frombytes(mode, picture.size[::-1], samples.tobytes())
    profile = icc.fitted(picture.icc, is_grey=picture.is_grey).profile
    facts = {"icc_profile": profile, "exif": picture.exif, "xmp": picture.xmp, "dpi": picture.dpi}
    image.info.update(dict(picture.text) | {key: value for key, value in facts.items() if value is not None})
    return image
