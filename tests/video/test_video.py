"""Video up and down: every frame, every time, every stream, the right colours; or one sentence and no file."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import closing
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from conftest import PHOTO, shared
from filming import film, heard, joined, picture, pixels, shown
from waiting import HANG_S, until

import rescale
from rescale import downscale_video, upscale_video
from rescale.bench.video import contest
from rescale.errors import InputError, MachineError, RecordError, RefusedError, UsageError
from rescale.video.io.mux import _decoding_times
from rescale.video.io.segments import Segments
from rescale.video.options import EncodeOptions

RATES = [Fraction(24000, 1001), Fraction(24), Fraction(25), Fraction(30)]
UNEVEN = [0, 10, 11, 30, 70, 71, 72, 100, 180, 181, 182, 300, 301]
TICK = {".mkv": Fraction(1, 1000), ".webm": Fraction(1, 1000)}


def enlarged(path: Path, name: str = "", **how) -> Path:
    target = path.with_name(f"large-{name or path.name}")
    upscale_video(path, target, scale=2, options=EncodeOptions(**how))
    return target


def assert_same_times(source: Path, target: Path) -> None:
    tick = TICK.get(target.suffix, Fraction(0))
    before, after = shown(source), shown(target)
    assert len(after) == len(before)
    assert all(abs(a - b) <= tick for a, b in zip(before, after, strict=True))
    for a, b in zip(heard(source), heard(target), strict=True):
        assert len(a) == len(b)
        assert all(abs(x - y) <= tick for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm"])
@pytest.mark.parametrize("rate", RATES, ids=str)
def test_every_frame_keeps_its_time(rate, suffix, tmp_path):
    """With B-frames, where the codec has them."""
    codec = "libvpx-vp9" if suffix == ".webm" else "libx264"
    source = film(tmp_path / f"a{suffix}", list(range(20)), 1 / rate, rate=rate, codec=codec, sound=[0.0])
    assert_same_times(source, enlarged(source))


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_variable_rate_stays(suffix, tmp_path):
    source = film(tmp_path / f"a{suffix}", UNEVEN, Fraction(1, 100), sound=[0.0])
    assert_same_times(source, enlarged(source))
    assert_same_times(source, enlarged(source, "other.mp4"))


@pytest.mark.parametrize(("first", "sound"), [(0, [0.4]), (15, [0.0]), (15, [0.3, 0.0])])
def test_sound_that_begins_earlier_or_later_stays_where_it_is(first, sound, tmp_path):
    """In MP4 such a start is an edit list."""
    times = list(range(first, first + 20))
    source = film(tmp_path / "a.mp4", times, sound=sound, languages=("eng", "fra"))
    assert_same_times(source, enlarged(source))
    assert_same_times(source, enlarged(source, "other.mkv"))


def test_times_do_not_drift_over_segments(tmp_path, monkeypatch):
    """Many short segments of a variable rate: decoding times must rise over all of them."""
    monkeypatch.setattr("rescale.video.transcode._SEGMENT_S", 0.2)
    times = [k * 5 + k % 4 for k in range(120)]
    source = film(tmp_path / "a.mp4", times, Fraction(1, 125), sound=[0.0])
    assert_same_times(source, enlarged(source))


def test_decoding_times_rise_and_never_come_after_showing():
    shown_at = [0, 9, 4, 2, 6, 30, 20, 12, 25, 31, 60, 40]
    decoded = _decoding_times(shown_at)
    assert decoded == sorted(set(decoded)) and all(d <= s for d, s in zip(decoded, shown_at, strict=True))


def test_streams_chapters_rotation_and_tags_are_kept(tmp_path):
    chapter = {"id": 1, "start": 0, "end": 500, "time_base": Fraction(1, 1000), "metadata": {"title": "One"}}
    source = film(
        tmp_path / "a.mp4", list(range(25)), sound=[0.0, 0.2], languages=("eng", "fra"), tags=(1, 1, 1, 1),
        rotation=90, chapters=[chapter],
    )  # fmt: skip
    with av.open(str(enlarged(source))) as made:
        assert [stream.metadata["language"] for stream in made.streams.audio] == ["eng", "fra"]
        assert [(c["start"] * c["time_base"], c["metadata"]["title"]) for c in made.chapters()] == [(0, "One")]
        frame = next(made.decode(video=0))
        assert frame.rotation == 90
        context = made.streams.video[0].codec_context
        found = context.color_range, context.color_primaries, context.color_trc, context.colorspace
        assert [int(tag) for tag in found] == [1, 1, 1, 1]


def test_subtitles_and_attachments_are_kept_or_named(tmp_path):
    base = film(tmp_path / "base.mkv", list(range(10)), sound=[0.0])
    source = tmp_path / "a.mkv"
    with av.open(str(base)) as given, av.open(str(source), "w") as made:
        copies = {s.index: made.add_stream_from_template(s) for s in given.streams}
        words = made.add_mux_stream("subrip")
        made.add_attachment("font.ttf", "font/ttf", b"not really a font")
        for packet in given.demux():
            if packet.size:
                packet.stream = copies[packet.stream.index]
                made.mux(packet)
        word = av.Packet(b"hello")
        word.stream, word.pts, word.dts, word.duration, word.time_base = words, 100, 100, 200, Fraction(1, 1000)
        made.mux(word)
    done = upscale_video(source, tmp_path / "large.mkv", scale=2)
    with av.open(str(tmp_path / "large.mkv")) as made:
        assert [s.type for s in made.streams] == ["video", "audio", "subtitle", "attachment"]
        assert [bytes(p) for p in made.demux(made.streams[2]) if p.size] == [b"hello"]
        assert made.streams[3].data == b"not really a font" and made.streams[3].name == "font.ttf"
    assert done.notes == ()
    done = upscale_video(source, tmp_path / "large.mp4", scale=2)
    assert any("subtitle stream 2 (subrip) cannot be kept in mp4" in note for note in done.notes)
    assert any("attachment stream 3" in note for note in done.notes)


def test_ten_bits_and_the_brightness_of_hdr_are_kept(tmp_path):
    hdr = "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50):max-cll=1000,400"
    source = film(
        tmp_path / "a.mp4", list(range(6)), codec="libx265", layout="yuv420p10le", tags=(1, 9, 16, 9),
        options={"x265-params": f"log-level=none:{hdr}"},
    )  # fmt: skip

    def facts(path: Path) -> tuple:
        with av.open(str(path)) as given:
            frame = next(given.decode(video=0))
            side = {item.type.name: bytes(item) for item in frame.side_data}
            tags = [int(t) for t in (frame.color_range, frame.color_primaries, frame.color_trc, frame.colorspace)]
            kept = side["MASTERING_DISPLAY_METADATA"], side["CONTENT_LIGHT_LEVEL"]
            return frame.format.name, tags, *kept

    assert facts(enlarged(source)) == facts(source)


@pytest.mark.parametrize("layout", ["yuv420p", "yuv422p", "yuv444p", "gray", "yuv420p10le", "yuv444p12le"])
@pytest.mark.parametrize("is_full", [False, True])
def test_flat_colours_stay_exactly(layout, is_full, tmp_path):
    """Levels of luma and chroma, in every layout, in both ranges, through a lossless codec."""
    frames = [av.VideoFrame(64, 48, layout) for _ in range(2)]
    depth = int(layout[-4:-2]) if layout.endswith("le") else 8
    wanted = [level << (depth - 8) for level in (144, 54, 201)]
    for frame in frames:
        for plane, level in zip(frame.planes, wanted, strict=False):
            dtype = np.uint8 if depth == 8 else np.dtype("<u2")
            np.frombuffer(plane, dtype)[:] = level
    tags = (2 if is_full else 1, 1, 1, 1)
    source = film(tmp_path / "a.mkv", [0, 1], codec="ffv1", layout=layout, frames=frames, tags=tags)
    target = enlarged(source, codec="ffv1")
    with av.open(str(target)) as made:
        for frame in made.decode(video=0):
            assert frame.format.name == layout and int(frame.color_range) == tags[0]
            for plane, level in zip(frame.planes, wanted, strict=False):
                lines = np.frombuffer(plane, np.uint8 if depth == 8 else "<u2")
                seen = lines.reshape(plane.height, -1)[:, : plane.width]
                assert (np.abs(seen.astype(int) - level) <= 1).all()


def test_an_enlarged_frame_is_closer_to_the_original_than_a_players_own(tmp_path):
    large = [picture(k // 2, 96, 128) for k in range(4)]
    frames = [av.VideoFrame.from_ndarray(rgb).reformat(64, 48, "yuv444p", interpolation="BICUBIC") for rgb in large]
    source = film(tmp_path / "a.mkv", list(range(4)), codec="ffv1", layout="yuv444p", frames=frames)
    with av.open(str(source)) as given:
        plain = [f.reformat(128, 96, "gray", interpolation="LANCZOS").to_ndarray() for f in given.decode(video=0)]
    ours = pixels(enlarged(source, codec="ffv1"), "gray")
    wanted = [av.VideoFrame.from_ndarray(rgb).reformat(format="gray").to_ndarray() for rgb in large]

    def error(found: list[np.ndarray]) -> float:
        return float(np.mean([(np.float64(a) - b) ** 2 for a, b in zip(found, wanted, strict=True)]))

    assert error(ours) < error(plain)


@pytest.mark.parametrize("layout", ["yuv420p", "yuv444p", "yuv420p10le"])
def test_a_small_video_restores_itself(layout, tmp_path):
    source = film(tmp_path / "a.mp4", list(range(4)), codec="libx265", layout=layout, sound=[0.0],
                  options={"x265-params": "log-level=none"})  # fmt: skip
    small, large = tmp_path / "a.mkv", tmp_path / "b.mkv"
    downscale_video("irn-x2-small", source, small)
    upscale_video(small, large, options=EncodeOptions(codec="ffv1"))
    assert_same_times(source, large)
    with av.open(str(large)) as made:
        assert made.streams.video[0].codec_context.pix_fmt == layout
    error = np.mean([(np.float64(a) - b) ** 2 for a, b in zip(pixels(source), pixels(large), strict=True)])
    assert 10 * np.log10(255**2 / error) > 30


def test_a_small_video_that_was_encoded_anew_is_refused(tmp_path):
    source, small, changed = film(tmp_path / "a.mp4", [0, 1, 2]), tmp_path / "a.mkv", tmp_path / "b.mkv"
    downscale_video("irn-x2-small", source, small)
    with av.open(str(small)) as given:
        said = given.metadata["RESCALE"]
    changed = film(changed, [0, 1, 2], size=(24, 32))
    with av.open(str(changed)) as given, av.open(str(tmp_path / "c.mkv"), "w") as made:
        copy = made.add_stream_from_template(given.streams.video[0])
        made.metadata["rescale"] = said
        for packet in given.demux():
            if packet.size:
                packet.stream = copy
                made.mux(packet)
    with pytest.raises(RecordError, match="re-encoded or edited"):
        upscale_video(tmp_path / "c.mkv", tmp_path / "d.mp4")
    assert not (tmp_path / "d.mp4").exists()


def test_frames_come_one_by_one_for_programs(tmp_path):
    source = film(tmp_path / "a.mp4", UNEVEN, Fraction(1, 100))
    found = list(rescale.frames(source, scale=2))
    assert [frame.pts for frame in found] == [t * 128 for t in UNEVEN]  # MP4 counts in finer ticks
    assert [tuple(plane.shape) for plane in found[0].planes] == [(96, 128), (48, 64), (48, 64)]
    assert [frame.pts_seconds for frame in found] == [t / 100 for t in UNEVEN]
    lengths = [frame.duration_seconds for frame in found]
    assert lengths[:-1] == pytest.approx([(b - a) / 100 for a, b in pairwise(UNEVEN)]) and lengths[-1] > 0
    with rescale.frames(str(source), model=rescale.load("espcn-x2-rt")) as some:
        info = some.info  # before the first frame
        assert (info.size, info.depth, info.colours.matrix) == ((96, 128), 8, 6) and info.rate > 0
        assert all(map(torch.equal, next(some).planes, found[0].planes))
    assert next(some, None) is None
    with pytest.raises(UsageError, match="expected a scale"):  # at once, not with the first frame
        rescale.frames(source, scale=5)


def test_what_is_piped_is_what_players_read(tmp_path):
    source = film(tmp_path / "a.mp4", list(range(5)))
    command = [sys.executable, "-m", "rescale", "play", str(source), "-o", "-"]
    piped = subprocess.run(command, capture_output=True, check=True).stdout
    header, rest = piped.split(b"\n", 1)
    assert header.startswith(b"YUV4MPEG2 W128 H96 F25:1")
    frame = b"FRAME\n"
    assert len(rest) == 5 * (len(frame) + 128 * 96 * 3 // 2)
    (tmp_path / "a.y4m").write_bytes(piped)
    assert len(pixels(tmp_path / "a.y4m")) == 5


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm"])
def test_a_video_that_is_cut_short_is_noticed(suffix, tmp_path):
    codec = "libvpx-vp9" if suffix == ".webm" else "libx264"
    options = {"g": "12"} | ({"movflags": "+faststart"} if suffix == ".mp4" else {})
    source = film(tmp_path / f"a{suffix}", list(range(50)), codec=codec, options=options, sound=[0.0])
    if suffix == ".mp4":
        source = _with_index_in_front(source)
    check_cuts(source, count=6, seed=1)


def _with_index_in_front(source: Path) -> Path:
    front = source.with_name("front.mp4")
    with av.open(str(source)) as given, av.open(str(front), "w", options={"movflags": "+faststart"}) as made:
        copies = {s.index: made.add_stream_from_template(s) for s in given.streams}
        for packet in given.demux():
            if packet.size:
                packet.stream = copies[packet.stream.index]
                made.mux(packet)
    return front


def check_cuts(source: Path, *, count: int, seed: int) -> None:
    """The bar: nothing short is taken for whole, and nothing whole for short."""
    data, whole = source.read_bytes(), len(shown(source))
    target = source.with_name(f"out{source.suffix}")
    upscale_video(source, target, scale=2)
    target.unlink()
    cuts = np.random.default_rng(seed).integers(len(data) // 20, len(data), count)
    for cut in cuts:
        short = source.with_name(f"cut{source.suffix}")
        short.write_bytes(data[:cut])
        try:
            done = upscale_video(short, target, scale=2, options=EncodeOptions(overwrite=True))
        except (InputError, MachineError):
            assert not target.exists(), "nothing is left of a job that failed"
            continue
        assert done.frames > whole - 3, f"cut at {cut} of {len(data)}"
        target.unlink()


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm"])
def test_two_hundred_cuts(suffix, tmp_path):
    codec = "libvpx-vp9" if suffix == ".webm" else "libx264"
    source = film(tmp_path / f"a{suffix}", list(range(60)), codec=codec, options={"g": "12"}, sound=[0.0])
    check_cuts(_with_index_in_front(source) if suffix == ".mp4" else source, count=200, seed=2)


def test_what_there_is_of_a_cut_video_can_be_had(tmp_path):
    source = _with_index_in_front(film(tmp_path / "a.mp4", list(range(50)), options={"g": "12"}))
    source.write_bytes(source.read_bytes()[:-2000])
    with pytest.raises(InputError, match=r"options\.allow_truncated"):
        enlarged(source)
    done = upscale_video(source, tmp_path / "b.mp4", scale=2, options=EncodeOptions(allow_truncated=True))
    assert 0 < done.frames < 50 and len(shown(tmp_path / "b.mp4")) == done.frames
    assert any("cut short" in note for note in done.notes)


def test_a_killed_run_goes_on_to_the_same_frames(tmp_path):
    source = film(tmp_path / "a.mp4", list(range(300)), size=(240, 320), sound=[0.0])
    check_kill(source, tmp_path, after_segments=1)


def check_kill(source: Path, folder: Path, *, after_segments: int, wait: float = 0.0) -> None:
    """A killed run leaves no target; the next one keeps its segments, and comes to the frames of one never killed."""
    whole, target, partial = folder / "whole.mp4", folder / "large.mp4", folder / ".large.mp4.partial"
    body = (
        "import sys; from rescale.video import files, transcode; transcode._SEGMENT_S = 2;"
        "files.Segments.discard = lambda self: None;"
        "files.upscale_video(sys.argv[1], sys.argv[2], scale=2)"
    )
    command = [sys.executable, "-c", body, str(source)]
    if not whole.exists():
        subprocess.run([*command, str(whole)], check=True)
    with subprocess.Popen([*command, str(target)]) as run:
        until(lambda: run.poll() is not None or len(list(partial.glob("*.seg"))) >= after_segments)
        time.sleep(wait)
        assert not target.exists()
        run.send_signal(signal.SIGKILL)
    assert not target.exists()
    kept = {file.name: file.stat().st_mtime_ns for file in partial.glob("*.seg")}
    assert len(kept) >= after_segments
    subprocess.run([*command, str(target)], check=True)
    assert kept.items() <= {file.name: file.stat().st_mtime_ns for file in partial.glob("*.seg")}.items()
    same = zip(pixels(whole, "yuv420p"), pixels(target, "yuv420p"), strict=True)
    assert all((a == b).all() for a, b in same)
    assert_same_times(source, target)
    target.unlink()
    shutil.rmtree(partial)


@pytest.mark.slow
def test_ten_kills(tmp_path):
    source = film(tmp_path / "a.mp4", list(range(400)), size=(96, 128), sound=[0.0])
    for k in range(10):
        check_kill(source, tmp_path, after_segments=k % 4, wait=0.02 * k)


@pytest.mark.parametrize(
    "content",
    [b"", b"\0" * 100, b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile:///etc/passwd\n",
     b"ffconcat version 1.0\nfile other.mp4\n", b"\0\0\0\x18ftypmp42" + bytes(50), b"\x1a\x45\xdf\xa3" + bytes(60),
     b"RIFF\0\0\0\0AVI LIST" + bytes(40)],
)  # fmt: skip
def test_what_is_no_video_gets_one_sentence(content, tmp_path):
    source = tmp_path / "a.mp4"
    source.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.mp4"):
        enlarged(source)
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_a_pipe_a_folder_and_nothing_are_refused(tmp_path):
    (tmp_path / "folder.mp4").mkdir()
    os.mkfifo(tmp_path / "pipe.mp4")
    for name in ("folder.mp4", "pipe.mp4", "nothing.mp4", "concat:a|b.mp4"):
        with pytest.raises(InputError):
            enlarged(tmp_path / name, "out.mp4")


def test_nothing_is_overwritten_and_nothing_left_behind(tmp_path):
    source = film(tmp_path / "a.mp4", [0, 1, 2])
    target = enlarged(source)
    before = target.read_bytes()
    with pytest.raises(RefusedError, match="exists"):
        enlarged(source)
    with pytest.raises(UsageError, match=r"expected one of h264, .*, got 'vp8'"):
        enlarged(source, codec="vp8", overwrite=True)
    with pytest.raises(UsageError):
        upscale_video(source, tmp_path / "b.mp4", scale=5)
    with pytest.raises(UsageError, match="expected one of"):
        upscale_video(source, tmp_path / "b.avi", scale=2)
    with pytest.raises(RefusedError, match="pixels"):
        enlarged(source, "b.mp4", max_pixels=100)
    odd = film(tmp_path / "odd.mkv", [0], codec="ffv1", size=(37, 51))
    with pytest.raises(UsageError, match="even sizes"):
        upscale_video(odd, tmp_path / "b.mp4", scale=3, options=EncodeOptions(codec="av1"))
    assert target.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "large-a.mp4", "odd.mkv"]


def test_a_full_disk_leaves_nothing(tmp_path):
    """A real limit on the size of files stands for the disk."""
    source = film(tmp_path / "a.mp4", list(range(100)), size=(96, 128))
    body = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000)); from rescale.cli import main;"
        "sys.argv = ['rescale', 'up', sys.argv[1], '--scale', '2', '-o', sys.argv[2]]; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", body, str(source), str(tmp_path / "b.mp4")], capture_output=True, text=True
    )
    assert done.returncode == 5 and "File too large" in done.stderr and "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


@pytest.mark.parametrize("clip", ["car-detection.mp4", "nasa_13013.mp4"])
def test_real_clips_come_closer_to_the_original_than_by_lanczos(clip):
    """The bar, through the same encoder; the ratio of the speeds is told, not tested."""
    found = contest(shared(f"data/video/{clip}"), "espcn-x2-rt", seconds=0.5, turns=1)
    assert found.psnr > found.lanczos_psnr + 0.3 and found.frames > 5
    assert found.least == found.ratio == found.most > 0 and found.alone_fps > 0 and found.bytes > 0


def test_only_what_can_be_compared_with_lanczos_is(tmp_path):
    film(tmp_path / "grey.mkv", [0, 1], codec="ffv1", layout="gray")
    done = said("bench", "video", "grey.mkv", cwd=tmp_path)
    assert done.returncode == 3 and "expected yuv420p" in done.stderr and done.stderr.count("\n") == 1


def said(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "rescale", *words]
    return subprocess.run(command, capture_output=True, text=True, errors="replace", cwd=cwd)


def test_the_command_line_makes_small_videos_and_restores_them(tmp_path):
    film(tmp_path / "clip.mp4", list(range(3)))
    (tmp_path / "photo.png").write_bytes(PHOTO.read_bytes())
    down = said("down", "clip.mp4", "photo.png", "--scale", "2", cwd=tmp_path)
    assert (down.returncode, down.stdout) == (0, "clip.x2.mkv\nphoto.x2.png\n")
    assert "3 frames at" in down.stderr and "network" in down.stderr
    up = said("up", "clip.x2.mkv", "--json", cwd=tmp_path)
    told = json.loads(up.stdout)
    assert (told["target"], told["frames"], told["size"]) == ("clip.x2.restored.mkv", 3, [48, 64])
    assert said("up", "clip.x2.mkv", cwd=tmp_path).returncode == 4, "the target exists"
    assert len(shown(tmp_path / "clip.x2.restored.mkv")) == 3


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["up", "clip.mp4"], 2, "expected a scale of 2, 3, 4"),
        (["up", "clip.mp4", "--scale", "2", "-o", "clip.png"], 2, "expected one of .mp4"),
        (["up", "clip.mp4", "--scale", "2", "-o", "clip.mp4", "--overwrite"], 4, "clip.mp4"),
        (["up", "clip.mp4", "--scale", "2", "-m", "irn-x2-small"], 2, "espcn-x2-rt"),
        (["down", "clip.mp4", "--refine", "3"], 2, "for pictures"),
        (["down", "clip.mp4", "-o", "small.mp4"], 2, "ends in .mkv"),
        (["down", "clip.mp4", "-o", "small.mp4", "--dry-run"], 2, "ends in .mkv"),
        (["play", "clip.mp4", "-o", "file.y4m"], 2, "expected -o -"),
        (["play", "nothing.mp4", "-o", "-"], 3, "No such file"),
    ],
)
def test_the_command_line_refuses_in_one_sentence(words, code, sentence, tmp_path):
    film(tmp_path / "clip.mp4", [0, 1])
    done = said(*words, cwd=tmp_path)
    assert done.returncode == code and sentence in done.stderr and done.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]


def test_an_interrupted_run_says_so_and_can_go_on(tmp_path):
    source = film(tmp_path / "a.mp4", list(range(600)), size=(240, 320))  # seconds of work after a segment
    command = [sys.executable, "-m", "rescale", "up", "a.mp4", "--scale", "2", "-o", "b.mp4"]
    minding = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # noqa: E731, in the background too
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, preexec_fn=minding) as run:
        until(lambda: run.poll() is not None or list(tmp_path.glob(".b.mp4.partial/*.seg")))
        run.send_signal(signal.SIGINT)
        assert run.stderr is not None
        assert run.wait(HANG_S) == 130 and run.stderr.read() == "error: interrupted\n"
    assert not (tmp_path / "b.mp4").exists() and (tmp_path / ".b.mp4.partial").is_dir()
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    assert_same_times(source, tmp_path / "b.mp4")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "b.mp4"]


def test_a_second_run_for_the_same_target_is_refused(tmp_path):
    about = {"run": "A"}
    first = Segments(tmp_path / "a.mp4", about)
    first.open()
    for said_of_the_other in (about, {"run": "B"}):
        with pytest.raises(RefusedError, match="another run"):
            Segments(tmp_path / "a.mp4", said_of_the_other).open()
    first.close()
    with closing(Segments(tmp_path / "a.mp4", about)) as third:
        assert third.open() == 0


def test_what_lies_in_a_partial_folder_is_trusted_only_where_it_is_whole(tmp_path):
    source, folder = film(tmp_path / "a.mp4", [0, 1]), tmp_path / ".large-a.mp4.partial"
    for name, content in (("header.json", b"\xff\xfe"), ("000000.seg", b"x" + hashlib.sha256(b"x").digest())):
        folder.mkdir()
        (folder / name).write_bytes(content)
        assert len(shown(enlarged(source, overwrite=True))) == 2 and not folder.exists()
    folder.mkdir()
    (folder / "mine.txt").write_text("keep me")
    with pytest.raises(RefusedError, match="move it away"):
        enlarged(source, overwrite=True)
    assert (folder / "mine.txt").read_text() == "keep me"
    shutil.rmtree(folder)
    (tmp_path / "elsewhere").mkdir()
    folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RefusedError):
        enlarged(source, overwrite=True)


@pytest.mark.parametrize("layout", ["gray", "gray10le"])
def test_a_grey_video_goes_down_and_up(layout, tmp_path):
    source = film(tmp_path / "a.mkv", [0, 1, 2], codec="ffv1", layout=layout)
    downscale_video("irn-x2-small", source, tmp_path / "b.mkv")
    upscale_video(tmp_path / "b.mkv", tmp_path / "c.mkv", options=EncodeOptions(codec="ffv1"))
    with av.open(str(tmp_path / "c.mkv")) as made:
        assert made.streams.video[0].codec_context.pix_fmt == layout
    pairs = zip(pixels(source, "gray"), pixels(tmp_path / "c.mkv", "gray"), strict=True)
    assert all(np.abs(a.astype(int) - b).mean() < 6 for a, b in pairs)


@pytest.mark.parametrize(
    "change",
    [{"model": "evil.safetensors"}, {"matrix": 0}, {"matrix": 255}, {"layout": "gbrp"}, {"layout": "vaapi"},
     {"version": 3}, {"tags": [200, 1, 1, 1]}, {"size": [48, 6400]},
     {"first": "0" * 16}, {"weights": "0" * 16}, {"siting": "up"}],
    ids=str,
)  # fmt: skip
def test_a_changed_record_is_refused(change, tmp_path):
    source = film(tmp_path / "a.mkv", [0, 1], codec="ffv1")
    downscale_video("irn-x2-small", source, tmp_path / "b.mkv")
    (tmp_path / "evil.safetensors").write_bytes(b"never to be opened")
    with av.open(str(tmp_path / "b.mkv")) as given, av.open(str(tmp_path / "c.mkv"), "w") as made:
        copy = made.add_stream_from_template(given.streams.video[0])
        made.metadata["rescale"] = json.dumps(json.loads(given.metadata["RESCALE"]) | change)
        for packet in given.demux():
            if packet.size:
                packet.stream = copy
                made.mux(packet)
    done = said("up", "c.mkv", cwd=tmp_path)
    assert done.returncode == 4 and done.stderr.count("\n") == 1 and "safetensors file written" not in done.stderr


def test_covers_and_second_videos_are_copied_whole(tmp_path):
    first, second = film(tmp_path / "a.mkv", list(range(12))), film(tmp_path / "b.mkv", list(range(12)))
    both = joined(first, second, tmp_path / "c.mkv")
    for target in ("large.mkv", "large.mp4"):
        upscale_video(both, tmp_path / target, scale=2)
        for k in (0, 1):
            with av.open(str(tmp_path / target)) as made:
                assert sum(1 for _ in made.decode(video=k)) == 12


def test_what_cannot_be_kept_of_hdr_is_named(tmp_path):
    hdr = "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50):max-cll=1000,400"
    source = film(
        tmp_path / "a.mp4", [0, 1], codec="libx265", layout="yuv420p10le", tags=(1, 9, 16, 9),
        options={"x265-params": f"log-level=none:{hdr}"},
    )  # fmt: skip
    done = upscale_video(source, tmp_path / "b.mp4", scale=2, options=EncodeOptions(codec="h264"))
    assert any("HDR is lost" in note for note in done.notes)
    downscale_video("irn-x2-small", source, tmp_path / "c.mkv")
    upscale_video(tmp_path / "c.mkv", tmp_path / "d.mp4")
    with av.open(str(tmp_path / "d.mp4")) as made:
        side = [item.type.name for item in next(made.decode(video=0)).side_data]
        assert {"MASTERING_DISPLAY_METADATA", "CONTENT_LIGHT_LEVEL"} <= set(side)


def test_frames_that_are_piped_end_with_the_error_of_a_cut_file(tmp_path):
    source = film(tmp_path / "a.mkv", list(range(50)), options={"g": "5"})
    source.write_bytes(source.read_bytes()[: source.stat().st_size // 2])
    with pytest.raises(InputError, match="cut short"):
        list(rescale.frames(source, scale=2))
    assert said("play", "a.mkv", "-o", "-", cwd=tmp_path).returncode == 3


def test_times_too_fine_for_a_container_are_refused(tmp_path):
    source = film(tmp_path / "a.mp4", list(range(8)), Fraction(1, 4000), rate=Fraction(4000))
    with pytest.raises(UsageError, match="milliseconds"):
        enlarged(source, "b.mkv")
    assert_same_times(source, enlarged(source))
