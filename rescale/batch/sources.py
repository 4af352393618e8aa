"""Sources of a batch: the files that command-line words name, each once, and those that were left out of folders."""

import glob
import os
import re
import sys
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath
from typing import NamedTuple

from rescale.errors import InputError, UsageError
from rescale.io import object_store
from rescale.io.folders import HIDDEN, LeftOut, is_hidden, walk
from rescale.io.formats import FORMAT_OF_SUFFIX
from rescale.io.object_store import Place, Url, is_remote

Rule = Callable[[Sequence[Place]], LeftOut]
"""Rule of a verb: which of the files that folders hold are none of its sources."""


@dataclass(frozen=True)
class Source:
    """A source file, and where it stands."""

    file: Place
    path: str
    """Folders that lead to it: from the folder that was named, or as they were written for a file that was named."""
    is_below: bool = False
    """Whether it was found in a folder, whose tree results are to mirror."""


class _Tree(NamedTuple):
    """Contents of a folder or of a store's prefix."""

    files: Sequence[Place]
    left_out: LeftOut
    unreadable: Sequence[Place] = ()


def words_of(inputs: Iterable[str]) -> list[str]:
    """Read the words of every @list among the inputs. Raises: InputError where one cannot be read."""
    return [word for text in inputs for word in _listed(text)]


def find(words: Sequence[str], rule: Rule) -> tuple[list[Source], LeftOut]:
    """List the sources that words name, each once, and what was left out of folders; files that are named never are.

    A folder without any, and one below that cannot be read, stands for itself, and fails in its turn.
    """
    matches = list(dict.fromkeys(match for word in words for match in _matches(word)))
    trees = {match: tree for match in matches if (tree := _tree(match))}
    left_out = rule([*dict.fromkeys(file for tree in trees.values() for file in tree.files)])
    gone = {file for files in left_out.values() for file in files}
    for tree in trees.values():
        for kind, files in tree.left_out.items():
            left_out[kind] = [*dict.fromkeys([*left_out.get(kind, ()), *files])]
    top = _top(trees)
    found = [source for match in matches for source in _sources(match, trees.get(match), top, gone)]
    return _each_once(found), left_out


def _sources(match: Place, tree: _Tree | None, top: dict[bool, str], gone: Collection[Place]) -> list[Source]:
    if tree is None:
        return [_named(match)]
    base = top[isinstance(match, Url)]
    files = [Source(file, _below(file.parent, base), is_below=True) for file in tree.files if file not in gone]
    return [*files, *map(_named, tree.unreadable)] or [_named(match)]


def _named(file: Place) -> Source:
    """Describe a file that was named, with the folders as they were written, of which none leads upwards."""
    parts = PurePosixPath(file.path if isinstance(file, Url) else file.as_posix()).parts[:-1]
    return Source(file, "/".join(part for part in parts if part not in ("..", "/") and not part.endswith(":")))


def _each_once(found: Sequence[Source]) -> list[Source]:
    """Keep the first of the sources that are one file; a symbolic link is a file of its own."""
    firsts: dict[Place, Source] = {}
    for source in found:
        firsts.setdefault(normal(source.file), source)
    return list(firsts.values())


def normal(path: Place) -> Place:
    """Normalise a path for comparison; a symbolic link is a place of its own."""
    return real(path.parent) / path.name


def real(path: Place) -> Place:
    """Resolve links, without raising in a circle of links as `Path.resolve` does."""
    return path if isinstance(path, Url) else Path(os.path.realpath(path))


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
    if is_remote(text):
        return _objects(Url(text))
    if Path(text).exists():
        return [Path(text)]
    # Not Path.glob: that finds hidden files as well, and has patterns that it refuses.
    return sorted(map(Path, glob.glob(text, recursive=True))) or [Path(text)]  # noqa: PTH207


def _tree(match: Place) -> _Tree | None:
    """List a folder; None for what is no folder."""
    if isinstance(match, Url):
        return _listing(match)
    if not match.is_dir():
        return None
    found = walk(match)
    return _Tree(sorted([*found.images, *found.videos]), found.left_out, found.unreadable)


def _objects(url: Url) -> Sequence[Place]:
    """Expand a glob of objects; any other URL, and a prefix that is there, is itself."""
    found = object_store.find(url, FORMAT_OF_SUFFIX) if re.search(r"[*?\[]", url.text) else []
    return found if found and not _is_below(found[0], url) else [url]


def _listing(url: Url) -> _Tree | None:
    """List what lies below a prefix; None where there is nothing."""
    files = [file for file in object_store.find(url, FORMAT_OF_SUFFIX) if _is_below(file, url)]
    hidden = [file for file in files if is_hidden(PurePosixPath(_below(file, _text(url))))]
    shown = [file for file in files if file not in set(hidden)]
    return _Tree(shown, {HIDDEN: [*hidden]} if hidden else {}) if files else None


def _is_below(file: Place, url: Url) -> bool:
    return str(file).startswith(f"{url.text.rstrip('/')}/")


def _top(trees: Iterable[Place]) -> dict[bool, str]:
    """Find the folder that all folders lie in or are, and the same for a store's prefixes."""
    return {
        is_url: _common([_text(tree) for tree in trees if isinstance(tree, Url) == is_url]) for is_url in (False, True)
    }


def _common(texts: Sequence[str]) -> str:
    try:
        return os.path.commonpath(texts)
    except ValueError:  # there are none, or they lie on several drives
        return ""


def _below(place: Place, top: str) -> str:
    """Return the way that leads from a folder to a place in it."""
    way = PurePath(_text(place)).relative_to(top).as_posix() if top else "."
    return "" if way == "." else way


def _text(place: Place) -> str:
    """Return an absolute path, as it was written: a link is a part of it."""
    return place.path.rstrip("/") if isinstance(place, Url) else os.path.abspath(place)  # noqa: PTH100
