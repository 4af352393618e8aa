"""Decode an image file's bytes, or an open Pillow image, into a Picture; damaged and unsupported ones raise by name."""

import ctypes
import logging
import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError, _imaging

from rescale.errors import InputError, MachineError, RefusedError, RescaleError, UnsupportedError
from rescale.io import (
    bmp_fields,
    file_metadata,
    heif,
    jpeg_segments,
    jxl,
    png_chunks,
    samples,
    storage,
    tags,
    tiff_samples,
)
from rescale.io.formats import FORMATS
from rescale.io.metadata import Metadata
from rescale.io.picture import Picture

MAX_PIXELS = 100_000_000
_MAX_SCANS = 100  # of a progressive JPEG: ordinary ones have ten, and each costs a pass over the whole picture
_MAX_PAGES = 1000
_HEADER_BYTES = 2**26  # of a file that is looked at once more for its header
_RARE = re.compile(
    r"(?i)unsupported(?! operand)|not supported|unknown|cannot handle|not implemented|unrecogni[sz]ed|no decoder"
)
_TIFF_MARKS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_MOST_WORDS = 200  # of a decoder's own reason
_ANIMATED = ("GIF", "PNG", "WEBP", "AVIF")
_LOCK = threading.Lock()


def decode(data: bytes, name: str, *, max_pixels: int = MAX_PIXELS) -> Picture:
    """Decode a file that is already in memory, as `images.read` does; the opposite of `encode`."""
    with _decoding(name):
        if data.startswith(_TIFF_MARKS) and (found := _rare_tiff(name, data, max_pixels)):
            return found
        if (masked := bmp_fields.header(data)) and (masked.has_lost_alpha or not _opens(data)):
            check_size(name, masked.size, max_pixels)
            return _picture(name, bmp_fields.read(masked, data), Metadata(), [])
        if data.startswith(jxl.MARKS):
            return _jxl(name, data, max_pixels)
        if heif.is_heif(data):
            return _heif(name, data, max_pixels)
        with _opened(data) as image:
            check_size(name, image.size, max_pixels)
            _check_scans(name, image, data)
            return _decode(name, image, data)


def from_pil(image: Image.Image) -> Picture:
    """Convert an open Pillow image, as if read from its file, as far as Pillow holds that."""
    with _decoding("image"):
        check_size("image", image.size, image.width * image.height)
        data = _behind(image)
        header = data or _header(image)
        notes = ["16 bits a channel became 8, as Pillow holds no more; pass the file or an array"]
        narrowed = notes if _is_narrowed(image, header) else []
        return _decode("image", image, data, said=narrowed, found=samples.read("image", image, b"", header=header))


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
            reason = (str(error).strip() or type(error).__name__).splitlines()[0][:_MOST_WORDS]
            if isinstance(error, NotImplementedError) or _RARE.search(reason):
                raise UnsupportedError(f"{name}: of a rare kind that is not read: {reason}") from error
            raise InputError(f"{name}: damaged or truncated: {reason}") from error


@contextmanager
def _own_pillow() -> Iterator[list[warnings.WarningMessage]]:
    """Lift Pillow's own pixel limit, as ours is checked before any pixel, and record why it refuses a file.

    All are globals, as are Python's warnings and libtiff's voice on stderr, hence the lock.
    """
    with _LOCK, warnings.catch_warnings(record=True) as heard, _quiet_libtiff():
        warnings.simplefilter("always")
        before = Image.MAX_IMAGE_PIXELS, Image.WARN_POSSIBLE_FORMATS
        Image.MAX_IMAGE_PIXELS, Image.WARN_POSSIBLE_FORMATS = None, True
        try:
            yield heard
        finally:
            Image.MAX_IMAGE_PIXELS, Image.WARN_POSSIBLE_FORMATS = before


@contextmanager
def _quiet_libtiff() -> Iterator[None]:
    """Keep Pillow's libtiff from printing on stderr what it raises anyway, where its symbols can be reached."""
    handler = None
    with suppress(AttributeError, OSError):  # a libtiff that is linked in, as on Windows
        handler = ctypes.CDLL(_imaging.__file__).TIFFSetErrorHandler
        handler.restype, handler.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
    before = handler(None) if handler else None
    try:
        yield
    finally:
        if handler:
            handler(before)


def _unidentified(heard: list[warnings.WarningMessage]) -> str:
    for warning in heard:
        format, mark, reason = str(warning.message).partition(" opening failed. ")
        if mark:
            return f"no {FORMATS[format]} that can be read, of a rare kind or broken: {reason}"
    return f"expected a picture ({', '.join(map(str, FORMATS.values()))}), got something else"


def check_size(name: str, size: tuple[int, int], max_pixels: int) -> None:
    """Check a size before any pixel is decoded. Raises: RefusedError, InputError for none."""
    width, height = size
    if min(size) < 1:
        raise InputError(f"{name}: expected at least one pixel, got {width}x{height}")
    if width * height > max_pixels:
        raise RefusedError(
            f"{name}: {width}x{height} is {width * height:,} pixels, more than the limit of {max_pixels:,}",
            hint="raise it with max_pixels=",
        )


def _check_scans(name: str, image: Image.Image, data: bytes) -> None:
    scans = jpeg_segments.read(data).scans if image.format in ("JPEG", "MPO") else 0
    if scans > _MAX_SCANS:
        raise RefusedError(f"{name}: a JPEG of {scans} scans, more than the limit of {_MAX_SCANS}")


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


# ---------------------------------------------------------------------------------------------- files


def _opened(data: bytes) -> Image.Image:
    """Open a file by Pillow; a PNG without its metadata, for which Pillow would refuse it."""
    Image.init()
    logging.getLogger("PIL").addHandler(logging.NullHandler())  # or it talks of damage on the terminal
    known = [kind for kind in FORMATS if kind in Image.OPEN]
    plain = png_chunks.without_metadata(data) if data.startswith(png_chunks.SIGNATURE) else data
    return Image.open(BytesIO(plain), formats=known)


def _opens(data: bytes) -> bool:
    try:
        _opened(data).close()
    except OSError:
        return False
    return True


def _rare_tiff(name: str, data: bytes, max_pixels: int) -> Picture | None:
    """Decode a TIFF that Pillow does not read; None for the others, and for one without a directory."""
    try:
        directory = tags.parse(data)
    except ValueError:
        return None
    if not tiff_samples.is_rare(directory) and _opens(data):
        return None
    check_size(name, tiff_samples.size(directory), max_pixels)
    pages = tiff_samples.count_pages(data, _MAX_PAGES)
    if pages > 1:
        raise _several(name, pages)
    return _picture(name, tiff_samples.read(name, directory, data), file_metadata.of_tiff(data), [])


def _jxl(name: str, data: bytes, max_pixels: int) -> Picture:
    facts = jxl.header(data)
    check_size(name, facts.size, max_pixels)
    return _picture(name, jxl.read(name, data, facts), jxl.metadata(data, facts), [])


def _heif(name: str, data: bytes, max_pixels: int) -> Picture:
    image = heif.opened(name, data)
    check_size(name, image.size, max_pixels)
    return _picture(name, heif.read(name, image), heif.metadata(image, data), heif.about(image))


def _behind(image: Image.Image) -> bytes:
    """Return all bytes of the file of an image that is open but not read yet, and therefore unchanged."""
    file: Any = getattr(image, "fp", None)
    if file is None or image.tell() != 0:
        return b""
    with suppress(OSError, ValueError, AttributeError):  # it is closed, or cannot be wound back
        at = file.tell()
        file.seek(0)
        data: bytes = file.read()
        file.seek(at)
        return data
    return b""


def _header(image: Image.Image) -> bytes:
    """Return the bytes of the file of an image that has been read, of which Pillow forgets the depth."""
    path = getattr(image, "filename", "")
    with suppress(RescaleError):
        return storage.read_bytes(Path(path), max_bytes=_HEADER_BYTES) if path and image.format == "PNG" else b""
    return b""


def _is_narrowed(image: Image.Image, header: bytes) -> bool:
    """Tell whether Pillow has made 8 bits a channel of 16."""
    if image.mode.startswith(("I", "F")):
        return False
    if image.format == "PNG":
        return header[24:25] == b"\x10"
    if image.format == "TIFF":
        return max(getattr(image, "tag_v2", {}).get(258, (8,))) == 16
    return image.format == "PPM" and bool(re.match(rb"P6\s+\d+\s+\d+\s+\d{4,}\s", header))


def _decode(
    name: str, image: Image.Image, data: bytes, *, said: list[str] | None = None, found: NDArray[Any] | None = None
) -> Picture:
    said = [*(said or []), *_about_frames(name, image), *samples.about(image, data)]
    found = samples.read(name, image, data) if found is None else found
    facts = file_metadata.read(image, data)  # after the pixels, see there
    if image.mode == "CMYK":
        facts.icc = samples.srgb()
    return _picture(name, found, facts, said)


def _picture(name: str, found: NDArray[Any], facts: Metadata, said: list[str]) -> Picture:
    pixels, alpha = samples.planes(found)
    turn, fields = facts.fields()
    fields["notes"] = tuple(f"{name}: {note}" for note in [*said, *fields["notes"]])
    upright = None if alpha is None else samples.upright(alpha, turn)
    return Picture(samples.upright(pixels, turn), upright, **fields)
