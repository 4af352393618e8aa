"""Versions with known holes are not taken, and an audit that could not be made never looks like one that was."""

import os
import subprocess
import sys
import tomllib
from importlib import metadata

import pytest
from conftest import ROOT
from packaging.requirements import Requirement
from packaging.version import Version

FLOORS = {
    # Holes of 12.0 to 12.2 lie in FITS, GD, EPS, PSD, PDF, JPEG 2000 and McIdas, which are never opened here. But only
    # a new wheel brings new libwebp, libavif, libtiff and libjpeg, so there is no reason to take an older one.
    "pillow": "12.3",
    # Its libpng (1.6.55) decodes PNGs of 16 bits; libpng before 1.6.55 overflows.
    "imagecodecs": "2026.3.6",
    # `torch.load` ran code with weights_only before 2.6 and again before 2.10; it is never called here.
    "torch": "2.10",
    # 18.0 crashes the process on a truncated MP4.
    "av": "18.1",
    # Files of the server by open redirect and FileExplorer, before 6.20.
    "gradio": "6.20",
    # Code by way of a browser, before 2.52.
    "ray": "2.52",
    "huggingface-hub": "1.29",
}


def wanted() -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [line for lines in project["optional-dependencies"].values() for line in lines]
    return [Requirement(line) for line in (*project["dependencies"], *extras)]


def test_no_version_with_known_holes_may_be_installed():
    named = {requirement.name.lower(): requirement for requirement in wanted()}
    assert {"pillow", "imagecodecs", "torch", "av"} <= set(named)
    for name, floor in FLOORS.items():
        if name in named:
            least = max(Version(part.version) for part in named[name].specifier if part.operator == ">=")
            assert least >= Version(floor), name


def test_every_floor_is_one_that_was_tested():
    tested = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
    for requirement in wanted():
        if requirement.name in tested:
            assert requirement.specifier.contains(tested[requirement.name]), requirement


@pytest.mark.parametrize("name", FLOORS)
def test_what_is_installed_here_is_new_enough(name):
    try:
        assert Version(metadata.version(name)) >= Version(FLOORS[name])
    except metadata.PackageNotFoundError:
        pytest.skip(f"{name} is not installed")


SERVICE = """
import sys
known, installed = {known}, {installed}
asked_for_known = "-r" in sys.argv
print({{True: known, False: installed}}[asked_for_known])
sys.exit(1)
"""
HOLE = '{"id": "CVE-1", "fix_versions": ["9.0.1"]}'
BAD = f'{{"dependencies": [{{"name": "pillow", "version": "9.0.0", "vulns": [{HOLE}]}}]}}'
GOOD = '{"dependencies": [{"name": "numpy", "version": "2.0", "vulns": []}]}'
UNKNOWN = '{"dependencies": [{"name": "pillow", "skip_reason": "not found"}]}'


@pytest.mark.parametrize(
    ("known", "installed", "code", "sentence"),
    [
        (UNKNOWN, GOOD, 0, "LEFT OUT: audit: "), ("", GOOD, 0, "LEFT OUT: audit: "), (BAD, GOOD, 0, "0 known"),
        (BAD, BAD, 1, "pillow 9.0.0: CVE-1, fixed in 9.0.1"), (BAD, "", 1, "broke off"),
        (BAD, UNKNOWN, 0, "not audited: pillow: not found"),
    ],
)  # fmt: skip
def test_an_audit_is_believed_only_of_a_service_that_knows(known, installed, code, sentence, tmp_path):
    """A stand-in for pip-audit says what its service would."""
    (tmp_path / "pip_audit.py").write_text(SERVICE.format(known=repr(known), installed=repr(installed)))
    done = subprocess.run(
        [sys.executable, ROOT / ".ci" / "audit.py"], capture_output=True, text=True, cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == code and sentence in done.stdout, done
