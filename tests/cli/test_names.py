"""Names and kinds of files that no picture should have: each is taken as it is, or refused in one line, and soon."""

import os
import re
import socket
import sys
import threading
import unicodedata
from pathlib import Path

import pytest
from conftest import PHOTO
from hostile import watched
from PIL import Image
from waiting import no_hang

from rescale import cli

TAKEN = [
    "plain.png", "\U0001f600\U0001f468\u200d\U0001f469\u200d\U0001f467.png", unicodedata.normalize("NFC", "é.png"),
    unicodedata.normalize("NFD", "é.png"), "line\nbreak.png", "tab\t.png", "-rf.png", "--help.png", "with space.png",
    " .png", "'quoted\".png", "$(touch canary).png", "; touch canary;.png",
    "`touch canary`.png", "a|b&c>d.png", "%d%s.png",
    "*.png", "[x]?.png", "{stem}{0}.png", "concat:x|y.png", "http:x.png", "file:x.png",
    "subfile,,start,0,end,0,,:x.png",
    "data:image;base64,xx.png", "\u202egnp.exe.png", "\x1b[31mred\x1b[2J.png", "\x07\x08\x7f.png", "~.png", "con.png",
    "UPPER.PNG", "..dots..png", "#list.png", os.fsdecode(b"latin\xe9\xff.png"), "x" * 230 + ".png",
]  # fmt: skip
ENDLESS = {"pipe.png", "socket.png", "zero.png", "/dev/zero"}
"""Whoever opened these would wait, or read for ever."""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A folder of its own, and within it one for what is made."""
    monkeypatch.chdir(tmp_path)
    Path("out").mkdir()
    return tmp_path


@pytest.fixture
def call(monkeypatch, capsysbinary):
    """Run the entry point here, by a watch: -> exit code, stdout, stderr, as bytes."""

    def run(*words: object) -> tuple[int, bytes, bytes]:
        monkeypatch.setattr(sys, "argv", ["rescale", *map(str, words)])
        with no_hang(), watched() as seen, pytest.raises(SystemExit) as caught:
            cli.main()
        made = [other for other in seen.others if not other.startswith("os.mkdir ('out'")]  # which is there already
        assert not made and not seen.opened & ENDLESS
        return caught.value.code or 0, *capsysbinary.readouterr()

    return run


def picture(name: str) -> None:
    Image.open(PHOTO).crop((60, 40, 80, 60)).save(name, "PNG")


def is_one_line(said: bytes) -> bool:
    """And nothing that a terminal would obey."""
    text = said.decode("utf-8", "surrogateescape")
    return text.count("\n") == 1 and not any(unicodedata.category(letter) == "Cc" for letter in text.strip("\n"))


@pytest.mark.parametrize("name", TAKEN, ids=lambda name: ascii(name)[:40])
def test_a_name_is_a_name(call, name):
    picture(name)
    code, out, err = call("down", "-m", "bicubic-x2", "-o", "out/", "--", name)
    target = f"out/{name[:-4]}.x2.png"
    assert (code, err) == (0, b"") and out == os.fsencode(target) + b"\n"
    assert made() == [target] and not Path("canary").exists()
    Path(target).rename("out/small.png")
    Path("out/small.png").write_bytes(b"damaged")
    Path("out/small.png").rename(target)
    code, out, err = call("up", "--", target)
    assert (code, out) == (3, b"") and err.startswith(b"error: ") and is_one_line(err)


def test_a_name_may_be_as_long_as_can_be(call):
    name = "x" * 251 + ".png"
    picture(name)
    code, out, err = call("down", "-m", "bicubic-x2", name)
    assert (code, out) == (5, b"") and is_one_line(err) and b"too long" in err
    assert call("down", "-m", "bicubic-x2", "-o", "out/x.png", name) == (0, b"out/x.png\n", b"")


def made() -> list[str]:
    return [str(path) for path in Path("out").iterdir()]


def odd_files(folder: Path) -> dict[str, tuple[int, str]]:
    """Name -> exit code and a word of the sentence."""
    (folder / "folder.png").mkdir()
    os.mkfifo("pipe.png")
    Path("loop1.png").symlink_to("loop2.png")
    Path("loop2.png").symlink_to("loop1.png")
    Path("dangling.png").symlink_to("nowhere.png")
    Path("zero.png").symlink_to("/dev/zero")
    Path("empty.png").touch()
    Path("text.png").write_text("I am no picture")
    Path("playlist.png").write_text("#EXTM3U\nfile:///etc/passwd\n")
    Path("vector.png").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    Path("script.png").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    with socket.socket(socket.AF_UNIX) as ear:
        ear.bind("socket.png")
    return {
        "folder.png": (3, "no pictures"),
        "pipe.png": (3, "a pipe"),
        "loop1.png": (3, ""),
        "dangling.png": (3, "No such"),
        "zero.png": (3, "a device"),
        "/dev/zero": (3, "a device"),
        "empty.png": (3, "something else"),
        "text.png": (3, "else"),
        "playlist.png": (3, "else"),
        "vector.png": (3, "else"),
        "script.png": (3, "else"),
        "socket.png": (3, "socket"),
        "missing.png": (3, "No such"),
        "y" * 300 + ".png": (5, "too long"),
        "text.png/x.png": (3, ""),
        "../../../../../../x.png": (3, ""),
        "http://127.0.0.1:9/x.png": (2, "s3://"),
        "file:///etc/passwd": (2, "s3://"),
        "\x1b[2J\nx.png": (3, ""),
    }


def test_what_is_no_picture_is_refused_in_one_line(call, folder):
    for name, (code, word) in odd_files(folder).items():
        for verb in (("down", "-m", "bicubic-x2"), ("up",), ("up", "--scale", 2)):
            got, out, err = call(*verb, "-o", "out/x.png", "--", name)
            assert (got, out) == (code, b"") and is_one_line(err) and word.encode() in err, (name, verb, err)
    assert made() == []


def test_a_picture_that_may_not_be_read_is_the_machines_fault(call, folder):
    picture("secret.png")
    Path("secret.png").chmod(0)
    folder.chmod(0o777)
    Path("out").chmod(0o777)
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(65534)
    try:
        code, out, err = call("down", "-m", "bicubic-x2", "-o", "out/x.png", "secret.png")
    finally:
        if is_root:
            os.seteuid(0)
    assert (code, out) == (5, b"") and is_one_line(err) and b"ermission" in err


def test_no_name_and_no_playlist_opens_a_connection(call, folder):
    """With a listener that would hear it, whichever library tried."""
    heard = []
    with socket.create_server(("127.0.0.1", 0)) as ear:
        port = ear.getsockname()[1]

        def listen() -> None:
            while True:
                try:
                    heard.append(ear.accept())
                except OSError:
                    return

        threading.Thread(target=listen, daemon=True).start()
        url = f"http://127.0.0.1:{port}/x.ts"
        playlists = {
            "a.mp4": f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{url}\n",
            "b.mp4": f"ffconcat version 1.0\nfile {url}\n",
            "c.mkv": f"v=0\nc=IN IP4 127.0.0.1\nm=video {port} RTP/AVP 96\n",
            "d.mov": f"RTSPtextRTSP://127.0.0.1:{port}/\n",
            "e.mp4": f"<?xml version='1.0'?><MPD><BaseURL>{url}</BaseURL></MPD>",
        }
        for name, content in playlists.items():
            Path(name).write_text(content)
        names = [
            *playlists,
            f"http://127.0.0.1:{port}/x.mp4",
            f"tcp://127.0.0.1:{port}?x.mp4",
            f"concat:{url}|x.mp4",
            f"async:{url}.mp4",
            f"crypto:{url}.mp4",
            "subfile,,start,0,end,0,,:/etc/hostname.mp4",
            "data:video/mp4;base64,AAAA.mp4",
            "frame%03d.mp4",
            "pipe:0.mp4",
            "/dev/stdin.mp4",
        ]
        for name in names:
            code, out, err = call("up", "--scale", 2, "-o", "out/x.mp4", "--", name)
            wrong = 2 if re.match(r"\w+://", name) else 3  # a scheme that is not followed
            assert (code, out) == (wrong, b"") and is_one_line(err), (name, err)
        ear.shutdown(socket.SHUT_RDWR)
    assert not heard and made() == []
