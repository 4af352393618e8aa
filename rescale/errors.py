"""Every error that a user can cause, each with the exit code that the command line returns for it.

RescaleError                 3   some input failed
├── UsageError               2   an option or argument makes no sense
├── InputError               3   a file cannot be read as what it claims to be
│   └── UnsupportedError     3   it can be read, but something in it cannot be kept
├── RefusedError             4   a limit or a policy says no
│   └── RecordError          4   the record in an LR image is missing, damaged, foreign or stale
├── WeightsError             4   a weight file is not what the manifest says, or is not safetensors
└── MachineError             5   disk, permission, memory, a missing extra
    └── DiskFullError        5   no room is left, for this image or any other
"""

import errno
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT}
_NO_MEMORY = re.compile("out of memory|n.t allocate memory|not enough memory")


class RescaleError(Exception):
    """The root; `except RescaleError` catches everything that this package raises on purpose."""

    exit_code = 3

    def __init__(self, message: str = "", *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        """Description of the problem: what was expected, what came."""
        self.hint = hint
        """The remedy, in terms of arguments: "pass overwrite=True to replace it"; empty where there is none to name."""

    def __str__(self) -> str:
        return "; ".join(filter(None, (self.message, self.hint)))


class UsageError(RescaleError, ValueError):
    """An option or argument makes no sense; the message says what was expected and what came."""

    exit_code = 2


class InputError(RescaleError):
    """A file is missing, damaged, or not what it claims to be."""


class UnsupportedError(InputError):
    """A file is sound, but holds something that could not be kept; the message names it."""


class RefusedError(RescaleError):
    """A limit or a policy says no, before any work was done."""

    exit_code = 4


class RecordError(RefusedError):
    """The record in an LR image is missing, damaged, foreign, newer, or contradicts the pixels."""


class WeightsError(RescaleError):
    """A weight file is not the one that the manifest names, or not a safetensors file at all."""

    exit_code = 4


class MachineError(RescaleError):
    """The machine, not the input: disk full, no permission, out of memory, a missing extra."""

    exit_code = 5


class DiskFullError(MachineError):
    """No room is left on a disk, so that a batch need not go on."""


def machine_error(sentence: str, error: Exception) -> MachineError:
    """Wrap an operating system's error as an error of ours."""
    kind = DiskFullError if getattr(error, "errno", None) in _NO_ROOM else MachineError
    return kind(f"{sentence}: {getattr(error, 'strerror', None) or error}".removeprefix(": "))


def as_rescale_error(error: Exception) -> RescaleError:
    """Convert an error to one sentence with its exit code. Raises: the error itself, where it is a mistake of ours."""
    if isinstance(error, RescaleError):
        return error
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and _NO_MEMORY.search(str(error))):
        return MachineError("not enough memory")
    if isinstance(error, OSError):
        return machine_error(str(error.filename or ""), error)
    raise error


def first_problem(error: "ValidationError") -> tuple[str, "ErrorDetails"]:
    """Return the first complaint of pydantic, and the key that it is about, dotted; empty if about the whole."""
    problem = error.errors()[0]
    return ".".join(map(str, problem["loc"])), problem
