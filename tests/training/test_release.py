"""A trained network becomes a row of the manifest: scored by the protocol, its facts kept."""

import shutil

import pytest
import torch
from conftest import PHOTO, shake
from PIL import Image

from rescale import load
from rescale.models import IARN, IRN, IARNConfig, IRNConfig, weights, zoo
from rescale.training.release import release
from rescale.training.train import VALIDATED


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    """A folder of weights of its own, with one model on it, and a set of one picture."""
    folder = tmp_path / "weights"
    folder.mkdir()
    for name in ("manifest.toml", "espcn-x2.safetensors"):
        shutil.copy(zoo.weights_folder() / name, folder)
    monkeypatch.setattr(zoo, "weights_folder", lambda: folder)
    zoo.manifest.cache_clear()
    (tmp_path / "set").mkdir()
    Image.open(PHOTO).crop((60, 60, 124, 108)).save(tmp_path / "set" / "a.png")
    yield tmp_path
    zoo.manifest.cache_clear()


FACTS = {"recipe": {"seed": 10}, "steps": 7, "data": "d" * 64, "scores": {"validation": "30 dB"}, "origin": None}


@pytest.mark.parametrize(
    ("model", "scale", "titles"),
    [
        (IRN(IRNConfig(2, (1,), 4, 2)), 2, ["set"]),
        (IARN(IARNConfig(blocks=1, growth=2, depth=2)), None, [f"set x{scale:g}" for scale in VALIDATED]),
    ],
)
def test_a_network_is_taken_into_the_manifest(shelf, model, scale, titles):
    model = shake(model, 0.01)
    weights.save(shelf / "best.safetensors", model, **FACTS)
    before = dict(zoo.manifest())
    entry = release("mine", shelf / "best.safetensors", [shelf / "set"], 'a "summary"')
    assert entry == zoo.manifest()["mine"] and {**before, "mine": entry} == zoo.manifest()
    assert (entry.scale, entry.parameters, entry.summary) == (scale, model.parameter_count, 'a "summary"')
    assert list(entry.scores) == titles and all("; LR " in score for score in entry.scores.values())
    shipped = weights.load("mine")
    assert shipped.sha256 == entry.sha256 and shipped.header["steps"] == 7
    assert shipped.header["scores"] == {"validation": "30 dB", **entry.scores}
    assert all(torch.equal(a, b) for a, b in zip(shipped.model.parameters(), model.parameters(), strict=True))


def test_a_model_is_replaced_by_a_better_one(shelf):
    first, second = (shake(IRN(IRNConfig(2, (1,), 4, 2)), amount) for amount in (0.01, 0.02))
    for model in (first, second):
        weights.save(shelf / "best.safetensors", model, **FACTS)
        release("mine", shelf / "best.safetensors", [shelf / "set"], "mine")
    restored = load("mine", device="cpu").model
    assert all(torch.equal(a, b) for a, b in zip(restored.parameters(), second.parameters(), strict=True))
    assert list(zoo.manifest()) == sorted(zoo.manifest())
