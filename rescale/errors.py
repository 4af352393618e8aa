"""Every error a user can cause, each with the exit code that the command line returns for it.

RescaleError                 3   some input failed
├── UsageError               2   an option or argument makes no sense
├── InputError               3   a file cannot be read as what it claims to be
│   └── UnsupportedError     3   it can be read, but something in it cannot be kept
├── RefusedError             4   a limit or a policy says no
│   └── RecordError          4   the record in an LR picture is missing, damaged, foreign or stale
├── WeightsError             4   a weight file is not what the manifest says, or is not safetensors
└── EnvironmentFault         5   disk, permission, memory, a missing extra
"""


class RescaleError(Exception):
    """The root; `except RescaleError` catches everything that this package raises on purpose."""

    exit_code = 3


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
    """The record in an LR picture is missing, damaged, foreign, newer, or contradicts the pixels."""


class WeightsError(RescaleError):
    """A weight file is not the one that the manifest names, or not a safetensors file at all."""

    exit_code = 4


class EnvironmentFault(RescaleError):  # noqa: N818
    """The machine, not the input: disk full, no permission, out of memory, a missing extra."""

    exit_code = 5
