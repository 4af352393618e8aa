"""The contract between a plan and its executor: jobs, tasks, one result for each job."""

import traceback
from collections.abc import Callable, Generator, Iterable
from pathlib import Path
from typing import Any, Protocol

from rescale.errors import DiskFullError, RescaleError, as_rescale_error
from rescale.io.object_store import Place

Result = dict[str, Any]
"""The result of a job, as JSON: source and target, or source, error and exit_code."""


class Job(Protocol):
    """A job for an executor: a source to read, and a target to write, if any."""

    @property
    def source(self) -> Place: ...

    @property
    def target(self) -> Place | None: ...


class Task(Protocol):
    """The task that an executor does for every job: picklable, and with the same result in whatever process."""

    @property
    def device(self) -> str | None: ...

    @property
    def start(self) -> Callable[..., Callable[[Any], Result]]:
        """Load the models, and return a function from job to result; it returns failures where others would raise."""

    def check(self, job: Any) -> None:
        """Check a job before it is handed out. Raises: the objection to it."""

    def idempotent(self) -> "Task":
        """Return the same task for an executor that may repeat a finished job."""


def failed(source: Place, error: Exception) -> Result:
    """Return the result of a job that failed."""
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


class Pool(Protocol):
    """A pool of workers that do a task together: our own, see `processes`, or Ray's, see `ray`."""

    def __call__(self, jobs: Iterable[Job], task: Task, count: int, threads: int) -> Rows:
        """Yield one result for each job, in order of completion; the next begin only when another is asked for.

        A job whose worker dies is done again by another, a few times, and then fails alone.

        Args:
            jobs: files or objects.
            task: task to do for each.
            count: number of workers.
            threads: threads of torch in each.
        Raises: MachineError where no worker can be started.
        """


Executor = Callable[[Iterable[Job], Task], Rows]
"""Executor of jobs, here or elsewhere, in any order; it yields for each the one result that its `Task` makes of it."""
