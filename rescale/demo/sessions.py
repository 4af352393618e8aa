"""Who is there: each visitor has a folder that nobody else is told of, and a job that can be stopped."""

import secrets
import shutil
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rescale.errors import RescaleError

_REMEMBERED = 1000
"""Visitors who have left."""
_PATIENCE_S = 5
ProgressCallback = Callable[[float, str], None]
"""Is told how much of the work is done, 0 to 1, and what is being done."""


class StoppedError(RescaleError):
    """The visitor does not want to wait any more."""


@dataclass
class Visit:
    """One visitor."""

    root: Path
    stopped: threading.Event = field(default_factory=threading.Event)
    shown: Any = None
    """What the page shows, for other views of it."""
    folder: Path | None = None
    is_gone: bool = False
    working: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def job(self) -> Iterator[Path]:
        """An empty folder for a job; the files of the one before go."""
        with self.working:
            self.stopped.clear()
            self.clear()
            self.folder = self.root / secrets.token_hex(16)
            self.folder.mkdir(parents=True)
            yield self.folder

    def clear(self) -> None:
        """Forget what was made."""
        self.shown = None
        if self.folder:
            shutil.rmtree(self.folder, ignore_errors=True)

    def check(self) -> None:
        """Raises: StoppedError where the visitor has stopped the job."""
        if self.stopped.is_set() or self.is_gone:
            raise StoppedError("stopped")

    def told(self, tell: ProgressCallback) -> ProgressCallback:
        """The same, and an end to the work where it was stopped."""

        def both(share: float, words: str) -> None:
            self.check()
            tell(share, words)

        return both


class Sessions:
    """All visitors, by the page's own name for each."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._visits: dict[str, Visit] = {}
        self._gone: deque[str] = deque(maxlen=_REMEMBERED)
        self._lock = threading.Lock()

    def of(self, key: str) -> Visit:
        """Whoever comes for the first time gets a place. Raises: StoppedError for who has left while waiting."""
        with self._lock:
            if key in self._gone:
                raise StoppedError("this page was left; reload it")
            return self._visits.setdefault(key, Visit(self.root))

    def end(self, key: str) -> None:
        """The visitor has left: the job stops, the files go."""
        with self._lock:
            self._gone.append(key)
            visit = self._visits.pop(key, None)
        if visit:
            visit.is_gone = True
            visit.clear()

    def end_all(self) -> None:
        """The demo closes; jobs get a moment to stop."""
        with self._lock:
            visits, self._visits = list(self._visits.values()), {}
        for visit in visits:
            visit.is_gone = True
        for visit in visits:
            if visit.working.acquire(timeout=_PATIENCE_S):
                visit.clear()
