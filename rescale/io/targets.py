"""Targets: names of results, and the check whether one may be written."""

from rescale.errors import RefusedError, UsageError
from rescale.geometry import Geometry
from rescale.io.formats import is_video
from rescale.io.object_store import Place, Url


def small_name(source: Place, scale: Geometry) -> str:
    """Name an LR file: photo.jpg -> photo.x4.png or photo.800x600.png; clip.mp4 -> clip.x4.mkv"""
    return f"{source.stem}.{scale}.{'mkv' if is_video(source) else 'png'}"


def large_name(source: Place, *, is_restored: bool) -> str:
    """Name a result of `up`: a.x4.png -> a.x4.restored.png, a.jpg -> a.upscaled.png; a video keeps its suffix."""
    suffix = source.suffix if is_video(source) else ".png"
    return f"{source.stem}.{'restored' if is_restored else 'upscaled'}{suffix}"


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
