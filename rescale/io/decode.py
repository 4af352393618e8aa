"""Decode an image file's bytes, or an open Pillow image, into a Picture; damaged and unsupported ones raise by name."""

import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, UnidentifiedImageError

from rescale.errors import InputError, MachineError, RefusedError, RescaleError, UnsupportedError
from rescale.io import png_chunks, sixteen_bit
from rescale.io.formats import FORMATS
from rescale.io.picture import Picture, Pixels

MAX_PIXELS = 100_000_000
_MAX_SCANS = 100  # of a progressive JPEG: ordinary ones have ten, and each costs a pass over the whole picture
_MAX_PAGES = 1000
_ORIENTATION = 0x0112
_ORIENTATION_IN_XMP = re.compile(rb'tiff:Orientation="\d"|<tiff:Orientation>\d</tiff:Orientation>')
_LAYOUT = (*range(254, 260), 262, 266, 273, *range(277, 280), 284, 317, 320, *range(322, 326), 330, 338, 339, 347,
           513, 514, 530, 532, 700, 34675)  # fmt: skip
"""TIFF tags that describe how the file stored its pixels, XMP and profile: invalid once these are stored elsewhere."""
_LEFT = {"comment": "comment", "photoshop": "IPTC and Photoshop data", "aspect": "pixel aspect ratio"}
_ANIMATED = ("GIF", "PNG", "WEBP", "AVIF")
_LOCK = threading.Lock()


def decode(data: bytes, name: str, *, max_pixels: int = MAX_PIXELS) -> Picture:
    """Decode a file that is already in memory, as `images.read` does; the opposite of `encode`."""
    with _decoding(name):
        Image.init()
        with Image.open(BytesIO(data), formats=[kind for kind in FORMATS if kind in Image.OPEN]) as image:
            _check_size(name, image.size, max_pixels)
            _check_scans(name, image, data)
            return _decode(name, image, data)


def from_pil(image: Image.Image) -> Picture:
    """Convert an open Pillow image, as if read from its file."""
    with _decoding("image"):
        return _decode("image", image, b"")


# ---------------------------------------------------------------------------------------------- guards


@contextmanager
def _decoding(name: str) -> Iterator[None]:
    """Turn any exception that a decoder raises for a damaged file into one sentence."""
    with _own_pillow() as heard:
        try:
            yield
        except RescaleError:
            raise
        except UnidentifiedImageError as error:
            raise InputError(f"{name}: {_unidentified(heard)}") from error
        except MemoryError as error:
            raise MachineError(f"{name}: not enough memory to decode it") from error
        except Exception as error:  # decoders leak anything: OSError, SyntaxError, struct.error, KeyError ...
            reason = str(error).strip() or type(error).__name__
            raise InputError(f"{name}: damaged or truncated: {reason.splitlines()[0]}") from error


@contextmanager
def _own_pillow() -> Iterator[list[warnings.WarningMessage]]:
    """Lift Pillow's own pixel limit, as ours is checked before any pixel, and record why it refuses a file.

    Both are globals, as are Python's warnings, hence the lock.
    """
    with _LOCK, warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        before = Image.MAX_IMAGE_PIXELS, Image.WARN_POSSIBLE_FORMATS
        Image.MAX_IMAGE_PIXELS, Image.WARN_POSSIBLE_FORMATS = None, True
        try:
            yield heard
        finally:
            Image.MAX_IMAGE_PIXELS, Image.WARN_POSSIBLE_FORMATS = before


def _unidentified(heard: list[warnings.WarningMessage]) -> str:
    for warning in heard:
        format, mark, reason = str(warning.message).partition(" opening failed. ")
        if mark:
            return f"a damaged {format}, or one of a rare kind: {reason}"
    return f"expected a picture ({', '.join(FORMATS)}), got something else"


def _check_size(name: str, size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        raise RefusedError(
            f"{name}: {width}x{height} is {width * height:,} pixels, more than the limit of {max_pixels:,}",
            hint="raise it with max_pixels=",
        )


def _check_scans(name: str, image: Image.Image, data: bytes) -> None:
    scans = _count_scans(data) if image.format in ("JPEG", "MPO") else 0
    if scans > _MAX_SCANS:
        raise RefusedError(f"{name}: a JPEG of {scans} scans, more than the limit of {_MAX_SCANS}")


def _count_scans(data: bytes) -> int:
    """Count the scans of the first image, marker by marker up to its end: a phone may have appended a video."""
    count, at = 0, 2
    while (at := data.find(b"\xff", at)) >= 0 and data[at + 1 : at + 2] != b"\xd9":
        kind = data[at + 1] if at + 1 < len(data) else 0
        count += kind == 0xDA
        if kind == 0xFF:  # filling before a marker
            at += 1
        else:
            has_length = kind >= 0xC0 and not 0xD0 <= kind <= 0xD8
            at += 2 + has_length * int.from_bytes(data[at + 2 : at + 4])
    return count


def _about_frames(name: str, image: Image.Image) -> Iterator[str]:
    frames = _count_frames(image)
    if frames > 1 and image.format != "MPO":
        raise _several(name, frames, is_animation=image.format in _ANIMATED)
    if frames > 1:  # a photograph that also holds a preview, a gain map or a second view
        yield f"its first picture was taken, the other {frames - 1} (preview or gain map) not"


def _several(name: str, frames: int, *, is_animation: bool = False) -> UnsupportedError:
    way = "convert it to a video, frame by frame and without loss (FFV1 in MKV), which keeps durations"
    said = f"{name}: expected one picture, got {frames} frames or pages; split it first"
    return UnsupportedError(said, hint=f"or {way}" if is_animation else "")


def _count_frames(image: Image.Image) -> int:
    """Count frames or pages; at most 1000 for a TIFF, as a hostile one may chain millions of pages."""
    if image.format != "TIFF":
        return int(getattr(image, "n_frames", 1))
    for page in range(1, _MAX_PAGES):
        try:
            image.seek(page)
        except EOFError:
            return page
    return _MAX_PAGES


# ---------------------------------------------------------------------------------------------- samples


def _decode(name: str, image: Image.Image, data: bytes) -> Picture:
    if min(image.size) < 1:
        raise InputError(f"{name}: expected at least one pixel, got {image.width}x{image.height}")
    raw = png_chunks.read(data) if image.format == "PNG" and data else []
    notes = [*_about_frames(name, image), *_about_samples(image, data)]
    pixels, alpha = _planes(_samples(name, image, data))
    turn, exif, lost = _exif(image)  # after the pixels: Pillow turns a TIFF itself, and then says so here
    return Picture(
        pixels=_upright(pixels, turn),
        alpha=None if alpha is None else _upright(alpha, turn),
        icc=_profile(image),
        exif=exif.tobytes() if len(exif) else None,
        xmp=_xmp(image),
        dpi=_dpi(image, exif),
        text=tuple(_text(image)),
        colour_chunks=tuple(chunk for chunk in raw if chunk[0] in png_chunks.COLOUR),
        notes=tuple(f"{name}: {note}" for note in [*notes, *lost, *_about_rest(image, raw)]),
    )


def _samples(name: str, image: Image.Image, data: bytes) -> NDArray[Any]:
    """Read the samples: (H, W) or (H, W, 2 to 4), alpha last, uint8 or uint16."""
    samples = sixteen_bit.samples(name, image, data)
    if samples is not None:
        return samples
    mode = image.mode
    if mode in ("L", "RGB", "LA", "RGBA", "1"):
        return _with_key(np.array(image.convert("L") if mode == "1" else image), image, data)
    if mode.startswith("I;16") or (mode == "I" and image.format == "PPM"):
        return _with_key(np.array(image).astype(np.uint16), image, data)
    if mode in ("P", "PA"):
        return np.array(image.convert("RGBA" if image.has_transparency_data else "RGB"))
    if mode == "CMYK":
        return np.array(_from_cmyk(name, image))
    raise UnsupportedError(f"{name}: expected grey, RGB, palette or CMYK of 8 or 16 bits, got Pillow mode {mode}")


def _about_samples(image: Image.Image, data: bytes) -> Iterator[str]:
    """Note each conversion of samples that a Picture does not hold as they are."""
    costs = {"1": "1 bit a pixel became 8-bit grey", "CMYK": "CMYK became sRGB"}
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


def _with_key(samples: Pixels, image: Image.Image, data: bytes) -> Pixels:
    """Turn the one colour that a file declares transparent into alpha."""
    key = image.info.get("transparency")
    if not isinstance(key, int | tuple):
        return samples
    bits = data[24] if image.format == "PNG" and data else 8
    step = {2: 85, 4: 17}.get(bits, 1)  # Pillow stretches the samples of these depths, but not the key
    is_seen = (samples != np.array(key) * step).reshape(*samples.shape[:2], -1).any(axis=2)
    return np.dstack([samples, (is_seen * np.iinfo(samples.dtype).max).astype(samples.dtype)])


def _planes(samples: NDArray[Any]) -> tuple[Pixels, Pixels | None]:
    """Split (H, W[, 1 to 4]) into colour (H, W, 1 or 3) and alpha (H, W) or None."""
    if samples.ndim == 2:
        samples = samples[..., None]
    has_alpha = samples.shape[2] % 2 == 0
    return (samples[..., :-1], samples[..., -1]) if has_alpha else (samples, None)


def _upright(pixels: Pixels, turn: int) -> Pixels:
    """Apply an EXIF orientation, 1 to 8."""
    if turn in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if turn in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if turn in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def _from_cmyk(name: str, image: Image.Image) -> Image.Image:
    if not image.info.get("icc_profile"):
        return image.convert("RGB")
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(image.info["icc_profile"]))
        rgb = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (OSError, ImageCms.PyCMSError) as error:
        raise UnsupportedError(f"{name}: its CMYK profile cannot be used: {error}") from error
    assert rgb is not None
    return rgb


# ---------------------------------------------------------------------------------------------- the rest


def _exif(image: Image.Image) -> tuple[int, Image.Exif, list[str]]:
    """Return the orientation, the EXIF without it, and a note where that is damaged."""
    turn, exif = image.getexif().get(_ORIENTATION, 1), Image.Exif()
    try:
        exif.load(image.getexif().tobytes())  # a copy: the image may be the caller's
        for tag in (_ORIENTATION, *_LAYOUT):
            exif.pop(tag, None)
        exif.tobytes()
    except Exception:  # strangers' tags of strangers' types
        return turn, Image.Exif(), ["its EXIF is damaged and was not kept"]
    return turn, exif, []


def _profile(image: Image.Image) -> bytes | None:
    if image.mode == "CMYK":  # its pixels have been converted
        return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return image.info.get("icc_profile") or None


def _xmp(image: Image.Image) -> bytes | None:
    """Return the XMP without orientation, like the EXIF."""
    xmp = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp") or b""
    return _ORIENTATION_IN_XMP.sub(b"", xmp.encode() if isinstance(xmp, str) else xmp) or None


def _dpi(image: Image.Image, exif: Image.Exif) -> tuple[float, float] | None:
    """Read the resolution from the file's own field, or from EXIF where a format has none."""
    unit = 2.54 if exif.get(296) == 3 else 1.0
    try:
        across, down = image.info.get("dpi") or (unit * float(exif.get(tag, 0)) for tag in (282, 283))
        return (float(across), float(down)) if 0 < across < 1e6 and 0 < down < 1e6 else None
    except (TypeError, ValueError):  # a tag of another type
        return None


def _text(image: Image.Image) -> Iterator[tuple[str, str]]:
    for key, value in getattr(image, "text", {}).items():
        if key not in ("XML:com.adobe.xmp", "Raw profile type exif"):  # Pillow has read them as XMP and EXIF
            yield key, str(value)


def _about_rest(image: Image.Image, raw: list[tuple[bytes, bytes]]) -> Iterator[str]:
    left = [words for key, words in _LEFT.items() if image.info.get(key)]
    left += sorted({f"PNG chunk {kind.decode('latin-1')}" for kind, _ in raw if kind not in png_chunks.KNOWN})
    if left:
        yield f"not kept: {', '.join(left)}"
