"""The documentation holds: its first commands are run, its site is built, and all that it names is there.

`pip install` and `make` lines are not run, as they would change the environment of the tests: their words, extras and
targets are looked up instead.
"""

import importlib.util
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import torch
import typer
from conftest import PHOTO, ROOT
from filming import film
from PIL import Image

from rescale.cli import app

DOCS = ROOT / "docs"
GUIDE = DOCS / "getting-started.md"
ROOT_PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")]
PAGES = [*ROOT_PAGES, *sorted(DOCS.rglob("*.md"))]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
RESULT = re.compile(r"\s# ([\w./-]+\.(?:png|mp4|mkv))\b")
per_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def blocks(page: Path) -> list[tuple[str, str]]:
    """Language and content of every fenced block."""
    return FENCE.findall(text_of(page))


def lines_of(console: str) -> list[str]:
    """The commands of a console block, continued lines joined."""
    joined = console.replace("\\\n", " ")
    return [line.strip()[2:] for line in joined.splitlines() if line.strip().startswith("$ ")]


def shell_lines(page: Path) -> list[str]:
    return [line for language, body in blocks(page) if language == "console" for line in lines_of(body)]


def code_spans(page: Path) -> list[str]:
    return re.findall(r"`([^`\n]+)`", FENCE.sub("", text_of(page)))


# --------------------------------------------------------------------------------------------- what is shown, is run


@pytest.fixture
def environment(tmp_path, monkeypatch) -> dict[str, str]:
    """A folder with the files that the pages speak of, and a `rescale` that is the one under test."""
    photo = Image.open(PHOTO).convert("RGB")
    folder = tmp_path / "work"
    folder.mkdir()
    photo.crop((100, 60, 420, 300)).save(folder / "photo.jpg", quality=92)
    photo.crop((240, 120, 336, 192)).save(folder / "holiday.jpg", quality=92)
    film(folder / "clip.mp4", list(range(6)), sound=[0.0])
    command = tmp_path / "bin" / "rescale"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m rescale "$@"\n')
    command.chmod(0o755)
    monkeypatch.chdir(folder)
    paths = {"PATH": f"{command.parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    return os.environ | paths | {"OMP_NUM_THREADS": "1"}


def run(words: list[str], environment: dict[str, str]) -> None:
    done = subprocess.run(words, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{words[-1]}\n{done.stdout}{done.stderr}"


@pytest.mark.slow
@pytest.mark.parametrize("page", [ROOT / "README.md", GUIDE], ids=lambda page: page.name)
def test_blocks_run_as_they_stand(page, environment):
    count = 0
    for language, body in blocks(page):
        if language == "python":
            run([sys.executable, "-c", body], environment)
        for line in lines_of(body) if language == "console" else ():
            if line.startswith(("pip ", "make ")):
                continue
            run(["sh", "-euc", line], environment)
            count += 1
            for result in RESULT.findall(line):
                assert Path(result).is_file(), line
    assert count >= 5


@pytest.mark.slow
def test_the_digest_of_a_record_is_the_one_specified(environment):
    (code,) = (body for language, body in blocks(DOCS / "concepts" / "record-format.md") if language == "python")
    run(["sh", "-c", "rescale down photo.jpg"], environment)
    run([sys.executable, "-c", code], environment)
    Image.open("photo.x4.png").transpose(Image.Transpose.FLIP_LEFT_RIGHT).save("other.png")
    with pytest.raises(AssertionError):  # a record that does not fit fails
        run([sys.executable, "-c", code.replace("photo.x4.png", "other.png")], environment)


def test_gradients_pass_as_the_guide_says():
    (code,) = (body for language, body in blocks(DOCS / "guides" / "gradients.md") if language == "python")
    names: dict = {}
    exec(compile(code, "gradients.md", "exec"), names)
    model, x = names["rescaler"].model, names["x"].detach()[..., :8, :8].clone().requires_grad_()
    assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in model.parameters())
    model.requires_grad_(False).double()
    points = [x.detach().double().requires_grad_()]
    assert torch.autograd.gradcheck(lambda x: model.upscale(model.downscale(x)), points, eps=1e-6, atol=1e-4)


@per_page
def test_installing_and_making_name_what_exists(page):
    targets = re.findall(r"^([a-z]+):", text_of(ROOT / "Makefile"), re.MULTILINE)
    for line in shell_lines(page):
        words = shlex.split(line, comments=True)
        if words[0] == "make":
            assert words[1] in targets, line
        if words[0] == "pip":
            assert words[1] == "install", line
            *options, wanted = words[2:]
            assert options in ([], ["--constraint", "constraints.txt"]), line
            found = re.fullmatch(r"\.(?:\[([a-z,]+)\])?", wanted)
            assert found, line
            assert set(filter(None, (found[1] or "").split(","))) <= set(PYPROJECT["optional-dependencies"]), line


def test_every_extra_is_in_the_table_and_no_other():
    rows = re.findall(r"^\| `([a-z]+)` \|", text_of(GUIDE), re.MULTILINE)
    assert set(rows) == set(PYPROJECT["optional-dependencies"])


# ----------------------------------------------------------------------------------------- what is named, is there


def commands(group=None, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], set[str]]:
    """The options of every command, by its words."""
    group = group or typer.main.get_command(app)
    options = {name for parameter in group.params for name in (*parameter.opts, *parameter.secondary_opts)}
    found = {path: {*options, "--help"}}
    for name, command in getattr(group, "commands", {}).items():
        found |= commands(command, (*path, name))
    return found


COMMANDS = commands()
OPTION = re.compile(r"--[a-z][a-z-]*|-[a-zA-Z]")


def check(line: str) -> None:
    """Every word of a `rescale` line that looks like an option is one of its command."""
    words = shlex.split(line, comments=True)
    if words[:1] != ["rescale"] and words[-1:] != ["rescale"] and "-m rescale " not in line:
        return
    words = words[words.index("rescale") + 1 :]
    if not words or not words[0].islower():  # `rescale COMMAND`
        return
    path = tuple(words[:2]) if tuple(words[:2]) in COMMANDS else tuple(words[:1])
    path = () if words[0].startswith("-") else path
    assert path in COMMANDS, f"no command {' '.join(words[:2])!r}"
    used = {word.partition("=")[0] for word in words if OPTION.fullmatch(word.partition("=")[0])}
    assert used <= COMMANDS[path], f"{' '.join(path)} has no {', '.join(used - COMMANDS[path])}"


@per_page
def test_every_command_and_option_exists(page):
    known = set().union(*COMMANDS.values())
    for line in shell_lines(page):
        check(line)
    for code in code_spans(page):
        if code.startswith("rescale "):
            check(code)
        first = code.split(" ")[0].partition("=")[0]
        assert not OPTION.fullmatch(first) or first in known, f"no command has {first}"


@per_page
def test_links_of_the_repository_lead_somewhere(page):
    """MkDocs checks those between pages of the site; these are read in the repository as well."""
    for link in LINK.findall(FENCE.sub("", text_of(page))):
        if re.match(r"https?://", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        if anchor and not re.search(r"^<!-- ", text_of(target), re.MULTILINE):
            assert anchor in map(slug, re.findall(r"^#+ (.+)$", text_of(target), re.MULTILINE)), link


def slug(heading: str) -> str:
    return re.sub(r"[\s]+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower())


def test_readme_is_short():
    assert len(text_of(ROOT / "README.md").splitlines()) <= 150


def test_the_code_map_names_every_module_and_the_readme_every_extra():
    named = set(re.findall(r"\w+", text_of(DOCS / "concepts" / "code-map.md")))
    modules = {path.stem for path in (ROOT / "rescale").rglob("*.py")} - {"__init__", "__main__"}
    assert modules <= named, modules - named
    extras = tomllib.loads(text_of(ROOT / "pyproject.toml"))["project"]["optional-dependencies"]
    told = {cells[0].strip("`") for cells in table_rows(ROOT / "README.md")}
    assert set(extras) - {"dev", "docs"} <= told


def test_readme_and_benchmarks_say_the_same():
    rows = [cells for cells in table_rows(ROOT / "README.md") if re.match(r"x\d", cells[1])]
    assert len(rows) == 10
    known = table_rows(DOCS / "benchmarks.md")
    for model, scale, _, *scores in rows:
        assert [model, scale, *scores] in known


def test_benchmarks_say_what_the_manifest_says():
    """All columns of each model: Y / SSIM, RGB and LR on Y / RGB, on each set of its table."""
    manifest = tomllib.loads(text_of(ROOT / "weights" / "manifest.toml"))
    rows = {
        (cells[1].strip("*`"), cells[0]): cells[3:] for cells in table_rows(DOCS / "benchmarks.md") if len(cells) > 5
    }
    for name, entry in manifest.items():
        for test_set, score in entry["scores"].items():
            test_set, _, scale = test_set.partition(" ")
            cells = rows.get((name, scale or f"x{entry['scale']}"), [])
            at = 3 * ("Set5", "Set14", "B100").index(test_set)
            if test_set == "Set5" or not scale:
                assert cells[at : at + 3] == columns_of(score), (name, test_set, scale)


def columns_of(score: str) -> list[str]:
    y, rgb, lr_y, lr_rgb = re.fullmatch(r"(.+), RGB (.+); LR (.+), RGB (.+)", score).groups()
    return [y, rgb, "exact" if lr_y == "exact" else f"{lr_y} / {lr_rgb}"]


def table_rows(page: Path) -> list[list[str]]:
    lines = text_of(page).splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]


# ------------------------------------------------------------------------------------------------------- the site


@pytest.mark.slow
@pytest.mark.skipif(not importlib.util.find_spec("mkdocs"), reason="the extra docs, a part of dev, is missing")
def test_the_site_is_built_without_a_warning_and_fetches_nothing(tmp_path):
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(words, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    pages = {page: text_of(page) for page in (tmp_path / "site").rglob("*.html")}
    assert len(pages) == len(list(DOCS.rglob("*.md"))) + 1  # and 404.html
    for page, html in pages.items():
        elsewhere = re.findall(r'<(?:script|link|img|source|iframe)\b[^>]*(?:src|href)="(?:https?:)?//[^"]*', html)
        assert not elsewhere, page
    whole = "".join(pages.values())
    assert "<!-- insert" not in whole and "<!-- include" not in whole
    assert "rescale bench overfit" in whole and "weight_decay" in whole and 'id="rescale.load"' in whole
