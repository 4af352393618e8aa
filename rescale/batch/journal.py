"""Journal of finished files: an append-only JSON Lines file beside the results, by which a run resumes."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Self

from rescale.errors import machine_error
from rescale.io.object_store import Place

NAME = ".rescale.jsonl"


@dataclass(frozen=True)
class Entry:
    """One finished file; `target` is a name in the journal's own folder."""

    source: str
    source_sha256: str
    target: str
    target_sha256: str
    options: str
    """Fingerprint of all that decides the bytes, beside source and weights."""
    model: str
    weights: str
    """Digest of the model's weights, its first 16 digits."""
    size: list[int] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Parse one line; return None for a line that a crash has truncated or another program wrote."""
        try:
            line = cls(**json.loads(text))
        except (ValueError, TypeError, RecursionError):
            return None
        texts = [getattr(line, f.name) for f in fields(cls) if f.type is str or f.type == "str"]
        is_sound = all(isinstance(text, str) for text in texts) and isinstance(line.notes, list)
        return line if is_sound and all(isinstance(note, str) for note in line.notes) else None

    def facts(self, source: Place, target: Place) -> dict[str, Any]:
        """Return the row that the run reported."""
        return {**asdict(self), "source": str(source), "target": str(target), "was_done": True}


class Journal:
    """Entries of some folders' journals; the last entry for a name counts.

    Raises: MachineError where a journal cannot be read.
    """

    def __init__(self, folders: Iterable[Place]) -> None:
        texts = {folder: _read(folder / NAME) for folder in folders if isinstance(folder, Path)}
        self._lines = {
            folder: {line.target: line for line in map(Entry.parse, text.splitlines()) if line}
            for folder, text in texts.items()
        }
        self._torn = {folder for folder, text in texts.items() if text and not text.endswith("\n")}

    def line(self, target: Place) -> Entry | None:
        """Return the entry of a target; None for an object, since an object store has no file to append to."""
        return self._lines.get(target.parent, {}).get(target.name) if isinstance(target, Path) else None

    def add(self, line: Entry, folder: Place) -> None:
        """Append in one write, so that lines of two runs never mix. Raises: DiskFullError, MachineError."""
        if not isinstance(folder, Path):
            return
        path, data = folder / NAME, json.dumps(asdict(line)).encode() + b"\n"
        try:
            with path.open("ab", buffering=0) as file:
                data = b"\n" + data if folder in self._torn else data
                while data:
                    data = data[file.write(data) :]
        except OSError as error:
            raise machine_error(f"cannot write {path}", error) from error
        self._torn.discard(folder)


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode(errors="replace") if path.is_file() else ""
    except OSError as error:
        raise machine_error(f"cannot read {path}", error) from error
