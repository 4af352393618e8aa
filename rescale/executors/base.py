"""The contract between a plan and who carries it out: jobs, tasks, one row for each job."""

import traceback
from collections.abc import Callable, Generator, Iterable
from pathlib import Path
from typing import Any, Protocol

from rescale.errors import DiskFullError, RescaleError, as_rescale_error
from rescale.io.object_store import Place

Result = dict[str, Any]
"""What became of a file, as JSON has it: source and target, or source, error and exit_code."""


class Job(Protocol):
    """What an engine gives away: something to read, and what is to be written, if anything is."""

    @property
    def source(self) -> Place: ...

    @property
    def target(self) -> Place | None: ...


class Task(Protocol):
    """What an engine does with every errand: picklable, and with the same result whoever does it."""

    @property
    def device(self) -> str | None: ...

    @property
    def start(self) -> Callable[..., Callable[[Any], Result]]:
        """Load what is needed, and do one errand after the other: facts, where other programs would raise."""

    def check(self, job: Any) -> None:
        """Raises: what speaks against an errand, before it is given away."""

    def idempotent(self) -> "Task":
        """The same for one who may do an errand again that was done already."""


def failed(source: Place, error: Exception) -> Result:
    """What became of a file that could not be done."""
    try:
        fault = as_rescale_error(error)
    except Exception:
        where = traceback.extract_tb(error.__traceback__)[-1]
        said = f"{type(error).__name__}: {error} ({Path(where.filename).name}, line {where.lineno})"
        fault = RescaleError(f"a mistake of rescale, please report it: {said}")
    stops = {"stops": True} if isinstance(fault, DiskFullError) else {}
    hint = {"hint": fault.hint} if fault.hint else {}
    return {"source": str(source), "error": fault.message, "exit_code": fault.exit_code, **hint, **stops}


Rows = Generator[Result, None, None]


Executor = Callable[[Iterable[Job], Task], Rows]
"""Does jobs, here or elsewhere, in whatever order; each is to give one row, the one that its `Task` makes of it."""
