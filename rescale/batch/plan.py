"""Batch plan: the source files that command-line arguments name, and the target of each."""

import glob
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from rescale.errors import DiskFullError, InputError, RefusedError, UsageError, machine_error
from rescale.io import formats, object_store
from rescale.io.formats import FORMAT_OF_SUFFIX, format_of
from rescale.io.images import find
from rescale.io.object_store import Place, Url, is_remote, place
from rescale.io.storage import check_folder, sweep
from rescale.io.targets import check_target
from rescale.video.io import container

Plan = list[tuple[Place, Place]]
_FIELD = re.compile(r"\{(\w+)\}")


def plan(
    inputs: Sequence[str], output: str | None, name: Callable[[Place], str], **fields: object
) -> tuple[Plan, list[Place]]:
    """Pair every source with its target, before any work.

    Args:
        inputs: files, folders and globs, or URLs of these; @FILE is a list of them, one a line, and @- is one on
            stdin.
        output: a file, a folder (of a URL: one that ends in a slash), or a template of {stem}, {suffix}, {folder} and
            `fields`; beside the source if None.
        name: gives the file name of a result.
        fields: further fields of the template.
    Returns: the plan, and the files that were found but left out because they are results of others in it.
    Raises: UsageError where two sources share a target, or no image can be written there at all; RefusedError
        where a result would replace another source that was named.
    """
    words = [word for text in inputs for word in _listed(text)]
    pairs = [(source, _target(source, output, name, fields)) for source in sources(words)]
    named = {_place(place(word)) for word in words if is_remote(word) or not Path(word).is_dir()}
    results = {_place(target) for _, target in pairs} - named
    left_out = [source for source, _ in pairs if _place(source) in results]
    pairs = [(source, target) for source, target in pairs if _place(source) not in results]
    _check_places(pairs, makes=place(output) if output and output.endswith("/") else None)
    return pairs, left_out


def _check_places(pairs: Plan, makes: Place | None) -> None:
    """Check that targets are distinct and replace no source. Args: makes: a folder that may be missing."""
    taken: dict[Place, Place] = {}
    places = {_place(source): source for source, _ in pairs}
    for source, target in pairs:
        _check_kind(source, target)
        if not target.parent.is_dir() and not (target.parent == makes and makes.parent.is_dir()):
            raise UsageError(f"{target.parent} is no folder; make it first")
        to = _place(target)
        if to in taken:
            raise UsageError(
                f"{taken[to]} and {source} would both become {target}",
                hint="tell them apart with {stem}, {suffix} or {folder} in output=",
            )
        if places.get(to, source) != source:
            raise RefusedError(
                f"{source} would replace {target}, which is a source as well", hint="pass another output="
            )
        taken[to] = source


def _check_kind(source: Place, target: Place) -> None:
    """Check that a target's suffix fits the kind of its source, and that a video is a local file."""
    is_video = formats.is_video(source)
    (container.format_of if is_video else format_of)(target)
    if is_video and (isinstance(source, Url) or isinstance(target, Url)):
        raise UsageError(f"expected a file for a video, got {source if isinstance(source, Url) else target}")


def prepare(pairs: Plan) -> None:
    """Make the folder that may be missing, and check that all target folders take files, before any work.

    Temporary files that killed runs left there are removed.

    Raises: DiskFullError, MachineError.
    """
    targets = [target for _, target in pairs if isinstance(target, Path)]  # a store has neither folders nor an end
    new = Counter(target.parent for target in targets if not target.exists())
    for folder in {target.parent for target in targets}:
        try:
            folder.mkdir(exist_ok=True)
        except OSError as error:
            raise machine_error(f"cannot make the folder {folder}", error) from error
        sweep(folder)
        check_folder(folder)
        _check_room(folder, new[folder])


def _check_room(folder: Path, count: int) -> None:
    """Check that the planned number of new files fits, were they as small as a file can be."""
    if not hasattr(os, "statvfs"):  # Windows
        return
    room = os.statvfs(folder)
    most = min(room.f_bavail, room.f_favail) if room.f_files else room.f_bavail  # some count no files
    if most < count:
        raise DiskFullError(f"cannot write {count} files into {folder}: No space left on device for more than {most}")


def sources(inputs: Sequence[str]) -> list[Place]:
    """List the source files, each once; a folder without images stands for itself, and fails in its turn."""
    found = [file for text in inputs for match in _matches(text) for file in _below(match) or [match]]
    return list({_place(file): file for file in reversed(found)}.values())[::-1]


def check(source: Place, target: Place, *, overwrite: bool) -> None:
    """Check all that can be known before any work. Raises: InputError, RefusedError, UsageError."""
    if source.is_dir():
        raise InputError(f"{source}: no pictures in this folder")
    if not isinstance(source, Url) and not source.exists():  # a store says why when it is read
        raise InputError(f"cannot read {source}: No such file or directory")
    if target.parent.is_dir():  # `prepare` makes it else
        check_target(source, target, overwrite=overwrite)


def _listed(text: str) -> list[str]:
    """Read the words of an @list, or return the word itself; an existing file of that name wins. Raises: InputError."""
    if not text.startswith("@") or Path(text).exists():
        return [text]
    try:
        data = sys.stdin.buffer.read() if text == "@-" else Path(text[1:]).read_bytes()
    except OSError as error:
        raise InputError(f"cannot read the list {text[1:]}: {error.strerror}") from error
    return [os.fsdecode(line) for line in data.splitlines() if line.strip()]


def _matches(text: str) -> Sequence[Place]:
    """Expand a glob as a shell would; an existing path is itself, whatever characters it has."""
    if not text:
        raise UsageError("expected a file, folder or glob, got an empty word")
    if is_remote(text) or Path(text).exists():
        return [place(text)]
    # Not Path.glob: that finds hidden files as well, and has patterns that it refuses.
    return sorted(map(Path, glob.glob(text, recursive=True))) or [Path(text)]  # noqa: PTH207


def _below(match: Place) -> Sequence[Place]:
    return object_store.find(match, FORMAT_OF_SUFFIX) if isinstance(match, Url) else find(match)


def _target(source: Place, output: str | None, name: Callable[[Place], str], fields: dict[str, object]) -> Place:
    if output is None:
        return source.parent / name(source)
    if not is_remote(output) and Path(output).is_dir():
        return Path(output) / name(source)
    known = {"stem": source.stem, "suffix": source.suffix[1:], "folder": _real(source).parent.name, **fields}
    given = place(_FIELD.sub(lambda field: str(known.get(field[1], field[0])), output))
    if re.search("[{}]", _FIELD.sub(lambda field: "" if field[1] in known else field[0], output)):
        words = ", ".join(f"{{{word}}}" for word in known)
        raise UsageError(f"expected a file, a folder, or a template of {words}, got {output!r}")
    return given / name(source) if given.is_dir() or output.endswith("/") else given


def _place(path: Place) -> Place:
    """Normalise a path for comparison; a symbolic link is a place of its own."""
    return _real(path.parent) / path.name


def _real(path: Place) -> Place:
    """Resolve links, without raising in a circle of links as `Path.resolve` does."""
    return path if isinstance(path, Url) else Path(os.path.realpath(path))
