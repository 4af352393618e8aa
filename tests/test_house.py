"""The floor plan, as laws: what may import what, who may open files, who may print."""

import ast
import re
from pathlib import Path
from statistics import median

import pytest
from conftest import ROOT

PACKAGE = ROOT / "rescale"
PACKAGES = [
    "errors", "version", "geometry", "device", "metrics", "ops", "io", "models", "executors", "inference", "evaluation",
    "training", "video", "batch", "stdo", "bench", "diagnostics", "demo", "cli",
]  # fmt: skip
"""A module imports from its own package, or from packages that stand before it."""
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
            found |= {name if name in FILES else module for name in named}
    return found


GRAPH = {name: imports(tree) for name, tree in TREES.items() if name not in ("", "__main__")}


def package_of(name: str) -> str:
    return name.partition(".")[0]


def upward(graph: dict[str, set[str]]) -> list[str]:
    """Imports of what does not stand before."""
    rank = {name: index for index, name in enumerate(PACKAGES)}
    return [
        f"{name} imports {other or 'rescale'}"
        for name, others in graph.items()
        for other in others
        if rank.get(package_of(other), len(rank)) > rank[package_of(name)]
    ]


def circles(graph: dict[str, set[str]]) -> list[str]:
    """Modules that reach themselves by imports."""
    found = []
    for start in graph:
        seen, ahead = set[str](), list(graph[start] - {start})
        while ahead:
            name = ahead.pop()
            if name not in seen:
                seen.add(name)
                ahead.extend(graph.get(name, ()))
        found += [start] if start in seen else []
    return found


def test_the_packages_are_these():
    assert {package_of(name) for name in FILES} - {"", "__main__"} == set(PACKAGES)


def test_imports_point_down_only():
    assert not upward(GRAPH)
    assert upward({"io.images": {"video.files"}, "video.files": {""}}) == [
        "io.images imports video.files", "video.files imports rescale",
    ]  # fmt: skip


def test_no_package_has_a_circle():
    assert not circles(GRAPH)
    assert circles({"io.a": {"io.b"}, "io.b": {"io.c"}, "io.c": {"io.a"}, "io.d": {"io.a"}}) == ["io.a", "io.b", "io.c"]


@pytest.mark.parametrize("name", FILES)
def test_every_file_says_what_it_is_for(name):
    assert ast.get_docstring(TREES[name])


def test_tests_mirror_the_packages():
    folders = {file.parent.name for file in (ROOT / "tests").rglob("test_*.py")} - {"tests"}
    assert folders <= {name for name in PACKAGES if (PACKAGE / name).is_dir()}


def test_only_these_rooms_open_files():
    openers = {
        name
        for name, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and node.attr in {"open", "read_bytes", "read_text", "write_bytes", "write_text"}
        if not (isinstance(node.value, ast.Name) and node.value.id in {"Image", "images", "storage"})
    }
    assert openers <= {
        "batch.journal", "batch.plan", "bench.rate_distortion", "bench.video", "device", "evaluation.plots",
        "evaluation.published", "io.images", "io.object_store", "io.storage", "models.weights", "models.zoo",
        "stdo.dataset", "stdo.overfit", "training.dataset", "training.recipe", "training.release", "training.train",
        "video.files", "video.transcode", "video.io.container", "video.io.encoders", "video.io.mux",
        "video.io.segments",
    }  # fmt: skip


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
        page = {"gradio"} if name in ("demo.handlers", "demo.ui") else set()  # which only the demo opens
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
    named = re.findall(r"([\w/]*test_\w+\.py)::(test_\w+)", (ROOT / "SECURITY.md").read_text(encoding="utf-8"))
    assert len(named) > 15
    for name, test in named:
        file = ROOT / "tests" / name
        assert f"def {test}(" in file.read_text(encoding="utf-8"), (file, test)


FLAG = re.compile(
    r"(?<![\w-])(--[a-z]|-[a-z]\b(?!-))|`(down|up)`"
    r"|\brescale (down|up|overfit|play|evaluate|cycles|train|models|export|bench|demo|doctor)\b"
)


def flags_named(tree: ast.AST) -> list[str]:
    """Messages of errors, and hints, that speak of the command line."""
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("Error")]
    texts = [ast.unparse(part) for call in calls for part in (*call.args, *(word.value for word in call.keywords))]
    return [text for text in texts if FLAG.search(text)]


def test_no_message_of_the_library_names_a_flag_or_verb():
    """A hint speaks of arguments; the command line alone knows its flags."""
    assert not [text for name, tree in TREES.items() if package_of(name) != "cli" for text in flags_named(tree)]
    for bad in ("x exists; pass --overwrite", "pass another -o", "`rescale up` takes any"):
        assert flags_named(ast.parse(f"raise RefusedError(f{bad!r})"))
    assert not flags_named(ast.parse("raise RefusedError('a well-kept file', hint='pass overwrite=True')"))


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


def parameters(function: ast.FunctionDef) -> int:
    """Without self and cls."""
    taken = function.args
    return len([a for a in (*taken.posonlyargs, *taken.args, *taken.kwonlyargs) if a.arg not in ("self", "cls")])


def test_functions_take_few_arguments():
    """What belongs together is a value: options, a budget, a record. The command line spells all of them out."""
    many = [
        f"{name}.{node.name}"
        for name, tree in TREES.items()
        if package_of(name) != "cli"
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and parameters(node) > 7
    ]
    assert len(many) <= 4, many
    (made,) = ast.parse("def f(self, a, /, b, *, c, d, e, g, h, i): ...").body
    assert parameters(made) == 8


def test_functions_are_annotated():
    assert all(f.returns is not None for f in functions())
