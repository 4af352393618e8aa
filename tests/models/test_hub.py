"""Models of the Hugging Face Hub, by its own library and a server of this machine that answers as the Hub does."""

import hashlib
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import safetensors.torch
from communal import random
from conftest import ROOT

from rescale.errors import MachineError, RecordError, UsageError
from rescale.io.record import Record
from rescale.models import hub, weights, zoo

pytest.importorskip("huggingface_hub", reason="the extra hub is not installed")
COMMIT = "0123456789abcdef" * 2 + "01234567"
ASK = """
import json, sys
from rescale.errors import RescaleError
from rescale.models import weights
for name in sys.argv[1:]:
    try:
        found = weights.load(name)
        print(json.dumps({"facts": found.facts(), "notes": found.notes, "digest": weights.digest(name)}))
    except RescaleError as error:
        print(json.dumps({"error": type(error).__name__, "says": str(error)}))
"""


class Hub(BaseHTTPRequestHandler):
    """The endpoints that a download takes: facts of a model, then head and body of a file."""

    models: dict[str, dict[str, bytes]]
    asked: list[str]

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.asked.append(f"{self.command} {self.path}")
        *_, owner, name = self.path.split("/resolve/")[0].removesuffix("/revision/main").split("/")
        files = self.models.get(f"{owner}/{name}")
        if files is None:
            self.answer(404, b"", {"X-Error-Code": "RepoNotFound"})
        elif "terms" in name:
            self.answer(403, b"", {"X-Error-Code": "GatedRepo"})
        elif "/resolve/" not in self.path:
            facts = {"id": f"{owner}/{name}", "sha": COMMIT, "cardData": {"license": "cc-by-4.0"}, "tags": []}
            self.answer(200, json.dumps(facts | {"siblings": [{"rfilename": file} for file in files]}).encode(), {})
        else:
            file = self.path.split("/resolve/")[1].partition("/")[2]
            missing = {"X-Error-Code": "EntryNotFound"}
            body = files.get(file)
            self.answer(404 if body is None else 200, body or b"", missing if body is None else self.headers_of(body))

    def headers_of(self, body: bytes) -> dict[str, str]:
        return {"ETag": f'"{hashlib.sha256(body).hexdigest()}"', "X-Linked-Size": str(len(body))}

    def answer(self, code: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(code)
        for key, value in (headers | {"X-Repo-Commit": COMMIT, "Content-Length": str(len(body))}).items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def served(tmp_path):
    """A Hub with four models, and what it was asked for; and a cache of this test's own."""
    foreign = safetensors.torch.save({k: v.contiguous() for k, v in random("Compact").state_dict().items()})
    ours = (zoo.weights_folder() / zoo.manifest()["espcn-x2"].file).read_bytes()
    models = {
        "some/2x-Compact": {"README.md": b"", "2x.safetensors": foreign},
        "some/ours": {"mine.safetensors": ours, "more/other.safetensors": ours},
        "some/pickles": {"net.pth": b"PK"},
        "some/terms": {},
    }
    handler = type("Handler", (Hub,), {"models": models, "asked": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        environment = os.environ | {
            "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}", "HF_HOME": str(tmp_path / "cache"),
            "HF_HUB_DISABLE_XET": "1", "PYTHONPATH": str(ROOT),
        }  # fmt: skip
        yield handler, environment
        server.shutdown()
        thread.join()


def ask(environment: dict[str, str], *names: str, **more: str) -> list[dict]:
    words = [sys.executable, "-W", "error::DeprecationWarning:rescale", "-c", ASK, *names]
    done = subprocess.run(words, env=environment | more, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_models_are_fetched_once_and_then_serve_without_a_connection(served):
    pytest.importorskip("spandrel", reason="the extra models is not installed")
    hub_server, environment = served
    names = "hf:some/2x-Compact", "hf:some/2x-Compact:2x.safetensors", "hf:some/ours:more/other.safetensors"
    foreign, by_file, ours = ask(environment, *names)
    body = hub_server.models["some/2x-Compact"]["2x.safetensors"]
    assert foreign["facts"]["sha256"] == foreign["digest"] == hashlib.sha256(body).hexdigest()
    assert (foreign["facts"]["architecture"], foreign["facts"]["name"]) == ("Compact", "2x-Compact")
    assert foreign["facts"]["licence"] == "cc-by-4.0" and by_file["facts"]["name"] == "2x"
    assert foreign["notes"] == [
        f"2x-Compact is revision {COMMIT[:12]} of hf:some/2x-Compact, SHA-256 {foreign['digest']}",
        "the licence of 2x-Compact is cc-by-4.0",
    ]
    assert (ours["facts"]["architecture"], ours["facts"]["name"]) == ("espcn", "other")
    fetched = [line for line in hub_server.asked if line.startswith("GET") and "/resolve/" in line]
    assert len(fetched) == 2, fetched
    count = len(hub_server.asked)
    again = ask(environment, *names, HF_HUB_OFFLINE="1")
    assert [row["facts"]["sha256"] for row in again] == [row["facts"]["sha256"] for row in (foreign, by_file, ours)]
    assert len(hub_server.asked) == count


def test_what_is_missing_is_one_sentence(served):
    _, environment = served
    rows = ask(
        environment, "hf:some/none", "hf:some/ours", "hf:some/ours:none.safetensors", "hf:some/pickles",
        "hf:some/pickles:net.pth", "hf:some/terms", "hf:one", "hf:../..:a.safetensors",
    )  # fmt: skip
    assert [(row["error"], row["says"]) for row in rows] == [
        ("InputError", "the Hub has no model some/none, or a private one"),
        ("UsageError", "hf:some/ours holds several weight files (mine.safetensors, more/other.safetensors); name one: "
         "hf:some/ours:mine.safetensors"),
        ("InputError", "the Hub has no such file: some/ours:none.safetensors"),
        ("InputError", "hf:some/pickles: expected a repository with a .safetensors file, found none"),
        ("UsageError", "expected a .safetensors file of the Hub, got net.pth"),
        ("InputError", "hf:some/terms: its page on the Hub asks to accept its terms first"),
        ("UsageError", "expected a model of the Hub as hf:owner/name or hf:owner/name:file.safetensors, got 'hf:one'"),
        ("UsageError", "expected owner/name as the Hub spells them, got '../..:a.safetensors'"),
    ]  # fmt: skip


def test_offline_what_was_never_fetched_is_one_sentence(served):
    for row in ask(served[1], "hf:some/2x-Compact", "hf:some/2x-Compact:2x.safetensors", HF_HUB_OFFLINE="1"):
        assert row["error"] == "MachineError" and "is not in the cache, and the Hub cannot be reached" in row["says"]


@pytest.mark.slow
def test_a_hub_that_does_not_answer_is_as_one_that_is_off(served):
    """The library tries several times, and waits in between."""
    name, nowhere = "hf:some/2x-Compact:2x.safetensors", {"HF_ENDPOINT": "http://127.0.0.1:9"}
    for row in ask(served[1], "hf:some/2x-Compact", name, **nowhere):
        assert row["error"] == "MachineError" and "is not in the cache, and the Hub cannot be reached" in row["says"]
    ask(served[1], name)
    assert all(
        row["facts"]["architecture"] == "Compact" for row in ask(served[1], "hf:some/2x-Compact", name, **nowhere)
    )


def test_without_the_package_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MachineError, match=r"hf:a/b needs huggingface_hub: pip install 'rescale\[hub\]'"):
        hub.fetch("hf:a/b")
    assert weights.digest("hf:a/b") is None


@pytest.mark.parametrize("name", ["hf:", "hf:a", "hf:a/b/c", "hf:a/b:", "hf:a/b:x.pth", "hf:a/b:x.pt", "hf:a b/c"])
def test_other_forms_are_refused_before_anything_is_imported(name, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UsageError, match=r"hf:owner/name or|a \.safetensors file of the Hub"):
        weights.load(name)


def test_no_record_may_name_a_model_of_the_hub():
    said = {"version": 1, "weights": "0" * 16, "size": [8, 8], "pixels": "0" * 16}
    for model in ("hf:some/2x-Compact", "hf:some/ours:mine.safetensors"):
        assert not zoo.is_known(model)
        with pytest.raises(RecordError):
            Record.parse(json.dumps(said | {"model": model}))


def test_names_of_results_hold_no_folder():
    assert [zoo.stem(name) for name in ("hf:some/2x-Compact", "hf:some/ours:more/o.safetensors", "a/b.c.PTH")] == [
        "2x-Compact", "o", "b.c",
    ]  # fmt: skip
    assert hub.split("hf:some/x:a.safetensors") == ("some/x", "a.safetensors")
