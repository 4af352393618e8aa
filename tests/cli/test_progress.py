"""Progress: drawn on a terminal and gone in the end, and nothing at all elsewhere."""

import io
import sys

import pytest

from rescale.cli import progress
from rescale.stdo.training import Progress
from rescale.video.pipeline import Clock


class Terminal(io.StringIO):
    """What somebody sees who watches stderr."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def watch(monkeypatch):
    """Make stderr a terminal, from the call on, as pytest changes it between a fixture and its test."""

    def begin() -> Terminal:
        terminal = Terminal()
        monkeypatch.setattr(sys, "stderr", terminal)
        for key, value in (("TERM", "xterm"), ("COLUMNS", "120")):
            monkeypatch.setenv(key, value)
        return terminal

    return begin


def stir():
    """Report a little of everything."""
    with progress.bar(2, "rescaling") as step:
        for _ in range(2):
            for done in (0.5, 1.0):
                progress.Gauge()(done, 0.25)
            step()
    clock = Clock(frames=3, total=4)
    clock.busy["network"] = 0.1
    progress.Meter()(clock)
    progress.Lessons()(Progress(2, 2, 1.5, 3.0))


def test_all_that_is_known_is_shown(watch):
    watched = watch()
    with progress.cleared():
        stir()
        rows = dict(progress._display.rows)
    shown = watched.getvalue()
    for words in ("rescaling", "2/2", "/s", "refining", "50%, +0.25 dB", "3/4 frames", "a second, mean", "network 30",
                  "step 2 of 2, +1.50 dB"):  # fmt: skip
        assert words in shown
    assert list(rows) == ["video"], "what is done is gone"
    assert not progress._display.rows and progress._display.progress is None
    assert shown.count("\x1b[?25l") == shown.count("\x1b[?25h") > 0, "the cursor comes back"


def test_an_error_clears_the_terminal(watch):
    watched = watch()
    with pytest.raises(KeyboardInterrupt), progress.cleared():
        progress.Gauge()(0.5, 0.25)
        raise KeyboardInterrupt
    after = watched.getvalue().rpartition("refining")[2]
    assert progress._display.progress is None and "\x1b[2K" in after and "\x1b[?25h" in after


def test_nobody_is_told_who_does_not_watch(capsys):
    with progress.cleared():
        stir()
    assert capsys.readouterr() == ("", "") and progress._display.progress is None
