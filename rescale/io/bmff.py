"""Boxes of AVIF, HEIC and JPEG XL files: the colours that an image declares, and what else a file holds."""

import struct
from collections.abc import Iterator
from typing import NamedTuple

_FULL = {b"meta", b"iinf", b"ipma", b"pitm", b"infe", b"auxC"}  # boxes with a version and flags first
_MOST_BOXES = 10_000


class Box(NamedTuple):
    """A box: its type and its content, after version and flags."""

    kind: bytes
    body: bytes
    version: int = 0
    flags: int = 0


def boxes(data: bytes) -> Iterator[Box]:
    """Yield the boxes in a row; stop at what is none."""
    at = 0
    for _ in range(_MOST_BOXES):
        if at + 8 > len(data):
            return
        length, kind = struct.unpack_from(">I4s", data, at)
        head = 8
        if length == 1 and at + 16 <= len(data):
            (length,), head = struct.unpack_from(">Q", data, at + 8), 16
        end = at + length if length else len(data)
        if end < at + head or end > len(data):
            return
        version = int.from_bytes(data[at + head : at + head + 4]) if kind in _FULL else 0
        start = at + head + 4 * (kind in _FULL)
        yield Box(kind, data[start:end], version >> 24, version & 0xFFFFFF)
        at = end


def child(data: bytes, *path: bytes) -> bytes:
    """Return the content of the box at a path; empty if there is none."""
    for kind in path:
        data = next((box.body for box in boxes(data) if box.kind == kind), b"")
    return data


def cicp(data: bytes) -> tuple[int, int] | None:
    """Return primaries and transfer (H.273) that the first image of a file declares, where it has no profile."""
    meta = child(data, b"meta")
    properties = list(boxes(child(meta, b"iprp", b"ipco")))
    mine = [properties[n - 1] for n in _properties_of_primary(meta) if 0 < n <= len(properties)]
    colours = [box.body for box in mine if box.kind == b"colr"]
    if any(body[:4] in (b"prof", b"rICC") for body in colours):
        return None
    declared = next((body for body in colours if body[:4] == b"nclx" and len(body) >= 10), None)
    return struct.unpack_from(">HH", declared, 4) if declared else None


def _properties_of_primary(meta: bytes) -> list[int]:
    primary = next((box for box in boxes(meta) if box.kind == b"pitm"), None)
    if primary is None:
        return []
    item = int.from_bytes(primary.body[: 4 if primary.version else 2])
    maps = (box for box in boxes(child(meta, b"iprp")) if box.kind == b"ipma")
    return [number for box in maps for owner, number in _associations(box) if owner == item]


def _associations(box: Box) -> Iterator[tuple[int, int]]:
    """Yield (item, number of a property, from 1)."""
    body, at = box.body, 4
    wide, long = (4 if box.version else 2), bool(box.flags & 1)
    while at + wide < len(body):
        item, count = int.from_bytes(body[at : at + wide]), body[at + wide]
        at += wide + 1
        for _ in range(count):
            yield item, int.from_bytes(body[at : at + 1 + long]) & (0x7FFF if long else 0x7F)
            at += 1 + long


def companions(data: bytes) -> list[str]:
    """Name the images beside the first one that a decoder leaves out; a plane of alpha is not among them."""
    meta = child(data, b"meta")
    types = b" ".join(box.body for box in boxes(child(meta, b"iprp", b"ipco")) if box.kind == b"auxC").lower()
    has_map = b"tmap" in _item_types(meta) or b"gainmap" in types
    return ["gain map"] * has_map + ["depth map"] * (b"depth" in types or b"disparity" in types)


def _item_types(meta: bytes) -> set[bytes]:
    listed = next((box for box in boxes(meta) if box.kind == b"iinf"), None)
    entries = boxes(listed.body[4 if listed.version else 2 :]) if listed else ()
    return {box.body[6 if box.version == 3 else 4 :][:4] for box in entries if box.kind == b"infe"}
