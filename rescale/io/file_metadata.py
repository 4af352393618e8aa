"""Read the metadata of an opened file, by its format."""

from collections.abc import Callable

from PIL import Image

from rescale.io import bmff, exif, jpeg_segments, png_chunks, png_metadata, tags
from rescale.io.metadata import Metadata, colour_chunks

_LEFT = {"comment": "comment", "photoshop": "IPTC and Photoshop data", "aspect": "pixel aspect ratio"}
_READ_ALREADY = (png_metadata.XMP_KEY, "Raw profile type exif")  # by Pillow, as XMP and EXIF


def read(image: Image.Image, data: bytes) -> Metadata:
    """Read the metadata of an image that Pillow opened from these bytes; without them, what Pillow knows."""
    ways: dict[str, Callable[[Image.Image, bytes], Metadata]] = {
        "PNG": _png, "JPEG": _jpeg, "MPO": _jpeg, "TIFF": _tiff, "AVIF": _avif,
    }  # fmt: skip
    way = ways.get(image.format or "") if data else None
    found = way(image, data) if way else _pillow(image)
    found.left = [words for key, words in _LEFT.items() if image.info.get(key)] + found.left
    return found


def _pillow(image: Image.Image) -> Metadata:
    """Read from Pillow's own fields, whose EXIF the caller may have changed."""
    packet = image.info.get("xmp") or image.info.get(png_metadata.XMP_KEY) or b""
    return Metadata(
        icc=image.info.get("icc_profile") or None,
        exif=_pillow_exif(image),
        xmp=packet.encode() if isinstance(packet, str) else packet,
        dpi=_dpi(image),
        text=[item for item in getattr(image, "text", {}).items() if item[0] not in _READ_ALREADY],
        turn=image.getexif().get(exif.ORIENTATION, 1),
    )


def _pillow_exif(image: Image.Image) -> bytes | None:
    """Return the EXIF as it stands in the file, which Pillow's own writer would damage, unless it was changed."""
    block, current = image.info.get("exif"), image.getexif()
    try:
        if isinstance(block, bytes):
            original = Image.Exif()
            original.load(block)
            if dict(original) == {tag: value for tag, value in current.items() if tag in original or tag != 274}:
                return block
        return current.tobytes() if len(current) else None
    except Exception:  # strangers' tags of strangers' types
        return block if isinstance(block, bytes) else b"damaged"


def _dpi(image: Image.Image) -> tuple[float, float] | None:
    try:
        across, down = (float(value) for value in image.info.get("dpi") or ())
        return (across, down) if 0 < across < 1e6 and 0 < down < 1e6 else None
    except (TypeError, ValueError):  # a tag of another type, or none
        return None


def _png(image: Image.Image, data: bytes) -> Metadata:
    return png_metadata.read(png_chunks.read(data))


def _jpeg(image: Image.Image, data: bytes) -> Metadata:
    segments = jpeg_segments.read(data)
    packet, notes = segments.xmp
    profile = image.info.get("icc_profile") or None
    if profile is None and segments.bodies(0xE2, b"ICC_PROFILE\0"):
        notes = [*notes, "its colour profile is incomplete and was not kept"]
    trailer = segments.trailer if getattr(image, "n_frames", 1) == 1 else b""
    return Metadata(
        profile, image.info.get("exif"), packet, _dpi(image), notes=notes, left=segments.left(), trailer=trailer
    )


def _tiff(image: Image.Image, data: bytes) -> Metadata:
    turn = image.getexif().get(exif.ORIENTATION, 1)  # after the pixels: Pillow turns a TIFF itself, and then says so
    return of_tiff(data, turn=turn, dpi=_dpi(image))


def of_tiff(data: bytes, *, turn: int | None = None, dpi: tuple[float, float] | None = None) -> Metadata:
    """Read the metadata of a TIFF from its own tags."""
    found = tags.parse(data).tags
    profile, packet = (found[tag].data if tag in found else None for tag in (34675, 700))
    return Metadata(profile, data, packet, dpi, turn=turn)


def _avif(image: Image.Image, data: bytes) -> Metadata:
    found = _pillow(image)
    found.colour_chunks = colour_chunks(None if found.icc else bmff.cicp(data))
    found.left = bmff.companions(data)
    return found
