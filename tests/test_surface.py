"""The names that programs use: all are there, seen before they are used, and hidden by no module."""

import inspect
import subprocess
import sys

import pytest
from conftest import ROOT

import rescale
from rescale import errors

ERRORS = {
    "DiskFullError", "InputError", "MachineError", "RecordError", "RefusedError", "RescaleError", "UnsupportedError",
    "UsageError", "WeightsError",
}  # fmt: skip
FUNCTIONS = {
    "downscale_file", "downscale_video", "evaluate", "frames", "load", "overfit", "quantize", "upscale_file",
    "upscale_video",
}  # fmt: skip
VALUES = {
    "EncodeOptions", "FileResult", "OverfitBudget", "OverfitResult", "Picture", "RefineBudget", "RescaleOptions",
    "Rescaler", "VideoFrames", "VideoResult",
}  # fmt: skip


def test_the_surface_is_this():
    assert set(rescale.__all__) == ERRORS | FUNCTIONS | VALUES | {"__version__"}
    assert list(rescale.__all__) == sorted(rescale.__all__)
    assert all(inspect.isfunction(getattr(rescale, name)) for name in FUNCTIONS)
    assert all(inspect.isclass(getattr(rescale, name)) for name in ERRORS | VALUES)
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        rescale.lode  # noqa: B018


def test_every_error_is_public():
    family = {name for name, kind in vars(errors).items() if inspect.isclass(kind) and issubclass(kind, Exception)}
    assert family == ERRORS


def test_no_module_hides_a_public_name():
    modules = {path.stem for path in (ROOT / "rescale").iterdir()}
    assert not modules & set(rescale.__all__)


def test_names_are_listed_before_they_are_used():
    code = """
import sys, rescale
names = dir(rescale)
print(set(rescale.__all__) <= set(names), "load" in names, "import_module" in names, "Any" in names, "errors" in names)
print({"torch", "numpy", "PIL"} & set(sys.modules))
rescale.RescaleError
print({"torch", "numpy", "PIL"} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["True True False False False", "set()", "set()"]


def names_of(function) -> list[str]:
    return list(inspect.signature(function).parameters)


def test_files_and_videos_take_the_same_words():
    assert names_of(rescale.downscale_file) == ["model", "source", "target", "scale", "refine", "overwrite", "options"]
    assert names_of(rescale.downscale_video) == ["model", "source", "target", "scale", "overwrite", "options"]
    assert names_of(rescale.upscale_file) == names_of(rescale.upscale_video)
    assert names_of(rescale.upscale_file) == ["source", "target", "model", "scale", "overwrite", "options"]
