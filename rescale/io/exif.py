"""EXIF of a file, without what describes other pixels: orientation, layout, thumbnail, layers, georeference."""

from typing import NamedTuple

from rescale.io import tags
from rescale.io.tags import Directory

ORIENTATION = 0x0112
_LAYOUT = frozenset({
    *range(254, 260), 262, 266, 273, *range(277, 281), 281, 284, *range(288, 294), 317, 320, *range(322, 326), 330,
    *range(332, 335), 336, 338, 339, 340, 341, 343, 347, *range(512, 522), 529, 530, 532, 559, 700, 32781,
    *range(32995, 32999), 34675, 50674,
})  # fmt: skip
"""Tags that describe how the file stored its pixels, XMP and profile: invalid once these are stored elsewhere."""
_GROUPS = {
    "Photoshop's layers": frozenset({37724}),
    "Photoshop data": frozenset({34377, 50255}),
    "the georeference (GeoTIFF), which holds for the original size": frozenset(
        {33550, 33920, 33922, 34264, 34735, 34736, 34737, 42113, 50844}
    ),
    "data of a camera raw file (DNG)": frozenset({*range(50706, 50742), *range(50778, 50834), *range(50931, 51126)}),
}
"""Tags that speak of the original's pixels, by what a note calls them."""
_STANDARD = frozenset({33432, 33434, 33437, 33723, 34850, 34852, 34855, 34856, 34858, 34859, tags.MAKER_NOTE})
_PRIVATE = 32768
_MOST_PRIVATE_BYTES = 2**14


class Exif(NamedTuple):
    """EXIF that may travel on, with what had to be said and done about the rest."""

    directory: Directory
    turn: int
    """Orientation, 1 to 8; 0 if it says none."""
    notes: list[str]
    left: list[str]
    """Names of what was left out."""

    @property
    def block(self) -> bytes | None:
        return b"Exif\0\0" + tags.serialise(self.directory) if self.directory else None


def parse(block: bytes | None) -> Exif:
    """Read EXIF, or a TIFF's own tags, and leave out what must not travel; what is damaged costs itself only."""
    if not block:
        return Exif(Directory(), 0, [], [])
    try:
        found = tags.parse(block)
    except ValueError:
        return Exif(Directory(), 0, ["its EXIF is damaged and was not kept"], [])
    notes = [] if found.is_whole else ["some of its EXIF is damaged and was not kept"]
    turn = found.number(ORIENTATION, 0)
    left = [words for words, group in _GROUPS.items() if group & found.tags.keys()]
    heavy = _heavy(found)
    left += [f"TIFF tag {tag} of {len(found.tags[tag].data):,} bytes" for tag in sorted(heavy)]
    left += ["its further images (SubIFDs)"] if 330 in found.tags else []
    gone = _LAYOUT.union(*_GROUPS.values(), heavy, {ORIENTATION})
    return Exif(found.without(gone), turn if 1 <= turn <= 8 else 0, notes, left)


def _heavy(found: Directory) -> set[int]:
    """Private tags so large that they can only hold pixels."""
    grouped = _LAYOUT.union(_STANDARD, *_GROUPS.values())
    large = {tag for tag, value in found.tags.items() if len(value.data) > _MOST_PRIVATE_BYTES}
    return {tag for tag in large if tag >= _PRIVATE and tag not in grouped}


def resolution(directory: Directory) -> tuple[float, float] | None:
    """Read the resolution in dots per inch."""
    unit = 2.54 if directory.number(296, 2) == 3 else 1.0
    across, down = (unit * next(iter(directory.numbers(tag)), 0) for tag in (282, 283))
    return (across, down) if 0 < across < 1e6 and 0 < down < 1e6 else None


def with_resolution(block: bytes | None, dpi: tuple[float, float] | None) -> bytes | None:
    """Write a resolution into EXIF, for formats that have no field of their own."""
    if not dpi:
        return block
    across, down = dpi
    new = {282: (tags.RATIONAL, (across,)), 283: (tags.RATIONAL, (down,)), 296: (tags.SHORT, (2.0,))}
    old = tags.parse(block) if block else Directory()
    return b"Exif\0\0" + tags.serialise(old.with_numbers(new))
