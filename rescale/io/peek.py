"""A look at a file before any work: whether it may carry a record, and whether it moves."""

import os
import re
from pathlib import Path
from typing import BinaryIO

_HEAD, _TAIL = 2**22, 2**20
_TEXT = 2048
_SCREEN = 13
"""Bytes of a GIF in front of its first block."""
_MARKS = re.compile(rb"[tiz][TE]Xtrescale\0|rescale:record|\x45\xa3\x87RESCALE|mdtarescale")


def may_carry_record(path: Path) -> bool:
    """Tell whether a file has the mark of a record, without decoding it; a damaged record has it too.

    Every format keeps metadata in front of the samples or behind them, and this one as plain text: as a PNG text chunk
    of its own, in XMP, or as a tag of MKV or MP4. A file that cannot be read has none.
    """
    try:
        if not path.is_file():  # reading a pipe would wait for ever
            return False
        with path.open("rb") as file:
            head = file.read(_HEAD)
            rest = max(len(head), os.fstat(file.fileno()).st_size - _TAIL)
            file.seek(rest)
            tail = file.read(_TAIL)
    except OSError:
        return False
    return bool(_MARKS.search(head) or _MARKS.search(tail))


def is_lossy(data: bytes) -> bool:
    """Tell whether an image file's codec is lossy: JPEG, AVIF, HEIC, and WebP unless it says that it is lossless."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return b"VP8L" not in _webp_chunks(data)
    return data[:3] == b"\xff\xd8\xff" or data[4:8] == b"ftyp"


def _webp_chunks(data: bytes) -> list[bytes]:
    """List the names of a WebP file's chunks; animations hold theirs deeper."""
    names, at = [], 12
    while at + 8 <= len(data):
        names.append(data[at : at + 4])
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        at += 8 + length + length % 2
    return names


def is_text(path: Path) -> bool:
    """Tell whether a file begins as text does; one that cannot be read does not."""
    try:
        with path.open("rb") as file:
            return b"\0" not in file.read(_TEXT) if path.is_file() else False
    except OSError:
        return False


def moves(path: Path) -> bool:
    """Tell whether a file is a GIF or a PNG of several frames, without decoding it."""
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            head = file.read(_SCREEN)
            if head.startswith((b"GIF87a", b"GIF89a")) and len(head) == _SCREEN:
                return _moves_as_gif(file, head[10])
            head += file.read(_HEAD)
    except OSError:
        return False
    return head.startswith(b"\x89PNG\r\n\x1a\n") and b"acTL" in head[: head.find(b"IDAT")]


def _moves_as_gif(file: BinaryIO, flags: int) -> bool:
    """Look for a second image among the blocks of a GIF."""
    _skip_colours(file, flags)
    images = 0
    while block := file.read(1):
        if block == b",":
            images += 1
            if images == 2:
                return True
            _skip_colours(file, (file.read(9) or b"\0")[-1])
        elif block != b"!":
            return False
        file.read(1)  # the kind of an extension, or the width of codes
        while (length := file.read(1)) and length != b"\0":
            file.seek(length[0], os.SEEK_CUR)
    return False


def _skip_colours(file: BinaryIO, flags: int) -> None:
    if flags & 0x80:
        file.seek(3 * 2 ** (flags % 8 + 1), os.SEEK_CUR)
