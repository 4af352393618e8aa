"""Sessions: each user has a private folder, and a job that can be stopped."""

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
"""Closed sessions that are remembered."""
_PATIENCE_S = 5
ProgressCallback = Callable[[float, str], None]
"""Called with the share of the work that is done, 0 to 1, and a description of the current step."""


class StoppedError(RescaleError):
    """Raised when the user has stopped the job."""


@dataclass
class Visit:
    """Session of one user."""

    root: Path
    stopped: threading.Event = field(default_factory=threading.Event)
    shown: Any = None
    """Result that the page shows, for other views of it."""
    folder: Path | None = None
    is_gone: bool = False
    working: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def job(self) -> Iterator[Path]:
        """Begin a job: yield an empty folder, after the previous job's files are removed."""
        with self.working:
            self.stopped.clear()
            self.clear()
            self.folder = self.root / secrets.token_hex(16)
            self.folder.mkdir(parents=True)
            yield self.folder

    def clear(self) -> None:
        """Remove the results."""
        self.shown = None
        if self.folder:
            shutil.rmtree(self.folder, ignore_errors=True)

    def check(self) -> None:
        """Check for a stop. Raises: StoppedError where the user has stopped the job."""
        if self.stopped.is_set() or self.is_gone:
            raise StoppedError("stopped")

    def told(self, tell: ProgressCallback) -> ProgressCallback:
        """Wrap a progress callback so that it ends a stopped job."""

        def both(share: float, words: str) -> None:
            self.check()
            tell(share, words)

        return both


class Sessions:
    """All sessions, by Gradio's session hash."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._visits: dict[str, Visit] = {}
        self._gone: deque[str] = deque(maxlen=_REMEMBERED)
        self._lock = threading.Lock()

    def of(self, key: str) -> Visit:
        """Get or create a session. Raises: StoppedError for a page that was closed while waiting."""
        with self._lock:
            if key in self._gone:
                raise StoppedError("this page was left; reload it")
            return self._visits.setdefault(key, Visit(self.root))

    def end(self, key: str) -> None:
        """End a session: stop its job, remove its files."""
        with self._lock:
            self._gone.append(key)
            visit = self._visits.pop(key, None)
        if visit:
            visit.is_gone = True
            visit.clear()

    def end_all(self) -> None:
        """End all sessions as the demo closes; jobs get a moment to stop."""
        with self._lock:
            visits, self._visits = list(self._visits.values()), {}
        for visit in visits:
            visit.is_gone = True
        for visit in visits:
            if visit.working.acquire(timeout=_PATIENCE_S):
                visit.clear()
