"""The command line as a user meets it: names of results, one sentence for each error, exit codes, nothing lost."""

import hashlib
import json
import os
import pickle
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import PHOTO
from PIL import Image
from test_import_irn import checkpoint
from waiting import HANG_S

import rescale
from rescale import load
from rescale.cli import options
from rescale.cli.console import sentence
from rescale.errors import InputError, MachineError, RefusedError, as_rescale_error
from rescale.io import images, record
from rescale.models import weights, zoo

RECIPE = """
model = "irn"
steps = 3
batch = 1
crop = 16
warmup = 1
validate_every = 2
config = {scale = 2, blocks = [1], growth = 4, depth = 2, gain = 1.0, shared = true}
loss = {restore = 1.0, guide = 1.0, range = 1.0}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Every test works in a folder of its own with one small photograph in it."""
    monkeypatch.chdir(tmp_path)
    picture()
    return tmp_path


def picture(name: str = "photo.png", left: int = 60, size: tuple[int, int] = (33, 21)) -> Path:
    Image.open(PHOTO).crop((left, 40, left + size[0], 40 + size[1])).save(name)
    return Path(name)


def names() -> list[str]:
    return sorted(str(path) for path in Path().rglob("*") if path.is_file())


def is_one_sentence(text: str) -> bool:
    return text.startswith("error: ") and text.count("\n") == 1 and len(text) > 20


# ------------------------------------------------------------------------------------------- there and back


def test_down_and_up_without_flags(call):
    assert call("down", "photo.png") == (0, "photo.x4.png\n", "")
    assert call("up", "photo.x4.png") == (0, "photo.x4.restored.png\n", "")
    assert images.read(Path("photo.x4.restored.png")).size == (21, 33)


@pytest.mark.parametrize(
    ("words", "name", "size", "model"),
    [
        ("2", "photo.x2.png", (11, 17), "irn-x2-small"),
        ("50%", "photo.x2.png", (11, 17), "irn-x2-small"),
        ("4", "photo.x4.png", (6, 9), "irn-x4-small"),
        ("x4", "photo.x4.png", (6, 9), "irn-x4-small"),
        ("2x", "photo.x2.png", (11, 17), "irn-x2-small"),
        ("2.7", "photo.x2.7.png", (8, 13), "iarn-small"),
        ("1.5x4", "photo.x1.5x4.png", (6, 22), "iarn-small"),
        ("1", "photo.x1.png", (21, 33), "iarn-small"),
        ("20x", "photo.20x.png", (13, 20), "iarn-small"),
        ("x20", "photo.x20.png", (20, 32), "iarn-small"),
        ("30x20!", "photo.30x20.png", (20, 30), "iarn-small"),
        ("800x600>", "photo.800x600.png", (21, 33), "iarn-small"),
    ],
)
def test_the_scale_chooses_the_model(call, words, name, size, model):
    """The opposite needs none of it: the record knows model and size."""
    code, out, _ = call("down", "photo.png", "-s", words, "--json")
    assert code == 0 and json.loads(out)["target"] == name and json.loads(out)["model"] == model
    assert images.read(Path(name)).size == size
    assert call("up", name, "-o", "back.png") == (0, "back.png\n", "")
    assert images.read(Path("back.png")).size == (21, 33)


def test_at_scale_one_nothing_is_lost(call):
    assert call("down", "photo.png", "-s", "1")[0] == call("up", "photo.x1.png", "-o", "back.png")[0] == 0
    assert (images.read(Path("photo.x1.png")).pixels == images.read(Path("photo.png")).pixels).all()
    assert (images.read(Path("back.png")).pixels == images.read(Path("photo.png")).pixels).all()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("0", "at least 1"), ("-1", "expected a scale"), ("0.5", "at least 1"), ("nan", "expected a scale"),
        ("800y600", "expected a scale"), ("34x", "within the picture's own 33x21"), ("200%", "at least 1"),
        ("4.1", "up to 4 along each axis"), ("5x2", "up to 4 along each axis"), ("8x", "up to 4 along each axis"),
            ],
)  # fmt: skip
def test_geometry_that_cannot_be_is_one_sentence(call, words, sentence):
    code, out, err = call("down", "photo.png", f"--scale={words}")
    assert (code, out) == (2, "") and is_one_sentence(err) and sentence in err
    assert names() == ["photo.png"]


def test_a_scale_that_is_not_the_models_is_refused(call):
    code, _, err = call("down", "photo.png", "-s", 2, "-m", "irn-x4-small")
    assert code == 2 and "irn-x4-small works at x4, got x2" in err
    code, _, err = call("down", "photo.png", "-s", "20x", "-m", "irn-x2-small")
    assert code == 2 and "makes 17x11 of 33x21, got 20x13" in err


def test_up_takes_a_scale_as_results_spell_it(call):
    assert call("up", "photo.png", "-s", "x2")[:2] == (0, "photo.upscaled.png\n")
    assert call("up", "photo.png", "-s", "60x", "-o", "wide.png")[0] == 0
    assert images.read(Path("wide.png")).size[1] == 60
    code, _, err = call("up", "photo.png", "-s", "800x", "-o", "wider.png")
    assert code == 2 and is_one_sentence(err) and "at most 4 times the sides" in err


def test_without_a_record_many_scales_need_one(call):
    code, _, err = call("up", "photo.png", "-m", "iarn-small")
    assert code == 2 and "needs to be given a size or a scale" in err
    assert call("up", "photo.png", "-m", "iarn-small", "-s", "1.5", "-o", "large.png")[0] == 0
    assert images.read(Path("large.png")).size == (32, 50)


def test_a_lossy_target_warns(call):
    code, out, err = call("down", "photo.png", "-o", "small.jpg")
    assert (code, out) == (0, "small.jpg\n")
    assert err.startswith("note: photo.png: JPEG is lossy") and err.count("\n") == 1


def test_json_is_one_object_a_line_and_nothing_else(call):
    picture("other.png", left=200)
    Path("bad.png").write_bytes(b"no picture")
    code, out, err = call("down", "photo.png", "bad.png", "other.png", "--json", "-o", "{stem}.s.jpg")
    rows = [json.loads(line) for line in out.splitlines()]
    assert code == 3 and [row["source"] for row in rows] == ["photo.png", "bad.png", "other.png"]
    assert rows[0]["target"] == "photo.s.jpg" and rows[0]["size"] == [6, 9] and "lossy" in rows[0]["notes"][0]
    assert rows[1]["exit_code"] == 3 and "bad.png" in rows[1]["error"]
    assert err == "1 of 3 pictures failed\n"
    for verb in (["models", "--json"], ["up", "photo.s.jpg", "--json"], ["down", "photo.png", "-n", "--json"]):
        code, out, _ = call(*verb)
        assert code == 0 and all(isinstance(json.loads(line), dict) for line in out.splitlines())


def test_a_failing_picture_does_not_stop_the_others(call):
    Path("bad.png").write_bytes(b"no picture")
    Path("empty").mkdir()
    code, out, err = call("down", "missing.png", "bad.png", "empty", "photo.png")
    assert (code, out) == (3, "photo.x4.png\n")
    assert [line.split(":")[0] for line in err.splitlines()] == ["error"] * 3 + ["3 of 4 pictures failed"]
    assert names() == ["bad.png", "photo.png", "photo.x4.png"]


def test_up_of_many_restores_what_it_can(call):
    call("down", "photo.png")
    code, out, err = call("up", "photo.png", "photo.x4.png")
    assert (code, out) == (3, "photo.x4.restored.png\n")
    assert "photo.png: this picture carries no record" in err


def test_enlarging_has_a_name_of_its_own(call):
    """"""
    call("down", "photo.png")
    code, out, err = call("up", "photo.x4.png", "--scale", 2)
    assert (code, out) == (0, "photo.x4.upscaled.png\n")
    assert err == "note: photo.x4.png: enlarged as an ordinary picture; its record would restore it\n"


# ------------------------------------------------------------------------------------------- inputs and targets


def test_folders_globs_and_repeats(call, folder):
    Path("in/deep").mkdir(parents=True)
    for name in ("in/a.png", "in/deep/b.png", "in/.hidden.png"):
        picture(name)
    Path("in/notes.txt").write_text("no picture")
    code, out, _ = call("down", "in/*.png", "in", "in/a.png", "./in/../in/a.png", folder / "in" / "a.png", "-n")
    assert code == 0
    assert sorted(out.splitlines()) == ["in/a.x4.png", "in/deep/b.x4.png"]
    assert call("down", "in/**/b.p?g", "-n")[:2] == (0, "in/deep/b.x4.png\n")
    assert call("down", f"{folder}/in/[a]*", "-n")[:2] == (0, f"{folder}/in/a.x4.png\n")
    assert "photo.x4.png" not in names()


def test_an_existing_name_is_no_glob(call):
    picture("a[1].png")
    assert call("down", "a[1].png", "-n")[:2] == (0, "a[1].x4.png\n")


@pytest.mark.parametrize("word", ["*.jpg", "**x[", "none.png", "[", "a" * 300 + ".png"])
def test_words_that_match_nothing(call, word):
    code, out, err = call("down", word)
    assert code in (3, 5) and out == "" and is_one_sentence(err)
    assert names() == ["photo.png"]


def test_an_empty_word_is_not_the_whole_folder(call):
    code, _, err = call("down", "")
    assert code == 2 and "empty word" in err


def test_templates(call):
    Path("out").mkdir()
    assert call("down", "photo.png", "-o", "out/{stem}-{scale}-{model}.webp")[:2] == (
        0,
        "out/photo-4-irn-x4-small.webp\n",
    )
    assert call("down", "photo.png", "-o", "out")[1] == "out/photo.x4.png\n"
    assert call("down", "photo.png", "-o", "out/", "--overwrite")[1] == "out/photo.x4.png\n"
    assert call("up", "out/photo.x4.png", "-o", "{stem}!.png")[1] == "photo.x4!.png\n"
    Path("{odd}").mkdir()
    assert call("down", "photo.png", "-o", "{odd}")[1] == "{odd}/photo.x4.png\n"


@pytest.mark.parametrize(
    "output", ["{name}.png", "{}.png", "{stem.x}.png", "{stem", "{0}.png", "{stem:d}", "{stem[a]}"]
)
def test_what_is_no_template(call, output):
    code, _, err = call("down", "photo.png", "-o", output)
    assert code == 2 and is_one_sentence(err) and "{stem}, {suffix}, {folder}, {path}, {scale}, {model}" in err


def test_up_knows_no_scale_before_it_has_read_the_record(call):
    call("down", "photo.png")
    assert call("up", "photo.x4.png", "-o", "{stem}.{scale}.png")[0] == 2
    out = call("up", "photo.x4.png", "-m", "irn-x4-small", "-o", "{stem}.{model}.png")[1]
    assert out == "photo.x4.irn-x4-small.png\n"


def test_two_sources_never_share_a_target(call):
    Path("sub").mkdir()
    picture("sub/photo.png", left=300)
    Path("out").mkdir()
    before = names()
    for words in (["-o", "one.png"], ["-o", "out"], ["-o", "out/../out/same.png"]):
        code, out, err = call("down", "photo.png", "sub/photo.png", *words)
        assert code == 2 and out == "" and is_one_sentence(err) and "would both become" in err
    assert names() == before


def test_one_source_never_replaces_another(call):
    picture("photo.x4.png", left=300)
    before = Path("photo.x4.png").read_bytes()
    code, out, err = call("down", "photo.png", "photo.x4.png", "--overwrite")
    assert code == 4 and out == "" and is_one_sentence(err) and "which is a source as well" in err
    assert Path("photo.x4.png").read_bytes() == before


@pytest.mark.parametrize("link", [None, os.link, os.symlink])
def test_a_source_is_never_overwritten(call, link):
    before = Path("photo.png").read_bytes()
    if link:
        link("photo.png", "target.png")
    code, _, err = call("down", "photo.png", "-o", "target.png" if link else "photo.png", "--overwrite")
    assert code == 4 and is_one_sentence(err)
    assert Path("photo.png").read_bytes() == before


def test_an_existing_target_needs_overwrite(call):
    Path("photo.x4.png").write_bytes(b"precious")
    for words in ([], ["--dry-run"]):
        code, out, err = call("down", "photo.png", *words)
        assert (code, out) == (4, "") and is_one_sentence(err) and "--overwrite" in err
    assert Path("photo.x4.png").read_bytes() == b"precious"
    assert call("down", "photo.png", "--overwrite")[0] == 0


def test_a_dry_run_writes_nothing_and_fails_where_the_run_would(call):
    assert call("down", "photo.png", "-n") == (0, "photo.x4.png\n", "")
    code, out, _ = call("down", "photo.png", "none.png", "-n")
    assert (code, out) == (3, "photo.x4.png\n")
    assert call("down", "photo.png", "-o", "small.bmp", "-n")[0] == 4
    assert names() == ["photo.png"]


def test_strip_leaves_out_metadata(call):
    exif = Image.Exif()
    exif[271] = "Maker"
    Image.new("RGB", (32, 32)).save("m.jpg", exif=exif)
    for flag, is_there in (("--strip", False), ("--keep-metadata", True)):
        assert call("down", "m.jpg", "-m", "bicubic-x4", "--overwrite", flag)[0] == 0
        assert (b"Maker" in Path("m.x4.png").read_bytes()) == is_there


def test_a_quality_that_no_format_takes_is_refused(call):
    code, _, err = call("down", "photo.png", "--quality", "80")
    assert code == 2 and is_one_sentence(err) and "PNG is written without loss" in err
    assert names() == ["photo.png"]


def test_a_folder_can_be_done_again(call):
    """Results of an earlier run are no sources, and a new picture beside them is done."""
    assert call("down", ".")[0] == 0
    code, out, err = call("down", ".", "--overwrite")
    assert (code, out) == (0, "photo.x4.png\n") and "results of earlier runs 1" in err
    Path("new.png").write_bytes(Path("photo.png").read_bytes())
    code, out, err = call("down", ".")
    assert code == 3 and out == "new.x4.png\n" and "photo.x4.png exists" in err


def test_suffix_and_folder_tell_pictures_apart(call):
    Path("deep").mkdir()
    for name in ("deep/photo.png", "photo.webp"):
        images.write(Path(name), images.read(Path("photo.png")))
    code, _, err = call("down", "deep/photo.png", "photo.png", "-o", "{stem}.small.png")
    assert code == 2 and "{suffix}" in err and "{folder}" in err and "{path}" in err
    code, out, _ = call("down", "deep", "photo.webp", "photo.png", "-o", "{folder}-{stem}-{suffix}.small.png")
    assert code == 0 and "deep-photo-png.small.png" in out and "photo-webp.small.png" in out


def test_a_bad_picture_does_not_cost_the_table(call):
    Path("bad.png").write_bytes(b"no picture")
    code, out, err = call("evaluate", ".", "-m", "bicubic-x2")
    assert code == 3 and "| bicubic-x2 |" in out and "bad.png" in err and "1 of 2" in err


def test_weight_files_of_the_same_name_are_told_apart(call):
    for folder, name in (("a", "espcn-x2"), ("b", "espcn-x3")):
        Path(folder).mkdir()
        (Path(folder) / "best.safetensors").write_bytes((zoo.weights_folder() / f"{name}.safetensors").read_bytes())
    _, out, _ = call("evaluate", "photo.png", "-m", "a/best.safetensors", "-m", "b/best.safetensors")
    assert "| a/best.safetensors |" in out and "| b/best.safetensors |" in out


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["-o", "small.xyz"], 2), (["-o", "small"], 2), (["-o", "none/small.png"], 2), (["-o", "none/none/"], 2),
        (["-o", "small.bmp"], 4), (["--max-pixels", "10"], 4), (["--max-pixels", "0"], 2), (["--quality", "101"], 2),
        (["-m", "no-such-model"], 2), (["-m", "none.safetensors"], 3), (["-m", "bad.safetensors"], 4),
        (["-m", "other.safetensors"], 4), (["--device", "cuda:99"], 2), (["--device", "toaster"], 2),
        (["--bogus"], 2), (["--scale", "two"], 2), (["-o", "x" * 300 + ".png"], 5), (["-o", "/proc/small.png"], 5),
    ],
    ids=lambda value: " ".join(value)[:24] if isinstance(value, list) else str(value),
)  # fmt: skip
def test_every_refusal_is_one_sentence_and_loses_nothing(call, words, code):
    Path("bad.safetensors").write_bytes(b"PK\x03\x04 a pickle")
    Path("other.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{}      ")
    before = names()
    for verb in ("down", "up"):
        if verb == "up" and words[0] in ("-o", "--scale", "--max-pixels", "--device"):
            continue
        got, out, err = call(verb, "photo.png", *words)
        assert (got, out) == (code, "") and is_one_sentence(err)
    assert names() == before


def test_words_missing(call):
    code, out, err = call()
    assert code == 2 and "Usage" in out + err and "error" not in err
    assert call("down")[0] == 2 and call("no-such-verb")[0] == 2


def test_a_disagreeing_record_is_refused_or_forced(call):
    call("down", "photo.png")
    small = images.read(Path("photo.x4.png"))
    small.pixels[0, 0, 0] ^= 1
    images.write(Path("photo.x4.png"), small, overwrite=True)
    code, out, err = call("up", "photo.x4.png")
    assert (code, out) == (4, "") and is_one_sentence(err) and "edited" in err and "--force" in err
    code, out, err = call("up", "photo.x4.png", "--force")
    assert (code, out) == (0, "photo.x4.restored.png\n") and err.startswith("note: photo.x4.png: forced: edited")
    code, _, err = call("up", "photo.png")
    assert code == 4 and is_one_sentence(err) and "--model" in err and "--scale" in err


@pytest.mark.skipif(sys.platform != "linux", reason="other systems allow only names in Unicode")
def test_a_name_that_is_no_utf8():
    Path("photo.png").rename(os.fsdecode(b"\xff.png"))
    done = subprocess.run([sys.executable, "-m", "rescale", "down", b"\xff.png"], capture_output=True, check=True)
    assert done.stdout == b"\xff.x4.png\n"


# ------------------------------------------------------------------------------------------- the other verbs


def test_evaluate_at_many_scales(call):
    Path("set").mkdir()
    picture("set/a.png", size=(48, 40))
    how = ("evaluate", "set", "-m", "bicubic", "-m", "bicubic-x2", "-s", "1.5:2.5:0.5", "-s", "1.5x4")
    code, out, _ = call(*how, "--plot", "plot.png", "--json")
    rows = [(row["model"], row["scale"]) for row in json.loads(out)["rows"]]
    scales = ["x1.5", "x2", "x2.5", "x1.5x4"]
    assert code == 0 and rows == [*(("bicubic", scale) for scale in scales), ("bicubic-x2", "x2")]
    assert images.read(Path("plot.png")).size[0] > 100
    scores = {(row["model"], row["scale"]): row["psnr_y"] for row in json.loads(out)["rows"]}
    assert scores["bicubic", "x2"] == scores["bicubic-x2", "x2"] < scores["bicubic", "x1.5"]
    code, _, err = call(*how, "--plot", "plot.png")
    assert code == 4 and "plot.png exists" in err


def test_evaluate_in_cycles(call):
    Path("set").mkdir()
    picture("set/a.png", size=(48, 40))
    code, out, _ = call("cycles", "set", "-m", "bicubic", "-s", "3", "-n", 2, "--kind", "shift")
    assert code == 0 and "| bicubic | x3, shifted | set |" in out and "after 2" in out
    code, out, _ = call("cycles", "set", "-m", "bicubic", "-s", "3", "-n", 2, "--json")
    rows = json.loads(out, parse_constant=pytest.fail)
    assert [row["count"] for row in rows] == [1, 2] and rows[0]["lr_psnr_y"] is None
    code, out, _ = call("cycles", "set", "-m", "bicubic", "-n", 2, "--kind", "random", "--json")
    assert code == 0 and [row["scale"] for row in json.loads(out)] == ["x1.1..x4"] * 2


def test_cycles_go_on_past_bad_pictures(call):
    Path("set").mkdir()
    picture("set/a.png", size=(48, 40))
    picture("set/small.png", size=(9, 8))
    Path("set/torn.png").write_bytes(Path("photo.png").read_bytes()[:200])
    code, out, err = call("cycles", "set", "-m", "bicubic", "-s", "3", "-n", 3)
    assert code == 3 and "| bicubic | x3 | set |" in out
    assert "small.png: expected sides of at least 9 pixels for 3 cycles" in err
    assert "torn.png" in err and "2 of 3 could not be scored" in err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["cycles", "--kind", "random", "-s", "2"], "random without --scale"),
        (["cycles", "--kind", "random", "-m", "irn-x2-small"], "serve all scales for --kind random"),
        (["cycles", "-n", "0"], "--count"),
        (["cycles", "--kind", "odd"], "--kind"),
        (["evaluate", "--plot", "a.jpg"], "expected a PNG"),
        (["evaluate", "--plot", "a.png", "--grid", "a.png"], "two files for --grid and --plot"),
    ],
)
def test_modes_that_do_not_go_together(call, words, sentence):
    Path("set").mkdir()
    picture("set/a.png", size=(48, 40))
    code, out, err = call(words[0], "set", "-m", "bicubic", *words[1:])
    assert (code, out) == (2, "") and is_one_sentence(err) and sentence in err


def test_a_range_ends_where_it_is_said_to(call):
    Path("set").mkdir()
    picture("set/a.png", size=(48, 40))
    out = call("evaluate", "set", "-m", "bicubic", "-s", "1:2:0.6", "--json")[1]
    assert [row["scale"] for row in json.loads(out)["rows"]] == ["x1", "x1.6"]


@pytest.mark.parametrize("size", [[5000, 5000], [1, 1], [2**31, 2**31]])
@pytest.mark.parametrize("keeps_small", [True, False])
def test_a_hostile_record_of_any_scale_is_refused(call, size, keeps_small):
    assert call("down", "photo.png", "-s", "1.7")[0] == 0
    small = images.read(Path("photo.x1.7.png"))
    said = json.loads(record.find(small)) | {"size": size}
    if not keeps_small:
        del said["small"]
    text = tuple((key, json.dumps(said) if key == record.KEY else value) for key, value in small.text)
    images.write(Path("bad.png"), replace(small, text=text))
    for force in ((), ("--force",)):
        code, out, err = call("up", "bad.png", *force)
        assert (code, out) == (4, "") and is_one_sentence(err) and "None" not in err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["-s", "800x600"], "expected a scale to evaluate at"), (["-s", "4:1:0.1"], "expected a range of scales"),
        (["-s", "1:2:0"], "expected a range"), (["-s", "1:x:2"], "expected a range"),
        (["-s", "1:2"], "expected a range"),
        (["-s", "5"], "up to 4"), (["-m", "bicubic-x2", "-s", "3"], "expected --scale for models that serve many"),
                (["--plot", "a.txt"], "a.txt"),
    ],
)  # fmt: skip
def test_scales_that_cannot_be_evaluated(call, words, sentence):
    Path("set").mkdir()
    picture("set/a.png", size=(48, 40))
    code, out, err = call("evaluate", "set", "-m", "bicubic", *words)
    if "bicubic-x2" in words:
        code, out, err = call("evaluate", "set", *words)
    assert (code, out) == (2, "") and is_one_sentence(err) and sentence in err


def test_models_lists_the_manifest(call):
    code, out, _ = call("models")
    assert code == 0 and all(name in out for name in zoo.manifest())
    rows = [json.loads(line) for line in call("models", "--json")[1].splitlines()]
    assert [row["name"] for row in rows] == list(zoo.manifest())


def test_evaluate_speaks_of_its_protocol(call, folder):
    Path("set").mkdir()
    picture("set/a.png")
    code, out, _ = call("evaluate", "set", "-m", "bicubic-x2")
    assert code == 0 and "| bicubic-x2 | x2 | - | - | set | mean |" in out and "BT.601" in out
    code, out, _ = call("evaluate", "set", "-m", "bicubic-x2", "--json")
    assert json.loads(out)["rows"][0]["picture"] == "mean" and out.count("\n") == 1
    Path("none").mkdir()
    assert call("evaluate", "none")[0] == 3


def test_evaluate_prints_the_papers_table(call):
    Path("Set5").mkdir()
    picture("Set5/a.png")
    code, out, _ = call("evaluate", "Set5", "-m", "bicubic-x2", "-m", "irn-x4-small", "--paper")
    rows = [line for line in out.splitlines() if line.startswith("| x")]
    assert code == 0 and [row.split(" |")[0] for row in rows] == sorted(row.split(" |")[0] for row in rows)
    assert "| x2 | `bicubic-x2` | - | " in out and "| x4 | `irn-x4-small` | " in out
    assert "| x2 | IRN, published | 1,667,952 | 43.99/.9871 | - | - |" in out
    assert "Published rows: IRN repository" in out and "BT.601" in out


def test_all_means_every_model(call):
    Path("set").mkdir()
    picture("set/a.png")
    _, out, _ = call("evaluate", "set", "-m", "all", "--json")
    asked = [row["model"] for row in json.loads(out)["rows"]]
    assert set(asked) == {*zoo.manifest(), "bicubic"}


def test_evaluate_lays_details_side_by_side(call):
    Path("set").mkdir()
    for name in "ab":
        picture(f"set/{name}.png", size=(150, 120))
    words = ("evaluate", "set", "-m", "bicubic-x2", "-m", "bicubic-x4", "--grid", "grid.png")
    assert call(*words)[0] == 0
    assert images.read(Path("grid.png")).size == (2 * (2 * 96 + 34), 3 * (2 * 96 + 4))
    code, out, err = call(*words)
    assert code == 4 and not out and "grid.png exists" in err
    assert call(*words, "--overwrite")[0] == 0
    assert call("evaluate", "set", "--grid", "set/a.png", "--overwrite")[0] == 4
    code, out, err = call("evaluate", "set", "--grid", "grid.xyz")
    assert code == 2 and not out and "grid.xyz" in err


def test_every_folder_to_evaluate_must_have_pictures(call):
    for name in ("set", "empty"):
        Path(name).mkdir()
    picture("set/a.png")
    for folder in ("empty", "none"):
        code, out, err = call("evaluate", "set", folder, "-m", "bicubic-x2", "-m", "bicubic-x3")
        assert code == 3 and not out and err.count("error:") == 1 and folder in err


def test_a_published_checkpoint_becomes_weights(call):
    torch.save(checkpoint(1, 2, growth=4), "IRN_x2.pth")
    code, out, err = call("import", "IRN_x2.pth")
    assert code == 0 and out == "IRN_x2.safetensors\n" and "IRN x2" in err
    header = weights.load("IRN_x2.safetensors").header
    digest = hashlib.sha256(Path("IRN_x2.pth").read_bytes()).hexdigest()
    assert header["origin"] == {"name": "IRN_x2.pth", "sha256": digest}
    code, out, _ = call("down", "photo.png", "-m", "IRN_x2.safetensors")
    assert code == 0 and images.read(Path(out.strip())).size == (11, 17)
    assert call("import", "IRN_x2.pth")[0] == 4
    assert call("import", "IRN_x2.pth", "-o", "IRN_x2.pth", "--overwrite")[0] == 2
    Path("bad.pth").write_bytes(b"PK nothing")
    code, _, err = call("import", "bad.pth")
    assert (
        code == 3 and err.startswith("error: bad.pth: expected a checkpoint") and not Path("bad.safetensors").exists()
    )


def test_train_makes_weights_that_load(call):
    Path("set").mkdir()
    picture("set/a.png", size=(40, 40))
    picture("set/b.png", left=200, size=(40, 40))
    Path("tiny.toml").write_text(RECIPE)
    code, out, err = call("train", "tiny.toml", "-d", "set", "-o", "run")
    assert code == 0 and out.startswith("step 2 ") and err == "run/best.safetensors\n"
    assert load("run/best.safetensors", device="cpu").scale == 2
    code, _, err = call("train", "no-such-recipe", "-d", "set")
    assert code == 2 and is_one_sentence(err)


# ------------------------------------------------------------------------------------------- the process


def fresh(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_the_version_needs_no_torch():
    code = """
import sys
from rescale.cli import main
sys.argv = ["rescale", "--version"]
try: main()
except SystemExit: print(*{"torch", "PIL", "numpy", "av", "ray", "gradio"} & set(sys.modules))
"""
    assert fresh(code).split() == [rescale.__version__]


def test_import_is_light():
    heavy = {"torch", "gradio", "av", "ray", "lpips", "torchvision", "PIL", "typer"}
    assert fresh(f"import sys, rescale; print(*({heavy!r} & set(sys.modules)))").strip() == ""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_leaves_no_partial_file(number, code):
    for index in range(60):
        picture(f"{index:02}.png", size=(400, 300))
    Path("out").mkdir()
    command = [sys.executable, "-m", "rescale", "down", ".", "-o", "out/"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    # A shell's background jobs ignore SIGINT, and so would their children.
    running = subprocess.Popen(command, **pipes, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    running.stdout.readline()
    running.send_signal(number)
    _, err = running.communicate(timeout=HANG_S)
    assert running.returncode == code and b"Traceback" not in err
    assert 1 <= len(list(Path("out").iterdir())) < 60
    for file in Path("out").iterdir():
        assert images.read(file).size == (75, 100)


def test_an_interrupt_while_refining_leaves_nothing():
    """The bar: exit 130, no file; long before the steps that were asked for are done."""
    picture(size=(300, 200))
    code = """
from rescale.cli import progress
from rescale.cli import main
progress.Gauge.__call__ = lambda *_: print("a step", flush=True)
main()
"""
    command = [sys.executable, "-c", code, "down", "photo.png", "--refine", "99999"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    running = subprocess.Popen(command, **pipes, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    assert running.stdout.readline() == b"a step\n"
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=HANG_S)
    assert running.returncode == 130 and b"Traceback" not in err
    assert names() == ["photo.png"] and out.count(b"a step") < 99_000


def test_refined_pictures_say_so(call):
    code, out, err = call("down", "photo.png", "--refine", 3, "--json")
    assert (code, err) == (0, "") and json.loads(out)["target"] == "photo.x4.png"
    assert record.extract(images.read(Path("photo.x4.png"))).refined == "3"
    assert call("up", "photo.x4.png")[0] == 0
    code, _, err = call("down", "photo.png", "--refine", "a lot", "-o", "b.png")
    assert code == 2 and is_one_sentence(err) and "+1.0dB" in err


def test_evaluate_shows_both_with_and_without_refining(call):
    Path("set").mkdir()
    picture("set/a.png", size=(48, 40))
    code, out, _ = call("evaluate", "set", "-m", "irn-x4-small", "--refine", 8, "--json")
    plain, refined = json.loads(out)["rows"]
    assert code == 0 and (plain["refined"], refined["refined"]) == ("", "8")
    assert refined["psnr_y"] > plain["psnr_y"]
    assert "| irn-x4-small | x4 | 2 | - | set |" in call("evaluate", "set", "-m", "irn-x4-small", "--refine", 2)[1]
    assert "`irn-x4-small, refined 2`" in call("evaluate", "set", "-m", "irn-x4-small", "--refine", 2, "--paper")[1]


@pytest.mark.filterwarnings("ignore")
def test_export_and_speed_have_verbs(call):
    code, out, err = call("export", "espcn-x3", "net.pt2")
    assert (code, out) == (0, "net.pt2\n") and err.startswith("note: differs from the model by at most")
    code, _, err = call("export", "espcn-x3", "net.pt2")
    assert code == 4 and is_one_sentence(err)
    code, out, _ = call("bench", "rescale", "bicubic-x2", "--size", "40x32", "--turns", 1, "--json")
    assert code == 0 and json.loads(out)["size"] == [32, 40]
    code, _, err = call("bench", "rescale", "espcn-x2", "--size", "big")
    assert code == 2 and is_one_sentence(err) and "512x512" in err


def test_what_the_machine_lacks_is_one_sentence(call, monkeypatch):
    """The errors that torch and the system raise, at the place where they come from."""
    said = {
        "not enough memory": (MemoryError(), RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")),
        "No space left on device": (OSError(28, "No space left on device", "photo.x4.png"),),
    }
    for words, errors in said.items():
        for error in errors:
            assert words in str(as_rescale_error(error))
            assert as_rescale_error(error).exit_code == MachineError.exit_code == 5
    with pytest.raises(KeyError):
        as_rescale_error(KeyError("ours"))
    assert as_rescale_error(InputError("x")).exit_code == 3


def test_the_limit_stands_in_one_place_in_effect():
    """The command line repeats it, as asking the package would cost --help an import of torch."""
    assert images.MAX_PIXELS == options.PIXELS


@pytest.mark.parametrize(
    ("hint", "said"),
    [
        ("pass overwrite=True to replace it", "pass --overwrite to replace it"),
        ("raise it with max_pixels=", "raise it with --max-pixels"),
        ("pass options.force=True to go on", "pass --force to go on"),
        ("pass codec='ffv1'", "pass --codec ffv1"),
        ("scale=2 enlarges it", "--scale 2 enlarges it"),
        ("pass another target=", "pass another -o"),
    ],
)
def test_arguments_of_a_hint_become_flags(hint, said):
    assert sentence("a=b.png exists", hint) == f"a=b.png exists; {said}"
    assert sentence("a=b.png exists", "") == "a=b.png exists"


def test_an_error_tells_its_remedy_in_terms_of_arguments():
    error = pickle.loads(pickle.dumps(RefusedError("x exists", hint="pass overwrite=True to replace it")))
    assert str(error) == "x exists; pass overwrite=True to replace it"
    assert (error.message, error.hint) == ("x exists", "pass overwrite=True to replace it")


@pytest.mark.parametrize(
    ("verb", "words", "flag"),
    [
        ("down", ["--verify"], "--verify"),
        ("down", ["--min-psnr", "30"], "--min-psnr"),
        ("down", ["--target-bytes", "5k"], "--target-bytes"),
        ("up", ["--scale", "2", "--denoise", "0.5"], "--denoise"),
    ],
)
def test_an_option_that_a_video_would_not_heed_is_refused(call, verb, words, flag):
    Path("clip.mp4").write_bytes(b"never opened")
    code, _, err = call(verb, "clip.mp4", *words)
    assert code == 2 and is_one_sentence(err) and f"{flag} is for pictures, not for videos" in err
