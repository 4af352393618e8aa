"""The floor plan, as laws: what may import what, who may open files, who may print."""

import ast
import re
from pathlib import Path
from statistics import median

import pytest
from conftest import ROOT

PACKAGE = ROOT / "rescale"
READING_ORDER = [
    "errors", "storage", "memory", "geometry", "ops", "bands", "resample", "cells", "tiles",
    "sizes", "chunks", "picture", "deep", "decoding", "encoding", "images", "record", "alpha",
    "layers", "metrics", "perceptual",
    "models.base", "models.bicubic", "models.luma", "models.espcn", "models.wdsr", "models.irn", "models.iarn",
    "models",
    "engine", "weights", "pickles", "official", "export", "collaborate", "kinds", "runner", "rescaler", "golden",
    "video.containers", "files",
    "video.colour", "video.luma", "video.frames", "video.encoders", "video.segments", "video.mux",
    "video.partition", "video.patchwork", "video.parcel", "video.workers",
    "video.realtime", "video.label", "video.ways", "video.journeys", "video.live",
    "video.contest", "video",
    "batch", "manifest", "task", "crew", "cluster", "run", "tally",
    "evaluate", "cycles", "paper", "grid", "exam", "curve", "graphics", "data", "recipe",
    "muon", "adversary", "parallel", "state", "train", "release",
    "video.pairs", "video.polish", "video.memorise", "video.overfit", "video.rivals", "bench", "doctor",
    "console", "cli.options", "cli.moving", "cli.pictures", "cli.contest", "cli.scores", "cli.cycling",
    "demo.visits", "demo.views", "demo.exhibit", "demo.acts", "demo.guard", "demo.desk", "demo.page",
    "demo.server", "demo",
    "cli.training", "cli.measuring", "cli.overfitting", "cli.showing", "cli.checking",
    "cli", "__main__", "",
]  # fmt: skip
HEAVY = {"gradio", "av", "ray", "lpips", "torchvision", "kornia", "matplotlib", "onnxruntime", "openvino", "cv2"}
HEAVY |= {"fsspec", "s3fs", "gcsfs"}


def name_of(file: Path) -> str:
    parts = file.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


FILES = {name_of(file): file for file in sorted(PACKAGE.rglob("*.py"))}
TREES = {name: ast.parse(file.read_text(encoding="utf-8")) for name, file in FILES.items()}


def imports(tree: ast.AST) -> set[str]:
    """Modules of this package that a tree imports, by name; `from rescale import x` may mean a module or a name."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "rescale":
            module = (node.module or "").removeprefix("rescale").removeprefix(".")
            named = {".".join(filter(None, (module, alias.name))) for alias in node.names}
            found |= {name for name in named if name in FILES} or {module}
    return found


def test_every_room_is_in_the_reading_order():
    assert set(READING_ORDER) == set(FILES)


@pytest.mark.parametrize("name", [name for name in READING_ORDER if name])
def test_imports_point_down_only(name):
    above = set(READING_ORDER[READING_ORDER.index(name) :]) - {""}
    assert not imports(TREES[name]) & above


@pytest.mark.parametrize("name", READING_ORDER)
def test_every_file_says_what_it_is_for(name):
    assert ast.get_docstring(TREES[name])


def test_only_these_rooms_open_files():
    openers = {
        name
        for name, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and node.attr in {"open", "read_bytes", "read_text", "write_bytes", "write_text"}
        if not (isinstance(node.value, ast.Name) and node.value.id in {"Image", "images", "storage"})
    }
    pictures = {
        "images",
        "storage",
        "memory",
        "batch",
        "manifest",
        "weights",
        "release",
        "data",
        "recipe",
        "train",
        "curve",
        "paper",
    }
    video = {"containers", "encoders", "contest", "journeys", "mux", "pairs", "rivals", "segments"}
    assert openers <= pictures | {f"video.{name}" for name in video}


def test_only_the_command_line_prints():
    printing = {
        name
        for name, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    }
    assert not printing


def test_nothing_unpickles_and_nothing_heavy_is_imported():
    for name, tree in TREES.items():
        page = {"gradio"} if name in ("demo.desk", "demo.page") else set()  # which only the demo opens
        for node in ast.walk(tree):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            heavy = HEAVY - page if node in tree.body else set()  # these are fetched when first asked for
            assert not {name.split(".")[0] for name in names} & ({"pickle"} | heavy)
            assert not (isinstance(node, ast.Attribute) and ast.unparse(node) in {"torch.load", "torch.save"})


def test_nothing_is_run_that_a_stranger_could_have_written():
    for tree in TREES.values():
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            name = ast.unparse(call.func)
            assert name not in {"eval", "exec", "compile", "os.system", "os.popen", "cv2.imread"}
            assert not name.endswith((".extractall", ".load_module", ".hub.load"))
            assert not any(word.arg == "shell" for word in call.keywords)


def test_every_promise_of_security_names_a_test_that_exists():
    named = re.findall(r"(test_\w+\.py)::(test_\w+)", (ROOT / "SECURITY.md").read_text(encoding="utf-8"))
    assert len(named) > 15
    for file, test in named:
        assert f"def {test}(" in (ROOT / "tests" / file).read_text(encoding="utf-8"), (file, test)


def functions() -> list[ast.FunctionDef]:
    return [node for tree in TREES.values() for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]


def body_lines(function: ast.FunctionDef) -> int:
    body = function.body[1:] if ast.get_docstring(function) else function.body
    return body[-1].end_lineno - body[0].lineno + 1 if body else 0


def test_functions_are_short():
    lengths = sorted(body_lines(f) for f in functions())
    assert median(lengths) <= 7
    assert lengths[int(0.9 * len(lengths))] <= 30
    assert max(lengths) <= 60


def test_functions_are_annotated():
    assert all(f.returns is not None for f in functions())


def test_public_names_exist_and_are_sorted():
    import rescale

    names = [name for name in rescale.__all__ if not name.startswith("__")]
    assert names == sorted(names)
    assert all(getattr(rescale, name) is not None for name in rescale.__all__)
