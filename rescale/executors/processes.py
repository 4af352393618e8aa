"""A pool of spawned workers: restarts those that crash, exits with its parent.

```
run ── Job ──▶ worker (a process of its own, one job at a time)
    ◀─ Result ──
```

Ours by decision: where a worker dies, `concurrent.futures` gives up all jobs that are left, and `multiprocessing.Pool`
waits for its job for ever; here that job is tried once more, and the others go on.
"""

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rescale.executors.base import Job, Result, Task

_PATIENCE_S = 5
"""Seconds for a process to end by itself: it may be in the middle of a tile."""
_TRIES = 2
_SIGNALS = {signal.SIGINT, signal.SIGTERM}


def work(jobs: "Iterable[Job]", task: "Task", count: int, threads: int) -> "Generator[Result, None, None]":
    """Do jobs in spawned processes; the contract is that of `base.Pool`."""
    waiting = deque((job, 1) for job in jobs)
    hands: list[_Worker] = []
    try:
        while waiting or any(hand.job for hand in hands):
            while waiting and sum(1 for hand in hands if hand.job) < count:
                _idle_worker(hands, task, threads).begin(*waiting.popleft())
            busy = {hand.connection: hand for hand in hands if hand.job}
            for connection in wait(list(busy)):
                facts = _receive(busy[connection], hands, waiting)  # type: ignore[index]
                if facts:
                    yield facts
    finally:
        _shut_down(hands)


class _Worker:
    """A process, this end of the pipe to it, and its current job."""

    def __init__(self, task: "Task", threads: int) -> None:
        self.connection, there = multiprocessing.Pipe()
        self.job: Job | None = None
        self.tries = 0
        context = multiprocessing.get_context("spawn")
        self.process = context.Process(target=_serve, args=(there, threads), daemon=True)
        with _signals_held():
            self.process.start()
        there.close()
        with suppress(OSError):  # it is dead already, which is noticed when it is to answer
            self.connection.send(task)

    def begin(self, job: "Job", tries: int) -> None:
        self.job, self.tries = job, tries
        with suppress(OSError):
            self.connection.send(job)


def _idle_worker(hands: list[_Worker], task: "Task", threads: int) -> _Worker:
    """Return an idle worker, or a new one."""
    for hand in hands:
        if not hand.job:
            return hand
    hands.append(_Worker(task, threads))
    return hands[-1]


def _receive(hand: _Worker, hands: list[_Worker], waiting: "deque[tuple[Job, int]]") -> "Result | None":
    """Receive a result; None from a worker that has died, whose job is then tried once more."""
    from rescale.errors import MachineError
    from rescale.executors.base import failed

    job, hand.job = hand.job, None
    assert job, "only those at work are listened to"
    try:
        return hand.connection.recv()
    except (EOFError, OSError):
        hands.remove(hand)
        _shut_down([hand])
        if hand.tries < _TRIES:
            waiting.appendleft((job, hand.tries + 1))
            return None
        code = hand.process.exitcode or 0
        how = f"killed by signal {-code}" if code < 0 else f"ended with {code}"
        return failed(job.source, MachineError(f"the process that worked on it was {how}, {_TRIES} times"))


def _shut_down(hands: list[_Worker]) -> None:
    """Shut down all workers; busy ones are terminated."""
    for hand in hands:
        if hand.job:
            hand.process.terminate()
        hand.connection.close()
    until = time.monotonic() + _PATIENCE_S
    for hand in hands:
        hand.process.join(max(until - time.monotonic(), 0))
        if hand.process.is_alive():
            hand.process.kill()
            hand.process.join()


@contextmanager
def _signals_held() -> Iterator[None]:
    """Hold signals until a process is started and known; it begins with them blocked, so that Ctrl-C is not for it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    resource_tracker.ensure_running()  # which would unblock them itself
    came: list[int] = []
    handlers = {number: signal.signal(number, lambda number, _: came.append(number)) for number in _SIGNALS}
    _mask("SIG_BLOCK", _SIGNALS)
    try:
        yield
    finally:
        _mask("SIG_UNBLOCK", _SIGNALS)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for caught in came:
            signal.raise_signal(caught)


def _mask(how: str, numbers: set[signal.Signals]) -> None:
    if hasattr(signal, "pthread_sigmask"):  # Windows has none
        signal.pthread_sigmask(getattr(signal, how), numbers)


def _serve(connection: "Connection[Any, Any]", threads: int) -> None:
    """Serve as a worker: job after job, until the pipe is closed or the parent is gone."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _mask("SIG_UNBLOCK", {signal.SIGTERM})
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with suppress(EOFError, OSError, SystemExit):
        task: Task = connection.recv()
        signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # so that no temporary file is left
        done = prepare_worker(task, threads)
        while True:
            connection.send(done(connection.recv()))
    os._exit(0)  # there is nothing to put in order, and taking an interpreter down with torch in it takes long


def prepare_worker(task: "Task", threads: int) -> "Callable[[Any], Result]":
    """Return a function that does one job after the other in this process, with so many threads."""
    import torch

    from rescale.device import keep_memory

    keep_memory()
    torch.set_num_threads(threads)
    return task.start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent, "this is no process of a crew"
    wait([parent.sentinel])
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(3)
    os._exit(1)
