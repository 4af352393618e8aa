"""Exported networks do what ours do, at sizes that they were not made with."""

import onnxruntime
import pytest
import torch

import rescale
from rescale.bench.runtimes import rivals
from rescale.errors import MachineError, RescaleError, UsageError
from rescale.models.export import TOLERANCE, export


def network(name: str) -> torch.nn.Module:
    return rescale.load(name, device="cpu").model


def enlarged_by(path, x):
    if path.suffix == ".pt2":
        return torch.export.load(path).module()(x)
    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {"lr": x.numpy()})[0])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["espcn-x3", "irn-x2-small", "espcn-x2-rt"])
@pytest.mark.parametrize("suffix", [".onnx", ".pt2"])
def test_what_is_written_enlarges_as_the_model_does(name, suffix, tmp_path):
    model, target = network(name), tmp_path / f"net{suffix}"
    assert export(model, target) <= TOLERANCE
    for size in ((1, 3, 3, 3), (2, 3, 40, 17)) if model.cell == 1 else ((1, 3, 4, 4), (2, 3, 40, 18)):
        x = torch.rand(size)
        with torch.inference_mode():
            wanted = model.upscale(x).clamp(0, 1)
        assert torch.allclose(enlarged_by(target, x), wanted, atol=TOLERANCE)


@pytest.mark.filterwarnings("ignore")
def test_other_programs_are_found_and_agree(monkeypatch):
    monkeypatch.delenv(
        "ONEDNN_MAX_CPU_ISA", raising=False
    )  # OpenVINO has a oneDNN of its own, which then makes nothing
    model, x = network("espcn-x2"), torch.rand(1, 3, 30, 44)
    found = rivals(model)
    assert set(found) == {"ONNX Runtime", "OpenCV", "OpenVINO"}
    with torch.inference_mode():
        wanted = model.upscale(x).clamp(0, 1)
    coarse = {"OpenVINO": 4 / 255}  # of its own accord it computes in bfloat16 where the processor can
    for title, run in found.items():
        assert torch.allclose(run(x), wanted, atol=coarse.get(title, TOLERANCE))


@pytest.mark.parametrize("name", ["iarn-small", "bicubic", "bicubic-x2"])
def test_other_models_are_refused(name, tmp_path):
    with pytest.raises(UsageError, match="a model of one scale with a network"):
        export(network(name), tmp_path / "net.onnx")


def test_other_suffixes_and_existing_files_are_refused(tmp_path):
    with pytest.raises(UsageError, match=r"ends in \.onnx or \.pt2"):
        export(network("espcn-x2"), tmp_path / "net.pth")
    target = tmp_path / "net.pt2"
    target.write_text("mine")
    with pytest.raises(RescaleError, match="exists"):
        export(network("espcn-x2"), target)
    assert target.read_text() == "mine"


def test_a_missing_package_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MachineError, match=r"rescale\[export\]"):
        export(network("espcn-x2"), tmp_path / "net.onnx")


@pytest.mark.filterwarnings("ignore")
def test_an_export_that_differs_is_not_left(monkeypatch, tmp_path):
    monkeypatch.setattr("rescale.models.export.TOLERANCE", -1.0)
    with pytest.raises(RescaleError, match="nothing was written"):
        export(network("espcn-x2"), tmp_path / "net.pt2")
    assert not list(tmp_path.iterdir())
