"""Picture files: the one door in (`read`) and the one door out (`write`), for every format that is let through.

Nothing is dropped in silence: depth, alpha, colour profile, EXIF, XMP, resolution and PNG colour chunks travel
in the `Picture`; what cannot travel is named in its notes, or the file is refused.
"""

import os
import stat
import threading
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageCms, UnidentifiedImageError
from torch import Tensor

from rescale import chunks
from rescale.errors import EnvironmentFault, InputError, RefusedError, UnsupportedError, UsageError

Pixels = NDArray[Any]  # uint8 or uint16

FORMATS = {
    ".png": "PNG", ".apng": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".jfif": "JPEG", ".webp": "WEBP", ".avif": "AVIF",
    ".tif": "TIFF", ".tiff": "TIFF", ".bmp": "BMP", ".ppm": "PPM", ".pgm": "PPM", ".pnm": "PPM", ".pbm": "PPM",
    ".gif": "GIF",
}  # fmt: skip
MAX_PIXELS = 100_000_000
_SIDE_LIMITS = {"JPEG": 65_500, "WEBP": 16_383, "AVIF": 65_536}
_LOCK = threading.Lock()


@dataclass(frozen=True)
class Picture:
    """A picture in memory, upright, with all that its file said about it."""

    pixels: Pixels
    """(H, W, 1) grey or (H, W, 3) RGB; uint8 or uint16, as the file had it."""
    alpha: Pixels | None = None
    """(H, W), of the same type; straight, not premultiplied."""
    icc: bytes | None = None
    exif: bytes | None = None
    """Without orientation: it has been applied."""
    xmp: bytes | None = None
    dpi: tuple[float, float] | None = None
    text: tuple[tuple[str, str], ...] = ()
    """Key and value of PNG text chunks."""
    colour_chunks: tuple[tuple[bytes, bytes], ...] = ()
    """PNG chunks that change how the numbers look: gAMA, cHRM, sRGB, cICP and the like."""
    notes: tuple[str, ...] = ()
    """What could not be kept as it was, one sentence each."""

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
    def rgb(self) -> Tensor:
        """(1, 3, H, W) float32 in [0, 1]; grey is repeated."""
        return to_tensor(self.pixels).expand(1, 3, -1, -1)


def to_tensor(pixels: Pixels) -> Tensor:
    """(H, W, C) uint8 or uint16 -> (1, C, H, W) float32 in [0, 1]."""
    x = torch.from_numpy(pixels.astype(np.float32))
    return x.permute(2, 0, 1)[None] / np.iinfo(pixels.dtype).max


def to_pixels(x: Tensor, depth: int) -> Pixels:
    """(1, C, H, W) in [0, 1] -> (H, W, C) uint8 or uint16, rounded: the opposite of `to_tensor`."""
    levels = (x[0].clamp(0, 1) * (2**depth - 1)).round().permute(1, 2, 0).cpu().numpy()
    return levels.astype(np.uint8 if depth == 8 else np.uint16)


def find(path: Path) -> list[Path]:
    """The picture files under a folder, by suffix, sorted; a file is itself."""
    if not path.is_dir():
        return [path]
    return sorted(p for p in path.rglob("*") if p.suffix.lower() in FORMATS and p.is_file())


def read(path: Path, *, max_pixels: int = MAX_PIXELS) -> Picture:
    """Decode a picture file, whatever its suffix says.

    Raises: InputError for what is no readable picture; UnsupportedError for several frames, and for modes and
        depths that cannot be kept; RefusedError above `max_pixels`, before any pixel is decoded.
    """
    return decode(_regular_file(path), path.name, max_pixels=max_pixels)


def decode(data: bytes, name: str, *, max_pixels: int = MAX_PIXELS) -> Picture:
    """`read` of a file that is already in memory; the opposite of `encode`."""
    with _decoding(name), _pillow_without_limit(), Image.open(BytesIO(data), formats=_allowed()) as image:
        _check_size(name, image.size, max_pixels)
        notes = _check_frames(name, image)
        picture = _decode(name, image, data)
    return replace(picture, notes=(*notes, *picture.notes))


def from_pil(image: Image.Image) -> Picture:
    """A Pillow image that is already open, as if read from its file."""
    _check_frames("image", image)
    return _decode("image", image, b"")


def to_pil(picture: Picture) -> Image.Image:
    """A Pillow image with ICC, EXIF and the rest in its `info`; 16-bit colour has no such thing."""
    if picture.depth == 16 and (not picture.is_grey or picture.alpha is not None):
        raise UnsupportedError("Pillow has no 16-bit colour or alpha; pass the array instead")
    pixels = picture.pixels[..., 0] if picture.is_grey else picture.pixels
    if picture.alpha is not None:
        pixels = np.dstack([pixels, picture.alpha])
    mode = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[1 if pixels.ndim == 2 else pixels.shape[2]]
    image = (
        Image.fromarray(pixels) if picture.depth == 16 else Image.frombytes(mode, picture.size[::-1], pixels.tobytes())
    )
    facts = {"icc_profile": picture.icc, "exif": picture.exif, "xmp": picture.xmp, "dpi": picture.dpi}
    image.info.update({key: value for key, value in facts.items() if value is not None})
    return image


def write(
    path: Path, picture: Picture, *, overwrite: bool = False, quality: int | None = None, lossless: bool = True
) -> list[str]:
    """Encode a picture into the format of the path's suffix; all of it appears at once, or nothing does.

    Args:
        path: its suffix decides the format.
        picture: what to write.
        overwrite: replace an existing file.
        quality: of lossy formats, 1 to 100; 95 if not given.
        lossless: where a format knows both, write without loss.
    Returns: what the format could not hold, one sentence each.
    Raises: UsageError for an unknown suffix; UnsupportedError for alpha, depth or sides that the format has not;
        RefusedError where the file exists; EnvironmentFault where the disk says no.
    """
    data, notes = encode(format_of(path), picture, quality=quality, lossless=lossless)
    publish(path, data, overwrite=overwrite)
    return notes


def format_of(path: Path) -> str:
    """The format that a suffix stands for."""
    try:
        return FORMATS[path.suffix.lower()]
    except KeyError:
        raise UsageError(f"expected one of {' '.join(sorted(FORMATS))}, got {path.name!r}") from None


def encode(
    format: str, picture: Picture, *, quality: int | None = None, lossless: bool = True
) -> tuple[bytes, list[str]]:
    """The bytes of a file, and what it could not hold."""
    _check_holds(format, picture)
    if format == "PNG":
        return _encode_png(picture), []
    if format == "TIFF" and picture.depth == 16:
        return _encode_tiff16(picture), _lost(picture, xmp="kept", exif=None)
    image = to_pil(picture)
    facts: dict[str, Any] = {k: v for k, v in image.info.items() if k in ("icc_profile", "exif", "xmp", "dpi")}
    options: dict[str, dict[str, Any]] = {
        "JPEG": {"quality": quality or 95, "subsampling": "4:4:4" if (quality or 95) >= 90 else "4:2:0"},
        "WEBP": {"lossless": True, "exact": True} if lossless else {"quality": quality or 95, "exact": True},
        "AVIF": {"quality": quality or 95, "subsampling": "4:4:4"},
        "TIFF": {"compression": "tiff_deflate"},
        "BMP": {},
        "PPM": {},
    }
    out = BytesIO()
    with _encoding(format):
        image.save(out, format, **(facts if format not in ("BMP", "PPM") else {}), **options[format])
    if format in ("BMP", "PPM"):
        return out.getvalue(), _lost(picture, icc=None, exif=None, xmp=None, dpi=None)
    return out.getvalue(), _lost(picture)


def is_lossy(format: str, *, lossless: bool = True) -> bool:
    """Whether this format changes pixels on the way to disk."""
    return format in ("JPEG", "AVIF") or (format == "WEBP" and not lossless)


def publish(path: Path, data: bytes, *, overwrite: bool = False) -> None:
    """Put bytes at a path: written beside it under another name, flushed, then moved in one step.

    Raises: RefusedError where the path exists; EnvironmentFault where the disk says no.
    """
    if path.exists() and not overwrite:
        raise RefusedError(f"{path} exists; pass --overwrite to replace it")
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if overwrite:
            temporary.replace(path)
        else:
            _move_to_free_name(temporary, path)
    except FileExistsError as error:
        raise RefusedError(f"{path} exists; pass --overwrite to replace it") from error
    except OSError as error:
        raise EnvironmentFault(f"cannot write {path}: {error.strerror}") from error
    finally:
        temporary.unlink(missing_ok=True)


def _move_to_free_name(temporary: Path, path: Path) -> None:
    """Unlike a rename, a link fails if somebody took the name meanwhile."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        temporary.replace(path)


# ---------------------------------------------------------------------------------------------- decoding


def _regular_file(path: Path) -> bytes:
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            raise InputError(f"{path}: expected a regular file, got {_kind(mode)}")
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"cannot read {str(path)!r}: {error}") from error


def _kind(mode: int) -> str:
    kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
    return kinds.get(stat.S_IFMT(mode), "a device")


@contextmanager
def _decoding(name: str) -> Iterator[None]:
    """Whatever a decoder throws at a damaged file becomes one sentence."""
    try:
        yield
    except (InputError, RefusedError):
        raise
    except UnidentifiedImageError as error:
        formats = ", ".join(dict.fromkeys(FORMATS.values()))
        raise InputError(f"{name}: expected a picture ({formats}), got something else") from error
    except MemoryError as error:
        raise EnvironmentFault(f"{name}: not enough memory to decode it") from error
    except Exception as error:  # decoders leak anything: OSError, SyntaxError, struct.error, KeyError ...
        raise InputError(
            f"{name}: damaged or truncated: {str(error).splitlines()[0] if str(error) else type(error).__name__}"
        ) from error


@contextmanager
def _encoding(format: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        raise UnsupportedError(f"cannot write this picture as {format}: {error}") from error


@contextmanager
def _pillow_without_limit() -> Iterator[None]:
    """Pillow's own limit aside, as ours is checked before any pixel; it is a global, hence the lock."""
    with _LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of damaged metadata: what matters raises
        before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = before


def _allowed() -> list[str]:
    Image.init()
    return [name for name in (*dict.fromkeys(FORMATS.values()),) if name in Image.OPEN]


def _check_size(name: str, size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        raise RefusedError(
            f"{name}: {width}x{height} is {width * height / 1e6:.0f} megapixels, more than the limit of "
            f"{max_pixels / 1e6:.0f}; raise it with --max-pixels"
        )


def _check_frames(name: str, image: Image.Image) -> tuple[str, ...]:
    frames = getattr(image, "n_frames", 1)
    if frames == 1:
        return ()
    if image.format == "MPO":  # a photograph that also holds a preview, a gain map or a second view
        return (f"{name}: its first picture was taken, the other {frames - 1} (preview or gain map) not",)
    raise UnsupportedError(f"{name}: expected one picture, got {frames} frames or pages; split it first")


def _decode(name: str, image: Image.Image, data: bytes) -> Picture:
    raw = chunks.read(data) if data.startswith(chunks.SIGNATURE) else []
    deep = _deep_pixels(name, image, data, raw)
    image, notes = (image, ()) if deep is not None else _plain_mode(name, image)
    pixels, alpha = _planes(deep if deep is not None else np.array(image))
    exif = image.getexif()
    turn = exif.pop(0x0112, 1)
    return Picture(
        pixels=_upright(pixels, turn),
        alpha=None if alpha is None else _upright(alpha, turn),
        icc=image.info.get("icc_profile") or None,
        exif=exif.tobytes() if len(exif) else None,
        xmp=_xmp(image),
        dpi=_dpi(image),
        text=tuple((k, str(v)) for k, v in getattr(image, "text", {}).items() if k != "XML:com.adobe.xmp"),
        colour_chunks=tuple((kind, body) for kind, body in raw if kind in chunks.COLOUR),
        notes=notes,
    )


def _deep_pixels(name: str, image: Image.Image, data: bytes, raw: list[tuple[bytes, bytes]]) -> Pixels | None:
    """(H, W[, C]) uint16 of what Pillow would narrow to 8 bit, or None where it would not."""
    if raw and raw[0][1][8] == 16 and raw[0][1][9] != 0:
        import imagecodecs

        pixels: Pixels = imagecodecs.png_decode(data)
        return pixels
    if image.format == "TIFF" and max(image.tag_v2.get(258, (1,))) == 16 and len(image.tag_v2.get(258, (1,))) > 1:  # type: ignore[attr-defined]
        import tifffile

        return _tiff16(name, tifffile.imread(BytesIO(data)), image)
    if image.format == "PPM" and image.mode == "RGB" and _ppm_maximum(data) > 255:
        raise UnsupportedError(f"{name}: 16-bit colour in PPM is not read; use PNG or TIFF")
    return None


def _tiff16(name: str, pixels: NDArray[Any], image: Image.Image) -> Pixels:
    if pixels.dtype != np.uint16 or image.tag_v2.get(262) != 2:  # type: ignore[attr-defined]
        raise UnsupportedError(f"{name}: expected 16-bit RGB in this TIFF, got {pixels.dtype} in another colour space")
    return np.moveaxis(pixels, 0, -1) if image.tag_v2.get(284) == 2 else pixels  # type: ignore[attr-defined]


def _ppm_maximum(data: bytes) -> int:
    words = [word for line in data[:1024].splitlines() for word in line.partition(b"#")[0].split()]
    return int(words[3])


def _plain_mode(name: str, image: Image.Image) -> tuple[Image.Image, tuple[str, ...]]:
    """The image in one of the modes L, LA, RGB, RGBA, I;16, and what that cost."""
    mode = image.mode
    if mode in ("L", "RGB", "I;16") and "transparency" not in image.info:
        return image, ()
    if mode in ("LA", "RGBA"):
        return image, ()
    if mode in ("L", "RGB"):
        return image.convert({"L": "LA", "RGB": "RGBA"}[mode]), ()
    if mode == "1":
        return image.convert("L"), (f"{name}: 1 bit a pixel became 8-bit grey",)
    if mode == "P":
        clear = "transparency" in image.info
        return image.convert("RGBA" if clear else "RGB"), (f"{name}: the palette became plain colours",)
    if mode == "PA":
        return image.convert("RGBA"), (f"{name}: the palette became plain colours",)
    if mode == "CMYK":
        return _from_cmyk(image), (f"{name}: CMYK became sRGB",)
    if mode == "I;16B":
        return image.convert("I;16"), ()
    if mode == "I" and image.format in ("PNG", "PPM"):
        return Image.fromarray(np.asarray(image).astype(np.uint16)), ()
    raise UnsupportedError(f"{name}: expected grey, RGB, palette or CMYK of 8 or 16 bits, got Pillow mode {mode}")


def _from_cmyk(image: Image.Image) -> Image.Image:
    profile = image.info.get("icc_profile")
    target = ImageCms.createProfile("sRGB")
    if profile:
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        rgb = ImageCms.profileToProfile(image, source, target, outputMode="RGB")
        assert rgb is not None
    else:
        rgb = image.convert("RGB")
    rgb.info = {**image.info, "icc_profile": ImageCms.ImageCmsProfile(target).tobytes()}
    return rgb


def _planes(pixels: NDArray[Any]) -> tuple[Pixels, Pixels | None]:
    """(H, W[, 1 to 4]) -> colour (H, W, 1 or 3), alpha (H, W) or None."""
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    colours = pixels.shape[2] - 1 + pixels.shape[2] % 2
    alpha = np.ascontiguousarray(pixels[..., -1]) if pixels.shape[2] % 2 == 0 else None
    return np.ascontiguousarray(pixels[..., :colours]), alpha


def _upright(pixels: Pixels, turn: int) -> Pixels:
    """Apply an EXIF orientation, 1 to 8."""
    if turn in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if turn in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if turn in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def _xmp(image: Image.Image) -> bytes | None:
    xmp = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp")
    return xmp.encode() if isinstance(xmp, str) else xmp


def _dpi(image: Image.Image) -> tuple[float, float] | None:
    dpi = image.info.get("dpi")
    return (float(dpi[0]), float(dpi[1])) if dpi and all(0 < d < 1e6 for d in dpi) else None


# ---------------------------------------------------------------------------------------------- encoding


def _check_holds(format: str, picture: Picture) -> None:
    side = _SIDE_LIMITS.get(format)
    if format == "GIF":
        raise UnsupportedError("GIF holds 256 colours only; write PNG, WebP or TIFF")
    if side and max(picture.size) > side:
        raise UnsupportedError(f"{format} holds sides up to {side}, got {picture.size[1]}x{picture.size[0]}")
    if picture.alpha is not None and format in ("JPEG", "PPM", "BMP"):
        raise UnsupportedError(f"{format} holds no transparency; write PNG, WebP, AVIF or TIFF")
    if picture.depth == 16 and format not in ("PNG", "TIFF"):
        raise UnsupportedError(f"{format} holds 8 bits a channel here, the picture has 16; write PNG or TIFF")


def _encode_png(picture: Picture) -> bytes:
    import imagecodecs

    pixels = picture.pixels if picture.alpha is None else np.dstack([picture.pixels, picture.alpha])
    if picture.depth == 16:
        data = imagecodecs.png_encode(pixels[..., 0] if pixels.shape[2] == 1 else pixels, level=6)
    else:
        out = BytesIO()
        to_pil(replace(picture, icc=None, exif=None, xmp=None, dpi=None)).save(out, "PNG")
        data = out.getvalue()
    return chunks.insert(
        bytes(data),
        list(chunks.describe(picture.icc, picture.exif, picture.xmp, picture.dpi, picture.text, picture.colour_chunks)),
    )


def _encode_tiff16(picture: Picture) -> bytes:
    import tifffile

    pixels = picture.pixels if picture.alpha is None else np.dstack([picture.pixels, picture.alpha])
    out = BytesIO()
    extra = [(700, "B", len(picture.xmp), picture.xmp, True)] if picture.xmp else []
    tifffile.imwrite(
        out,
        pixels[..., 0] if pixels.shape[2] == 1 else pixels,
        photometric="minisblack" if picture.is_grey else "rgb",
        extrasamples=["unassalpha"] if picture.alpha is not None else None,
        compression="zlib",
        predictor=True,
        iccprofile=picture.icc,
        resolution=picture.dpi,
        extratags=extra,
        metadata=None,
    )
    return out.getvalue()


def _lost(picture: Picture, **gone: str | None) -> list[str]:
    """Sentences on what the picture has and a format has not."""
    names = {"icc": "colour profile", "exif": "EXIF", "xmp": "XMP", "dpi": "resolution"}
    lost = [names[key] for key, kept in gone.items() if kept is None and getattr(picture, key) is not None]
    if picture.text:
        lost.append("PNG text")
    if picture.colour_chunks and picture.icc is None and any(kind != b"sRGB" for kind, _ in picture.colour_chunks):
        lost.append("PNG colour chunks")
    return [f"not kept, as the format cannot hold it: {', '.join(lost)}"] if lost else []
