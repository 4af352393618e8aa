"""HEIC and HEIF files, by pillow-heif."""

import struct
from io import BytesIO
from typing import Any

import numpy as np

from rescale.errors import MachineError, UnsupportedError
from rescale.io import bmff
from rescale.io.metadata import Metadata, colour_chunks
from rescale.io.picture import Pixels

_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"mif2", b"msf1", b"jpeg", b"avci", b"j2ki"}
_MODES = {"L", "RGB", "RGBA", "I;16", "RGB;16", "RGBA;16"}


def is_heif(data: bytes) -> bool:
    """Tell whether a file is HEIF of another kind than AVIF, which Pillow reads."""
    if data[4:8] != b"ftyp":
        return False
    (length,) = struct.unpack(">I", data[:4])
    brands = {data[8:12], *(data[at : at + 4] for at in range(16, min(length, 256), 4))}
    return data[8:12] in _BRANDS and not brands & {b"avif", b"avis"}


def opened(name: str, data: bytes) -> Any:
    """Open a file; no pixel is decoded yet. Raises: MachineError where pillow-heif is not installed."""
    try:
        import pillow_heif
    except ImportError as error:
        raise MachineError(f"{name}: HEIC needs one more package: pip install 'rescale[formats]'") from error
    return pillow_heif.open_heif(BytesIO(data), convert_hdr_to_8bit=False)


def read(name: str, image: Any) -> Pixels:
    """Decode (H, W[, 3 or 4]), upright; more than 8 bits become 16. Raises: UnsupportedError for an unknown mode."""
    if image.mode not in _MODES:
        raise UnsupportedError(f"{name}: expected grey or RGB in this HEIC, got mode {image.mode}")
    pixels: Pixels = np.array(image)
    bits = image.info.get("bit_depth", 8)
    if pixels.dtype == np.uint16 and 8 < bits < 16:  # shifted there, here to be stretched
        pixels = ((pixels >> (16 - bits)) * (65535 / (2**bits - 1))).round().astype(np.uint16)
    return pixels


def metadata(image: Any, data: bytes) -> Metadata:
    """Read profile or CICP, EXIF and XMP, and name the images beside the first."""
    info = image.info
    declared = info.get("nclx_profile") or {}
    codes = tuple(int(declared.get(key, 2)) for key in ("color_primaries", "transfer_characteristics"))
    profile = info.get("icc_profile") or None
    found = Metadata(profile, info.get("exif"), info.get("xmp"), turn=1)
    found.colour_chunks = () if profile else colour_chunks((codes[0], codes[1]))
    found.left = bmff.companions(data)
    return found


def about(image: Any) -> list[str]:
    """Note further images, of which the primary one was taken."""
    others = len(getattr(image, "_images", [])) - 1
    return [f"its primary picture was taken, the other {others} not"] if others > 0 else []
