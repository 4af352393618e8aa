"""What a page states of the program is taken from the program when the site is built, never copied by hand.

A line `<!-- insert: NAME -->` in a page becomes what the function of that name returns; `<!-- include: FILE -->`
becomes a Markdown file of the repository's root.
"""

import ast
import inspect
import json
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from typer.testing import CliRunner

import rescale
from rescale import errors
from rescale.cli import app

ROOT = Path(__file__).parent.parent
_MARK = re.compile(r"^<!-- (insert|include): (\S+) -->$", re.MULTILINE)
_IMAGE = re.compile(r"\]\((?:\.\./)+demo/([\w.]+)\)")
_ROOT_LINK = re.compile(r"\]\((?:docs/([\w/.-]+)|(SECURITY|CHANGELOG|CONTRIBUTING)\.md)\)")
_ROOT_PAGES = {"SECURITY": "security.md", "CHANGELOG": "changelog.md", "CONTRIBUTING": "contributing.md"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """The images that README.md shows too are served from where they lie."""
    for path in [*sorted((ROOT / "demo").glob("*.webp")), ROOT / "demo" / "scales.png"]:
        files.append(File.generated(config, f"images/{path.name}", abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Fill the marks of a page, and let its images be found in the site as in the repository."""
    up = "../" * page.file.src_uri.count("/")
    return _IMAGE.sub(rf"]({up}images/\1)", _MARK.sub(_filled, markdown))


def _filled(mark: re.Match[str]) -> str:
    if mark[1] == "insert":
        return "\n".join(INSERTS[mark[2]]())
    text = (ROOT / mark[2]).read_text(encoding="utf-8")
    return _ROOT_LINK.sub(lambda link: f"]({link[1] or _ROOT_PAGES[link[2]]})", text)


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield from (_row(columns), _row(["---"] * len(columns)), *map(_row, rows), "")


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(' '.join(cell.split()).replace('|', chr(92) + '|') for cell in cells)} |"


# ---------------------------------------------------------------------------------------------- the command line


def commands() -> Iterator[str]:
    """What `--help` says of every command, as typer itself writes it down."""
    words = [sys.executable, "-m", "typer", "rescale.cli", "utils", "docs", "--name", "rescale"]
    done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=ROOT)
    yield done.stdout.partition("\n")[2]


# ---------------------------------------------------------------------------------------------- the package


def public_names() -> Iterator[str]:
    """A mkdocstrings block for each public name, the functions that most begin with first."""
    first = ["load", "Rescaler"]
    names = [name for name in rescale.__all__ if not name.startswith("__")]
    for name in sorted(names, key=lambda name: (first.index(name) if name in first else len(first), name)):
        yield from (f"::: rescale.{name}", "")


def exit_codes() -> Iterator[str]:
    """The tree of errors, each with its exit code."""
    rows = list(_errors(errors.RescaleError, 0))
    yield from _table(["error", "exit code", "meaning"], rows)


def _errors(kind: type[errors.RescaleError], depth: int) -> Iterator[list[str]]:
    meaning = (inspect.getdoc(kind) or "").splitlines()[0]
    yield [f"{'&nbsp;&nbsp;' * 2 * depth}`{kind.__name__}`", str(kind.exit_code), meaning]
    for child in kind.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from _errors(child, depth + 1)


def models() -> Iterator[str]:
    """What `rescale models` lists."""
    yield from _table(
        ["id", "scale", "parameters", "file", "what it is"],
        [[f"`{row['name']}`", f"x{row['scale']}" if row["scale"] else "x1 to x4", f"{row['parameters']:,}",
          f"{row['size_bytes'] / 1000:,.0f} kB", row["summary"]] for row in _models()],
    )  # fmt: skip


def scores() -> Iterator[str]:
    """What each of them reaches on each test set."""
    rows = [[f"`{row['name']}`", *score] for row in _models() for score in row["scores"].items()]
    yield from _table(["id", "set", "scores"], rows)


def _models() -> list[dict[str, Any]]:
    done = CliRunner().invoke(app, ["models", "--json"])
    return [json.loads(line) for line in done.stdout.splitlines()]


# ---------------------------------------------------------------------------------------------- recipes


def _recipe() -> Any:
    """The schema of recipes."""
    return import_module("rescale.training.recipe").Recipe


def recipe_keys() -> Iterator[str]:
    """Every key of a recipe: its type, default and meaning, the nested tables after it."""
    recipe = _recipe()
    home = inspect.getmodule(recipe)
    for title, schema in (
        ("", "Recipe"),
        ("scales", "ScalesRecipe"),
        ("degrade", "DegradeRecipe"),
        ("adversary", "AdversaryRecipe"),
    ):
        model = getattr(home, schema)
        meanings = _field_docs(model)
        if title:
            yield from (f"### `[{title}]`", "", (inspect.getdoc(model) or "").splitlines()[0], "")
        yield from _table(
            ["key", "type", "default", "meaning"],
            [
                [f"`{name}`", _type(model, name), _given(field), meanings.get(name, "")]
                for name, field in model.model_fields.items()
            ],
        )


def _field_docs(model: type) -> dict[str, str]:
    """The string below each field of a class."""
    body = ast.parse(textwrap.dedent(inspect.getsource(model))).body[0].body  # type: ignore[attr-defined]
    return {
        a.target.id: inspect.cleandoc(b.value.value)
        for a, b in pairwise(body)
        if isinstance(a, ast.AnnAssign) and isinstance(a.target, ast.Name)
        and isinstance(b, ast.Expr) and isinstance(b.value, ast.Constant)
    }  # fmt: skip


def _type(model: Any, name: str) -> str:
    """As JSON's schema of the model names it, with its limits."""
    schema = model.model_json_schema()["properties"][name]
    schema = next((part for part in schema.get("anyOf", []) if part.get("type") != "null"), schema)
    if "enum" in schema:
        return " or ".join(f'`"{value}"`' for value in schema["enum"])
    marks = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    bounds = [f"{sign} {schema[key]}" for key, sign in marks.items() if key in schema]
    kind = schema.get("type", "object")
    kind = {"object": "table", "array": "list"}.get(kind, kind)
    return ", ".join([kind, *bounds])


def _given(field: Any) -> str:
    if field.is_required():
        return "required"
    return "-" if field.default is None else f"`{json.dumps(field.default)}`"


def config_keys() -> Iterator[str]:
    """The keys of `[config]` for each network, from the comments beside them."""
    seen = {}
    for path in _recipes():
        network = _recipe().read(path).build()
        seen.setdefault(type(network).__name__, type(network.config))
    for network, config in sorted(seen.items()):
        rows = re.findall(r"^    (\w+): ([^=\n]+?) = ([^#\n]+?)(?:  # (.*))?$", inspect.getsource(config), re.MULTILINE)
        yield from (f"### `[config]` of {network}", "")
        yield from _table(
            ["key", "type", "default", "meaning"], [[f"`{k}`", f"`{t}`", f"`{d}`", c or ""] for k, t, d, c in rows]
        )


def _recipes() -> list[Path]:
    return sorted(Path(rescale.__file__).parent.glob("**/recipes/*.toml"))


def recipes() -> Iterator[str]:
    """The shipped recipes, each with its first comment and the size of its network."""
    rows = []
    for path in _recipes():
        recipe = _recipe().read(path)
        comment = " ".join(line[1:].strip() for line in _leading_comment(path.read_text(encoding="utf-8")))
        rows.append([f"`{path.stem}`", f"{recipe.build().parameter_count:,}", f"{recipe.steps:,}", comment])
    yield from _table(["recipe", "parameters", "steps", "what it is"], rows)


def _leading_comment(text: str) -> Iterator[str]:
    for line in text.splitlines():
        if not line.startswith("#"):
            return
        yield line


INSERTS: dict[str, Callable[[], Iterator[str]]] = {
    "commands": commands,
    "public-names": public_names,
    "exit-codes": exit_codes,
    "models": models,
    "scores": scores,
    "recipe-keys": recipe_keys,
    "config-keys": config_keys,
    "recipes": recipes,
}
