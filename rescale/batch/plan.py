"""Batch plan: the target of each source, settled and checked before any work."""

import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path, PurePath
from typing import NamedTuple

from rescale.batch import results
from rescale.batch import sources as finding
from rescale.batch.sources import Rule, Source, normal, real
from rescale.errors import DiskFullError, InputError, RefusedError, UsageError, machine_error
from rescale.io import formats
from rescale.io.folders import IMAGES, VIDEOS, LeftOut, check_readable
from rescale.io.formats import format_of
from rescale.io.object_store import Place, Url, is_remote, place
from rescale.io.storage import check_folder, sweep
from rescale.io.targets import check_target
from rescale.video.io import container

Plan = list[tuple[Place, Place]]
_FIELD = re.compile(r"\{(\w+)\}")


class Names(NamedTuple):
    """Names of results: where they go, and what they are made of."""

    output: str | None
    """A file, a folder (of a URL: one that ends in a slash), or a template; beside the source if None."""
    name: Callable[[Place], str]
    """Gives the file name of a result."""
    fields: dict[str, object]
    """Fields of the template, beside {stem}, {suffix}, {folder} and {path}."""


def plan(
    inputs: Sequence[str],
    output: str | None,
    name: Callable[[Place], str],
    rule: Rule = lambda _: {},
    **fields: object,
) -> tuple[Plan, LeftOut]:
    """Pair every source with its target, before any work.

    Below an output folder, results mirror the tree of the folders that were named. Where two sources of one folder have
    the same name but for their suffix, both results keep it: a.png.x4.png, a.jpg.x4.png.

    Args:
        inputs: files, folders and globs, or URLs of these; @FILE is a list of them, one a line, and @- is one on
            stdin.
        output: a file, a folder (of a URL: one that ends in a slash), or a template of {stem}, {suffix}, {folder},
            {path} and `fields`; beside the source if None.
        name: gives the file name of a result.
        rule: tells which files of folders are no sources.
        fields: further fields of the template.
    Returns: the plan, and what was found but left out: hidden files, results, and what is not read.
    Raises: UsageError where two sources share a target, or no image can be written there at all; RefusedError
        where a result would replace another source that was named.
    """
    words = finding.words_of(inputs)
    found, left_out = finding.find(words, lambda found: rule(found) | _of_other_kind(found, output))
    names = Names(output, name, fields)
    named = {normal(place(word)) for word in words if is_remote(word) or not Path(word).is_dir()}
    planned = {normal(_target(source, names)) for source in found} - named
    ours = results.made_before([source.file for source in found if normal(source.file) in planned])
    if ours:
        left_out[results.RESULTS] = [*left_out.get(results.RESULTS, ()), *ours]
    pairs = _told_apart([source for source in found if source.file not in ours], names)
    _check_places(pairs, output)
    return pairs, left_out


def _of_other_kind(found: Sequence[Place], output: str | None) -> LeftOut:
    """Leave out videos of folders where a template makes all results pictures, and the reverse."""
    suffix = "" if output is None or output.endswith("/") else PurePath(output).suffix.lower()
    if suffix in formats.FORMAT_OF_SUFFIX:
        left = {VIDEOS: [file for file in found if formats.is_video(file)]}
    elif suffix in formats.SUFFIXES:
        left = {IMAGES: [file for file in found if not formats.is_video(file)]}
    else:
        return {}
    return {kind: files for kind, files in left.items() if files}


def _told_apart(found: Sequence[Source], names: Names) -> Plan:
    """Pair sources with targets; those of one folder that would share one keep their suffixes in its name."""
    targets = {source: _target(source, names) for source in found}
    whole = set[Source]()
    while clashing := {source for group in _clashes(targets) for source in group} - whole:
        whole |= clashing
        targets |= {source: _target(source, names, is_whole=True) for source in clashing}
    return [(source.file, target) for source, target in targets.items()]


def _clashes(targets: dict[Source, Place]) -> list[list[Source]]:
    """Group the sources of one folder that share a target."""
    groups = defaultdict[tuple[Place, Place], list[Source]](list)
    for source, target in targets.items():
        if not _is_folder(source.file):
            groups[real(source.file.parent), normal(target)].append(source)
    return [group for group in groups.values() if len(group) > 1]


def _check_places(pairs: Plan, output: str | None) -> None:
    """Check that targets are distinct and replace no source, and that their folders are there or may be made."""
    taken: dict[Place, Place] = {}
    places = {normal(source): source for source, _ in pairs}
    for source, target in pairs:
        if _is_folder(source):  # it fails in its turn
            continue
        _check_kind(source, target)
        if not target.parent.is_dir() and not _may_make(target.parent, output):
            raise UsageError(f"{target.parent} is no folder; make it first")
        to = normal(target)
        if to in taken:
            raise UsageError(
                f"{taken[to]} and {source} would both become {target}",
                hint="tell them apart with {stem}, {suffix}, {folder} or {path} in output=",
            )
        if places.get(to, source) != source:
            raise RefusedError(
                f"{source} would replace {target}, which is a source as well", hint="pass another output="
            )
        taken[to] = source


def _may_make(folder: Place, output: str | None) -> bool:
    """Tell whether a folder may be made: an output folder whose parent is there, or one below it or in a template."""
    if output is None or isinstance(folder, Url):
        return False
    fixed, field, _ = output.partition("{")
    if field and not Path(output).is_dir():
        head, root, _ = fixed.rpartition("/")
        top = Path(head or root or ".")
        return top.is_dir() and top in folder.parents
    top = Path(output)
    return (top.is_dir() or (output.endswith("/") and top.parent.is_dir())) and top in (folder, *folder.parents)


def _is_folder(place: Place) -> bool:
    return isinstance(place, Path) and place.is_dir()


def _check_kind(source: Place, target: Place) -> None:
    """Check that a target's suffix fits the kind of its source, and that a video is a local file."""
    is_video = formats.is_video(source)
    (container.format_of if is_video else format_of)(target)
    if is_video and (isinstance(source, Url) or isinstance(target, Url)):
        raise UsageError(f"expected a file for a video, got {source if isinstance(source, Url) else target}")


def prepare(pairs: Plan) -> None:
    """Make the folders that may be missing, and check that all target folders take files, before any work.

    Temporary files that killed runs left there are removed.

    Raises: DiskFullError, MachineError.
    """
    targets = [target for source, target in pairs if isinstance(target, Path) and not _is_folder(source)]
    new = Counter(target.parent for target in targets if not target.exists())  # a store has neither folders nor an end
    for folder in {target.parent for target in targets}:
        try:
            folder.mkdir(parents=True, exist_ok=True)
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


def check(source: Place, target: Place, *, overwrite: bool) -> None:
    """Check all that can be known before any work. Raises: InputError, MachineError, RefusedError, UsageError."""
    if isinstance(source, Path) and source.is_dir():
        check_readable(source)
        raise InputError(f"{source}: no pictures or videos to rescale in this folder")
    is_there = isinstance(source, Url) or source.exists() or formats.is_sequence(source)  # a store says it when read
    if not is_there:
        raise InputError(f"cannot read {source}: No such file or directory")
    if target.parent.is_dir():  # `prepare` makes it else
        check_target(source, target, overwrite=overwrite)


def _target(source: Source, names: Names, *, is_whole: bool = False) -> Place:
    """Return where a result goes. Args: is_whole: whether the suffix of the source is to be a part of its stem."""
    file, (output, name, fields) = source.file, names
    named = file.parent / f"{file.name}{file.suffix}" if is_whole else file
    if output is None:
        return file.parent / name(named)
    if not is_remote(output) and Path(output).is_dir():
        return _mirrored(Path(output), source) / name(named)
    own = {"stem": named.stem, "suffix": file.suffix[1:], "folder": real(file).parent.name, "path": source.path}
    known = {**own, **fields}
    if re.search("[{}]", _FIELD.sub(lambda field: "" if field[1] in known else field[0], output)):
        words = ", ".join(f"{{{word}}}" for word in known)
        raise UsageError(f"expected a file, a folder, or a template of {words}, got {output!r}")
    template = output if source.path else output.replace("{path}/", "")
    given = place(_FIELD.sub(lambda field: str(known[field[1]]), template))
    return _mirrored(given, source) / name(named) if given.is_dir() or output.endswith("/") else given


def _mirrored(folder: Place, source: Source) -> Place:
    return folder / source.path if source.is_below and source.path else folder
