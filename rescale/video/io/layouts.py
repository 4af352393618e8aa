"""Pixel formats: the planes that each is read as, and the nearest layout among those that a codec takes."""

from collections.abc import Iterable
from typing import Any

_DEPTHS = {"": 8, "9le": 9, "10le": 10, "12le": 12, "14le": 14, "16le": 16}
_CHROMA = {
    "yuv420p": (2, 2), "yuv422p": (1, 2), "yuv444p": (1, 1), "gray": (1, 1), "gbrp": (1, 1), "yuv411p": (1, 4),
    "yuv410p": (4, 4), "yuv440p": (2, 1),
}  # fmt: skip
_SHALLOW = {"yuv411p": ("",), "yuv410p": ("",), "yuv440p": ("", "10le", "12le")}
"""Depths of those that FFmpeg does not have in all."""
LAYOUTS = {
    f"{name}{suffix}": (chroma, _DEPTHS[suffix])
    for name, chroma in _CHROMA.items()
    for suffix in _SHALLOW.get(name, tuple(_DEPTHS))
}
"""Layouts whose planes are used as they are: luma samples for one of chroma (down, across), and the depth."""
_NAMES = {chroma: name for name, chroma in _CHROMA.items() if name.startswith("yuv")}
_WORDS = {"yuv420p": "4:2:0", "yuv422p": "4:2:2", "yuv444p": "4:4:4", "yuv411p": "4:1:1", "yuv410p": "4:1:0",
          "yuv440p": "4:4:0", "gray": "grey", "gbrp": "RGB"}  # fmt: skip


def layout_of(format: Any) -> str | None:
    """Return the layout that a decoded pixel format is read as, without its alpha; None if there is none.

    Args:
        format: PyAV's description of the format.
    """
    colours = [part for part in format.components if not part.is_alpha]
    if format.is_bayer or not colours:
        return None
    suffix = _suffix(max(part.bits for part in colours))
    if format.is_rgb or format.has_palette or format.name.startswith("xyz"):
        return f"gbrp{suffix}"
    if len(colours) == 1:
        return f"gray{suffix}"
    chroma = 64 // int(format.chroma_height(64)), 64 // int(format.chroma_width(64))
    layout = f"{_NAMES.get(chroma)}{suffix}"
    return layout if layout in LAYOUTS else None


def has_alpha(format: Any) -> bool:
    """Tell whether a pixel format has room for transparency, if only in its palette."""
    return bool(format.has_palette) or any(part.is_alpha for part in format.components)


def with_alpha(layout: str) -> str:
    """Return FFmpeg's name of a layout with a plane of alpha behind the others."""
    return layout.replace("gbrp", "gbrap").replace("yuv", "yuva")


def nearest(layout: str, takes: Iterable[str]) -> str:
    """Return the layout that keeps most of another: its depth, its chroma, RGB as such; then the one with least beside.

    Args:
        layout: what the frames have.
        takes: layouts to choose from, at least one.
    """
    (tall, wide), depth = LAYOUTS[layout]

    def costs(other: str) -> tuple[float, ...]:
        (down, across), bits = LAYOUTS[other]
        if layout.startswith("gray"):  # has no chroma to lose
            return (
                max(depth - bits, 0),
                base(other) != "gray",
                other.startswith("gbrp"),
                -down * across,
                abs(bits - depth),
            )
        is_bare = other.startswith("gray")
        fewer = max(down / tall, 1) * max(across / wide, 1)
        more = max(tall / down, 1) * max(wide / across, 1)
        return is_bare, max(depth - bits, 0), fewer, base(layout) != base(other), more, abs(bits - depth)

    return min(takes, key=costs)


def base(layout: str) -> str:
    """Return a layout's name without its depth."""
    return next(name for name in _CHROMA if layout.startswith(name))


def told(layout: str) -> str:
    """Name a layout in a sentence."""
    depth = LAYOUTS[layout][1]
    return _WORDS[base(layout)] + (f" of {depth} bits" if depth > 8 else "")


def _suffix(bits: int) -> str:
    return next((suffix for suffix, depth in _DEPTHS.items() if bits <= depth), "16le")
