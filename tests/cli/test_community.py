"""Community models on the command line: images, batches, videos, scores; and what a weight file is."""

import json
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from communal import random
from conftest import PHOTO
from filming import film
from PIL import Image
from test_foreign import saved

import rescale
from rescale.io import images

pytest.importorskip("spandrel", reason="the extra models is not installed")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Image.open(PHOTO) as photo:
        photo.convert("RGB").crop((0, 0, 40, 30)).save("photo.png")
    saved(random("Compact"), Path("2x-compact.safetensors"), license="CC-BY-NC-SA-4.0")
    saved(random("Compact"), Path("2x-nested.pth"), nest="params")


def test_an_image_is_enlarged_and_the_licence_told_once(call):
    Path("more").mkdir()
    Image.new("L", (8, 8), 90).save("more/grey.png")
    Image.new("RGBA", (8, 8), (90, 20, 70, 128)).save("more/clear.png")
    code, out, err = call("up", "photo.png", "more", "--model", "2x-compact.safetensors", "-o", "{stem}.{model}.png")
    assert code == 0 and err.count("the licence of 2x-compact is CC-BY-NC-SA-4.0") == 1
    assert out.split() == [f"{name}.2x-compact.png" for name in ("photo", "clear", "grey")]
    made, expected = images.read(Path("photo.2x-compact.png")), rescale.load("2x-compact.safetensors")
    assert (made.pixels == expected.upscale(images.read(Path("photo.png")).pixels)).all()
    assert (
        images.read(Path("grey.2x-compact.png")).is_grey and images.read(Path("clear.2x-compact.png")).alpha is not None
    )


def test_workers_make_the_same(call):
    assert call("up", "photo.png", "-m", "2x-nested.pth", "-o", "one.png")[0] == 0
    Path("two").mkdir()
    Image.open("photo.png").save("other.png")
    code, _, err = call("up", "photo.png", "other.png", "-m", "2x-nested.pth", "-o", "two", "--workers", "2")
    assert code == 0, err
    assert Path("two/photo.restored.png").read_bytes() == Path("one.png").read_bytes()


def test_the_scale_must_be_its_own(call):
    code, _, err = call("up", "photo.png", "-m", "2x-nested.pth", "--scale", "3")
    assert code == 2 and "2x-nested works at x2 and makes" in err
    assert call("up", "photo.png", "-m", "2x-nested.pth", "--scale", "2")[0] == 0


def test_restoration_writes_the_same_size(call):
    from spandrel.architectures.DnCNN import DnCNN

    torch.manual_seed(1)
    saved(DnCNN(in_nc=3, out_nc=3, nc=8, nb=4), Path("1x-denoise.pth"))
    for words in ((), ("--scale", "1")):
        code, out, err = call("up", "photo.png", "-m", "1x-denoise.pth", "--overwrite", *words)
        assert code == 0, err
        assert images.read(Path(out.strip())).size == (30, 40)
    code, _, err = call("down", "photo.png", "-m", "1x-denoise.pth", "--scale", "1")
    assert code == 2 and "expected a model that makes images smaller, got DnCNN at scale 1" in err


def test_a_model_that_cannot_be_loaded_ends_the_run_before_it_begins(call):
    Path("net.pt").write_bytes(b"PK")
    Path("bad.pth").write_bytes(b"PK")
    for name, expected in (("net.pt", 4), ("bad.pth", 3), ("none.pth", 3), ("net.zip", 2)):
        code, out, err = call("up", "photo.png", "photo.png", "-m", name)
        assert code == expected and not out and err.count("error:") == 1 and name in err and err.count("\n") == 1


def test_an_lr_image_of_such_a_model_is_bicubic_and_needs_it_by_name(call):
    assert call("down", "photo.png", "-m", "2x-nested.pth")[0] == 0
    code, _, err = call("up", "photo.x2.png")
    assert code == 4 and "made small by '2x-nested', which this rescale does not have" in err
    code, out, err = call("up", "photo.x2.png", "-m", "2x-nested.pth")
    assert code == 0, err
    assert images.read(Path(out.strip())).size == (30, 40)


def test_scores_are_those_of_bicubic_images(call):
    Path("set").mkdir()
    Image.open("photo.png").save("set/a.png")
    code, out, err = call("evaluate", "set", "-m", "2x-compact.safetensors", "-m", "bicubic-x2", "--json")
    assert code == 0 and "the licence of 2x-compact is" in err
    foreign, bicubic = json.loads(out)["rows"]
    assert foreign["lr_psnr_y"] == bicubic["lr_psnr_y"] and foreign["psnr_y"] != bicubic["psnr_y"]


def rgb_of(name: str) -> list[np.ndarray]:
    with av.open(name) as video:
        return [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]


@pytest.mark.parametrize(("layout", "codec"), [("yuv420p", "libx264"), ("gbrp", "libx264rgb"), ("bgra", "ffv1")])
def test_a_video_is_enlarged_in_all_colours(call, layout, codec):
    film(Path("clip.mkv"), [0, 40, 80], codec=codec, layout="rgb24" if codec == "libx264rgb" else layout, size=(24, 32))
    code, _, err = call("up", "clip.mkv", "-m", "2x-nested.pth", "--codec", "ffv1", "-o", "large.mkv")
    assert code == 0, err
    small, large = (rgb_of(name) for name in ("clip.mkv", "large.mkv"))
    assert [frame.shape for frame in large] == [(48, 64, 3)] * 3
    if layout == "gbrp":
        expected = rescale.load("2x-nested.pth").upscale(small[1])
        assert abs(large[1].astype(int) - expected).max() <= 1


def test_inspection_says_what_a_file_is(call):
    code, out, _ = call("models", "--inspect", "2x-compact.safetensors")
    said = dict(line.split(None, 1) for line in out.splitlines() if " " in line)
    assert code == 0
    assert (said["architecture"], said["scale"], said["channels"], said["purpose"]) == ("Compact", "x2", "3", "SR")
    assert said["licence"] == "CC-BY-NC-SA-4.0" and "16nf" in said["tags"] and len(said["sha256"]) == 64
    code, out, _ = call("models", "--inspect", "irn-x4-small", "--json")
    facts = json.loads(out)
    assert (facts["architecture"], facts["scale"], facts["purpose"], facts["licence"]) == ("irn", 4, "Rescaling", None)
    assert call("models", "--inspect", "photo.png")[0] == 2


def test_other_verbs_refuse_it_in_a_sentence(call):
    for words in (("export", "2x-nested.pth", "a.onnx"), ("import", "2x-nested.pth")):
        code, _, err = call(*words)
        assert code in (2, 3) and err.count("error:") == 1, err


def test_the_page_super_resolves_by_the_model_that_its_server_chose(tmp_path):
    handlers = pytest.importorskip("rescale.demo.handlers", reason="the extra demo is not installed")
    from rescale.demo import tasks
    from rescale.demo.sessions import Sessions
    from rescale.errors import UsageError

    desk = handlers.Desk(Sessions(tmp_path / "visits"), None, rescale.load("2x-compact.safetensors"))
    assert tasks.factors(desk.model) == (2,) and tasks.factors(None) == tasks.SCALES
    told: list[str] = []
    source = Path("photo.png").resolve()
    made = tasks.super_resolve(source, tmp_path, lambda _, text: told.append(text), scale=2, model=desk.model)
    assert images.read(made.after).size == (60, 80) and "by `2x-compact`" in made.words
    with pytest.raises(UsageError, match="expected a scale of 2, got 4"):
        tasks.super_resolve(source, tmp_path, lambda *_: None, scale=4, model=desk.model)
