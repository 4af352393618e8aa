"""Summary of a run: counts of its rows, its failures, and a JSON report for other programs."""

import json
import time
from pathlib import Path
from typing import Any

from rescale.batch.plan import Plan
from rescale.batch.task import RescaleTask
from rescale.errors import RefusedError, UsageError
from rescale.executors.base import Result
from rescale.io import storage
from rescale.io.folders import LeftOut
from rescale.version import __version__


class RunSummary:
    """Running summary of the rows of a run.

    Args:
        plan: the run's plan.
        task: the run's task.
        report: a JSON file to write at the end.
        left_out: files that were found in folders and are not in the plan, by kind.
    Raises: UsageError, RefusedError where the report cannot go there.
    """

    def __init__(
        self, plan: Plan, task: RescaleTask, report: Path | None = None, left_out: LeftOut | None = None
    ) -> None:
        self.count, self.task, self.path = len(plan), task, report
        self.left_out = {kind: len(files) for kind, files in (left_out or {}).items()}
        self.began = time.monotonic()
        self.tried = self.kept = 0
        self.failures: list[Result] = []
        self.rows: list[Result] = []
        self.weights: dict[str, str] = {}
        if report:
            _check(report, plan, may_replace=task.options.overwrite or task.options.resume)

    def add(self, facts: Result) -> None:
        """Count one more row."""
        self.tried += 1
        if "error" in facts:
            self.failures.append(facts)
        elif "model" in facts:
            self.kept += "was_done" in facts
            self.weights[facts["model"]] = facts["weights"]
        if self.path:
            self.rows.append(facts)

    @property
    def exit_code(self) -> int:
        """Exit code of the whole run."""
        if not self.failures:
            return 0
        last = self.failures[-1]
        return int(last["exit_code"]) if self.count == 1 or "stops" in last else 3

    def summary(self) -> dict[str, Any]:
        """Counts, speed and versions, as the report has them."""
        seconds, failed = time.monotonic() - self.began, len(self.failures)
        made = self.tried - failed - self.kept
        return {
            "version": __version__, "verb": self.task.verb, "options": self.task.fingerprint, "weights": self.weights,
            "files": self.count, "made": made, "done_before": self.kept, "failed": failed,
            "not_tried": self.count - self.tried, "exit_code": self.exit_code,
            "left_out": self.left_out,
            "seconds": round(seconds, 3), "files_per_second": round(self.tried / max(seconds, 1e-9), 3),
        }  # fmt: skip

    def close(self) -> None:
        """Write the report, if one was requested. Raises: MachineError."""
        if self.path:
            rows = ",\n".join(map(json.dumps, self.rows))
            text = f'{{"summary": {json.dumps(self.summary())},\n"rows": [\n{rows}\n]}}\n'
            storage.publish(self.path, text.encode(), overwrite=True)


def _check(report: Path, plan: Plan, *, may_replace: bool) -> None:
    """Check, before any work, that the report goes to a JSON file of its own."""
    if report.suffix != ".json":
        raise UsageError(f"expected a report that ends in .json, got {report}")
    if not report.parent.is_dir() and report.parent not in {target.parent for _, target in plan}:
        raise UsageError(f"{report.parent} is no folder; make it first")
    if report.exists() and not may_replace:
        raise RefusedError(f"{report} exists", hint="pass overwrite=True or resume=True to replace it")
    if report.parent.is_dir():
        storage.check_folder(report.parent)
