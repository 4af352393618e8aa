"""Containers that people have: each is told by its first bytes, read whole, and written as an MKV; nothing else is."""

import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from filming import film, heard, picture, pixels, shown
from hostile import watched

from rescale import EncodeOptions, downscale_video, upscale_video
from rescale.errors import InputError
from rescale.io import formats, targets
from rescale.video.io.demuxers import HEAD, demuxer
from rescale.video.io.sequence import Sequence, numbered

CONTAINERS = {
    "a.avi": ("mpeg4", True), "b.avi": ("libx264", False), "a.ts": ("libx264", True), "a.m2ts": ("mpeg2video", False),
    "a.mpg": ("mpeg1video", False), "a.vob": ("mpeg2video", False), "a.m2v": ("mpeg2video", False),
    "a.flv": ("flv", True), "b.flv": ("libx264", True), "a.wmv": ("wmv2", False), "a.asf": ("msmpeg4", False),
    "a.3gp": ("libx264", True), "a.gif": ("gif", False), "a.y4m": ("rawvideo", False), "a.ogv": ("libvpx", False),
    "a.ivf": ("libvpx", False), "a.mxf": ("mpeg2video", False), "a.apng": ("apng", False),
}  # fmt: skip
LAYOUT = {"gif": "pal8", "apng": "rgb24"}


def made(path: Path, codec: str, *, sound: bool = False) -> Path:
    """Ten frames, with sound that starts with them."""
    layout = LAYOUT.get(codec, "yuv420p")
    frames = [av.VideoFrame.from_ndarray(picture(k)).reformat(format="rgb24") for k in range(10)]
    if layout == "pal8":
        frames = [_with_palette(k) for k in range(10)]
    elif layout != "rgb24":
        frames = [frame.reformat(format=layout) for frame in frames]
    return film(path, list(range(10)), codec=codec, layout=layout, frames=frames, sound=[0.0] if sound else None)


def _with_palette(k: int) -> av.VideoFrame:
    palette = np.stack([np.full(256, 255), np.arange(256), 255 - np.arange(256), np.full(256, 90)], 1).astype(np.uint8)
    return av.VideoFrame.from_ndarray((picture(k)[..., 0], palette), format="pal8")


@pytest.mark.parametrize("name", CONTAINERS)
def test_each_becomes_an_mkv_with_all_frames_and_times(name, tmp_path):
    codec, sound = CONTAINERS[name]
    source = made(tmp_path / name, codec, sound=sound)
    assert formats.is_video(source)
    target = tmp_path / targets.large_name(source, is_restored=False)
    done = upscale_video(source, target, scale=2)
    before, after = shown(source), shown(target)
    if name == "b.avi":  # which has the times of decoding only, and B-frames
        before = [Fraction(k, 25) for k in range(10)]
    assert done.frames == len(before) == len(after) == 10
    shift = after[0] - before[0]
    assert all(abs(b - a - shift) <= Fraction(2, 1000) for a, b in zip(before, after, strict=True))
    assert len(heard(target)) == sound
    assert target.suffix == ".mkv" and any("is not written, so the result is an MKV" in note for note in done.notes)
    assert upscale_video(source, tmp_path / "other.mp4", scale=2).frames == 10


@pytest.mark.parametrize("name", CONTAINERS)
def test_a_container_is_told_by_its_first_bytes_alone(name, tmp_path):
    source = made(tmp_path / name, CONTAINERS[name][0])
    renamed = source.rename(tmp_path / "renamed.mp4")
    assert upscale_video(renamed, tmp_path / "b.mkv", scale=2).frames == 10


def test_a_recording_may_begin_anywhere(tmp_path):
    data = made(tmp_path / "a.ts", "mpeg2video").read_bytes()
    assert demuxer(data[:HEAD]) == demuxer(data[77:HEAD]) == "mpegts"
    assert demuxer(b"G" + bytes(187) + b"G" + bytes(400)) is None and demuxer(b"G" * 100) is None


@pytest.mark.parametrize(
    "head",
    [b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n", b"ffconcat version 1.0\nfile x", b"[Reference]\nRef1=http://x/y",
     b"ASF http://x", b"<?xml version='1.0'?><MPD>", b"v=0\nc=IN IP4", b"RTSPtext", b"file /etc/passwd",
     b"<ASX version='3'>", b"[playlist]\nFile1=x", b"RIFF\0\0\0\0WAVE", b"FWS\x06", b"\0" * 9000, b"", b"{\\rtf1"],
)  # fmt: skip
def test_no_playlist_is_a_video(head):
    assert demuxer(head) is None


def test_a_listing_in_any_disguise_is_refused_with_nothing_opened(tmp_path):
    for name in ("a.ts", "a.avi", "a.ogv", "a.flv", "a.wmv", "a.mpg", "a.mxf", "a.y4m"):
        source = tmp_path / name
        source.write_text(f"#EXTM3U\n#EXTINF:9,\n{tmp_path}/other.ts\n")
        with watched() as seen, pytest.raises(InputError, match="got something else"):
            upscale_video(source, tmp_path / "b.mkv", scale=2)
        assert not [name for name in seen.opened if "other" in name] and not seen.others


def test_only_a_gif_that_moves_is_a_video(tmp_path):
    film(tmp_path / "one.gif", [0], codec="gif", layout="pal8", frames=[_with_palette(0)])
    made(tmp_path / "many.gif", "gif")
    assert formats.is_video(tmp_path / "many.gif") and not formats.is_video(tmp_path / "one.gif")
    assert not formats.is_video(tmp_path / "none.gif")
    for cut in (3, 13, 20, 400, 900):
        (tmp_path / "cut.gif").write_bytes((tmp_path / "many.gif").read_bytes()[:cut])
        formats.is_video(tmp_path / "cut.gif")


def test_a_gif_goes_down_and_up_again(tmp_path):
    source = made(tmp_path / "a.gif", "gif")
    downscale_video("bicubic-x2", source, tmp_path / "small.mkv")
    upscale_video(tmp_path / "small.mkv", tmp_path / "back.mkv", options=EncodeOptions(codec="ffv1"))
    assert shown(tmp_path / "back.mkv") == shown(source)


# --------------------------------------------------------------------------------------------------------- sequences


def pictures(folder: Path, name: str = "frame{:04d}.png", first: int = 1, count: int = 5) -> list[Path]:
    for k in range(count):
        path = folder / name.format(first + k)
        frame = av.VideoFrame.from_ndarray(picture(k))
        frame.save(str(path))
    return sorted(folder.iterdir())


@pytest.mark.parametrize(
    ("name", "pattern"), [("frame{:04d}.png", "frame%04d.png"), ("{}.png", "%d.png"), ("a-{:02d}b.jpg", "a-%02db.jpg")]
)
def test_numbered_pictures_are_a_video(name, pattern, tmp_path):
    (tmp_path / "in").mkdir()
    files = pictures(tmp_path / "in", name, first=8)
    source = tmp_path / "in" / pattern
    assert formats.is_video(source) and len(numbered(source)) == 5
    with watched() as seen:
        done = upscale_video(source, tmp_path / "b.mkv", scale=2)
    assert done.frames == 5 and any("25 frames a second" in note for note in done.notes)
    assert shown(tmp_path / "b.mkv") == [Fraction(40 * k, 1000) for k in range(5)]
    own = {str(file) for file in files}
    assert {name for name in seen.opened if Path(name).suffix in (".png", ".jpg")} <= own
    assert [path.name for path in numbered(source)] == [name.format(8 + k) for k in range(5)]
    first = pixels(files[0] if name.startswith("frame") else numbered(source)[0])[0].astype(int)
    assert np.abs(pixels(tmp_path / "b.mkv")[0][::2, ::2].astype(int) - first).mean() < 12


def test_a_gap_a_missing_folder_and_a_file_of_that_name_are_told(tmp_path):
    pictures(tmp_path)
    (tmp_path / "frame0003.png").unlink()
    with pytest.raises(InputError, match="3 is missing"):
        upscale_video(tmp_path / "frame%04d.png", tmp_path / "b.mkv", scale=2)
    for pattern in ("other%04d.png", "none/frame%04d.png"):
        with pytest.raises(InputError):
            upscale_video(tmp_path / pattern, tmp_path / "b.mkv", scale=2)
    (tmp_path / "x%d.png").write_bytes((tmp_path / "frame0001.png").read_bytes())
    assert not formats.is_video(tmp_path / "x%d.png")


def test_several_files_read_as_one(tmp_path):
    paths = []
    for k, data in enumerate([b"abc", b"", b"defgh", b"i"]):
        paths.append(tmp_path / str(k))
        paths[-1].write_bytes(data)
    whole = b"abcdefghi"
    with Sequence(paths) as file:
        assert file.read() == whole and file.read(3) == b""
        for at in range(9):
            for size in range(5):
                file.seek(at)
                assert file.read(size) == whole[at : at + size] and file.tell() == min(at + size, 9)
        assert file.seek(-2, 2) == 7 and file.read(9) == b"hi"


def test_a_video_comes_through_a_pipe(tmp_path):
    data = film(tmp_path / "a.mp4", list(range(5)), sound=[0.0]).read_bytes()
    words = [sys.executable, "-m", "rescale", "up", "-", "--scale", "2"]
    done = subprocess.run([*words, "-o", "b.mkv"], input=data, capture_output=True, cwd=tmp_path)
    assert done.returncode == 0 and len(shown(tmp_path / "b.mkv")) == 5 and b".tmp" not in done.stderr
    done = subprocess.run([*words, "-o", "c.mkv"], input=data[:300], capture_output=True, cwd=tmp_path)
    assert done.returncode == 3 and done.stderr.startswith(b"error: stdin: ") and done.stderr.count(b"\n") == 1
    done = subprocess.run(words, input=data, capture_output=True, cwd=tmp_path)
    assert done.returncode == 2 and b"a video, which needs -o" in done.stderr and not done.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "b.mkv"]
