"""Results of earlier runs among the files of a folder: told by the record they carry, or by their names."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from rescale.batch.journal import Journal
from rescale.io.folders import VIDEOS, LeftOut
from rescale.io.formats import is_video
from rescale.io.object_store import Place, Url
from rescale.io.peek import may_carry_record

RESULTS, BARE = "results of earlier runs", "without a record"
_SCALED = re.compile(r"(.+)\.x\d+(?:\.\d+)?(?:x\d+(?:\.\d+)?)?")  # a.x4, a.x1.5x2.5
_SMALL = re.compile(rf"{_SCALED.pattern}|(.+)\.(?:\d+x\d*|x\d+)")  # a.800x600 as well
_LARGE = re.compile(r"(.+)\.(restored|upscaled)")


def of_down(found: Sequence[Place]) -> LeftOut:
    """Leave out all that this package has made: there, an LR image has a record, and a large one has its name.

    Videos are left out as well, as their lossless LR frames take hours and gigabytes: they are downscaled where named.
    """
    family = _Family(found)
    videos = [file for file in found if is_video(file)]
    ours = {file for file in found if family.is_large(file) or family.is_small(file)} - {*videos}
    return _left(RESULTS, (file for file in found if file in ours)) | _left(VIDEOS, videos)


def of_up(found: Sequence[Place], *, has_model: bool, has_scale: bool) -> LeftOut:
    """Leave out results of `up`, and the originals of what it restores.

    Args:
        found: the files.
        has_model: whether a model is given to restore by, so that no record is needed.
        has_scale: whether ordinary images are to be super-resolved, and so not their LR images.
    """
    family = _Family(found)
    large = {file for file in found if family.is_large(file) and not _carries(file)}
    rest = [file for file in found if file not in large]
    if has_scale:
        return _left(RESULTS, [*large, *filter(family.is_named_small, rest)])
    is_source = family.is_no_original if has_model else family.is_to_restore
    return _left(RESULTS, large) | _left(BARE, (file for file in rest if not is_source(file)))


def made_before(targets: Sequence[Place]) -> list[Place]:
    """Tell which targets of a plan, found among its sources, an earlier run made: no other may ever be replaced.

    Of files the journal knows; objects have none, and are taken for results.
    """
    journal = Journal({target.parent for target in targets})
    return [target for target in targets if isinstance(target, Url) or journal.line(target)]


class _Family:
    """Files that were found together: of the names `a.png` and `a.x4.png`, one is the original of the other."""

    def __init__(self, found: Sequence[Place]) -> None:
        self.names = {name for file in found for name in (file.stem, file.name)}
        matches = (_SMALL.fullmatch(file.stem) for file in found)
        self.originals = {match[1] or match[2] for match in matches if match}
        """Names of those that, by their names, have an LR image among the files."""

    def is_large(self, file: Place) -> bool:
        """Tell whether a name is that of a result of `up`, beside its source or of an LR image."""
        match = _LARGE.fullmatch(file.stem)
        return match is not None and (match[1] in self.names or bool(_SMALL.fullmatch(match[1])))

    def is_named_small(self, file: Place) -> bool:
        """Tell whether a name is that of an LR image beside its original."""
        match = _SMALL.fullmatch(file.stem)
        return match is not None and (match[1] or match[2]) in self.names

    def is_small(self, file: Place) -> bool:
        """Tell whether it is an LR image: of an object by its name, as asking would cost a request each."""
        return _carries(file) if isinstance(file, Path) else self.is_named_small(file)

    def is_no_original(self, file: Place) -> bool:
        return not {file.stem, file.name} & self.originals

    def is_to_restore(self, file: Place) -> bool:
        """Tell whether it is an LR image, or has the name of one: that has lost its record, which must be said."""
        if not isinstance(file, Path):
            return self.is_no_original(file)
        return _carries(file) or bool(_SCALED.fullmatch(file.stem))


def _carries(file: Place) -> bool:
    return isinstance(file, Path) and may_carry_record(file)


def _left(kind: str, files: Iterable[Place]) -> LeftOut:
    left = list(files)
    return {kind: left} if left else {}
