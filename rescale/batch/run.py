"""Batch runs: execute a plan locally or on workers, resume from the journal, yield one row for each file."""

from contextlib import closing

from rescale.batch.journal import Entry, Journal
from rescale.batch.plan import Plan
from rescale.batch.task import FileJob, RescaleTask
from rescale.executors.base import Executor, Result, Rows
from rescale.io.object_store import place


def run(plan: Plan, task: RescaleTask, engine: Executor) -> Rows:
    """Yield one result for each file, as they end; stop where the disk is full.

    Raises: MachineError where the journal cannot be read or written.
    """
    manifest = Journal({target.parent for _, target in plan} if task.options.resume else ())
    jobs = [FileJob(source, target, manifest.line(target)) for source, target in plan]
    with closing(engine(jobs, task)) as rows:
        for facts in rows:
            if task.options.resume and "target_sha256" in facts and "was_done" not in facts:
                manifest.add(_line(facts, task), place(facts["target"]).parent)
            yield facts
            if "stops" in facts:
                return


def _line(facts: Result, task: RescaleTask) -> Entry:
    """Make the journal entry of a row."""
    known = {key: facts[key] for key in ("source", "source_sha256", "target_sha256", "model", "weights")}
    size, notes = list(facts["size"]), list(facts["notes"])
    return Entry(**known, target=place(facts["target"]).name, options=task.fingerprint, size=size, notes=notes)
