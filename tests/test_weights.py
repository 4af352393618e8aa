"""Shipped weights are what the manifest says; anything else is refused before a tensor is built."""

import hashlib
import json
import pickle
import random
import sys

import pytest
import safetensors.torch
import torch
from conftest import shake

from rescale import weights
from rescale.errors import InputError, UsageError, WeightsError
from rescale.models import IRN, MODELS, IRNConfig

NAMES = list(weights.manifest())


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
    entry = weights.manifest()[name]
    data = (weights.folder() / entry.file).read_bytes()
    assert hashlib.sha256(data).hexdigest() == entry.sha256
    assert len(data) == entry.size_bytes
    loaded = weights.load(name)
    assert type(loaded.model) is MODELS[entry.model]
    assert loaded.model.parameter_count == entry.parameters
    assert loaded.model.scale == entry.scale
    assert loaded.header["steps"] > 0 and len(loaded.header["data"]) == 64
    assert entry.scores and entry.scores.items() <= loaded.header["scores"].items()


def test_every_weight_file_has_a_row():
    files = {path.name for path in weights.folder().glob("*.safetensors")}
    assert files == {entry.file for entry in weights.manifest().values()}


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


def test_tampered_shipped_weights_are_refused(saved, monkeypatch):
    """Flips, cuts and additions: the digest is taken of the bytes that are parsed."""
    data, rng = saved.read_bytes(), random.Random(5)
    row = {"file": saved.name, "size_bytes": len(data), "model": "irn", "scale": 2, "parameters": 0, "summary": ""}
    (saved.parent / "manifest.toml").write_text(
        "[small]\n" + "\n".join(f"{k} = {json.dumps(v)}" for k, v in row.items())
        + f'\nsha256 = "{hashlib.sha256(data).hexdigest()}"\n[small.scores]\n'
    )  # fmt: skip
    monkeypatch.setattr(weights, "folder", lambda: saved.parent)
    weights.manifest.cache_clear()
    try:
        assert weights.load("small").name == "small"
        for _ in range(60):
            bad = bytearray(data)
            at = rng.randrange(len(bad))
            bad[at] ^= 1 << rng.randrange(8)
            for changed in (bytes(bad), data[:at], data + data[:at] + b"\0"):
                saved.write_bytes(changed)
                with pytest.raises(WeightsError, match="SHA-256"):
                    weights.load("small")
    finally:
        weights.manifest.cache_clear()


class Canary:
    def __reduce__(self):
        return (exec, ("import sys; sys.canary = True",))


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".pt", ".ckpt", ".bin", ".pkl"])
def test_pickles_are_never_opened(tmp_path, suffix):
    path = tmp_path / f"evil{suffix}"
    path.write_bytes(pickle.dumps(Canary()))
    with pytest.raises((WeightsError, UsageError), match="safetensors"):
        weights.load(path)
    assert not hasattr(sys, "canary")


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
