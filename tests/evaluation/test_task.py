"""Scored by one process, by several, or by Ray: the same numbers to the last digit, in the same order."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import PHOTO, shared
from PIL import Image
from waiting import HANG_S

from rescale.models import zoo


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def crops(count: int) -> None:
    """A folder of small pictures, of which those at the end are the quickest."""
    Path("set").mkdir()
    for number in range(count):
        side = 32 * (count - number + 1)
        Image.open(PHOTO).crop((0, 0, side, side)).save(f"set/p{number}.png")


def apart(*words: object) -> tuple[int, str, str]:
    """As `call`, in a process of its own, since Ray leaves children to the one that has started it."""
    ended = subprocess.run(
        [sys.executable, "-m", "rescale", *map(str, words)], capture_output=True, text=True, timeout=HANG_S, check=False
    )
    return ended.returncode, ended.stdout, ended.stderr


def untimed(out: str) -> str:
    """The whole table but for the seconds, which are never the same."""
    told = json.loads(out)
    for row in told["rows"]:
        assert row.pop("seconds_per_megapixel") > 0
    return json.dumps(told)


def test_set5_has_the_same_numbers_beside_poison(call):
    """What cannot be read or scored is told by each in the same words, and does not cost the table."""
    pytest.importorskip("ray", reason="the extra `cloud` is not installed")
    shutil.copytree(shared("data/test/Set5"), "Set5")
    Path("Set5/c.png").write_bytes(b"no picture")
    Image.open(PHOTO).crop((0, 0, 4, 4)).save("Set5/d.png")
    words = ("evaluate", "Set5", "-m", "irn-x2-small", "--each", "--json")
    one, two, ray = call(*words), call(*words, "-w", 2), apart(*words, "--executor", "ray", "-w", 2)
    assert [code for code, *_ in (one, two, ray)] == [3] * 3
    assert untimed(one[1]) == untimed(two[1]) == untimed(ray[1])
    names = [row["picture"] for row in json.loads(one[1])["rows"]]
    assert names == ["baby", "bird", "butterfly", "head", "woman", "mean"]
    said, *others = (sorted(err.splitlines()) for _, _, err in (one, two, ray))
    assert others == [said] * 2 and len(said) == 3 and said[0] == "2 of 7 could not be scored"
    assert "d: expected sides above 4 pixels" in said[1] and "c.png" in said[2]


def test_many_models_refined_and_drawn_are_the_same(call):
    crops(4)
    Path("weights").mkdir()
    shutil.copy(zoo.weights_folder() / "espcn-x2.safetensors", "weights/bicubic-x2.safetensors")
    words = ("evaluate", "set", "-m", "bicubic-x2", "-m", "weights/bicubic-x2.safetensors", "--refine", 2, "--each")
    one = call(*words, "--json", "--grid", "one.png")
    two = call(*words, "--json", "--grid", "two.png", "-w", 2)
    assert one[0] == two[0] == 0, two[2]
    assert untimed(one[1]) == untimed(two[1])
    assert len(json.loads(one[1])["rows"]) == 2 * 2 * (4 + 1)
    assert Path("one.png").read_bytes() == Path("two.png").read_bytes()


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (("--executor", "dask"), 2, "expected --executor local or ray, got dask"),
        (("--address", "host:1"), 2, "--executor ray"),
        (("--executor", "ray", "--address", "127.0.0.1:9"), 5, "cannot reach Ray at 127.0.0.1:9"),
    ],
)
def test_what_cannot_be(call, words, code, sentence):
    crops(2)
    ended, out, said = call("evaluate", "set", "-m", "bicubic-x2", *words)
    assert (ended, out) == (code, "") and sentence in said and said.count("\n") == 1
