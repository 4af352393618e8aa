"""One image through a pipe: the same bytes as by files, notes on stderr, and one sentence where it cannot be."""

import io
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import PHOTO
from PIL import Image

DOWN = ("down", "-", "-m", "bicubic-x4")


@pytest.fixture(autouse=True)
def photo(tmp_path, monkeypatch) -> bytes:
    """Every test works in a folder of its own with one small photograph in it."""
    monkeypatch.chdir(tmp_path)
    with Image.open(PHOTO) as whole:
        whole.crop((60, 40, 93, 61)).save("photo.png")
    return Path("photo.png").read_bytes()


def rescale(*words: object, data: bytes = b"", **how: object) -> tuple[int, bytes, str]:
    """Run the program: exit code, stdout, stderr."""
    streams = {"input": data} if "stdin" not in how else {}
    streams |= {"stderr": subprocess.PIPE, "stdout": how.pop("stdout", subprocess.PIPE)}
    done = subprocess.run([sys.executable, "-m", "rescale", *map(str, words)], check=False, **streams, **how)
    said = done.stderr.decode()
    assert "Traceback" not in said and "Exception ignored" not in said
    return done.returncode, done.stdout or b"", said


def is_one_sentence(text: str) -> bool:
    return text.startswith("error: ") and text.count("\n") == 1


def test_there_and_back(photo, call):
    """By the bytes that files give."""
    assert call("down", "photo.png", "-m", "bicubic-x4")[0] == call("up", "photo.x4.png")[0] == 0
    code, small, err = rescale(*DOWN, data=photo)
    assert (code, err) == (0, "") and small == Path("photo.x4.png").read_bytes()
    assert rescale("up", "-", data=small) == (0, Path("photo.x4.restored.png").read_bytes(), "")
    assert rescale("up", "photo.x4.png", "-o", "-") == (0, Path("photo.x4.restored.png").read_bytes(), "")
    assert sorted(path.name for path in Path().iterdir()) == ["photo.png", "photo.x4.png", "photo.x4.restored.png"]


@pytest.mark.parametrize(
    ("output", "format"), [("-", "PNG"), ("webp:-", "WEBP"), ("jpg:-", "JPEG"), ("TIFF:-", "TIFF")]
)
def test_stdout_has_the_format_that_was_asked_for(photo, output, format):
    code, out, err = rescale(*DOWN, "-o", output, data=photo)
    assert code == 0 and Image.open(io.BytesIO(out)).format == format
    assert err == "" if format != "JPEG" else err.startswith("note: stdin: JPEG is lossy") and err.count("\n") == 1


def test_stdin_goes_to_a_file_as_well(photo):
    code, out, err = rescale(*DOWN, "-o", "s.png", data=photo)
    assert (code, out, err) == (0, b"s.png\n", "")
    code, _, err = rescale(*DOWN, "-o", "s.png", data=photo)
    assert code == 4 and is_one_sentence(err) and "--overwrite" in err
    code, out, _ = rescale(*DOWN, "-o", "s.png", "--overwrite", "--json", data=photo)
    row = json.loads(out)
    assert code == 0 and (row["source"], row["target"], row["size"]) == ("stdin", "s.png", [6, 9])


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["down", "-", "photo.png", "-o", "-"], 2, "stands alone"),
        (["down", "photo.png", "photo.png", "second.png", "-o", "-"], 2, "expected one image for stdout, got 2"),
        (["down", ".", "-o", "-"], 2, "expected one image for stdout, got 2"),
        (["down", "none.png", "-o", "-"], 3, "No such file"),
        (["down", "clip.mp4", "-o", "-"], 2, "a video cannot go to stdout"),
        (["down", "-", "-o", "."], 2, "with a file"),
        (["down", "-", "-o", "{stem}.png"], 2, "with a file"),
        (["down", "-", "-o", "xyz:-"], 2, "expected one of"),
        (["down", "-", "-o", "bmp:-"], 4, "cannot carry the record"),
        (["down", "-", "--json"], 2, "--json"),
        (["down", "-", "--resume"], 2, "--resume is for files"),
        (["down", "-", "-n"], 2, "--dry-run is for files"),
        (["down", "-", "--max-pixels", 10], 4, "stdin: 33x21"),
        (["up", "-"], 4, "stdin: this picture carries no record"),
    ],
    ids=str,
)
def test_what_cannot_be_is_one_sentence(photo, words, code, sentence):
    Path("second.png").write_bytes(photo)
    got, out, err = rescale(*words, data=photo)
    assert (got, out) == (code, b"") and is_one_sentence(err) and sentence in err


@pytest.mark.parametrize("data", [b"", b"no picture", b"\x89PNG\r\n\x1a\n"])
def test_bad_bytes_are_one_sentence(data):
    code, out, err = rescale(*DOWN, data=data)
    assert (code, out) == (3, b"") and is_one_sentence(err) and err.startswith("error: stdin: ")


def test_a_reader_that_leaves_is_one_sentence():
    """The pipe is broken before the first byte."""
    reader, writer = os.pipe()
    os.close(reader)
    code, _, err = rescale("down", "photo.png", "-m", "bicubic-x4", "-o", "-", stdout=writer)
    os.close(writer)
    assert code == 5 and is_one_sentence(err) and "cannot write to stdout: Broken pipe" in err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_behind_stdout_is_one_sentence():
    with Path("/dev/full").open("wb") as full:
        code, _, err = rescale("down", "photo.png", "-m", "bicubic-x4", "-o", "-", stdout=full)
    assert code == 5 and is_one_sentence(err) and "No space left" in err


def test_a_terminal_is_neither_source_nor_target(photo):
    watched, terminal = pty.openpty()
    try:
        code, _, err = rescale(*DOWN, stdin=terminal)
        assert code == 2 and is_one_sentence(err) and "on stdin, got a terminal" in err
        code, _, err = rescale(*DOWN, data=photo, stdout=terminal)
        assert code == 2 and is_one_sentence(err) and "behind stdout, got a terminal" in err
    finally:
        os.close(watched)
        os.close(terminal)


@pytest.mark.parametrize("closed", [0, 1])
def test_a_closed_stream_is_one_sentence(photo, closed):
    code, out, err = rescale(*DOWN, data=photo, preexec_fn=lambda: os.close(closed))
    assert (code, out) == (2, b"") and is_one_sentence(err)


def test_a_file_of_that_name_is_named_by_its_folder(photo, call):
    Path("-").write_bytes(photo)
    assert call("down", "./-", "-n")[:2] == (0, "-.x4.png\n")
