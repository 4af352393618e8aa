"""The demo as its visitors meet it: a server in a process of its own, and what a page says to it."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
from waiting import HANG_S


@dataclass
class Server:
    """A running demo."""

    url: str
    log: Path
    process: psutil.Process

    @property
    def said(self) -> str:
        return self.log.read_text()


@contextmanager
def serving(log: Path) -> Iterator[Server]:
    """`rescale demo` on a free port; must end in silence when told to."""
    with log.open("w") as stderr:
        running = subprocess.Popen([sys.executable, "-m", "rescale", "demo"], stdout=subprocess.PIPE, stderr=stderr)
        try:
            url = running.stdout.readline().decode().strip()
            assert url.startswith("http://127.0.0.1:"), log.read_text()
            yield Server(url.rstrip("/"), log, psutil.Process(running.pid))
        finally:
            running.terminate()
            code = running.wait(HANG_S)
            running.stdout.close()
    assert code == 143


class Visitor:
    """What a page does: uploads, begins a job, waits for what becomes of it."""

    def __init__(self, server: Server, name: str) -> None:
        self.name, self.client = name, httpx.Client(base_url=server.url, timeout=HANG_S)
        self.begun = ""
        self.told: list[str] = []
        """What a job has come to, from its place in the queue to its end."""
        self.jobs = {}
        config = self.client.get("/config").json()
        names = {part["id"]: part["props"].get("elem_id") for part in config["components"]}
        for job in config["dependencies"]:
            for target, event in job["targets"]:
                self.jobs[names.get(target), event] = job["id"]

    def __enter__(self) -> "Visitor":
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()

    def upload(self, data: bytes, name: str) -> dict[str, Any]:
        answer = self.client.post("/gradio_api/upload", files={"files": (name, data)})
        answer.raise_for_status()
        return {"path": answer.json()[0], "orig_name": name, "meta": {"_type": "gradio.FileData"}}

    def begin(self, job: tuple[str, str], data: list[Any]) -> httpx.Response:
        body = {"fn_index": self.jobs[job], "data": data, "session_hash": self.name}
        answer = self.client.post("/gradio_api/queue/join", json=body)
        self.begun = answer.json().get("event_id", "") if answer.status_code == 200 else ""
        return answer

    def result(self, begun: str = "") -> dict[str, Any]:
        """Of the job that was begun last, or of another: {"success": …, "output": …}."""
        begun = begun or self.begun
        with self.client.stream("GET", "/gradio_api/queue/data", params={"session_hash": self.name}) as lines:
            for line in lines.iter_lines():
                told = json.loads(line[6:]) if line.startswith("data: ") else {}
                self.told.append(told.get("msg", ""))
                if told.get("msg") == "process_completed" and told["event_id"] == begun:
                    return told
        raise AssertionError("the connection ended before the job did")

    def rescale(self, photo: dict[str, Any], scale: str = "4", model: str = "fits the scale", steps: int = 0) -> Any:
        assert self.begin(("rescale-run", "click"), [photo, scale, model, steps]).status_code == 200
        return self.result()

    def fetch(self, url: str) -> bytes:
        answer = self.client.get(url)
        answer.raise_for_status()
        return answer.content
