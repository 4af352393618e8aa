"""Ray does what the processes of this machine do, to the same bytes, whatever dies meanwhile."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from conftest import PHOTO, ROOT
from PIL import Image
from waiting import HANG_S, until

pytest.importorskip("ray", reason="the extra `cloud` is not installed")

THOROUGH = bool(os.environ.get("RESCALE_THOROUGH"))
COUNT, KILLS = (300, 20) if THOROUGH else (40, 3)
STUB = ("-m", "bicubic-x2")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A folder of pictures, and one of what the local engine makes of them."""
    monkeypatch.chdir(tmp_path)
    for name in ("in", "here", "there"):
        Path(name).mkdir()
    image = Image.open(PHOTO)
    for number in range(COUNT):
        left, top = number % 20 * 2, number // 20 * 3
        image.crop((left, top, left + 96, top + 64)).save(f"in/p{number:03}.png")


def rescale(*words: object, **how) -> subprocess.Popen:
    """The command line in a process of its own, which minds SIGINT even where these tests run in the background."""
    program = [sys.executable, "-m", "rescale", *map(str, words)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(program, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL), **pipes | how)


def end(running: subprocess.Popen) -> tuple[int, str, str]:
    out, said = running.communicate(timeout=HANG_S)
    assert "Traceback" not in said
    return running.returncode, out, said


def contents(folder: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path(folder).glob("*.png")}


def below(running: subprocess.Popen) -> list[psutil.Process]:
    """Ray's processes."""
    try:
        return psutil.Process(running.pid).children(recursive=True)
    except psutil.Error:
        return []


def hands(running: subprocess.Popen) -> list[psutil.Process]:
    """Ray's processes that are at work."""
    try:
        return [child for child in below(running) if "_Worker" in " ".join(child.cmdline())]
    except psutil.Error:
        return []


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    try:
        return [one for one in processes if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]
    except psutil.Error:  # one has ended meanwhile
        return alive(processes)


def test_killed_processes_are_replaced():
    """All is done, once, to the bytes of the local engine; none fails."""
    assert end(rescale("down", "in", "-o", "here", *STUB))[0] == 0
    words = ("down", "in", "-o", "there", *STUB, "--executor", "ray", "-w", 2, "--json", "--report", "report.json")
    running = rescale(*words, stdout=subprocess.DEVNULL)  # a pipe that nobody reads would fill
    killed = 0
    while killed < KILLS and running.poll() is None:
        until(lambda n=killed: running.poll() is not None or len(contents("there")) > n * COUNT / (KILLS + 1))
        until(lambda: running.poll() is not None or hands(running))
        for hand in hands(running)[:1]:
            hand.kill()
            killed += 1
    code, _, said = end(running)
    assert (code, said) == (0, "") and killed == KILLS
    rows = json.loads(Path("report.json").read_text())["rows"]
    assert len({row["target"] for row in rows}) == len(rows) == COUNT
    assert contents("here") == contents("there") and len(list(Path("there").iterdir())) == COUNT


def test_failures_are_those_of_the_local_engine():
    Path("in/p001.png").write_bytes(b"no picture")
    Path("in/p002.png").write_bytes(Path("in/p003.png").read_bytes()[:900])
    for folder in ("here", "there"):
        Path(f"{folder}/p004.x2.png").write_bytes(b"kept")
    code, _, said = end(rescale("down", "in", "-o", "here", *STUB))
    assert code == 3 and f"3 of {COUNT} pictures failed" in said
    ray = end(rescale("down", "in", "-o", "there", *STUB, "--engine", "ray", "-w", 2))  # its name in the first release
    assert ray[0] == 3 and sorted(ray[2].splitlines()) == sorted(said.replace("here/", "there/").splitlines())
    assert contents("here") == contents("there") and contents("there")["p004.x2.png"] == b"kept"
    code, out, said = end(rescale("down", "in", "-o", "there", *STUB, "--executor", "ray", "--resume", "--json"))
    assert code == 3 and len(out.splitlines()) == COUNT, "what is there is taken as done if it is the same"


@pytest.mark.parametrize(
    ("processes", "results", "number"),
    [(1, 1, signal.SIGINT), (1, 1, signal.SIGTERM), (3, 0, signal.SIGTERM)]
    + [(1, results, number) for results in range(1, 11) for number in (signal.SIGINT, signal.SIGTERM)] * THOROUGH
    + [(count, 0, number) for count in range(1, 8) for number in (signal.SIGINT, signal.SIGTERM)] * THOROUGH,
)
def test_interrupted(processes, results, number):
    """Begins no other picture, and ends with its code, also while Ray starts; leaves no process and no temporary file.

    Args: processes: of Ray, which are seven before any hand; results: that are there when it is interrupted.
    """
    running = rescale("down", "in", "-o", "there", "-m", "irn-x2-small", "--executor", "ray", "-w", 2)
    until(lambda: running.poll() is not None or len(below(running)) >= processes)
    until(lambda: running.poll() is not None or len(contents("there")) >= results)
    running.send_signal(signal.SIGSTOP)  # or results would come between counting and interrupting
    left, before = below(running), len(contents("there"))
    running.send_signal(number)
    running.send_signal(signal.SIGCONT)
    assert end(running)[0] == (130 if number == signal.SIGINT else 143)
    until(lambda: not alive(left))
    assert len(contents("there")) <= before + 2, "those that were at hand"
    assert len(list(Path("there").iterdir())) == len(contents("there"))
    assert all(Image.open(path).load() for path in Path("there").glob("*.png"))


def test_nothing_listens_beyond_this_machine_and_nothing_outlives_a_killed_run():
    running = rescale("down", "in", "-o", "there", "-m", "irn-x2-small", "--executor", "ray", "-w", 2)
    until(lambda: running.poll() is not None or contents("there"))
    left = below(running)
    numbers = {child.pid for child in left} | {running.pid}
    ports = [c for c in psutil.net_connections("tcp") if c.status == psutil.CONN_LISTEN and c.pid in numbers]
    assert ports and {c.laddr.ip.removeprefix("::ffff:") for c in ports} <= {"127.0.0.1", "::1"}
    running.kill()
    running.communicate()
    until(lambda: len(alive(left)) <= 2)  # all but Ray's two agents, which wait a minute for it to come back
    code, _, said = end(rescale("down", "in", "-o", "there", "-m", "irn-x2-small", "--resume"))
    assert (code, len(contents("there"))) == (0, COUNT), said


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (("--executor", "dask"), 2, "expected --executor local or ray, got dask"),
        (("--address", "host:1"), 2, "--executor ray"),
        (("--executor", "ray", "--address", "127.0.0.1:9"), 5, "cannot reach Ray at 127.0.0.1:9"),
    ],
)
def test_what_cannot_be(words, code, sentence):
    ended, _, said = end(rescale("down", "in", "-o", "there", *STUB, *words))
    assert ended == code and sentence in said and said.count("\n") == 1 and not contents("there")


def test_without_ray_it_says_how_to_get_it(tmp_path):
    (tmp_path / "ray.py").write_text("raise ImportError")
    way = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH", str(ROOT))]))
    ended = end(rescale("down", "in", "-o", "there", *STUB, "--executor", "ray", env=os.environ | {"PYTHONPATH": way}))
    assert ended == (5, "", "error: this needs Ray: pip install 'rescale[cloud]'\n")
