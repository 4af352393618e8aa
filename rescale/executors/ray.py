"""A pool of workers, started and restarted by Ray: on this machine, or on an existing cluster.

```
run ── Job ──▶ worker (a Ray actor, which loads the models once; one job at a time)
    ◀─ Result ──
```

A job may be done twice, as Ray does it again when a process or machine is lost. That is harmless: results are put in
place whole, the bytes are the same, and files that a lost process has put there count as done.
"""

import logging
import os
import re
import signal
import socket
import threading
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from rescale.errors import MachineError
from rescale.executors.base import Job, Result, Task, failed
from rescale.executors.processes import prepare_worker
from rescale.io import storage

_TRIES = 4
_PATIENCE_S = 10
_GLANCE_S = 0.5
"""Longest delay of a signal, in seconds."""
_ALONE = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # which keeps all its ports on loopback, on Linux too
    "RAY_AUTH_MODE": "token",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
"""Environment of Ray for one run on one machine, unless the environment says otherwise; read when Ray is imported."""


def work(
    jobs: Iterable[Job], task: Task, count: int, threads: int, address: str | None = None
) -> Generator[Result, None, None]:
    """Do jobs in Ray's actors; the contract is that of `base.Pool`.

    Args:
        jobs: as there; on a cluster, files must be on a disk that all its machines share.
        task: as there.
        count: as there; each has a GPU of its own where the cluster has any.
        threads: as there.
        address: address of a cluster, see `ray.init`; None to start Ray on this machine, for this run alone.
    Raises: MachineError where Ray is not installed, cannot be started or reached, or the work cannot be begun.
    """
    jobs = list(jobs)
    with _swept_after(jobs), _connected(address, count * threads) as ray:
        hands = _workers(ray, task, count, threads)
        at: dict[Any, tuple[Any, Job | None]] = {hand.ready.remote(): (hand, None) for hand in hands}
        try:
            yield from _results(ray, deque(jobs), task, at)
        finally:
            for hand in hands:
                ray.kill(hand)


@contextmanager
def _swept_after(jobs: list[Job]) -> Iterator[None]:
    """Remove the temporary files of killed processes when all are gone."""
    try:
        yield
    finally:
        for folder in {job.target.parent for job in jobs if job.target}:
            if isinstance(folder, Path):
                storage.sweep(folder)


def _results(ray: Any, waiting: deque[Job], task: Task, at: dict[Any, tuple[Any, Job | None]]) -> Iterator[Result]:
    """Yield results as they arrive. Args: at: worker and current job, by the answer that it will give."""
    while waiting or any(job for _, job in at.values()):
        for answer in ray.wait(list(at), timeout=_GLANCE_S)[0]:
            hand, job = at[answer]
            facts = _receive(ray, answer, job)
            del at[answer]
            refused = []
            while waiting:
                job = waiting.popleft()
                try:  # here, where what is there is not yet what a lost process has made
                    task.check(job)
                except Exception as error:
                    refused.append(failed(job.source, error))
                else:
                    at[hand.do.remote(job)] = hand, job
                    break
            yield from [facts] * bool(facts) + refused


def _receive(ray: Any, answer: Any, job: Job | None) -> Result:
    """Receive a result; nothing from a worker that is ready. Raises: MachineError where it will never be."""
    try:
        return ray.get(answer) or {}
    except ray.exceptions.RayError as error:
        said = f"{type(error).__name__}: {str(error).strip().splitlines()[-1]}"
        if job is None:
            raise MachineError(f"no process could be made ready for the work: {said}") from error
        return failed(job.source, MachineError(f"the process that worked on it died {_TRIES} times ({said})"))


class _Worker:
    """A process that Ray keeps alive."""

    def __init__(self, task: Task, threads: int, folder: str) -> None:
        with suppress(OSError):  # another machine may not have it, and then not its files either
            os.chdir(folder)
        self.done = prepare_worker(task, threads)

    def ready(self) -> None:
        """Answer once the models are loaded."""

    def do(self, job: Job) -> Result:
        return self.done(job)


def _workers(ray: Any, task: Task, count: int, threads: int) -> list[Any]:
    """Start no more workers than there are cores and GPUs for; those without a place yet do not keep a job waiting."""
    there = ray.cluster_resources()
    needs: dict[str, float] = {"num_cpus": min(threads, max(int(there.get("CPU", 1)), 1))}
    if there.get("GPU") and (task.device or "cuda").startswith("cuda"):
        needs["num_gpus"], count = 1, min(count, int(there["GPU"]))
    make = ray.remote(max_restarts=-1, max_task_retries=_TRIES - 1, **needs)(_Worker)
    # What is there was refused by `_rows`, or has been made by a process that was lost before it could say so.
    return [make.remote(task.idempotent(), threads, str(Path.cwd())) for _ in range(count)]


@contextmanager
def _connected(address: str | None, cores: int) -> Iterator[Any]:
    """Start Ray on loopback for as long as the context lasts, or join a cluster; signals stay ours.

    Raises: MachineError.
    """
    here: dict[str, Any] = {"address": address}
    if address is None:
        for key, value in _ALONE.items():
            os.environ.setdefault(key, value)
        here = {"address": "local", "include_dashboard": False}
        here |= {"num_cpus": max(cores, os.cpu_count() or 1), "object_store_memory": 2**27}
    try:
        import ray
    except ImportError as error:
        raise MachineError("this needs Ray: pip install 'rescale[cloud]'") from error
    try:
        with _own_signals():
            _check_address(address)
            _silence(ray)
            ray.init(log_to_driver=False, logging_level=logging.ERROR, **here)
    except Exception as error:  # of many kinds
        said = str(error).strip().partition("\n")[0]
        raise MachineError(f"cannot {'reach Ray at ' + address if address else 'start Ray'}: {said}") from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _silence(ray: Any) -> None:
    """Silence Ray's notes on repeated work, which it prints on stdout among the results and has no switch for."""
    with suppress(AttributeError):
        assert callable(ray._private.worker.print_to_stdstream)
        ray._private.worker.print_to_stdstream = lambda *_, **__: None


def _check_address(address: str | None) -> None:
    """Check that an address answers; Ray would try for minutes to reach a HOST:PORT that does not. Raises: OSError."""
    if address and (found := re.fullmatch(r"(?:ray://)?\[?([^/]+?)\]?:(\d+)", address)):
        socket.create_connection((found[1], int(found[2])), timeout=_PATIENCE_S).close()


@contextmanager
def _own_signals() -> Iterator[None]:
    """Restore our signal handlers after Ray, which takes SIGTERM for itself, and raise a signal that came meanwhile."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    came = False
    try:
        yield
    except SystemExit as error:
        came = error.code == signal.SIGTERM
        if not came:
            raise
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    if came:
        signal.raise_signal(signal.SIGTERM)
