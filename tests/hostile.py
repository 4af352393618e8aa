"""What tests of hostile files share: what is opened meanwhile, by whom, and how much is done, without a clock."""

import os
import sys
import sysconfig
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

IS_THOROUGH = os.environ.get("RESCALE_THOROUGH") == "1"
_STARTS = (
    "socket.", "subprocess.", "os.exec", "os.posix_spawn", "os.spawn", "os.system", "os.fork", "pickle.find_class",
    "urllib.", "http.", "ftplib.", "shutil.", "os.mkdir",
)  # fmt: skip
_OWN = tuple({sys.prefix, sys.base_prefix, sysconfig.get_path("stdlib"), sysconfig.get_path("purelib")})


@dataclass
class Seen:
    """What the interpreter was asked for by any thread."""

    opened: set[str] = field(default_factory=set)
    others: list[str] = field(default_factory=list)


_watching: list[Seen] = []


def _hook(event: str, arguments: tuple[object, ...]) -> None:
    if not _watching:
        return
    if event == "open":
        name = os.fsdecode(arguments[0]) if isinstance(arguments[0], str | bytes) else "a descriptor"
        if not name.startswith(_OWN) or not name.endswith((".py", ".pyc")):  # a module that is imported late
            _watching[-1].opened.add(name)
    elif event.startswith(_STARTS):
        _watching[-1].others.append(f"{event} {arguments!r}")


sys.addaudithook(_hook)  # which can never be taken out again, hence the list


@contextmanager
def watched() -> Iterator[Seen]:
    """Files and sockets opened, programs begun and pickles asked for meanwhile; what C opens by itself is not seen."""
    _watching.append(Seen())
    try:
        yield _watching[-1]
    finally:
        _watching.pop()


class Calls:
    """Counts the functions that this thread calls meanwhile, Python's and C's: the same on the slowest machine."""

    count = 0

    def __enter__(self) -> "Calls":
        sys.setprofile(self._note)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    def _note(self, _frame: object, event: str, _argument: object) -> None:
        self.count += event in ("call", "c_call")


class Memory:
    """The most bytes that Python held at once of what was made meanwhile; those of C libraries are not seen."""

    most = 0

    def __enter__(self) -> "Memory":
        tracemalloc.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
