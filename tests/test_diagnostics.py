"""The doctor finds what works, what is missing and what is broken; its golden figures are those of the manifest."""

import hashlib
import importlib.util
import json
import re
import shutil
import subprocess
import sys
import tomllib

import PIL
import pytest
from conftest import ROOT, shake
from PIL import Image
from waiting import HANG_S

import rescale
from rescale import diagnostics
from rescale.cli import doctor
from rescale.errors import MachineError
from rescale.inference import selftest
from rescale.inference.rescaler import Rescaler
from rescale.io import images
from rescale.io.formats import FORMATS
from rescale.models import weights, zoo

READ = {*FORMATS} - ({"HEIF"} if importlib.util.find_spec("pillow_heif") is None else set())
NO_FAULT_OF_OURS = re.compile(r"^(LPIPS in evaluate|export to ONNX|curves).*")
"""Packages beside ours that do not fit each other here; what the doctor is for, and nothing that this test can mend."""


def ours(report: dict) -> list[str]:
    return [problem for problem in report["broken"] if not NO_FAULT_OF_OURS.match(problem)]


def test_all_that_is_shipped_works():
    command = [sys.executable, "-m", "rescale", "doctor", "--json", "--device", "cpu"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=HANG_S)
    report = json.loads(done.stdout)
    assert done.returncode == (5 if report["broken"] else 0) and not done.stderr and not ours(report)
    assert list(report["models"]) == list(zoo.manifest()) and set(report["formats"]) == READ
    assert set(report["encoders"]) == {"h264", "h265", "av1", "vp9", "ffv1", "prores"}
    assert report["versions"]["rescale"] == rescale.__version__ and report["versions"]["pillow"] == PIL.__version__
    assert all(found["down_mps"] > 0 and found["up_mps"] > 0 for found in report["models"].values())


@pytest.fixture(scope="module")
def report() -> diagnostics.Report:
    return diagnostics.examine("cpu")


def test_it_fits_one_screen(report):
    lines = list(doctor._lines(report))
    told = [line for line in lines if not line.startswith(("broken", "missing"))]
    assert max(map(len, told)) <= 80 and len(told) <= 24
    assert lines[-1].startswith("all that is installed works" if not report.broken else f"{len(report.broken)} broken")


def test_a_changed_weight_file_and_a_network_that_makes_something_else_are_broken(tmp_path, monkeypatch):
    for file in zoo.weights_folder().glob("*"):
        if file.suffix in (".toml", ".safetensors"):
            shutil.copy(file, tmp_path)
    damaged, gone = (tmp_path / zoo.manifest()[name].file for name in ("espcn-x2", "espcn-x3"))
    data = bytearray(damaged.read_bytes())
    data[-9] ^= 1
    damaged.write_bytes(data)
    gone.unlink()
    text = (tmp_path / "manifest.toml").read_text().replace(str(list(zoo.manifest()["espcn-x4"].golden)), "[1, 2]")
    (tmp_path / "manifest.toml").write_text(text)
    monkeypatch.setattr(zoo, "weights_folder", lambda: tmp_path)
    zoo.manifest.cache_clear()
    try:
        found = diagnostics.Report()
        diagnostics._try_models(found, diagnostics.usable_device("cpu"))
    finally:
        zoo.manifest.cache_clear()
    said = dict(problem.split(": ", 1) for problem in found.broken)
    assert set(said) == {"espcn-x2", "espcn-x3", "espcn-x4"}
    assert "SHA-256" in said["espcn-x2"] and "No such file" in said["espcn-x3"]
    assert said["espcn-x4"].startswith("expected 1.00 dB small and 2.00 restored, got 58.")


def test_a_list_of_models_that_cannot_be_read_is_broken(tmp_path, monkeypatch):
    monkeypatch.setattr(zoo, "weights_folder", lambda: tmp_path)
    zoo.manifest.cache_clear()
    found = diagnostics.Report()
    diagnostics._try_models(found, diagnostics.usable_device("cpu"))
    assert "the list of models" in found.broken[0] and len(found.broken) == 1


def test_a_pillow_without_a_format_is_broken(monkeypatch):
    Image.init()
    monkeypatch.delitem(Image.SAVE, "AVIF")
    found = diagnostics.Report()
    diagnostics._try_formats(found)
    assert found.broken == ["AVIF: this Pillow was built without AVIF; install one from its wheels"]
    assert set(found.formats) == READ - {"AVIF"}
    with pytest.raises(MachineError, match="without AVIF"):
        images.encode("AVIF", selftest.test_image((8, 8)))


def test_what_is_not_installed_is_no_fault_and_says_how_to_get_it(monkeypatch):
    for name in ("av", "matplotlib"):
        monkeypatch.setitem(sys.modules, name, None)
    found = diagnostics.Report()
    diagnostics._try_extras(found)
    assert found.missing["video"] == "needs av: pip install 'rescale[video]'"
    assert "rescale[train]" in found.missing["curves, and degraded images in training"]
    assert "video" not in str(found.broken)


def test_the_extras_are_those_of_the_package():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = {
        extra: {re.match(r"[\w-]+", line)[0].replace("-", "_") for line in lines} for extra, lines in extras.items()
    }
    assert {extra: set(modules) for extra, (_, modules) in diagnostics.EXTRAS.items()} == {
        extra: names - {"rescale"} for extra, names in named.items() if extra not in ("dev", "docs")
    }


def test_the_golden_picture_is_the_same_everywhere():
    pixels = selftest.test_image().pixels
    assert hashlib.sha256(pixels.tobytes()).hexdigest()[:16] == "6196e6add52ead30"


@pytest.mark.parametrize("name", list(zoo.manifest()))
def test_golden_figures_are_of_these_weights(name):
    """If they are not: python -c 'from rescale.training import release; release.take_golden_figures_anew()'"""
    loaded, kept = weights.load(name), zoo.manifest()[name].golden
    found = selftest.trial(Rescaler(loaded, precision="float32"))
    assert kept is not None and all(abs(a - b) < 0.02 for a, b in zip(found.figures, kept, strict=True))
    assert selftest.deviation(found, kept) is None and selftest.deviation(found, None) is None
    shake(loaded.model, 0.01)
    assert selftest.deviation(selftest.trial(Rescaler(loaded, precision="float32")), kept)


def test_a_torchvision_of_another_build_is_named_with_its_cure(tmp_path, monkeypatch):
    """By a package that fails as such a one does, since the one at hand fits."""
    (tmp_path / "torchvision").mkdir()
    text = 'raise RuntimeError("operator torchvision::nms does not exist")'
    (tmp_path / "torchvision" / "__init__.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.partition(".")[0] in ("torchvision", "lpips")]:
        monkeypatch.delitem(sys.modules, name)
    found = diagnostics.Report()
    diagnostics._try_extras(found)
    assert found.broken
    for said in found.broken:
        assert "does not exist; torchvision was built for another build than torch" in said and "same index" in said
