"""Carry out jobs in this process, one after the other; or only check them."""

from collections.abc import Iterable
from typing import Any

from rescale.executors.base import Duty, Errand, Rows, failure


def here(jobs: Iterable[Errand], task: Duty, **at_hand: Any) -> Rows:
    """One file after the other, in this process. Args: at_hand: for `begun`, what this process alone can give it."""
    yield from map(task.begun(**at_hand), jobs)


def dry(jobs: Iterable[Errand], task: Duty) -> Rows:
    """Only what can be known before any work."""
    for job in jobs:
        try:
            task.check(job)
            yield {"source": str(job.source), "target": str(job.target)}
        except Exception as error:
            yield failure(job.source, error)
