"""Folders as people have them: the images and videos below one, and what is left out there, by kind."""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from rescale.errors import machine_error
from rescale.io.formats import FORMAT_OF_SUFFIX, is_video
from rescale.io.object_store import Place
from rescale.io.peek import is_text

LeftOut = dict[str, list[Place]]
"""Files that were found but are no sources, by the kind of reason, which is worded to follow a number."""
HIDDEN, VIDEOS, IMAGES = "hidden", "videos", "pictures"
LINKS, OTHERS = "links to folders", "of formats that are not read"
_NOT_OURS = {
    "__MACOSX", "@eaDir", "#recycle", "#snapshot", "$RECYCLE.BIN", "System Volume Information", "lost+found",
}  # fmt: skip
"""Folders that systems make for themselves: thumbnails, doubles, and what was thrown away."""
_IMAGES = re.compile(
    r"\.(heic|heif|hif|jxl|jp2|j2k|jpx|jxr|psd|psb|svg|eps|ico|icns|tga|pcx|exr|hdr|dds|qoi|xcf|kra|dib|jpe|jfi|"
    r"dng|cr2|cr3|nef|arw|raf|orf|rw2|pef|srw)"
)
"""Suffixes of images, some of which are not read: who has such files should hear of it."""


@dataclass(frozen=True)
class Found:
    """Contents of a folder, with all below it."""

    images: list[Path] = field(default_factory=list)
    videos: list[Path] = field(default_factory=list)
    left_out: LeftOut = field(default_factory=dict)
    unreadable: list[Path] = field(default_factory=list)
    """Folders that cannot be listed."""

    def leave_out(self, kind: str, paths: Iterable[Path]) -> None:
        """Add to what is left out, if there is anything."""
        for path in paths:
            self.left_out.setdefault(kind, []).append(path)


def walk(folder: Path) -> Found:
    """List what lies in a folder and below it, sorted. Links to folders are not followed, as they may form circles.

    A name that begins with a dot is hidden, as to a glob, and so is all below it: macOS lays `._NAME` beside each file
    on foreign disks, galleries keep thumbnails. An image is whatever has the suffix of one, be it a broken link.
    """
    found, errors = Found(), list[OSError]()
    for here, folders, names in os.walk(folder, onerror=errors.append):
        folders.sort()
        at = Path(here)
        for name in sorted(names):
            _sort_in(found, at / name, hidden=is_hidden((at / name).relative_to(folder)))
        links = [at / name for name in folders if (at / name).is_symlink()]
        found.leave_out(LINKS, (link for link in links if not is_hidden(link.relative_to(folder))))
    found.images.sort()
    found.videos.sort()
    found.unreadable.extend(Path(os.fsdecode(error.filename)) for error in errors)
    return found


def _sort_in(found: Found, path: Path, *, hidden: bool) -> None:
    suffix = path.suffix.lower()
    is_ours = suffix in FORMAT_OF_SUFFIX or (is_video(path) and not _is_program(path))
    if is_ours and not hidden:
        (found.images if suffix in FORMAT_OF_SUFFIX else found.videos).append(path)
    elif is_ours or _IMAGES.fullmatch(suffix):
        found.leave_out(HIDDEN if hidden else OTHERS, [path])


def _is_program(path: Path) -> bool:
    """Tell whether a file of a suffix that videos share with TypeScript is a text."""
    return path.suffix.lower() in (".ts", ".mts") and is_text(path)


def check_readable(folder: Path) -> None:
    """Check that a folder can be listed. Raises: MachineError."""
    try:
        os.scandir(folder).close()
    except OSError as error:
        raise machine_error(f"cannot read the folder {folder}", error) from error


def is_hidden(path: PurePath) -> bool:
    """Tell whether a relative path has a hidden part."""
    return any(part.startswith(".") or part in _NOT_OURS for part in path.parts)
