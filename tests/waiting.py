"""Waiting for what must come: for an event and never for some seconds, however slow or busy the machine is."""

import faulthandler
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

HANG_S = 1800
"""What only something that hangs takes."""
told_to = 2
"""Where it is told what hung; pytest has its own use for stderr meanwhile, see conftest.py."""


def until(happens: Callable[[], object]) -> None:
    """Wait for something; fail if it never comes."""
    end = time.monotonic() + HANG_S
    while not happens():
        assert time.monotonic() < end, "this never happened"
        time.sleep(0.02)


@contextmanager
def no_hang() -> Iterator[None]:
    """Ends the tests, and tells where they were, if what is done meanwhile hangs, be it in C."""
    faulthandler.dump_traceback_later(HANG_S, exit=True, file=told_to)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
