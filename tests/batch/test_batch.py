"""Many pictures: what is checked before any work, what is noted, and what a second run does with that."""

import errno
import json
import os
import pickle
import pty
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import PHOTO
from hostile import watched
from PIL import Image
from waiting import no_hang

from rescale.batch import journal
from rescale.batch.journal import Entry, Journal
from rescale.batch.task import RescaleTask
from rescale.errors import DiskFullError, InputError, MachineError, machine_error
from rescale.executors.base import failed
from rescale.geometry import Geometry
from rescale.inference.options import RescaleOptions
from rescale.inference.refine import RefineBudget
from rescale.inference.search import Aim
from rescale.io import storage
from rescale.models import weights, zoo
from rescale.video.options import EncodeOptions

LINE = Entry("in/a.png", "0" * 64, "a.x2.png", "1" * 64, "2" * 64, "bicubic-x2", "3" * 16, [1, 2], ["a note"])


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Every test works in a folder of its own with three small pictures in it."""
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    for index, name in enumerate("abc"):
        Image.open(PHOTO).crop((90 * index, 40, 90 * index + 40, 70)).save(f"in/{name}.png")
    return tmp_path


@pytest.fixture
def down(call):
    """`rescale down` by bicubic to out/, from where an earlier run was stopped."""
    return lambda *words: call("down", "in", "-m", "bicubic-x2", "-o", "out/", "--resume", *words)


def results() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(Path("out").glob("*.png"))}


def lines() -> list[str]:
    return Path("out", journal.NAME).read_text().splitlines()


def lost(err: str) -> str:
    """What stderr says of failures."""
    assert err.count("error: ") == 1
    return err


# ------------------------------------------------------------------------------------------- before any work


def test_a_list_of_names(call):
    Path("list.txt").write_bytes(b"in/a.png\n\n  \r\nin/[bc].png\n" + os.fsencode(Path("in/a.png").absolute()))
    code, out, _ = call("down", "@list.txt", "-n")
    assert (code, sorted(out.splitlines())) == (0, ["in/a.x4.png", "in/b.x4.png", "in/c.x4.png"])
    code, out, err = call("down", "@none.txt")
    assert (code, out) == (3, "") and "the list none.txt" in lost(err)
    Path("@odd.png").write_bytes(Path("in/a.png").read_bytes())
    assert call("down", "@odd.png", "-n")[:2] == (0, "@odd.x4.png\n")


def test_what_a_list_names_is_never_replaced(call):
    Path("in/a.x4.png").write_bytes(Path("in/b.png").read_bytes())
    Path("list.txt").write_text("in/a.png\nin/a.x4.png\n")
    code, _, err = call("down", "@list.txt", "--overwrite")
    assert code == 4 and "which is a source as well" in lost(err)


def test_a_folder_is_made_if_its_parent_is_there(call):
    assert call("down", "in", "-m", "bicubic-x2", "-o", "new/", "-n")[0] == 0
    assert not Path("new").exists()
    assert call("down", "in", "-m", "bicubic-x2", "-o", "new/")[0] == 0
    assert len(list(Path("new").iterdir())) == 3
    code, _, err = call("down", "in", "-o", "none/new/")
    assert code == 2 and "is no folder" in lost(err) and not Path("none").exists()


@pytest.mark.parametrize("output", ["/proc/", "/proc/{stem}.png", "list.txt/", "/sys/new/"])
def test_where_nothing_can_be_written_nothing_is_tried(call, output):
    Path("list.txt").write_text("no folder")
    with no_hang(), watched() as seen:
        code, out, err = call("down", "in/*.png", "-m", "bicubic-x2", "-o", output)
    assert (code, out) == (5, "") and output.split("{")[0].rstrip("/") in lost(err) and err.count("\n") == 1
    assert not {name for name in seen.opened if name.startswith("in/")}, "no picture is read"
    assert Path("list.txt").read_text() == "no folder"


# ------------------------------------------------------------------------------------------- what is noted


def test_a_second_run_does_nothing_and_says_the_same(down):
    first = down("--json")
    before = {path: path.stat().st_mtime_ns for path in Path("out").iterdir()}
    rows = [json.loads(line) for line in lines()]
    assert first[0] == 0 and [row["target"] for row in rows] == ["a.x2.png", "b.x2.png", "c.x2.png"]
    assert rows[0]["source_sha256"] == storage.sha256(Path("in/a.png"))
    assert rows[0]["target_sha256"] == storage.sha256(Path("out/a.x2.png"))
    assert rows[0]["weights"] == weights.load("bicubic-x2").sha256[:16]
    code, out, err = down("--json")
    assert code == 0 and err == "note: 3 of 3 were done already\n"
    for now, then in zip(out.splitlines(), first[1].splitlines(), strict=True):
        assert json.loads(now).items() >= (json.loads(then) | {"was_done": True}).items()
    assert {path: path.stat().st_mtime_ns for path in Path("out").iterdir()} == before


def test_without_resume_nothing_is_noted(call):
    assert call("down", "in", "-m", "bicubic-x2", "-o", "out/")[0] == 0
    assert len(list(Path("out").iterdir())) == 3


def test_what_changed_is_made_anew(down):
    down()
    wanted = results()
    Path("out/a.x2.png").unlink()
    code, _, err = down()
    assert (code, results()) == (0, wanted) and "2 of 3" in err
    Path("out/b.x2.png").write_bytes(b"edited")
    code, _, err = down()
    assert code == 3 and "pass --overwrite" in lost(err) and Path("out/b.x2.png").read_bytes() == b"edited"
    assert down("--overwrite")[0] == 0 and results() == wanted
    Path("in/c.png").write_bytes(Path("in/a.png").read_bytes())
    code, _, err = down()
    assert code == 3 and "made of another c.png" in lost(err) and results() == wanted
    assert down("--overwrite")[0] == 0 and results()["c.x2.png"] != wanted["c.x2.png"]


@pytest.mark.parametrize(
    "words", [["-m", "irn-x2-small"], ["--quality", "70"], ["--max-pixels", "5000"], ["--device", "cpu"]]
)
def test_another_option_is_noticed(call, words):
    """Before any work, and never mixed with what was made before."""
    made = ("down", "in", "-s", "2", "-m", "bicubic", "-o", "out/{stem}.webp", "--resume")
    Path("out").mkdir()
    assert call(*made, "--quality", "90")[0] == 0
    before = {path: path.read_bytes() for path in Path("out").iterdir()}
    code, out, err = call(*made, "--quality", "90", *words)
    assert (code, out) == (3, "") and err.count("with other options or weights") == 3
    assert {path: path.read_bytes() for path in Path("out").iterdir()} == before
    code, out, err = call(*made, "--quality", "90", *words, "--overwrite")
    assert code == 0 and len(out.splitlines()) == 3 and "already" not in err
    assert "3 of 3" in call(*made, "--quality", "90", *words)[2]


def test_every_option_that_decides_bytes_is_in_the_fingerprint(monkeypatch):
    own = {"verb": "up", "model": "b", "scale": Geometry.of("2x3"), "refine": RefineBudget.of(20)}
    picture = {"quality": 90, "background": "red", "force": True, "device": "cpu", "max_pixels": 7}
    picture |= {"keep_metadata": False, "denoise": 0.5, "aim": Aim(n_bytes=9), "min_psnr": 30}
    video = {"codec": "h265", "quality": 9, "preset": "8", "allow_truncated": True, "deinterlace": True}
    task = RescaleTask("down", model="a", scale=Geometry.of("2"))
    changed = [replace(task, **{key: value}) for key, value in own.items()]
    changed += [replace(task, options=RescaleOptions(**{key: value})) for key, value in picture.items()]
    changed += [replace(task, video=EncodeOptions(**{key: value})) for key, value in video.items()]
    prints = {other.fingerprint for other in changed} | {task.fingerprint}
    assert len(prints) == len(changed) + 1 == 19
    same = RescaleTask(
        "down", "a", Geometry.of("2"), None, RescaleOptions(overwrite=True, resume=True),
        EncodeOptions(overwrite=True, threads=3, force=True, device="cpu", max_pixels=7),  # as of pictures
    )  # fmt: skip
    assert same.fingerprint == task.fingerprint
    assert set(vars(task)) == {*own, "options", "video"}  # no option is forgotten here
    assert set(vars(task.options)) == {*picture, "overwrite", "resume", "report", "verify"}
    assert set(vars(task.video)) == {*video, "overwrite", "threads", "force", "device", "max_pixels", "tell"}
    monkeypatch.setattr("rescale.batch.task.__version__", "0.0.0")
    assert task.fingerprint not in prints


def test_the_fingerprint_is_the_one_that_journals_hold(monkeypatch):
    """Taken when the options were fields of the task itself: keys and values must stay, or all is done anew."""
    monkeypatch.setattr("rescale.batch.task.__version__", "0.1.0")
    options = RescaleOptions(quality=80, overwrite=True, resume=True)
    video = EncodeOptions(codec="h264", quality=20, preset="fast", allow_truncated=True, threads=3)
    down = RescaleTask("down", "irn-x4-small", Geometry.of("2.7"), RefineBudget.of("30s"), options, video)
    assert down.fingerprint == "7aa9e622255d6016c56326b806fd5ba619cb5838eb9b3cd3066bca4ee94b6593"
    up = RescaleTask("up", scale=2.0, options=RescaleOptions(force=True, device="cpu", max_pixels=1000))
    assert up.fingerprint == "bd69b936700eaea51df1b5246f0c94642b6e4c4808f188ec407f5c00d4077f91"
    assert pickle.loads(pickle.dumps(down)) == down


def test_other_weights_of_the_same_name_are_noticed(call):
    words = ("down", "in", "-m", "net.safetensors", "-o", "out/{stem}.png", "--resume")
    Path("out").mkdir()
    Path("net.safetensors").write_bytes((zoo.weights_folder() / "irn-x2-small.safetensors").read_bytes())
    assert call(*words)[0] == 0 and "3 of 3" in call(*words)[2]
    weights.save(Path("net.safetensors"), weights.load("irn-x2-small").model, steps=1)
    assert call(*words)[2].count("with other options or weights") == 3


def test_a_target_without_a_line_is_compared(call, down):
    assert call("down", "in", "-m", "bicubic-x2", "-o", "out/")[0] == 0
    wanted = results()
    before = {path: path.stat().st_mtime_ns for path in Path("out").iterdir()}
    assert down()[:1] == (0,) and results() == wanted and len(lines()) == 3
    assert before.items() <= {path: path.stat().st_mtime_ns for path in Path("out").iterdir()}.items()
    Path("out", journal.NAME).unlink()
    Path("out/a.x2.png").write_bytes(wanted["b.x2.png"])
    code, out, err = down()
    assert code == 3 and out.count("\n") == 2 and "not what would be made now" in lost(err)
    assert results() == wanted | {"a.x2.png": wanted["b.x2.png"]} and len(lines()) == 2


def test_torn_and_foreign_lines_are_ignored(down):
    down()
    wanted = results()
    path = Path("out", journal.NAME)
    first, second, third = path.read_text().splitlines()
    junk = ["[" * 10**5, "null", "7", "{}", json.dumps({**json.loads(first), "model": 3}), second[:-40]]
    path.write_bytes("\n".join([first, *junk, third[:50]]).encode() + b"\xff\0")
    code, _, err = down()
    assert code == 0 and err == "note: 1 of 3 were done already\n" and results() == wanted
    assert down()[2] == "note: 3 of 3 were done already\n"


def test_lines_of_two_writers_stand_side_by_side(folder):
    two = [Journal([folder]), Journal([folder])]
    for turn in range(50):
        for writer in two:
            writer.add(Entry(**{**vars(LINE), "target": f"{turn}"}), folder)
    read = (folder / journal.NAME).read_text().splitlines()
    assert len(read) == 100 and None not in map(Entry.parse, read)
    assert Journal([folder]).line(folder / "49") == Entry(**{**vars(LINE), "target": "49"})
    assert Journal([folder]).line(folder / "50") is Journal([folder]).line(folder / "in" / "1") is None


def test_up_goes_on_as_well(call, down):
    down()
    words = ("up", "out", "-o", "back/", "--resume")
    assert call(*words)[0] == 0
    assert "3 of 3" in call(*words)[2] and call(*words, "--force")[2].count("with other options") == 3


# ------------------------------------------------------------------------------------------- what is told


def test_the_report_holds_all_rows_and_a_summary(call):
    Path("in/bad.png").write_bytes(b"no picture")
    words = ("down", "in", "-m", "bicubic-x2", "-o", "out/", "--report", "report.json")
    assert call(*words)[0] == 3
    told = json.loads(Path("report.json").read_text())
    rows, said = told["rows"], told["summary"]
    assert [row["source"] for row in rows] == [f"in/{name}.png" for name in ("a", "b", "bad", "c")]
    assert "bad.png" in rows[2]["error"] and rows[0]["size"] == [15, 20]
    counted = {key: said[key] for key in ("files", "made", "done_before", "failed", "not_tried", "exit_code")}
    assert counted == {"files": 4, "made": 3, "done_before": 0, "failed": 1, "not_tried": 0, "exit_code": 3}
    assert said["files_per_second"] == pytest.approx(4 / said["seconds"], rel=0.2)
    assert said["weights"] == {"bicubic-x2": weights.load("bicubic-x2").sha256[:16]}
    assert call(*words)[0] == 4 and call(*words, "--overwrite")[0] == 3


@pytest.mark.parametrize(("path", "code"), [("in/a.png", 2), ("none/a.json", 2), ("/proc/a.json", 5)])
def test_a_report_that_cannot_be_written_is_refused_first(call, path, code):
    before = Path("in/a.png").read_bytes()
    got, out, err = call("down", "in", "-m", "bicubic-x2", "-o", "out/", "--report", path, "--overwrite")
    assert (got, out) == (code, "") and lost(err) and Path("in/a.png").read_bytes() == before


def test_failures_that_have_scrolled_away_are_told_again(call):
    for index in range(30):
        Path(f"in/bad{index:02}.png").write_bytes(b"no picture")
    code, out, err = call("down", "in", "-m", "bicubic-x2", "-o", "out/")
    assert code == 3 and out.count("\n") == 3 and err.count("error: ") == 30
    end = err[err.index("30 of 33 pictures failed:\n") :].splitlines()
    assert len(end) == 22 and "bad00.png" in end[1] and end[-1] == "  and 10 more; --report FILE.json tells all"


def test_a_mistake_of_ours_costs_one_picture_and_says_where():
    try:
        {}["key"]
    except KeyError as error:
        facts = failed(Path("a.png"), error)
    assert facts["exit_code"] == 3 and "KeyError: 'key' (test_batch.py, line" in facts["error"]


def test_only_a_full_disk_stops_the_rest():
    full = failed(Path("a.png"), machine_error("cannot write b", OSError(errno.ENOSPC, "No space left on device")))
    assert full == {
        "source": "a.png", "error": "cannot write b: No space left on device", "exit_code": 5, "stops": True
    }  # fmt: skip
    assert isinstance(machine_error("", OSError(errno.EDQUOT, "Disk quota exceeded")), DiskFullError)
    for other in (InputError("x"), MemoryError(), MachineError("x"), OSError(errno.EACCES, "Permission denied")):
        assert "stops" not in failed(Path("a.png"), other)


def test_somebody_who_watches_sees_rate_and_time_left():
    """The bar goes to the terminal, results go where they are sent."""
    watched, terminal = pty.openpty()
    command = [sys.executable, "-m", "rescale", "down", "in", "-m", "bicubic-x2", "-o", "out/", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=terminal) as running:
        os.close(terminal)
        rows = running.stdout.read().splitlines()
        shown = b""
        try:
            while part := os.read(watched, 2**16):
                shown += part
        except OSError:  # that is how a terminal ends
            pass
    os.close(watched)
    assert running.returncode == 0 and [json.loads(row)["target"] for row in rows] == [f"out/{x}.x2.png" for x in "abc"]
    assert b"rescaling" in shown and b"3/3" in shown and b"/s" in shown and b"0:00:00" in shown


# ------------------------------------------------------------------------------------------- temporary files


def test_what_dead_writers_left_is_swept_and_nothing_else(folder):
    dead, ours = folder / f".rescale-{'0' * 32}.tmp", folder / "result.png"
    others = [folder / name for name in (f".{'0' * 32}.tmp", ".rescale-1.tmp", "a.tmp", f".rescale-{'g' * 32}.tmp")]
    for path in (dead, *others):
        path.write_bytes(b"data")
    link = folder / f".rescale-{'1' * 32}.tmp"
    link.symlink_to(others[0])
    with storage.published(ours) as file:
        file.write(b"slow")
        storage.sweep(folder)
        assert len(list(folder.glob(".rescale-*.tmp"))) == 4
    assert ours.read_bytes() == b"slow" and not dead.exists() and all(path.exists() for path in (*others, link))


def test_writers_and_sweepers_do_not_mind_each_other(folder):
    """A writer whose temporary file is swept between its making and its locking makes another."""
    ended = threading.Event()

    def keep_sweeping() -> None:
        while not ended.is_set():
            storage.sweep(folder)

    sweepers = [threading.Thread(target=keep_sweeping) for _ in range(2)]
    for sweeper in sweepers:
        sweeper.start()
    try:
        for index in range(300):
            storage.publish(folder / "one", b"%d" % index, overwrite=True)
            storage.publish(folder / f"{index}", b"%d" % index)
    finally:
        ended.set()
        for sweeper in sweepers:
            sweeper.join()
    assert (folder / "one").read_bytes() == b"299"
    assert all((folder / f"{index}").read_bytes() == b"%d" % index for index in range(300))
    assert not list(folder.glob(".*"))
