"""The video encoded so far, in segments of which each is whole or absent; a run that was killed goes on from them."""

import hashlib
import json
import os
import shutil
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rescale.errors import EnvironmentFault

_MAGIC = b"rescale segment 1\n"
_PACKET = struct.Struct("<qqB3xI")
_NONE = -(2**63)


@dataclass(frozen=True)
class Packet:
    """What an encoder made of a frame."""

    pts: int
    duration: int
    is_key: bool
    data: bytes


class Segments:
    """A folder of segments beside the target.

    ```
    header.json     what the run is about; other work starts anew
    000000.seg      magic, packets, SHA-256 of all that
    ```

    Args:
        target: of the run.
        about: everything that decides what the packets are; a folder made with anything else is emptied.
    """

    def __init__(self, target: Path, about: dict[str, Any]) -> None:
        self.folder = target.with_name(f".{target.name}.partial")
        self.about = json.dumps(about, sort_keys=True)
        self.whole: list[tuple[Path, int]] = []
        """Segments that are complete, each with its frames."""

    def open(self) -> int:
        """Make or take up the folder. Returns: how many frames are done. Raises: EnvironmentFault."""
        try:
            header = self.folder / "header.json"
            if self.folder.is_dir() and not (header.is_file() and header.read_text(encoding="utf-8") == self.about):
                shutil.rmtree(self.folder)
            self.folder.mkdir(exist_ok=True)
            header.write_text(self.about, encoding="utf-8")
            self.whole = list(self._whole())
            for file in self.folder.glob("*.seg*"):
                if file not in [path for path, _ in self.whole]:
                    file.unlink()
        except OSError as error:
            raise EnvironmentFault(f"cannot write beside {self.folder.parent}: {error.strerror or error}") from error
        return sum(count for _, count in self.whole)

    def _whole(self) -> Iterator[tuple[Path, int]]:
        number = 0
        while (path := self.folder / f"{number:06}.seg").is_file() and (count := _count(path)) is not None:
            yield path, count
            number += 1

    def add(self, packets: Iterable[Any]) -> None:
        """Write one more segment from an encoder's packets; it counts only when all of it is on the disk."""
        path = self.folder / f"{len(self.whole):06}.seg"
        temporary, total, count = path.with_suffix(".seg.tmp"), hashlib.sha256(_MAGIC), 0
        try:
            with temporary.open("wb") as file:
                file.write(_MAGIC)
                for packet in packets:
                    part = _PACKET.pack(packet.pts, packet.duration or 0, packet.is_keyframe, packet.size)
                    part += bytes(packet)
                    total.update(part)
                    file.write(part)
                    count += 1
                file.write(total.digest())
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except OSError as error:
            raise EnvironmentFault(f"cannot write {path.parent}: {error.strerror or error}") from error
        self.whole.append((path, count))

    def times(self) -> list[int]:
        """When each packet is shown, in the order of the packets."""
        return [packet.pts for packet in self.packets()]

    def packets(self) -> Iterator[Packet]:
        """All packets, in the order of decoding."""
        for path, _ in self.whole:
            yield from _packets(path)

    def discard_if_empty(self) -> None:
        """Leave nothing behind from which no run could go on."""
        if not self.whole:
            self.discard()

    def discard(self) -> None:
        """Remove the folder, when the target is written."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _packets(path: Path) -> Iterator[Packet]:
    left = path.stat().st_size - len(_MAGIC) - hashlib.sha256().digest_size
    with path.open("rb") as file:
        file.seek(len(_MAGIC))
        while left:
            pts, duration, is_key, size = _PACKET.unpack(file.read(_PACKET.size))
            yield Packet(pts, duration, bool(is_key), file.read(size))
            left -= _PACKET.size + size


def _count(path: Path) -> int | None:
    """Packets of a segment; None if it is not whole."""
    total, end = hashlib.sha256(), path.stat().st_size - hashlib.sha256().digest_size
    with path.open("rb") as file:
        while file.tell() < end and (part := file.read(min(2**20, end - file.tell()))):
            total.update(part)
        if end <= 0 or file.read() != total.digest():
            return None
    return sum(1 for _ in _packets(path))
