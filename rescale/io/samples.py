"""Samples of an image that Pillow opened, as (H, W) or (H, W, 2 to 4), with a note on each conversion."""

import struct
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from rescale.errors import UnsupportedError
from rescale.io import cmyk, sixteen_bit
from rescale.io.picture import Pixels


def read(name: str, image: Image.Image, data: bytes, *, header: bytes = b"") -> NDArray[Any]:
    """Read the samples, alpha last, uint8 or uint16.

    Args:
        name: for error messages.
        image: as opened.
        data: all bytes of its file; without them, what Pillow holds is taken.
        header: at least the first bytes of its file, if known.
    """
    samples = sixteen_bit.samples(name, image, data)
    if samples is not None:
        return samples
    mode = image.mode
    if mode in ("L", "RGB", "LA", "RGBA", "1"):
        return _with_key(np.array(image.convert("L") if mode == "1" else image), image, header or data)
    if mode.startswith("I;16") or (mode == "I" and image.format == "PPM"):
        return _with_key(np.array(image).astype(np.uint16), image, header or data)
    if mode in ("P", "PA"):
        return np.array(image.convert("RGBA" if image.has_transparency_data else "RGB"))
    if mode == "CMYK":
        return _from_cmyk(name, image)
    raise UnsupportedError(f"{name}: expected grey, RGB, palette or CMYK of 8 or 16 bits, got Pillow mode {mode}")


def about(image: Image.Image, data: bytes) -> Iterator[str]:
    """Note each conversion of samples that a Picture does not hold as they are."""
    profile = "" if image.info.get("icc_profile") else ", taken as SWOP as it has no profile"
    costs = {"1": "1 bit a pixel became 8-bit grey", "CMYK": f"CMYK became sRGB{profile}"}
    costs |= dict.fromkeys(("P", "PA"), "the palette became plain colours")
    if image.mode in costs:
        yield costs[image.mode]
    if image.format == "AVIF" and _avif_is_deep(data):
        yield "10 or 12 bits a channel became 8"
    if image.format == "TIFF" and 0 in getattr(image, "tag_v2", {}).get(338, ()):
        yield "an extra channel of unknown meaning was not kept"


def _avif_is_deep(data: bytes) -> bool:
    _, found, settings = data.partition(b"av1C")
    return bool(found) and len(settings) > 2 and bool(settings[2] & 0x40)


def _with_key(samples: Pixels, image: Image.Image, header: bytes) -> Pixels:
    """Turn the one colour that a file declares transparent into alpha."""
    key = image.info.get("transparency")
    if not isinstance(key, int | tuple):
        return samples
    bits = header[24] if image.format == "PNG" and len(header) > 24 else 8
    step = {2: 85, 4: 17}.get(bits, 1)  # Pillow stretches the samples of these depths, but not the key
    level = np.array(key) * step
    if image.format == "PNG" and bits == 16 and samples.dtype == np.uint8:
        level = level >> 8  # as Pillow has narrowed the samples
    is_seen = (samples != level).reshape(*samples.shape[:2], -1).any(axis=2)
    return np.dstack([samples, (is_seen * np.iinfo(samples.dtype).max).astype(samples.dtype)])


def planes(samples: NDArray[Any]) -> tuple[Pixels, Pixels | None]:
    """Split (H, W[, 1 to 4]) into colour (H, W, 1 or 3) and alpha (H, W) or None."""
    if samples.ndim == 2:
        samples = samples[..., None]
    has_alpha = samples.shape[2] % 2 == 0
    return (samples[..., :-1], samples[..., -1]) if has_alpha else (samples, None)


def upright(pixels: Pixels, turn: int) -> Pixels:
    """Apply an EXIF orientation, 1 to 8."""
    if turn in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if turn in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if turn in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def _from_cmyk(name: str, image: Image.Image) -> Pixels:
    if not image.info.get("icc_profile"):
        return cmyk.to_rgb(np.array(image))
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(image.info["icc_profile"]))
        rgb = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (OSError, ImageCms.PyCMSError) as error:
        raise UnsupportedError(f"{name}: its CMYK profile cannot be used: {error}") from error
    return np.array(rgb)


def srgb() -> bytes:
    """Return the profile of sRGB, the same at any time: lcms writes the present second into it."""
    made = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return made[:24] + struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + made[36:]
