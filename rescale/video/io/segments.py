"""Segments of the video encoded so far, each complete or absent, by which a killed run resumes."""

import hashlib
import json
import os
import re
import shutil
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from rescale.errors import MachineError, RefusedError

try:
    import fcntl
except ImportError:  # Windows, where two runs for one target are not noticed
    fcntl = None  # type: ignore[assignment]

_MAGIC = b"rescale segment 1\n"
_OURS = (
    r"header\.json|lock|\d{6}\.seg(\.tmp)?|\.(rescale-)?[0-9a-f]{32}\.tmp|"
    r"small\.mkv|state\.safetensors|[hl]r\.luma|\.refined\.partial"
)
_PACKET = struct.Struct("<qqB3xI")
_LONGEST = 200
"""Maximum length of a name that leaves room for a suffix."""


@dataclass(frozen=True)
class Packet:
    """One encoded packet."""

    pts: int
    duration: int
    is_key: bool
    data: bytes


class Segments:
    """Folder of segments beside the target.

    ```
    header.json     fingerprint of the run; another one starts anew
    lock            held by the running process
    000000.seg      magic, packets, SHA-256 of all that
    small.mkv, state.safetensors, *.luma, .refined.partial    of a run that overfits
    ```

    Args:
        target: the file that the run writes.
        about: everything that decides the packets; a folder made with anything else is emptied.
    """

    def __init__(self, target: Path, about: dict[str, Any]) -> None:
        name = target.name if len(target.name) <= _LONGEST else hashlib.sha256(target.name.encode()).hexdigest()
        self.folder = target.absolute().with_name(f".{name}.partial")
        self.about = json.dumps(about, sort_keys=True)
        self._held: BinaryIO | None = None
        self.whole: list[tuple[Path, int]] = []
        """Complete segments, each with its number of frames."""

    def open(self) -> int:
        """Make or resume the folder, for this process alone.

        Returns: number of frames already encoded.
        Raises: RefusedError where another run holds it, or it contains foreign files; MachineError.
        """
        try:
            self.folder.mkdir(exist_ok=True)
            self._lock()
            strangers = [path.name for path in self.folder.iterdir() if not _is_ours(path)]
            if self.folder.is_symlink() or strangers:
                raise RefusedError(f"{self.folder} is not of a run of this; move it away")
            header = self.folder / "header.json"
            is_same = header.is_file() and header.read_bytes() == self.about.encode()
            self.whole = list(self._whole()) if is_same else []
            kept = [path for path, _ in self.whole]
            for file in self.folder.iterdir():
                if file in kept or (is_same and file.suffix not in (".seg", ".tmp")) or file.name == "lock":
                    continue
                (shutil.rmtree if file.is_dir() else Path.unlink)(file)
            header.write_bytes(self.about.encode())
        except OSError as error:
            raise MachineError(f"cannot write beside {self.folder.parent}: {error.strerror or error}") from error
        return sum(count for _, count in self.whole)

    def _lock(self) -> None:
        """Lock the folder, as two runs for one target would mix their frames; the lock ends with its process."""
        self._held = (self.folder / "lock").open("wb")
        if fcntl is None:
            return
        try:
            fcntl.flock(self._held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self.close()
            raise RefusedError(f"another run is making this target (it works in {self.folder})") from error

    def _whole(self) -> Iterator[tuple[Path, int]]:
        number = 0
        while (path := self.folder / f"{number:06}.seg").is_file() and (count := _count(path)) is not None:
            yield path, count
            number += 1

    def add(self, packets: Iterable[Any]) -> None:
        """Write one more segment from an encoder's packets; it counts only when complete on the disk."""
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
            raise MachineError(f"cannot write {path.parent}: {error.strerror or error}") from error
        self.whole.append((path, count))

    def times(self) -> list[int]:
        """Presentation times of the packets, in decoding order."""
        return [packet.pts for packet in self.packets()]

    def packets(self) -> Iterator[Packet]:
        """Read all packets, in decoding order."""
        for path, _ in self.whole:
            yield from _packets(path)

    def discard_if_empty(self) -> None:
        """Remove a folder without any segment to resume from."""
        if not self.whole and self._held:
            self.discard()

    def discard(self) -> None:
        """Remove the folder, once the target is written."""
        self.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def close(self) -> None:
        """Release the folder; another run may resume it."""
        if self._held:
            self._held.close()


def _packets(path: Path) -> Iterator[Packet]:
    left = path.stat().st_size - len(_MAGIC) - hashlib.sha256().digest_size
    with path.open("rb") as file:
        file.seek(len(_MAGIC))
        while left:
            pts, duration, is_key, size = _PACKET.unpack(file.read(_PACKET.size))
            yield Packet(pts, duration, bool(is_key), file.read(size))
            left -= _PACKET.size + size


def _count(path: Path) -> int | None:
    """Count the packets of a segment; None if it is incomplete or absent."""
    total, end = hashlib.sha256(), path.stat().st_size - hashlib.sha256().digest_size
    with path.open("rb") as file:
        while file.tell() < end and (part := file.read(min(2**20, end - file.tell()))):
            total.update(part)
        if end <= 0 or file.read() != total.digest():
            return None
        file.seek(0)
        if file.read(len(_MAGIC)) != _MAGIC:
            return None
    try:
        return sum(1 for _ in _packets(path))
    except struct.error:
        return None


def _is_ours(path: Path) -> bool:
    return re.fullmatch(_OURS, path.name) is not None
