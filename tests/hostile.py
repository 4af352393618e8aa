"""What tests of hostile files share: what is opened meanwhile, by whom, and a limit that no test outlasts."""

import os
import sys
import sysconfig
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
