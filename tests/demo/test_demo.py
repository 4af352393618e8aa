"""The demo without a browser: what it shows, what it refuses, and how it bears many visitors and hostile ones."""

import json
import os
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import httpx
import numpy as np
import pytest
from conftest import PHOTO
from filming import film
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from visiting import Server, Visitor, serving
from waiting import HANG_S, until

from rescale.demo import tasks
from rescale.demo.comparison import Asked, rescaled, table
from rescale.demo.error_maps import difference, error_map, view
from rescale.demo.handlers import AUTO, _asked
from rescale.demo.middleware import MAX_JSON, Guard
from rescale.demo.server import MAX_BYTES
from rescale.demo.sessions import Sessions, StoppedError, Visit
from rescale.demo.tasks import MAX_SECONDS, sentence
from rescale.errors import MachineError, RecordError, RefusedError, RescaleError, UsageError
from rescale.geometry import Geometry
from rescale.io import images, record
from rescale.io.budget import CODECS, encoded, largest
from rescale.io.images import Picture
from rescale.video.files import downscale_video

silent = lambda share, words: None  # noqa: E731


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("demo") / "log") as running:
        yield running


@pytest.fixture
def visitor(server):
    with Visitor(server, os.urandom(8).hex()) as page:
        yield page


def png(pixels, **facts):
    out = BytesIO()
    Image.fromarray(pixels).save(out, "PNG", **facts)
    return out.getvalue()


def shown(result, kind):
    """What the page was told to show: the files of its parts."""
    assert result["success"], result
    return [part for part in result["output"]["data"] if isinstance(part, dict) and kind in json.dumps(part)]


@given(st.integers(1_500, 80_000), st.sampled_from(sorted(CODECS)))
def test_as_many_bytes_and_no_more_are_spent(budget, name):
    picture = Picture(np.asarray(Image.open(PHOTO).convert("RGB"))[:96, :128])
    data = largest(lambda quality: encoded(name, picture, quality), budget)
    assert len(data) <= max(budget, len(encoded(name, picture, 1)))


def test_the_largest_within_the_budget_is_found():
    sizes = [round(10 * 1.05**q) for q in range(101)]
    for budget in (1, 11, 300, 1_000, 10_000):
        best = len(largest(lambda q: bytes(sizes[q]), budget))
        assert best == max([size for size in sizes[1:] if size <= budget], default=sizes[1])


@pytest.mark.parametrize("change", ["", "16 bits", "grey", "alpha"])
def test_what_is_shown_of_a_photograph(tmp_path, change):
    pixels = np.asarray(Image.open(PHOTO).convert("RGB"))[:120, :160]
    changed = {"16 bits": pixels.astype(np.uint16) * 257, "grey": pixels[..., :1].copy()}.get(change, pixels)
    made = Picture(changed, np.tile(np.arange(160, dtype=np.uint8), (120, 1)) if change == "alpha" else None)
    images.write(tmp_path / "a.png", made)
    told = []
    first, exhibit = rescaled(
        tmp_path / "a.png", Asked(Geometry.of("2")), tmp_path, lambda share, words: told.append(share)
    )
    assert first.entries == exhibit.entries[:2]
    ours, bicubic, *codecs = exhibit.entries
    assert [entry.name for entry in exhibit.entries] == ["irn-x2-small", "bicubic", "JPEG", "WebP", "AVIF"]
    assert ours.psnr > bicubic.psnr + 3 and ours.ssim > bicubic.ssim
    assert ours.n_bytes == exhibit.small.stat().st_size and exhibit.small_size == (60, 80)
    assert all(entry.n_bytes == entry.shown.stat().st_size <= ours.n_bytes for entry in codecs)
    assert told == sorted(told) and told[-1] == 1
    back = images.read(exhibit.named("irn-x2-small"))
    assert back.size == (120, 160) and back.depth == made.depth and (back.alpha is None) == (made.alpha is None)
    assert np.array_equal(images.read(exhibit.named("original")).samples, made.samples)
    assert table(exhibit.entries).count("**") == 2


def test_the_small_file_restores_by_the_command_line_to_the_same_pixels(tmp_path):
    *_, exhibit = rescaled(PHOTO, Asked(Geometry.of("3.1x2")), tmp_path, silent)
    command = [sys.executable, "-m", "rescale", "up", str(exhibit.small), "-o", str(tmp_path / "up.png")]
    assert subprocess.run(command, check=False).returncode == 0
    assert np.array_equal(images.read(tmp_path / "up.png").pixels, images.read(exhibit.entries[0].shown).pixels)


def test_refining_gains_and_can_be_stopped(tmp_path):
    small = tmp_path / "a.png"
    images.write(small, Picture(np.asarray(Image.open(PHOTO).convert("RGB"))[:128, :128]))
    visit, seen = Visit(tmp_path), []

    def made(steps, tell=silent):
        with visit.job() as folder:
            *_, exhibit = rescaled(small, Asked(Geometry.of("2"), steps=steps), folder, visit.told(tell))
            return exhibit.entries[0].psnr

    def tell(share, words):
        seen.append(words)
        if len([words for words in seen if "refining" in words]) == 3:
            visit.stopped.set()

    assert made(10) > made(0) + 0.1
    with pytest.raises(StoppedError):
        made(200, tell)
    assert len(seen) < 10


def test_views_of_an_error(noise):
    a, b = noise(20, 30, 3), noise(20, 30, 3)
    assert (error_map(Picture(a), Picture(a)) == (0, 0, 4)).all() and (difference(Picture(a), Picture(a)) == 128).all()
    hot = error_map(Picture(np.full_like(a, 200)), Picture(np.full_like(a, 100)))
    assert (hot == (252, 255, 164)).all()
    assert (difference(Picture(np.full_like(a, 103)), Picture(np.full_like(a, 100))) == 128 + 24).all()
    wide, grey = a.astype(np.uint16) * 257, a[..., :1]
    assert np.array_equal(error_map(Picture(wide), Picture(b)), error_map(Picture(a), Picture(b)))
    assert error_map(Picture(grey), Picture(grey)).shape == (20, 30, 3)
    assert view("picture", Picture(a), Picture(b)).pixels is a
    with pytest.raises(UsageError, match="expected a view"):
        view("x-ray", Picture(a), Picture(b))


def test_visitors_are_kept_apart_and_leave_nothing(tmp_path):
    visits = Sessions(tmp_path)
    folders = []
    for name in ("a", "b", "a"):
        with visits.of(name).job() as folder:
            folders.append(folder)
    assert len(set(folders)) == 3 and all(len(folder.name) == 32 for folder in folders)
    assert [folder.exists() for folder in folders] == [False, True, True]
    waiting = visits.of("b")
    visits.end("b")
    visits.end("nobody")
    with waiting.job(), pytest.raises(StoppedError):
        waiting.check()
    waiting.clear()
    with pytest.raises(StoppedError, match="left"):
        visits.of("b")
    assert [path.name for path in tmp_path.iterdir()] == [folders[2].name]
    visits.end_all()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("scale", "model", "steps"),
    [("4", "evil.safetensors", 0), ("4", "../x", 0), ("4", None, 0), (4, AUTO, 0), ("x", AUTO, 0), ("4", AUTO, -1),
     ("4", AUTO, 1e9), ("4", AUTO, float("nan")), ("4", AUTO, "7"), ("4", AUTO, None), ("", AUTO, 0), ({}, AUTO, 0)],
)  # fmt: skip
def test_settings_that_make_no_sense(scale, model, steps):
    with pytest.raises(UsageError, match="expected"):
        _asked(scale, model, steps)


def test_sentences_are_for_the_page():
    said = sentence(RecordError("/tmp/a/b.png: this picture carries no record of it", hint="pass scale= to enlarge it"))
    assert said.startswith("b.png: this picture carries no record of it. An ordinary picture")
    assert "<b>" not in sentence(RescaleError("<b>x")) and sentence(RefusedError("no")) == "no."


def test_the_door_is_shut_by_default(tmp_path):
    """In a process of its own: Gradio leaves sockets and loops open in one that only looks at a page."""
    look = """if True:
        import json, os, sys
        from pathlib import Path
        from rescale.demo.server import Address, _page, _surroundings
        from rescale.demo.sessions import Sessions
        root = Path(sys.argv[1])
        with _surroundings(root):
            page, launch = _page(root, Sessions(root))
            assert Path.cwd() == root / "empty" and not any(Path.cwd().iterdir())
            assert os.environ["GRADIO_SHARE"] == "False" and not os.environ["GRADIO_ALLOWED_PATHS"]
        assert os.environ["GRADIO_SHARE"] == "True" and Path.cwd() != root / "empty"
        shut = ("share", "enable_monitoring", "mcp_server", "ssr_mode", "pwa", "run_history")
        assert not any(launch[name] for name in shut) and launch["allowed_paths"] == []
        assert Address().host == "127.0.0.1" and page.analytics_enabled is False
        assert page._queue.max_size == 16 and not page.api_open
        assert all(job.api_visibility == "private" for job in page.fns.values())
        print("shut")"""
    hostile = os.environ | {"GRADIO_SHARE": "True", "GRADIO_ALLOWED_PATHS": "/", "GRADIO_ANALYTICS_ENABLED": "True"}
    command = [sys.executable, "-c", look, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=HANG_S, env=hostile, check=False)
    assert done.stdout == "shut\n", done.stderr[-2000:]


def test_a_port_that_is_taken_or_none_is_one_sentence():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        for port, code in ((taken.getsockname()[1], 5), (0, 2), (99_999, 2)):
            command = [sys.executable, "-m", "rescale", "demo", "--port", str(port)]
            done = subprocess.run(command, capture_output=True, text=True, timeout=HANG_S, check=False)
            assert (done.returncode, done.stderr.count("\n")) == (code, 1), done.stderr
            assert done.stderr.startswith("error: ")


def test_the_page_shows_what_the_command_line_makes(visitor, tmp_path):
    result = visitor.rescale(visitor.upload(PHOTO.read_bytes(), "photo.png"))
    restored, original = (file["url"] for file in shown(result, "restored.png")[0]["value"])
    (small,) = {part["value"]["url"] for part in shown(result, "photo.x4.png") if isinstance(part["value"], dict)}
    (tmp_path / "photo.x4.png").write_bytes(visitor.fetch(small))
    command = [sys.executable, "-m", "rescale", "up", "photo.x4.png", "-o", "up.png"]
    assert subprocess.run(command, cwd=tmp_path, check=False).returncode == 0
    page = np.asarray(Image.open(BytesIO(visitor.fetch(restored))))
    assert np.array_equal(page, images.read(tmp_path / "up.png").pixels)
    assert np.array_equal(np.asarray(Image.open(BytesIO(visitor.fetch(original)))), images.read(PHOTO).pixels)
    visitor.begin(("view", "change"), ["bicubic", "error map"])
    pair = visitor.result()["output"]["data"][0]["value"]
    assert all("view.png" in file["path"] for file in pair)


def test_restoring_explains_what_it_cannot(visitor, tmp_path):
    command = [sys.executable, "-m", "rescale", "down", str(PHOTO), "-o", str(tmp_path / "s.png")]
    assert subprocess.run(command, check=False).returncode == 0
    small = images.read(tmp_path / "s.png")

    def restored(data, name, force=False):
        visitor.begin(("restore-run", "click"), [visitor.upload(data, name), force])
        return visitor.result()

    done = restored((tmp_path / "s.png").read_bytes(), "s.png")
    files = shown(done, "restored.png")
    large = np.asarray(Image.open(BytesIO(visitor.fetch(files[0]["value"][1]["url"]))))
    assert large.shape == (400, 600, 3)
    assert "no record" in restored(PHOTO.read_bytes(), "p.png")["output"]["error"]
    edited = Picture(np.ascontiguousarray(small.pixels[::-1]), text=small.text)
    images.write(tmp_path / "e.png", edited)
    said = restored((tmp_path / "e.png").read_bytes(), "e.png")["output"]["error"]
    assert "Super-resolve" in said and "--force" not in said
    assert restored((tmp_path / "e.png").read_bytes(), "e.png", force=True)["success"]
    assert record.find(small)


def test_enlarging_a_picture_and_a_clip(visitor, tmp_path):
    data = png(np.asarray(Image.open(PHOTO).convert("RGB"))[:60, :80])
    visitor.begin(("enlarge-run", "click"), [visitor.upload(data, "a.png"), "3"])
    (slider,) = [part for part in shown(visitor.result(), "upscaled.png") if isinstance(part.get("value"), list)]
    assert Image.open(BytesIO(visitor.fetch(slider["value"][1]["url"]))).size == (240, 180)
    clip = film(tmp_path / "clip.mp4", [0, 1, 2, 3], size=(48, 64), sound=[0.0])
    visitor.begin(("film-run", "click"), [visitor.upload(clip.read_bytes(), "clip.mp4"), "2"])
    result = visitor.result()
    assert result["success"] and "4 frames of 128x96" in json.dumps(result)
    small = tmp_path / "small.mkv"
    downscale_video("irn-x2-small", clip, small)
    visitor.begin(("film-run", "click"), [visitor.upload(small.read_bytes(), "small.mkv"), "4"])
    result = visitor.result()
    assert result["success"] and "4 frames of 64x48" in json.dumps(result) and "irn-x2-small" in json.dumps(result)


def test_a_clip_that_is_too_long_or_too_large_is_refused(tmp_path):
    long = film(tmp_path / "long.mp4", [0, MAX_SECONDS * 25 + 50], size=(48, 64))
    with pytest.raises(RefusedError, match=f"at most {MAX_SECONDS} seconds"):
        next(tasks.upscale_clip(long, tmp_path, silent, scale=2))
    with pytest.raises(UsageError, match="expected a scale"):
        next(tasks.upscale_clip(long, tmp_path, silent, scale=5))
    (tmp_path / "x.mp4").write_bytes(b"no film")
    with pytest.raises(RescaleError):
        next(tasks.upscale_clip(tmp_path / "x.mp4", tmp_path, silent, scale=2))


def bombs(noise):
    """Files that are small on the way and huge on arrival, or none at all."""
    wide = BytesIO()
    Image.new("L", (13_000, 13_000)).save(wide, "PNG")
    return {
        "bomb.png": wide.getvalue(), "empty.png": b"", "text.png": b"not a picture", "a" * 300 + ".png": b"junk",
        "page.html": b"<script>alert(1)</script>", "a.svg": b"<svg onload='alert(1)'/>", "n\0ul.png": b"junk",
        "../../etc/x.png": b"junk", "cut.png": PHOTO.read_bytes()[:900], "tiny.png": png(noise(8, 8, 3)),
    }  # fmt: skip


def requests(server: Server):
    """Method, path, and what goes with it."""
    outside = str(server.log.resolve())
    files = [outside, "/etc/passwd", "../../../etc/passwd", "..%2f..%2fetc%2fpasswd", "%2e%2e/%2e%2e/etc/passwd",
             "/proc/self/environ", "http://127.0.0.1:9/x", "https://169.254.169.254/latest", "file:///etc/passwd",
             "C:/windows/win.ini", "//etc/passwd", "~/.ssh/id_rsa", "pyproject.toml", ".", ""]  # fmt: skip
    yield from (("GET", f"/gradio_api/file={file}", {}) for file in files)
    routes = ["/gradio_api/proxy=http://127.0.0.1:9/", "/monitoring", "/monitoring/summary", "/gradio_api/info",
              "/gradio_api/openapi.json", "/docs", "/gradio_api/runs", "/gradio_api/dev/reload", "/gradio_api/file/x",
              "/gradio_api/vibe-code", "/gradio_api/deep_link", "/.env", "/login_check"]  # fmt: skip
    yield from (("GET", route, {}) for route in routes)
    posts = ["/login", "/gradio_api/run/predict", "/gradio_api/api/predict", "/gradio_api/call/rescale",
             "/gradio_api/vibe-edit", "/gradio_api/process_recording", "/gradio_api/component_server"]  # fmt: skip
    yield from (("POST", route, {"json": {"data": []}}) for route in posts)
    named = [{"path": path} for path in (outside, "/etc/passwd", "../x", 7, None, "\0", "http://127.0.0.1:9/x.png")]
    named += [{"path": outside, "meta": {"_type": "gradio.FileData"}}, {"url": "data:image/png;base64,AAAA"}]
    named += [{"path": outside, "url": "http://127.0.0.1:9/x.png", "meta": {"_type": "gradio.FileData"}}]
    named += ["data:image/png;base64,AAAA", 7, [1], True]
    for file in named:
        body = {"fn_index": 0, "data": [file, "4", AUTO, 0], "session_hash": "evil"}
        yield "POST", "/gradio_api/queue/join", {"json": body}
    junk = [b"", b"{", b"[]", b"7", b'{"fn_index":0}', b'{"fn_index":-1,"data":[],"session_hash":"x"}',
            b'{"fn_index":9999,"data":[],"session_hash":"x"}', b'{"fn_index":0,"data":[],"session_hash":"x"}',
            b'{"fn_index":"0","data":[],"session_hash":"x"}', b'{"fn_index":4,"data":[1,2],"session_hash":"../x"}',
            b"[" * 50_000, b'{"fn_index":4,"data":[1,2],"session_hash":"x","batched":true}', b"\xff\xfe" * 40,
            json.dumps({"fn_index": 4, "data": [1, "a" * MAX_JSON], "session_hash": "x"}).encode()]  # fmt: skip
    yield from (("POST", "/gradio_api/queue/join", {"content": data}) for data in junk)
    yield "POST", "/gradio_api/upload", {"content": b"junk", "headers": {"content-type": "multipart/form-data"}}
    yield "POST", "/gradio_api/upload", {"files": {"files": ("x.png", b"\0" * (MAX_BYTES + 3_000_000))}}


def test_hostile_requests(server, visitor, noise):
    secret, sent = server.log.resolve(), list(requests(server))
    assert len(sent) >= 60
    for method, path, content in sent:
        try:
            answer = visitor.client.request(method, path, **content)
        except (httpx.WriteError, httpx.ReadError, httpx.RemoteProtocolError):
            assert "upload" in path  # the door was shut before all was said
            continue
        assert 400 <= answer.status_code < 500, (method, path, answer.status_code, answer.text[:300])
        assert len(answer.text) > 10, (method, path)
        assert "root:" not in answer.text and str(secret) not in answer.text
    for name, data in bombs(noise).items():
        before = server.process.memory_info().rss
        answer = visitor.client.post("/gradio_api/upload", files={"files": (name, data)})
        if answer.status_code == 200:
            assert Path(answer.json()[0]).resolve().is_relative_to(Path("/tmp").resolve())
            result = visitor.rescale({"path": answer.json()[0], "meta": {"_type": "gradio.FileData"}})
            assert not result["success"] and len(result["output"]["error"]) > 10, (name, result)
        assert server.process.memory_info().rss - before < 100 * 2**20, name
    assert "Traceback" not in server.said, server.said[-3000:]
    assert visitor.rescale(visitor.upload(png(noise(40, 40, 3)), "a.png"))["success"]


def test_values_that_are_not_the_pages_are_sentences(server, visitor):
    photo = visitor.upload(PHOTO.read_bytes(), "photo.png")
    jobs = [
        (("rescale-run", "click"), [photo, *rest])
        for rest in (
            ["9", AUTO, 0],
            ["4", "/etc/passwd", 0],
            [["4"], AUTO, 0],
            ["4", AUTO, "x"],
            ["600x400!x", AUTO, 0],
        )
    ]
    jobs += [(("rescale-run", "click"), [None, "4", AUTO, 0]), (("enlarge-run", "click"), [photo, "7"]),
             (("enlarge-run", "click"), [photo, {"a": 1}]), (("film-run", "click"), [photo, "2"]),
             (("restore-run", "click"), [photo, "yes"])]  # fmt: skip
    for job, data in jobs:
        assert visitor.begin(job, data).status_code == 200
        said = visitor.result()
        assert not said["success"] and len(said["output"]["error"]) > 10, (job, data, said)
    assert "Traceback" not in server.said


def test_thirty_two_visitors_with_four_requests_each(server, noise):
    pictures = [png(np.full((40, 48, 3), 8 * k, np.uint8)) for k in range(32)]
    with Visitor(server, "warm") as warm:
        warm.rescale(warm.upload(pictures[0], "w.png"))
    before = server.process.memory_info().rss

    def visit(k):
        with Visitor(server, f"visitor{k}") as visitor:
            photo = visitor.upload(pictures[k], f"p{k}.png")
            return [asked(visitor, photo, k) for _ in range(4)]

    def asked(visitor, photo, k):
        answer = visitor.begin(("rescale-run", "click"), [photo, "2", AUTO, 0])
        if answer.status_code != 200:
            assert answer.status_code == 503 and "full" in answer.json()["detail"], answer.text
            return None
        pair = shown(visitor.result(), "restored.png")[0]["value"]
        level = np.asarray(Image.open(BytesIO(visitor.fetch(pair[1]["url"])))).mean()
        return level == 8 * k and f"p{k}." in pair[0]["path"]

    with ThreadPoolExecutor(32) as pool:
        all_done = [right for rights in pool.map(visit, range(32)) for right in rights]
    assert len(all_done) == 128 and all(right is not False for right in all_done) and all_done.count(True) >= 32
    assert server.process.memory_info().rss - before < 100 * 2**20
    assert "Traceback" not in server.said


def test_a_visitor_who_leaves_frees_the_queue(server, visitor, noise):
    """Refining would take minutes; the page closes, and the job ends."""
    photo = visitor.upload(png(noise(256, 256, 3)), "n.png")
    with ThreadPoolExecutor() as pool:
        with visitor.client.stream("GET", f"/gradio_api/heartbeat/{visitor.name}") as heart:
            beats = heart.iter_lines()  # kept, or httpx would hang up
            next(beats)
            visitor.begin(("rescale-run", "click"), [photo, "2", AUTO, 200])
            waiting = pool.submit(visitor.result)
            until(lambda: "progress" in visitor.told or waiting.done())
            assert not waiting.done(), waiting.result()
        assert "error" in waiting.result()["output"]
    visitor.begin(("rescale-run", "click"), [photo, "2", AUTO, 0])
    assert "reload" in visitor.result()["output"]["error"]
    assert "Traceback" not in server.said


def test_stop_ends_a_job(server, visitor, noise):
    photo = visitor.upload(png(noise(256, 256, 3)), "n.png")
    visitor.begin(("rescale-run", "click"), [photo, "2", AUTO, 200])
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(visitor.result, visitor.begun)
        until(lambda: visitor.begin(("rescale-stop", "click"), []).status_code == 200 and waiting.done())
        assert waiting.result()["output"]["error"] == "stopped."


def test_nothing_stays(tmp_path):
    with serving(tmp_path / "log") as running, Visitor(running, "last") as visitor:
        place = Path(visitor.upload(PHOTO.read_bytes(), "p.png")["path"])
        assert place.exists()
    assert not place.exists() and not place.parents[2].exists()


def test_without_gradio_it_is_one_sentence(tmp_path):
    blocker = "import sys; sys.modules['gradio'] = None; from rescale.cli import main; sys.argv[1:] = ['demo']; main()"
    done = subprocess.run([sys.executable, "-c", blocker], capture_output=True, text=True, timeout=HANG_S, check=False)
    assert done.returncode == 5 and done.stderr == "error: the demo needs Gradio: pip install 'rescale[demo]'\n"
    assert issubclass(MachineError, RescaleError) and Guard.__doc__
