"""Shipped weights are what the manifest says; anything else is refused before a tensor is built."""

import hashlib
import json
import random

import pytest
import safetensors.torch
import torch
from conftest import shake

from rescale.errors import InputError, UsageError, WeightsError
from rescale.models import IRN, MODELS, IRNConfig, weights, zoo

NAMES = list(zoo.manifest())


def small() -> IRN:
    torch.manual_seed(1)
    return shake(IRN(IRNConfig(2, (1,), 4, 2)))


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "small.safetensors"
    weights.save(path, small(), recipe={"steps": 1}, steps=1, data="0" * 64, scores={})
    return path


@pytest.mark.parametrize("name", NAMES)
def test_every_row_of_the_manifest_is_true(name):
    entry = zoo.manifest()[name]
    data = (zoo.weights_folder() / entry.file).read_bytes()
    assert hashlib.sha256(data).hexdigest() == entry.sha256
    assert len(data) == entry.size_bytes
    loaded = weights.load(name)
    assert type(loaded.model) is MODELS[entry.model]
    assert loaded.model.parameter_count == entry.parameters
    assert loaded.model.scale == entry.scale
    assert loaded.header["steps"] > 0 and len(loaded.header["data"]) == 64
    assert entry.scores and entry.scores.keys() <= loaded.header["scores"].keys()  # as of the day of its release


def test_every_weight_file_has_a_row():
    files = {path.name for path in zoo.weights_folder().glob("*.safetensors")}
    assert files == {entry.file for entry in zoo.manifest().values()}


def test_what_the_issue_ships_is_there():
    assert {"irn-x2-small", "irn-x4-small", "espcn-x2", "espcn-x3", "espcn-x4"} <= set(NAMES)


def test_save_then_load_is_the_same_network(saved):
    loaded = weights.load(saved)
    original = small()
    assert loaded.model.config == original.config
    assert all(torch.equal(a, b) for a, b in zip(loaded.model.parameters(), original.parameters(), strict=True))
    assert loaded.header["recipe"] == {"steps": 1}


def test_unknown_names_list_the_known():
    with pytest.raises(UsageError, match="irn-x4-small"):
        weights.load("irn-x5")


def test_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match="cannot read"):
        weights.load(tmp_path / "none.safetensors")


def test_tampered_shipped_weights_are_refused(tmp_path, monkeypatch):
    """500 flips of a bit, 100 cuts, 100 additions: the digest is taken of the bytes that are parsed."""
    name, rng = "espcn-x2-rt", random.Random(5)
    path, shipped = tmp_path / zoo.manifest()[name].file, zoo.weights_folder()
    data = (shipped / path.name).read_bytes()
    (tmp_path / "manifest.toml").write_bytes((shipped / "manifest.toml").read_bytes())
    path.write_bytes(data)
    monkeypatch.setattr(zoo, "weights_folder", lambda: tmp_path)
    assert weights.load(name).name == name
    monkeypatch.setattr(weights, "_parse", lambda *_: pytest.fail("parsed"))
    for trial in range(700):
        bad, at = bytearray(data), rng.randrange(len(data))
        if trial < 500:
            bad[at] ^= 1 << rng.randrange(8)
        elif trial < 600:
            del bad[at:]
        else:
            bad += data[: at + 1]
        path.write_bytes(bad)
        with pytest.raises(WeightsError, match="SHA-256"):
            weights.load(name)


def header(**changes: object) -> dict[str, str]:
    facts = {"format": 1, "model": "irn", "config": {"scale": 2, "blocks": [1], "growth": 4, "depth": 2}} | changes
    return {"rescale": json.dumps(facts)}


@pytest.mark.parametrize(
    ("metadata", "change", "sentence"),
    [
        (None, {}, "written by rescale"),
        ({"rescale": "no json"}, {}, "written by rescale"),
        (header(format=2), {}, "update rescale"),
        (header(model="../../x"), {}, "do not fit"),
        (header(config={"scale": 4}), {}, "do not fit"),
        (header(config={"scale": "wide"}), {}, "do not fit"),
        (header(), {"extra": torch.zeros(1)}, "do not fit"),
        (header(), {"chain.steps.1.to_low.convs.0.bias": torch.zeros(7)}, "do not fit"),
        (header(), {"chain.steps.1.to_low.convs.0.bias": torch.full((4,), float("nan"))}, "finite"),
    ],
)
def test_files_that_do_not_fit_are_refused(tmp_path, metadata, change, sentence):
    path = tmp_path / "odd.safetensors"
    tensors = {key: value.contiguous() for key, value in small().state_dict().items()} | change
    path.write_bytes(safetensors.torch.save(tensors, metadata))
    with pytest.raises(WeightsError, match=sentence):
        weights.load(path)


def test_hostile_headers_are_refused(tmp_path):
    path = tmp_path / "hostile.safetensors"
    for data in (b"", b"\0" * 8, b"\xff" * 8 + b"{}", (10**9).to_bytes(8, "little") + b"{", b"\2\0\0\0\0\0\0\0{}"):
        path.write_bytes(data)
        with pytest.raises(WeightsError, match="written by rescale"):
            weights.load(path)
