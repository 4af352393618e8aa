"""TIFF directories, which are also what EXIF is made of: parsed and written byte for byte, whatever text they hold.

Ours by decision: Pillow decodes EXIF text as Latin-1 and encodes it as ASCII, so that every other letter is lost.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

BYTE, SHORT, LONG, RATIONAL, UNDEFINED = 1, 3, 4, 5, 7
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8, 129: 1}
"""Bytes of a value of each type; 129 is the UTF-8 of EXIF 3.0."""
_BIG = (16, 17, 18)  # types that only a BigTIFF has
FOLDERS = {0x8769: "Exif", 0x8825: "GPS", 0xA005: "Interoperability"}
"""Tags that point to a directory of their own."""
MAKER_NOTE = 0x927C
_MOST_TAGS = 4096
_MOST_DEPTH = 3
_MOST_PADDING = 2**16


Order = Literal["<", ">"]


class Tag(NamedTuple):
    """A value as it stands in the file, in the file's byte order."""

    kind: int
    data: bytes
    at: int = 0
    """Where it stood, which is where a maker's note may count from."""

    @property
    def length(self) -> int:
        return len(self.data) // _SIZES[self.kind]


@dataclass(frozen=True)
class Directory:
    """Tags and inner directories of an image, with their byte order."""

    order: Order = "<"
    tags: Mapping[int, Tag] = field(default_factory=dict)
    folders: "Mapping[int, Directory]" = field(default_factory=dict)
    is_whole: bool = True
    """Whether all of its tags could be read."""

    def __bool__(self) -> bool:
        return bool(self.tags or self.folders)

    def numbers(self, tag: int) -> tuple[float, ...]:
        """Return the numbers of a tag; none if it is not there or no number."""
        if tag not in self.tags:
            return ()
        kind, data, _ = self.tags[tag]
        if kind in (5, 10):
            pairs = struct.iter_unpack(self.order + ("II" if kind == 5 else "ii"), data)
            return tuple(a / b if b else 0.0 for a, b in pairs)
        letter = {1: "B", 3: "H", 4: "I", 6: "b", 7: "B", 8: "h", 9: "i", 11: "f", 12: "d", 13: "I", 16: "Q", 18: "Q"}
        return struct.unpack(f"{self.order}{len(data) // _SIZES[kind]}{letter[kind]}", data) if kind in letter else ()

    def number(self, tag: int, default: int) -> int:
        """Return the first number of a tag, as an integer."""
        return int(next(iter(self.numbers(tag)), default))

    def without(self, tags: "frozenset[int] | set[int]") -> "Directory":
        """Leave out tags and directories of these numbers."""
        kept = {tag: value for tag, value in self.tags.items() if tag not in tags}
        return replace(self, tags=kept, folders={tag: f for tag, f in self.folders.items() if tag not in tags})

    def with_numbers(self, new: Mapping[int, tuple[int, tuple[float, ...]]]) -> "Directory":
        """Put numbers of (type, values) in; fractions are of a thousandth."""
        made = {tag: Tag(kind, _packed(self.order, kind, values)) for tag, (kind, values) in new.items()}
        return replace(self, tags={**self.tags, **made})

    def with_bytes(self, new: Mapping[int, tuple[int, bytes]]) -> "Directory":
        """Put bytes of (type, value) in."""
        made = {tag: Tag(kind, value) for tag, (kind, value) in new.items()}
        return replace(self, tags={**self.tags, **made})


def _packed(order: str, kind: int, values: tuple[float, ...]) -> bytes:
    if kind == RATIONAL:
        return b"".join(struct.pack(order + "II", *_fraction(value)) for value in values)
    return struct.pack(f"{order}{len(values)}{'H' if kind == SHORT else 'I'}", *map(int, values))


def _fraction(value: float) -> tuple[int, int]:
    below = 1 if value == round(value) else 1000 if value < 4e6 else 1
    return round(value * below), below


def parse(block: bytes) -> Directory:
    """Parse EXIF, or a TIFF or BigTIFF file, without its further pages. Raises: ValueError for what is neither."""
    block = block.removeprefix(b"Exif\0\0")
    if block[:2] not in (b"II", b"MM") or len(block) < 8:
        raise ValueError("no TIFF directory")
    order: Order = "<" if block[:2] == b"II" else ">"
    try:
        is_big = struct.unpack(order + "H", block[2:4])[0] == 43
        (first,) = struct.unpack_from(order + ("Q" if is_big else "I"), block, 8 if is_big else 4)
        return _Parser(block, order, is_big).directory(first, depth=0)
    except struct.error as error:
        raise ValueError("a TIFF directory that ends too soon") from error


@dataclass(frozen=True)
class _Parser:
    block: bytes
    order: Order
    is_big: bool

    def directory(self, at: int, depth: int) -> Directory:
        """Parse the directory at an offset, and those it points to."""
        count = self._count(at)
        start, width = (at + 8, 20) if self.is_big else (at + 2, 12)
        entries = [self._entry(start + width * n) for n in range(count)]
        found = Directory(self.order, {tag: value for tag, value in entries if value})
        folders = {tag: self._folder(found.number(tag, 0), depth + 1) for tag in FOLDERS.keys() & found.tags.keys()}
        inner = {tag: folder for tag, folder in folders.items() if folder}
        is_whole = all(value is not None for _, value in entries) and all(
            folder is not None and folder.is_whole for folder in folders.values()
        )
        return replace(found.without(set(FOLDERS)), folders=inner, is_whole=is_whole)

    def _count(self, at: int) -> int:
        (count,) = struct.unpack_from(self.order + ("Q" if self.is_big else "H"), self.block, at)
        if count > _MOST_TAGS:
            raise ValueError(f"a TIFF directory of {count} tags")
        return int(count)

    def _folder(self, at: int, depth: int) -> Directory | None:
        """Parse an inner directory; None for a broken one, without which the others still hold."""
        try:
            return self.directory(at, depth) if depth < _MOST_DEPTH else None
        except (struct.error, ValueError, OverflowError):
            return None

    def _entry(self, at: int) -> tuple[int, Tag | None]:
        """Parse one entry; None for one of an unknown type, or whose value lies outside."""
        form, room = ("HHQ8s", 8) if self.is_big else ("HHI4s", 4)
        tag, kind, count, inline = struct.unpack_from(self.order + form, self.block, at)
        length = _SIZES.get(kind, 0) * count
        if kind not in _SIZES or length > len(self.block):
            return tag, None
        if length <= room:
            return tag, Tag(kind, inline[:length], at)
        (start,) = struct.unpack(self.order + ("Q" if self.is_big else "I"), inline)
        data = self.block[start : start + length]
        return tag, (Tag(kind, data, start) if len(data) == length else None)


def serialise(directory: Directory, *, strips: tuple[int, ...] = ()) -> bytes:
    """Write EXIF without its `Exif` mark, or all of a TIFF but its strips: the opposite of `parse`.

    A maker's note is put where it stood if that is possible, as some makers count from the start of the EXIF.

    Args:
        directory: what to write.
        strips: numbers of the tags that count from the end of what is written here.
    """
    whole = _laid_out(directory)
    return _laid_out(_moved(directory, strips, len(whole))) if strips else whole


def _laid_out(directory: Directory) -> bytes:
    order, layout = directory.order, _Layout(8 + _length(directory))
    if note := _maker_note(directory):
        layout.take(note)
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    return layout.joined(head + _written(directory, 8, layout))


def _moved(directory: Directory, strips: tuple[int, ...], by: int) -> Directory:
    moved = {tag: (LONG, tuple(by + n for n in directory.numbers(tag))) for tag in strips}
    return directory.with_numbers(moved)


def _maker_note(directory: Directory) -> Tag | None:
    return next((inner.tags[MAKER_NOTE] for inner in directory.folders.values() if MAKER_NOTE in inner.tags), None)


def _length(directory: Directory) -> int:
    """Bytes of a directory and those within it, without values that lie outside."""
    own = 2 + 12 * (len(_writable(directory)) + len(directory.folders)) + 4
    return own + sum(map(_length, directory.folders.values()))


def _writable(directory: Directory) -> dict[int, Tag]:
    return {tag: value for tag, value in directory.tags.items() if value.kind not in _BIG}


class _Layout:
    """Places of values behind the directories."""

    def __init__(self, end: int) -> None:
        self.end = end + end % 2
        self.parts: list[tuple[int, bytes]] = []
        self.places: dict[int, int] = {}

    def take(self, note: Tag) -> None:
        """Put a maker's note at its old place, unless that is taken or far off."""
        if len(note.data) > 4 and self.end <= note.at <= self.end + _MOST_PADDING:
            self.end = note.at
            self.places[id(note)] = self.put(note)

    def put(self, value: Tag) -> int:
        """Return the place of a value."""
        if id(value) in self.places:
            return self.places[id(value)]
        at, data = self.end, value.data
        self.parts.append((at, data))
        self.end = at + len(data) + len(data) % 2
        return at

    def joined(self, head: bytes) -> bytes:
        """Return all bytes, with zeros where nothing lies."""
        out = bytearray(head.ljust(self.end, b"\0"))
        for at, data in self.parts:
            out[at : at + len(data)] = data
        return bytes(out)


def _written(directory: Directory, at: int, layout: _Layout) -> bytes:
    """Write a directory that stands at an offset, then those within it; their values go into the layout."""
    order, tags = directory.order, _writable(directory)
    inner_at = at + 2 + 12 * (len(tags) + len(directory.folders)) + 4
    entries, inner = dict[int, bytes](), b""
    for tag, folder in directory.folders.items():
        entries[tag] = struct.pack(order + "HHII", tag, LONG, 1, inner_at + len(inner))
        inner += _written(folder, inner_at + len(inner), layout)
    for tag, value in tags.items():
        place = value.data.ljust(4, b"\0") if len(value.data) <= 4 else struct.pack(order + "I", layout.put(value))
        entries[tag] = struct.pack(order + "HHI", tag, value.kind, value.length) + place
    body = b"".join(entries[tag] for tag in sorted(entries))
    return struct.pack(order + "H", len(entries)) + body + bytes(4) + inner
