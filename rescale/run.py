"""A plan done: here or by a crew, from where an earlier run was stopped, one row for each file."""

from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from typing import Any

from rescale.batch import Plan
from rescale.manifest import Line, Manifest
from rescale.storage import place
from rescale.task import Duty, Errand, Facts, Job, Task, failure

Rows = Generator[Facts, None, None]
Engine = Callable[[Iterable[Errand], Duty], Rows]
"""Does jobs, here or elsewhere, in whatever order; each is to give one row, the one that its `Duty` makes of it."""


def run(plan: Plan, task: Task, engine: Engine) -> Rows:
    """What became of each file, as they end; where no room is left on the disk, the rest is not tried.

    Raises: EnvironmentFault where the manifest cannot be read or written.
    """
    manifest = Manifest({target.parent for _, target in plan} if task.resume else ())
    jobs = [Job(source, target, manifest.line(target)) for source, target in plan]
    with closing(engine(jobs, task)) as rows:
        for facts in rows:
            if task.resume and "target_sha256" in facts and "was_done" not in facts:
                manifest.add(_line(facts, task), place(facts["target"]).parent)
            yield facts
            if "stops" in facts:
                return


def _line(facts: Facts, task: Task) -> Line:
    """What is to be remembered of a row."""
    known = {key: facts[key] for key in ("source", "source_sha256", "target_sha256", "model", "weights")}
    size, notes = list(facts["size"]), list(facts["notes"])
    return Line(**known, target=place(facts["target"]).name, options=task.options, size=size, notes=notes)


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
