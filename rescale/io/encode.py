"""Encode a Picture into a file's bytes, with a note on all that the format could not hold."""

import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from io import BytesIO
from itertools import accumulate
from typing import Any

import numpy as np
from PIL import Image

from rescale.errors import MachineError, UnsupportedError, UsageError
from rescale.io import icc, jpeg_segments, jxl, png_chunks, png_metadata, tags
from rescale.io.exif import with_resolution
from rescale.io.formats import FORMATS, listed
from rescale.io.picture import Picture, Pixels, to_pil
from rescale.io.tags import Directory, Order

_STRIP_BYTES = 2**20
_PILLOWS_LIMIT = 2**20  # of a profile in a PNG
_JPEG_LIMITS = {"exif": 65_533, "icc": 255 * 65_519}
_MOST_JPEG_XMP = 65_504
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
    picture, notes = _fitted(format, picture)
    with _encoding(format):
        if format == "PNG":
            data = _png(picture)
        elif format == "TIFF":
            data = _tiff(picture)
        elif format == "JXL":
            data = jxl.encode(picture.samples, exif=with_resolution(picture.exif, picture.dpi), xmp=picture.xmp)
        else:
            data = _by_pillow(format, picture, quality)
    return data, [*_lost(format, picture), *notes]


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
        why = "holds 256 colours only" if format == "GIF" else "is not written"
        raise UnsupportedError(f"{row} {why}; write {others}")
    if row.max_side and max(picture.size) > row.max_side:
        raise UnsupportedError(f"{format} holds sides up to {row.max_side}, got {picture.size[1]}x{picture.size[0]}")
    if picture.alpha is not None and not row.has_alpha:
        others = listed(other for other in rows if other.has_alpha)
        raise UnsupportedError(f"{format} holds no transparency; write {others}")
    if picture.depth not in row.depths:
        others = listed(other for other in rows if picture.depth in other.depths)
        raise UnsupportedError(f"{format} holds 8 bits a channel here, the picture has {picture.depth}; write {others}")


def _fitted(format: str, picture: Picture) -> tuple[Picture, list[str]]:
    """Fit profile, EXIF and colours to what the format can hold of them, with notes on what it cannot."""
    row, notes = FORMATS[format], list[str]()
    profile = picture.icc if "colour_chunks" in row.holds else picture.icc or _of_cicp(picture)
    if "icc" in row.holds:
        profile, note = icc.fitted(profile, is_grey=_is_stored_grey(format, picture))
        notes += [note] if note else []
    if format == "PNG" and profile and len(profile) > _PILLOWS_LIMIT:
        notes.append("its colour profile has more than 1 MiB, for which programs that use Pillow refuse a PNG")
    if format == "PNG" and profile and len(profile) > png_metadata.MOST_BYTES:
        profile = None
        notes = [f"not kept, as a PNG of this size of profile is not read: {_NAMES['icc']}"]
    if format != "JPEG":
        return replace(picture, icc=profile), notes
    facts = {"icc": profile, "exif": picture.exif}
    large = [field for field, most in _JPEG_LIMITS.items() if len(facts[field] or b"") > most]
    notes += [f"not kept, as it has more bytes than JPEG can hold: {_NAMES[field]}" for field in large]
    kept = {field: None if field in large else value for field, value in facts.items()}
    return replace(picture, icc=kept["icc"], exif=kept["exif"]), notes


def _of_cicp(picture: Picture) -> bytes | None:
    codes = next((body for kind, body in picture.colour_chunks if kind == b"cICP" and len(body) == 4), None)
    return icc.of_cicp(codes[0], codes[1]) if codes else None


def _is_stored_grey(format: str, picture: Picture) -> bool:
    is_wide = format == "TIFF" and picture.depth == 16 and picture.alpha is not None  # see `_tiff`
    return picture.is_grey and FORMATS[format].has_grey and not is_wide


def _lost(format: str, picture: Picture) -> Iterator[str]:
    gone = [field for field in _NAMES if field not in FORMATS[format].holds and getattr(picture, field)]
    if "colour_chunks" in gone and (picture.icc or any(kind == b"sRGB" for kind, _ in picture.colour_chunks)):
        gone.remove("colour_chunks")  # a profile outranks them, and sRGB is what a reader assumes
    if gone:
        yield f"not kept, as {FORMATS[format]} cannot hold it: {', '.join(_NAMES[field] for field in gone)}"


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
    exif = with_resolution(picture.exif, picture.dpi) if format in ("WEBP", "AVIF") else picture.exif
    facts = {"icc": picture.icc, "exif": exif, "xmp": picture.xmp, "dpi": picture.dpi}
    kept: dict[str, Any] = {key: value for key, value in facts.items() if value and key in FORMATS[format].holds}
    if "icc" in kept:
        kept["icc_profile"] = kept.pop("icc")
    if format == "JPEG" and len(picture.xmp or b"") > _MOST_JPEG_XMP:
        kept["extra"] = jpeg_segments.extended(kept.pop("xmp"))
    image = to_pil(Picture(picture.pixels, picture.alpha))  # bare, or Pillow would write what nobody asked for
    out = BytesIO()
    image.save(out, format, **kept, **options.get(format, {}))
    return out.getvalue()


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
    if picture.depth == 16 and samples.shape[2] == 2:  # which few programs read
        samples = samples[..., [0, 0, 0, 1]]
    directory = tags.parse(picture.exif) if picture.exif else Directory()
    rows = max(1, _STRIP_BYTES // samples[0].nbytes)
    strips = [_strip(samples[y : y + rows], directory.order) for y in range(0, len(samples), rows)]
    directory = directory.with_numbers(_layout(samples, rows, strips) | _resolution(picture))
    directory = directory.with_bytes(_blocks(picture))
    return tags.serialise(directory, strips=(273,)) + b"".join(strips)


def _strip(samples: Pixels, order: Order) -> bytes:
    """Deflate differences to the left neighbour, which wrap around as the standard requires."""
    steps = np.diff(samples, axis=1, prepend=np.zeros_like(samples[:, :1]))
    return zlib.compress(steps.astype(steps.dtype.newbyteorder(order)).tobytes())


def _layout(samples: Pixels, rows: int, strips: list[bytes]) -> dict[int, tuple[int, tuple[float, ...]]]:
    """Tags on where the samples lie and what they mean: TIFF tag -> (type, values)."""
    height, width, channels = samples.shape
    lengths = [len(strip) for strip in strips]
    starts = tuple(accumulate(lengths[:-1], initial=0))  # from the end of the tags
    short = {259: (8,), 262: (1 if channels < 3 else 2,), 277: (channels,), 284: (1,), 317: (2,)}
    short[258] = (8 * samples.itemsize,) * channels
    long = {256: (width,), 257: (height,), 273: starts, 278: (rows,), 279: tuple(lengths)}
    if channels % 2 == 0:
        short[338] = (2,)  # straight alpha
    return {tag: (tags.SHORT, value) for tag, value in short.items()} | {
        tag: (tags.LONG, value) for tag, value in long.items()
    }


def _resolution(picture: Picture) -> dict[int, tuple[int, tuple[float, ...]]]:
    if not picture.dpi:
        return {}
    across, down = picture.dpi
    return {282: (tags.RATIONAL, (across,)), 283: (tags.RATIONAL, (down,)), 296: (tags.SHORT, (2,))}


def _blocks(picture: Picture) -> dict[int, tuple[int, bytes]]:
    blocks = {700: (tags.BYTE, picture.xmp), 34675: (tags.UNDEFINED, picture.icc)}
    return {tag: (kind, value) for tag, (kind, value) in blocks.items() if value}
