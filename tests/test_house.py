"""The floor plan, as laws: what may import what, who may open files, who may print; and no test is a race."""

import ast
import re
from collections.abc import Iterator
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
HEAVY |= {"fsspec", "s3fs", "gcsfs", "pillow_heif", "spandrel", "huggingface_hub"}


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
        "batch.journal", "batch.sources", "bench.rate_distortion", "bench.video", "device", "evaluation.plots",
        "evaluation.published", "io.images", "io.object_store", "io.peek", "io.storage", "models.weights", "models.zoo",
        "stdo.dataset", "stdo.overfit", "training.dataset", "training.recipe", "training.release", "training.train",
        "video.files", "video.transcode", "video.io.container", "video.io.encoders", "video.io.mux",
        "video.io.segments", "video.io.sequence",
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


FRAGMENTS = "What Which Of How Where When Who As By In For From With At To On Under Than Beside Instead Whether So If"
"""First words of a fragment; a docstring opens with an imperative verb or a noun phrase instead."""


def docstrings(tree: ast.AST) -> list[str]:
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    texts = [ast.get_docstring(node) for node in ast.walk(tree) if isinstance(node, kinds)]
    return [text for text in texts if text]


def fragments(texts: list[str]) -> list[str]:
    return [text for text in texts if text.split()[0].strip("\"'`,;:.").capitalize() in FRAGMENTS.split()]


def test_docstrings_open_with_a_verb_or_a_noun():
    """At most one in fifty opens with a fragment, such as "What became of each job"."""
    texts = [text for tree in TREES.values() for text in docstrings(tree)]
    bad = fragments(texts)
    assert len(bad) <= 0.02 * len(texts), f"{len(bad)} of {len(texts)}: {bad}"
    assert len(texts) > 500


def test_a_fragment_is_caught():
    code = '''"""Whether it fits."""\nclass A:\n    """Yield jobs."""\n    def f(self): "What, then, became of it."'''
    assert fragments(docstrings(ast.parse(code))) == ["Whether it fits.", "What, then, became of it."]
    assert not fragments(["Inference on images.", "Format a row.", "(N, 3, H, W) -> (N,)", "Forward to HR."])


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


# ---------------------------------------------------------------------------------------------- clocks in tests


MINUTE = {"timeout": 60, "deadline": 60_000}
"""In what each word counts: seconds, but milliseconds where hypothesis asks."""
CLOCKS = {"monotonic", "perf_counter", "time", "process_time", "thread_time"}
WAITS = {"wait", "join", "communicate", "settimeout", "alarm", "dump_traceback_later", "set_default_timeout"}
"""What takes as its first argument when to give up."""
ARITHMETIC = ast.Constant | ast.Name | ast.BinOp | ast.UnaryOp | ast.operator | ast.unaryop | ast.expr_context


def haste(source: str) -> list[str]:
    """Lines that compare a clock with less than a minute, or that give up waiting in less."""
    tree = ast.parse(source)
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    clocks, known = set(CLOCKS), numbers(tree)
    for function in functions:
        returned = [node.value for node in ast.walk(function) if isinstance(node, ast.Return) and node.value]
        if any(is_time(value, times(function, clocks), clocks) for value in returned):
            clocks.add(function.name)
    found = [node for function in functions for node in races(function, times(function, clocks), clocks, known)]
    found += impatient(tree, known, in_ms="playwright" in source)
    return sorted({f"{node.lineno}: {ast.unparse(node)}" for node in found})


def races(function: ast.AST, names: set[str], clocks: set[str], known: dict[str, float]) -> Iterator[ast.expr]:
    """A time beside a number of seconds, compared or added up to a time that is compared later."""
    for node in ast.walk(function):
        match node:
            case ast.Compare(left, _, others):
                sides = [left, *others]
            case ast.BinOp(left, ast.Add() | ast.Sub(), right):
                sides = [left, right]
            case _:
                continue
        if any(is_time(side, names, clocks) for side in sides) and any(0 < number(side, known) < 60 for side in sides):
            yield node


def impatient(tree: ast.AST, known: dict[str, float], *, in_ms: bool) -> Iterator[ast.expr]:
    """Calls that are told when to give up."""
    minute = MINUTE | {"timeout": 60_000 if in_ms else 60}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            least = [(number(word.value, known), minute[word.arg]) for word in node.keywords if word.arg in minute]
            if last_name(node) in WAITS:
                least += [(number(value, {}), minute["timeout"]) for value in node.args[:1]]
            if any(0 < seconds < most for seconds, most in least):
                yield node


def is_time(node: ast.AST, names: set[str], clocks: set[str]) -> bool:
    """Whether a clock has a part in it, by itself or by a name."""
    parts = list(ast.walk(node))
    calls = {last_name(part) for part in parts if isinstance(part, ast.Call)}
    return bool(calls & clocks or {part.id for part in parts if isinstance(part, ast.Name)} & names)


def times(function: ast.AST, clocks: set[str]) -> set[str]:
    """Names that stand for what a clock has said, or for what was made of it."""
    names: set[str] = set()
    while more := {name for name, value in assigned(function) if is_time(value, names, clocks)} - names:
        names |= more
    return names


def numbers(tree: ast.AST) -> dict[str, float]:
    """Names that stand for numbers; where one stands for several, for the least."""
    known: dict[str, float] = {}
    for name, value in assigned(tree):
        known[name] = min(number(value, known), known.get(name, float("inf")))
    return known


def number(node: ast.expr, known: dict[str, float]) -> float:
    """What an expression of numbers and of names for numbers comes to; infinity if it is none."""
    try:
        assert all(isinstance(part, ARITHMETIC) for part in ast.walk(node))
        return float(eval(ast.unparse(node), {"__builtins__": {}}, known))
    except Exception:
        return float("inf")


def assigned(tree: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """Names with what they are set to, by default too, or what is put into them."""
    for node in ast.walk(tree):
        match node:
            case ast.Assign(targets, value):
                for target in targets:
                    yield from paired(target, value)
            case ast.AnnAssign(target, _, ast.expr() as value) | ast.NamedExpr(target, value):
                yield from paired(target, value)
            case ast.AugAssign(target, _, value) | ast.Call(ast.Attribute(target, "append"), [value]):
                yield from paired(target, ast.Tuple([target, value]))  # no number, but perhaps a time
            case ast.arguments():
                pairs = zip(reversed([*node.posonlyargs, *node.args]), reversed(node.defaults), strict=False)
                words = zip(node.kwonlyargs, node.kw_defaults, strict=True)
                yield from ((argument.arg, value) for argument, value in [*pairs, *words] if value)


def paired(target: ast.expr, value: ast.expr) -> Iterator[tuple[str, ast.expr]]:
    match target, value:
        case (ast.Name(name), _):
            yield name, value
        case (ast.Tuple(targets), ast.Tuple(values)) if len(targets) == len(values):
            for pair in zip(targets, values, strict=True):
                yield from paired(*pair)
        case (ast.Tuple(targets), _):
            for one in targets:
                yield from paired(one, value)


def last_name(call: ast.Call) -> str:
    return getattr(call.func, "attr", getattr(call.func, "id", ""))


@pytest.mark.parametrize("file", sorted((ROOT / "tests").rglob("*.py")), ids=lambda file: file.name)
def test_no_test_is_a_race(file):
    """A machine may be ten times slower, or busy: what guards against hanging waits a minute or more."""
    assert not haste(file.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "body",
    [
        "assert time.monotonic() - began < 2",
        "assert 0.5 * 60 > time.process_time()",
        "took = perf_counter() - began\n assert 0 < took <= MOST_S + 1",
        "times = []\n times.append(time.time() - began)\n assert not times or min(times) < MOST_S",
        "before, began = rss(), time.monotonic()\n assert work() - began < 59.9",
        "def took(): return time.thread_time()\n assert took() < 3",
        "end = time.monotonic() + seconds\n while time.monotonic() < end: pass",
        "longest = max(longest, time.monotonic() - began)\n if longest > 5: fail()",
        "subprocess.run(words, timeout=10)", "running.wait(30)", "running.communicate(timeout=MOST_S)",
        "thread.join(5)", "faulthandler.dump_traceback_later(30, exit=True)", "settings(deadline=200)",
        "from playwright.sync_api import Page\n page.click('a', timeout=5_000)",
        "from playwright.sync_api import Page\n page.set_default_timeout(30_000)",
    ],
)  # fmt: skip
def test_a_race_is_noticed(body):
    assert haste(f"MOST_S = 4\ndef test(seconds: float = 30):\n {body}")


@pytest.mark.parametrize(
    "body",
    [
        "assert time.monotonic() - began < 60", "end = time.monotonic() + LONG_S", "assert len(found) < 3",
        "before, began = rss(), time.monotonic()\n assert rss() - before < 3", "assert perf_counter() - began > 0",
        "subprocess.run(words, timeout=120)", "running.wait()", "','.join(words)", "settings(deadline=None)",
        "time.sleep(3)", "from playwright.sync_api import Page\n page.set_default_timeout(60_000)",
    ],
)  # fmt: skip
def test_what_is_no_race_is_let_through(body):
    assert not haste(f"LONG_S = 2 * 30\ndef test():\n {body}")
