"""Many pictures, by real processes that are killed, interrupted, starved of disk, or two at a time.

Every result is compared with those of a run that nothing happened to. RESCALE_THOROUGH=1 does as many as are reported.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from conftest import PHOTO
from PIL import Image
from waiting import HANG_S, until

from rescale.batch import journal
from rescale.batch import plan as planning
from rescale.batch.run import run
from rescale.batch.task import FileJob, RescaleTask
from rescale.executors import processes
from rescale.executors.local import work
from rescale.geometry import Geometry
from rescale.inference.options import RescaleOptions

IS_THOROUGH = os.environ.get("RESCALE_THOROUGH") == "1"
PICTURES = 200 if IS_THOROUGH else 80
KILLS, INTERRUPTS, PAIRS, DEATHS = (100, 25, 10, 5) if IS_THOROUGH else (2, 2, 1, 2)
WORDS = ["down", "in", "-m", "bicubic-x2", "-o", "out/"]
DOWN = [sys.executable, "-m", "rescale", *WORDS]


def make_pictures(count: int, folder: str = "in", side: int = 256, seed: int = 1) -> None:
    Path(folder).mkdir()
    chance = random.Random(seed)
    with Image.open(PHOTO) as photo:
        for index in range(count):
            width, height = (chance.randint(side // 4, side) for _ in "wh")
            left, top = chance.randint(0, photo.width - width), chance.randint(0, photo.height - height)
            photo.crop((left, top, left + width, top + height)).save(f"{folder}/{index:04}.png")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Every test works in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def wanted() -> dict[str, bytes]:
    """Many pictures in in/, and what a run makes of them that nothing happens to."""
    make_pictures(PICTURES)
    return made_here()


def made_here() -> dict[str, bytes]:
    """What becomes of in/, without processes that something could happen to."""
    rows = run(plan_of("wanted"), RescaleTask("down", model="bicubic-x2", scale=Geometry.of(2)), work)
    assert not [row for row in rows if "error" in row]
    return results("wanted")


def made_by(words: list[str], folder: str) -> dict[str, bytes]:
    subprocess.run([*DOWN, *words], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return results(folder)


def results(folder: str = "out") -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path(folder).glob("*.png")}


def count() -> int:
    """Of results."""
    return len(list(Path("out").glob("*.png")))


def left_over(folder: str = "out") -> list[Path]:
    """Temporary files of whatever kind."""
    return [path for path in Path(folder).glob("*") if path.suffix != ".png" and path.name != journal.NAME]


def start(*words: str, program: Sequence[str] = ("-m", "rescale")) -> subprocess.Popen[bytes]:
    """A run in a session of its own, as a shell in the foreground starts it."""
    return subprocess.Popen(
        [sys.executable, *program, *WORDS, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        start_new_session=True, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip


def session(leader: int) -> list[int]:
    """The processes of a run that still live."""
    found = []
    for process in psutil.process_iter():
        try:
            is_of_it = os.getsid(process.pid) == leader and process.status() != psutil.STATUS_ZOMBIE
        except (OSError, psutil.Error):
            continue
        found += [process.pid] * is_of_it
    return found


def seconds_until_gone(leader: int) -> float:
    began = time.monotonic()
    until(lambda: not session(leader))
    return time.monotonic() - began


def say(text: str) -> None:
    """Figures for whoever runs this thoroughly."""
    if IS_THOROUGH:
        sys.__stderr__.write(f"\n{text}\n")


# ------------------------------------------------------------------------------------------- the same bytes


def test_the_same_bytes_whatever_the_number_of_processes():
    make_pictures(6)
    model = ["-m", "irn-x2-small"]
    one = made_by(model, "out")
    assert len(one) == 6 and one == made_by([*model, "-o", "two/", "--workers", "2"], "two")
    if IS_THOROUGH:
        assert one == made_by([*model, "-o", "three/", "--workers", "3", "--threads", "2"], "three")


# ------------------------------------------------------------------------------------------- killed, interrupted


@pytest.mark.slow
def test_a_killed_run_loses_nothing(wanted):
    """The bar: valid files only, the same bytes in the end, no temporary file, no process."""
    chance, ended, longest, lines, swept = random.Random(2), 0, 0.0, [], 0
    for kill in range(KILLS):
        goal = count() + chance.randrange(PICTURES)  # it may be that there are not so many left
        running = start("--resume", "--workers", str(1 + kill % 2))
        until(lambda goal=goal, running=running: count() >= goal or running.poll() is not None)
        time.sleep(chance.uniform(0, 0.1))  # or each would be killed right after a picture
        running.kill()
        running.communicate()
        assert running.returncode in (-9, 0)
        longest = max(longest, seconds_until_gone(running.pid))
        now = results()
        assert now.items() <= wanted.items()
        swept += len(left_over())
        if running.returncode == 0 or len(now) == PICTURES:
            lines.append(finish(wanted))
            ended += 1
    if Path("out").exists():
        lines.append(finish(wanted))
    say(f"{KILLS} kills: {ended} runs came to their end; processes gone {longest:.1f} s after; lines {max(lines)}; "
        f"{swept} temporary files were found between and swept")  # fmt: skip


def finish(wanted: dict[str, bytes]) -> int:
    """Let a run end by itself. Returns: how many lines its manifest has."""
    done = subprocess.run([*DOWN, "--resume"], capture_output=True, check=False)
    assert (done.returncode, len(done.stdout.splitlines())) == (0, PICTURES)
    assert results() == wanted and not left_over()
    lines = len(Path("out", journal.NAME).read_text().splitlines())
    shutil.rmtree("out")
    return lines


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_puts_all_in_order(wanted, number, code):
    """The bar: no picture more is begun; gone with its processes and temporary files; the rest is done by the next."""
    chance, longest = random.Random(number), 0.0
    for turn in range(INTERRUPTS):
        workers = 1 + turn % 2
        running = start("--resume", "--workers", str(workers))
        running.stdout.readline()
        time.sleep(chance.uniform(0, 1))
        os.killpg(running.pid, signal.SIGSTOP)  # or pictures would come between counting and interrupting
        before, began = count(), time.monotonic()
        # A terminal's Ctrl-C reaches the whole group, `kill` the one process.
        (os.killpg if number == signal.SIGINT else os.kill)(running.pid, number)
        os.killpg(running.pid, signal.SIGCONT)
        _, err = running.communicate(timeout=HANG_S)
        took = time.monotonic() - began
        assert count() <= before + workers, "those that were at hand"
        assert (running.returncode, err.count(b"Traceback")) == (code, 0) or running.returncode == 0
        assert not left_over() and results().items() <= wanted.items()
        longest = max(longest, took + seconds_until_gone(running.pid))
        if running.returncode == 0:
            shutil.rmtree("out")
    finish(wanted)
    say(f"{INTERRUPTS} of signal {number}: gone after {longest:.1f} s at most")


def test_a_second_interrupt_leaves_at_once():
    """In the middle of a tile of four megapixels, which takes long; and then, were all put in order, for ever."""
    Path("in").mkdir()
    with Image.open(PHOTO) as photo:
        photo.resize((2048, 2048)).save("in/large.png")
    code = """
import time
from rescale.cli import main
from rescale.batch.summary import RunSummary
def close(tally):
    print("in order", flush=True)
    time.sleep(10**6)
RunSummary.close = close
main()
"""
    running = start("-m", "irn-x4-small", "--threads", "1", "--report", "report.json", program=["-c", code])
    until(lambda: running.poll() is not None or psutil.Process(running.pid).memory_info().rss > 600 * 2**20)  # at work
    running.send_signal(signal.SIGINT)
    assert running.stdout.readline() == b"in order\n"
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=HANG_S)
    assert (running.returncode, err, results()) == (130, b"", {}) and not Path("report.json").exists()


# ------------------------------------------------------------------------------------------- processes that die


@contextmanager
def hunted(deaths: int, job: int) -> Iterator[list[int]]:
    """Kill so many processes of a crew of this very process, each with a job that it has just got.

    Args:
        deaths: how many.
        job: which of its jobs a process does not survive; it takes the first while it still begins.
    """
    killed, jobs, begin = [], Counter(), processes._Worker.begin

    def begin_and_die(hand: processes._Worker, *what: object) -> None:
        pid = hand.process.pid
        jobs[pid] += 1
        is_to_die = len(killed) < deaths and jobs[pid] == job
        if is_to_die:
            os.kill(pid, signal.SIGSTOP)  # so that it cannot be quicker than its death
        begin(hand, *what)
        if is_to_die:
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(processes._Worker, "begin", begin_and_die)
        yield killed


def plan_of(folder: str = "out") -> planning.Plan:
    Path(folder).mkdir(exist_ok=True)
    return [(source, Path(folder, f"{source.stem}.x2.png")) for source in sorted(Path("in").iterdir())]


def rows_of(plan: planning.Plan, count: int) -> list[dict[str, object]]:
    return list(
        run(plan, RescaleTask("down", model="bicubic-x2"), lambda jobs, task: processes.work(jobs, task, count, 1))
    )


@pytest.mark.parametrize("turn", range(DEATHS))
def test_a_dead_process_is_replaced(turn):
    make_pictures(8, seed=turn)
    with hunted(1, job=1 + turn % 2) as killed:
        rows = rows_of(plan_of(), 2)
    assert len(killed) == 1 and len(rows) == 8 and not [row for row in rows if "error" in row]


def test_a_picture_that_kills_twice_fails_and_the_rest_go_on():
    make_pictures(4)
    with hunted(2, job=1) as killed:
        rows = rows_of(plan_of(), 1)
    failed = [row for row in rows if "error" in row]
    assert len(killed) == 2 and len(rows) == 4 and len(failed) == 1 and failed[0]["source"] == "in/0000.png"
    assert failed[0]["exit_code"] == 5 and "killed by signal 9, 2 times" in failed[0]["error"]
    assert len(results()) == 3
    assert not [child for child in psutil.Process().children() if "spawn_main" in " ".join(child.cmdline())]


# ------------------------------------------------------------------------------------------- disk, poison, two at once


@pytest.fixture
def small_disk(folder) -> Iterator[Path]:
    """A disk of a megabyte at small/."""
    disk = folder / "small"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("only root may mount a small disk")
    yield disk
    subprocess.run(["umount", disk], check=True)


@pytest.mark.parametrize("workers", [1, 2] if IS_THOROUGH else [2])
@pytest.mark.parametrize("megabytes", [1, 4, 16] if IS_THOROUGH else [1])
def test_a_full_disk_stops_the_batch(small_disk, megabytes, workers):
    """The bar: exit 5, one sentence, no file cut short, old results as they were."""
    subprocess.run(["mount", "-o", f"remount,size={megabytes}m", small_disk], check=True)
    make_pictures(20)
    (small_disk / "ballast").write_bytes(os.urandom(megabytes * 2**20 - 250_000))
    command = [*DOWN, "-o", f"{small_disk}/", "--resume", "--workers", str(workers)]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == 5 and done.stderr.count(b"\n") == 1 and b"No space left on device" in done.stderr
    kept, whole = results(str(small_disk)), made_here()
    assert (
        0 < len(kept) < 20 and kept.items() <= whole.items() and not set(left_over(small_disk)) - {ballast(small_disk)}
    )
    wide = [*command, "-s", "1", "-m", "iarn-small", "-o", f"{small_disk}/{{stem}}.x2.png", "--overwrite"]
    done = subprocess.run(wide, capture_output=True, check=False)
    assert done.returncode == 5 and done.stderr.count(b"\n") == 1 and b"No space left on device" in done.stderr
    now = results(str(small_disk))
    assert len(now) >= len(kept) and not set(left_over(small_disk)) - {ballast(small_disk)}
    for name, data in now.items():
        assert data == kept.get(name) or Image.open(small_disk / name).load()


def ballast(disk: Path) -> Path:
    return disk / "ballast"


@pytest.mark.slow
@pytest.mark.parametrize("turn", range(PAIRS))
def test_two_runs_for_one_folder(turn):
    make_pictures(50 if IS_THOROUGH else 20, seed=turn)
    wanted = made_here()
    both = [start("--resume") for _ in range(2)]
    said = [running.communicate() for running in both]
    assert [running.returncode for running in both] == [0, 0], said
    assert results() == wanted and not left_over()
    assert subprocess.run([*DOWN, "--resume"], capture_output=True, check=True).stderr.startswith(
        b"note: %d of" % len(wanted)
    )


def test_poison_costs_only_itself():
    """The bar: of 200 pictures 10 are damaged; 190 results, 10 sentences, exit 3, at most 1.1 times the time."""
    make_pictures(PICTURES if IS_THOROUGH else 40)
    times = {}
    for name in ("clean", "poisoned") * (3 if IS_THOROUGH else 1):
        if name == "poisoned":
            for index in range(0, PICTURES if IS_THOROUGH else 40, 20):
                path = Path(f"in/{index:04}.png")
                path.write_bytes(path.read_bytes()[:200])
        done = subprocess.run(
            [*DOWN, "-o", f"{name}/", "--report", "report.json", "--overwrite"], capture_output=True, check=False
        )
        told = json.loads(Path("report.json").read_text())["summary"]
        times.setdefault(name, []).append(told["seconds"])
    share = told["files"] // 20
    assert done.returncode == 3 and (told["made"], told["failed"]) == (19 * share, share)
    assert done.stderr.count(b"error: ") == share and len(results("poisoned")) == 19 * share
    say(f"poison: {times}")


# ------------------------------------------------------------------------------------------- memory


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_pictures():
    """The bar: at most 10 KB a picture."""
    count = 2000 if IS_THOROUGH else 400
    make_pictures(50, side=96)
    done = RescaleTask("down", model="bicubic-x2", options=RescaleOptions(overwrite=True, device="cpu")).start()
    jobs = [FileJob(source, target) for source, target in plan_of()]
    sizes = []
    for index in range(count):
        assert "error" not in done(jobs[index % len(jobs)])
        sizes.append(psutil.Process().memory_info().rss)
    slope = (sizes[-1] - sizes[200]) / (count - 200)
    say(f"{slope:.0f} bytes a picture")
    assert slope < 10_000
