"""Encode a Picture into a file's bytes, with a note on all that the format could not hold."""

import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from itertools import accumulate
from typing import Any

import numpy as np
from PIL import Image, TiffTags
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from rescale.errors import MachineError, UnsupportedError, UsageError
from rescale.io import png_chunks
from rescale.io.formats import FORMATS, listed
from rescale.io.picture import Picture, Pixels, to_pil

_STRIP_BYTES = 2**20
_EXIF_FOLDERS = (0x8769, 0x8825)  # camera settings and GPS, kept as directories of their own
_NAMES = {
    "icc": "colour profile", "exif": "EXIF", "xmp": "XMP", "dpi": "resolution", "text": "PNG text",
    "colour_chunks": "PNG colour chunks",
}  # fmt: skip


def encode(format: str, picture: Picture, *, quality: int | None = None) -> tuple[bytes, list[str]]:
    """Encode into a file's bytes, with notes on what it could not hold; the opposite of `decode`."""
    if quality is not None and not 1 <= quality <= 100:
        raise UsageError(f"expected a quality of 1 to 100, got {quality}")
    if quality is not None and not FORMATS[format].takes_quality:
        raise UsageError(f"{format} is written without loss and takes no quality, got {quality}")
    _check_holds(format, picture)
    with _encoding(format):
        if format == "PNG":
            data = _png(picture)
        elif format == "TIFF":
            data = _tiff(picture)
        else:
            data = _by_pillow(format, picture, quality)
    return data, list(_lost(format, picture))


@contextmanager
def _encoding(format: str) -> Iterator[None]:
    try:
        yield
    except MemoryError as error:
        raise MachineError(f"not enough memory to encode {format}") from error
    except (OSError, ValueError, RuntimeError, struct.error) as error:
        raise UnsupportedError(f"cannot write this picture as {format}: {error}") from error


def _check_holds(format: str, picture: Picture) -> None:
    row, rows = FORMATS[format], FORMATS.values()
    if not row.is_written:
        others = listed(other for other in rows if other.is_lossless and other.carries_record)
        raise UnsupportedError(f"{format} holds 256 colours only; write {others}")
    if row.max_side and max(picture.size) > row.max_side:
        raise UnsupportedError(f"{format} holds sides up to {row.max_side}, got {picture.size[1]}x{picture.size[0]}")
    if picture.alpha is not None and not row.has_alpha:
        others = listed(other for other in rows if other.has_alpha)
        raise UnsupportedError(f"{format} holds no transparency; write {others}")
    if picture.depth not in row.depths:
        others = listed(other for other in rows if picture.depth in other.depths)
        raise UnsupportedError(f"{format} holds 8 bits a channel here, the picture has {picture.depth}; write {others}")


def _lost(format: str, picture: Picture) -> Iterator[str]:
    gone = [field for field in _NAMES if field not in FORMATS[format].holds and getattr(picture, field)]
    if "colour_chunks" in gone and (picture.icc or any(kind == b"sRGB" for kind, _ in picture.colour_chunks)):
        gone.remove("colour_chunks")  # a profile outranks them, and sRGB is what a reader assumes
    if gone:
        yield f"not kept, as {format} cannot hold it: {', '.join(_NAMES[field] for field in gone)}"


def _by_pillow(format: str, picture: Picture, quality: int | None) -> bytes:
    Image.init()
    if format not in Image.SAVE:
        raise MachineError(f"this Pillow was built without {format}; install one from its wheels")
    high = quality or 95
    options: dict[str, dict[str, Any]] = {
        "JPEG": {"quality": high, "subsampling": "4:4:4" if high >= 90 else "4:2:0"},
        "WEBP": {"quality": quality, "exact": True} if quality else {"lossless": True, "exact": True},
        "AVIF": {"quality": high, "subsampling": "4:4:4"},
    }
    exif = _with_resolution(picture) if format in ("WEBP", "AVIF") else picture.exif
    facts = {"icc": picture.icc, "exif": exif, "xmp": picture.xmp, "dpi": picture.dpi}
    kept: dict[str, Any] = {key: value for key, value in facts.items() if value and key in FORMATS[format].holds}
    if "icc" in kept:
        kept["icc_profile"] = kept.pop("icc")
    image = to_pil(Picture(picture.pixels, picture.alpha))  # bare, or Pillow would write what nobody asked for
    out = BytesIO()
    image.save(out, format, **kept, **options.get(format, {}))
    return out.getvalue()


def _with_resolution(picture: Picture) -> bytes | None:
    """Write the resolution into the EXIF, since WebP and AVIF have no field for it."""
    if not picture.dpi:
        return picture.exif
    exif = _exif(picture)
    exif[282], exif[283], exif[296] = *picture.dpi, 2
    return exif.tobytes()


def _exif(picture: Picture) -> Image.Exif:
    exif = Image.Exif()
    if picture.exif:
        exif.load(picture.exif)
    return exif


def _png(picture: Picture) -> bytes:
    if picture.depth == 16:
        import imagecodecs

        data = bytes(imagecodecs.png_encode(picture.samples, level=6))
    else:
        out = BytesIO()
        to_pil(Picture(picture.pixels, picture.alpha)).save(out, "PNG")
        data = out.getvalue()
    facts = (picture.icc, picture.exif, picture.xmp, picture.dpi, picture.text, picture.colour_chunks)
    return png_chunks.insert(data, list(png_chunks.describe(*facts)))


def _tiff(picture: Picture) -> bytes:
    """Write a TIFF: header, tags, strips. Our own writer, as no library here has both 16-bit colour and EXIF."""
    samples = picture.samples
    if picture.depth == 16 and samples.shape[2] == 2:  # nor does a reader know 16-bit grey with alpha
        samples = samples[..., [0, 0, 0, 1]]
    rows = max(1, _STRIP_BYTES // samples[0].nbytes)
    strips = [_strip(samples[y : y + rows]) for y in range(0, len(samples), rows)]
    tags = ImageFileDirectory_v2(prefix=b"II")
    exif = _exif(picture)
    for tag, value in exif.items():
        tags[tag] = exif.get_ifd(tag) if tag in _EXIF_FOLDERS else value
    for tag, (kind, value) in (_layout(samples, rows, strips) | _facts(picture)).items():
        tags.tagtype[tag] = kind
        tags[tag] = value
    out = BytesIO()
    tags.save(out)
    return out.getvalue() + b"".join(strips)


def _strip(samples: Pixels) -> bytes:
    """Deflate differences to the left neighbour, which wrap around as the standard requires."""
    steps = np.diff(samples, axis=1, prepend=np.zeros_like(samples[:, :1]))
    return zlib.compress(steps.astype(steps.dtype.newbyteorder("<")).tobytes())


def _layout(samples: Pixels, rows: int, strips: list[bytes]) -> dict[int, tuple[int, Any]]:
    """Tags on where the samples lie and what they mean: TIFF tag -> (type, value)."""
    height, width, channels = samples.shape
    lengths = [len(strip) for strip in strips]
    starts = tuple(accumulate(lengths[:-1], initial=0))  # from the end of the tags
    short = {258: (8 * samples.itemsize,) * channels, 259: 8, 262: 1 if channels < 3 else 2, 277: channels, 284: 1}
    long = {256: width, 257: height, 273: starts, 278: rows, 279: tuple(lengths)}
    if channels % 2 == 0:
        short[338] = 2  # straight alpha
    layout = {tag: (TiffTags.SHORT, value) for tag, value in (short | {317: 2}).items()}
    return layout | {tag: (TiffTags.LONG, value) for tag, value in long.items()}


def _facts(picture: Picture) -> dict[int, tuple[int, Any]]:
    facts: dict[int, tuple[int, Any]] = {}
    if picture.dpi:
        across, down = picture.dpi
        facts = {282: (TiffTags.RATIONAL, across), 283: (TiffTags.RATIONAL, down), 296: (TiffTags.SHORT, 2)}
    if picture.xmp:
        facts[700] = TiffTags.BYTE, picture.xmp
    if picture.icc:
        facts[34675] = TiffTags.UNDEFINED, picture.icc
    return facts
