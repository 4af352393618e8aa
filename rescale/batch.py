"""Many pictures: which files the words on a command line mean, and where each result goes."""

import glob
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from rescale.errors import InputError, RefusedError, UsageError
from rescale.files import check_target
from rescale.images import find, format_of
from rescale.video import containers

Plan = list[tuple[Path, Path]]
_FIELD = re.compile(r"\{(\w+)\}")


def plan(
    inputs: Sequence[str], output: str | None, name: Callable[[Path], str], **fields: object
) -> tuple[Plan, list[Path]]:
    """Every source with its target, before any work.

    Args:
        inputs: files, folders and globs.
        output: a file, a folder, or a template of {stem}, {suffix}, {folder} and `fields`; beside the source if None.
        name: what a result is called in its folder.
        fields: what else a template may speak of.
    Returns: the plan, and the files that were found but left out as they are results of others in it.
    Raises: UsageError where two sources share a target, or no picture can be written there at all; RefusedError
        where a result would replace another source that was named.
    """
    pairs = [(source, _target(source, output, name, fields)) for source in sources(inputs)]
    named = {_place(Path(text)) for text in inputs if not Path(text).is_dir()}
    results = {_place(target) for _, target in pairs} - named
    left_out = [source for source, _ in pairs if _place(source) in results]
    pairs = [(source, target) for source, target in pairs if source not in left_out]
    _check_places(pairs)
    return pairs, left_out


def _check_places(pairs: Plan) -> None:
    taken: dict[Path, Path] = {}
    places = {_place(source): source for source, _ in pairs}
    for source, target in pairs:
        (containers.format_of if containers.is_video(source) else format_of)(target)
        if not target.parent.is_dir():
            raise UsageError(f"{target.parent} is no folder; make it first")
        place = _place(target)
        if place in taken:
            raise UsageError(
                f"{taken[place]} and {source} would both become {target}; tell them apart with {{stem}}, {{suffix}} "
                "or {folder} in -o"
            )
        if places.get(place, source) != source:
            raise RefusedError(f"{source} would replace {target}, which is a source as well; pass another -o")
        taken[place] = source


def sources(inputs: Sequence[str]) -> list[Path]:
    """The files meant, each once; a folder without pictures stands for itself, to fail in its turn."""
    found = [file for text in inputs for match in _matches(text) for file in find(match) or [match]]
    return list({_place(file): file for file in reversed(found)}.values())[::-1]


def check(source: Path, target: Path, *, overwrite: bool) -> None:
    """What can be known before any work. Raises: InputError, RefusedError, UsageError."""
    if source.is_dir():
        raise InputError(f"{source}: no pictures in this folder")
    if not source.exists():
        raise InputError(f"cannot read {source}: No such file or directory")
    check_target(source, target, overwrite=overwrite)


def _matches(text: str) -> list[Path]:
    """What a shell would have made of a pattern; a path that exists is itself, whatever characters it has."""
    if not text:
        raise UsageError("expected a file, folder or glob, got an empty word")
    if Path(text).exists():
        return [Path(text)]
    # Not Path.glob: that finds hidden files as well, and has patterns that it refuses.
    return sorted(map(Path, glob.glob(text, recursive=True))) or [Path(text)]  # noqa: PTH207


def _target(source: Path, output: str | None, name: Callable[[Path], str], fields: dict[str, object]) -> Path:
    if output is None:
        return source.parent / name(source)
    if Path(output).is_dir():
        return Path(output) / name(source)
    known = {"stem": source.stem, "suffix": source.suffix[1:], "folder": _real(source).parent.name, **fields}
    given = Path(_FIELD.sub(lambda field: str(known.get(field[1], field[0])), output))
    if re.search("[{}]", _FIELD.sub(lambda field: "" if field[1] in known else field[0], output)):
        words = ", ".join(f"{{{word}}}" for word in known)
        raise UsageError(f"expected a file, a folder, or a template of {words}, got {output!r}")
    return given / name(source) if given.is_dir() or output.endswith("/") else given


def _place(path: Path) -> Path:
    """Where a name stands, however it was spelled; a link is a place of its own."""
    return _real(path.parent) / path.name


def _real(path: Path) -> Path:
    """Unlike `Path.resolve`, which raises in a circle of links."""
    return Path(os.path.realpath(path))
