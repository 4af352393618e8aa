"""Carry out jobs in this process, one after the other; or only check them."""

from collections.abc import Iterable
from typing import Any

from rescale.executors.base import Job, Rows, Task, failed


def work(jobs: Iterable[Job], task: Task, **at_hand: Any) -> Rows:
    """Do one job after the other in this process. Args: at_hand: for `start`, objects that only this process has."""
    yield from map(task.start(**at_hand), jobs)


def dry_run(jobs: Iterable[Job], task: Task) -> Rows:
    """Check each job without doing it."""
    for job in jobs:
        try:
            task.check(job)
            yield {"source": str(job.source), "target": str(job.target)}
        except Exception as error:
            yield failed(job.source, error)
