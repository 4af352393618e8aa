"""Targets: names of results, and the check whether one may be written."""

from rescale.errors import RefusedError, UsageError
from rescale.geometry import Geometry
from rescale.io.formats import PATTERN, SUFFIXES, is_sequence, is_video
from rescale.io.object_store import Place, Url


def small_name(source: Place, scale: Geometry | None) -> str:
    """Name an LR file: photo.jpg -> photo.x4.png or photo.800x600.png; clip.mp4 -> clip.x4.mkv"""
    return f"{_stem(source)}.{scale_name(scale)}.{'mkv' if is_video(source) else 'png'}"


def scale_name(scale: Geometry | None) -> str:
    """Name a scale, or what a search is to find one for."""
    return str(scale or "small")


def large_name(source: Place, *, is_restored: bool) -> str:
    """Name a result of `up`: a.x4.png -> a.x4.restored.png, a.jpg -> a.upscaled.png; a.mp4 -> a.upscaled.mp4.

    A video that is not written as what it is becomes an MKV, and keeps its suffix in the name, as a.mkv may lie beside
    it: a.avi -> a.avi.upscaled.mkv; frame%04d.png -> frame.upscaled.mkv
    """
    how = "restored" if is_restored else "upscaled"
    if source.suffix.lower() in SUFFIXES:
        return f"{source.stem}.{how}{source.suffix}"
    if not is_video(source):
        return f"{source.stem}.{how}.png"
    return f"{_stem(source) if is_sequence(source) else source.name}.{how}.mkv"


def _stem(source: Place) -> str:
    """Return a name without its suffix, and without the number of a sequence."""
    if isinstance(source, Url) or not is_sequence(source):
        return source.stem
    return PATTERN.sub("", source.stem).strip(" ._-") or source.absolute().parent.name or "frames"


def check_target(source: Place, target: Place, *, overwrite: bool = False) -> None:
    """Check, before any work, that the target is free, and not the source itself. Raises: RefusedError, UsageError."""
    is_there = target.exists()
    if is_there and _is_same(source, target):
        raise RefusedError(f"{target}: the result would replace its own source", hint="pass another target=")
    if is_there and not overwrite:
        raise RefusedError(f"{target} exists", hint="pass overwrite=True to replace it")
    if target.is_dir():
        raise RefusedError(f"{target} is a folder", hint="pass another target=")
    if not target.parent.is_dir():
        raise UsageError(f"{target.parent} is no folder; make it first")


def _is_same(source: Place, target: Place) -> bool:
    if isinstance(source, Url) or isinstance(target, Url):
        return source == target
    return source.exists() and target.samefile(source)
