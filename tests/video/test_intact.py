"""Files as cameras, phones and editors write them: whole ones are taken whole, and of damaged ones all that decodes."""

import io
import struct
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import pytest
from filming import film, joined, picture, shown
from PIL import Image

from rescale import EncodeOptions, OverfitBudget, overfit, upscale_video
from rescale.errors import InputError, UsageError
from rescale.video.io.streams import chroma_location, main_video, mean_rate
from rescale.video.io.times import MILLISECOND, Spacing, rounded
from rescale.video.io.whole import has_all_boxes

PLAIN = {"bf": "0"}
STEPS = OverfitBudget(parts=1, steps=2)


def copied(source: Path, target: Path, times: list[int], *, durations: list[int] | None = None) -> Path:
    """The same packets at other times, in ticks of the source."""
    with av.open(str(source)) as given, av.open(str(target), "w") as made:
        stream = given.streams.video[0]
        copy = made.add_stream_from_template(stream)
        for k, packet in enumerate(p for p in given.demux(stream) if p.size):
            packet.pts = packet.dts = times[k]
            packet.duration = durations[k] if durations else packet.duration
            packet.stream = copy
            made.mux(packet)
    return target


def with_no_step(source: Path, target: Path, at: int) -> Path:
    """An MP4 whose frame `at` has the time of the one before: a delta of 0, as phones write."""
    step = 512
    times = [k * step for k in range(len(shown(source)))]
    times[at] = times[at - 1] + 1
    data = bytearray(copied(source, target, times).read_bytes())
    table = data.index(b"stts")
    for entry in range(struct.unpack_from(">I", data, table + 8)[0]):
        if struct.unpack_from(">I", data, table + 16 + 8 * entry)[0] == 1:
            struct.pack_into(">I", data, table + 16 + 8 * entry, 0)
    target.write_bytes(data)
    return target


def spoiled(source: Path, target: Path, *which: int) -> Path:
    """Break the length of some samples, as a bad sector does; negative numbers count from the end."""
    with av.open(str(source)) as given:
        places = [packet.pos for packet in given.demux(given.streams.video[0]) if packet.size]
    data = bytearray(source.read_bytes())
    for number in which:
        data[places[number] : places[number] + 4] = b"\xff\xff\xff\xf0"
    target.write_bytes(data)
    return target


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_two_frames_of_one_time_both_come_out(suffix, tmp_path):
    source = film(tmp_path / "a.mp4", list(range(20)), Fraction(1, 25), options=PLAIN)
    same = with_no_step(source, tmp_path / "same.mp4", 12)
    done = upscale_video(same, tmp_path / f"b{suffix}", scale=2)
    assert done.frames == 20 and any("1 frames had the time" in note for note in done.notes)
    after = shown(tmp_path / f"b{suffix}")
    assert len(after) == 20 and all(a < b for a, b in pairwise(after))


def test_slides_are_whole_in_mkv(tmp_path):
    """The last picture stands for as long as the sound lasts, which no block says."""
    source = film(tmp_path / "a.mkv", [0, 75, 150, 225], rate=Fraction(25), sound=[0.0])
    with av.open(str(source)) as given:
        long = tmp_path / "long.mkv"
        with av.open(str(long), "w") as made:
            copies = {s.index: made.add_stream_from_template(s) for s in given.streams}
            for packet in given.demux():
                if packet.size:
                    is_last = packet.stream.type == "video" and packet.pts == 9000
                    packet.duration = 5000 if is_last else packet.duration
                    packet.stream = copies[packet.stream.index]
                    made.mux(packet)
    assert has_all_boxes(long)
    assert upscale_video(long, tmp_path / "b.mkv", scale=2).frames == 4
    long.write_bytes(long.read_bytes()[:-3000])
    assert not has_all_boxes(long)


def test_the_last_picture_is_shown_as_long_as_it_was(tmp_path):
    source, second = film(tmp_path / "a.mp4", list(range(4)), options=PLAIN), 12800
    starts, lasts = (0, 1, 4, 6), (1, 3, 2, 5)
    last = copied(source, tmp_path / "last.mp4", [t * second for t in starts], durations=[d * second for d in lasts])
    for name in ("b.mp4", "b.mkv"):
        upscale_video(last, tmp_path / name, scale=2)
        with av.open(str(tmp_path / name)) as made:
            assert made.duration / 1e6 == pytest.approx(11, abs=0.01)


@pytest.mark.parametrize("threads", [1, 2, 16])
@pytest.mark.parametrize(("which", "kept"), [((-1,), 99), ((-5, -4, -3, -2, -1), 95), ((40,), 99)])
def test_every_decodable_frame_comes_out_and_the_missing_are_counted(threads, which, kept, tmp_path):
    options = {"g": "25", "bf": "2" if which[0] < 0 else "0"}
    source = film(tmp_path / "a.mp4", list(range(100)), options=options)
    bad = spoiled(source, tmp_path / "bad.mp4", *which)
    with pytest.raises(InputError):
        upscale_video(bad, tmp_path / "b.mp4", scale=2, options=EncodeOptions(threads=threads))
    tolerant = EncodeOptions(threads=threads, allow_truncated=True)
    done = upscale_video(bad, tmp_path / "b.mp4", scale=2, options=tolerant)
    assert done.frames == len(shown(tmp_path / "b.mp4")) == kept
    assert any(f"{len(which)} damaged" in note for note in done.notes)


@pytest.mark.parametrize("threads", [1, 16])
@pytest.mark.parametrize("which", [(-2, -1), (40,)])
def test_what_an_avi_lost_leaves_a_gap_and_moves_no_other_frame(threads, which, tmp_path):
    """Its packets say no time of their frames, so that of a lost one must be dropped with it."""
    source = film(tmp_path / "a.avi", list(range(60)), options={"g": "25", "bf": "2"})
    with av.open(str(source)) as given:
        places = [(packet.pos, packet.size) for packet in given.demux(given.streams.video[0]) if packet.size]
    data = bytearray(source.read_bytes())
    for at, size in (places[number] for number in which):
        data[at : at + size] = b"\xff" * size
    source.write_bytes(data)
    tolerant = EncodeOptions(threads=threads, allow_truncated=True)
    done = upscale_video(source, tmp_path / "b.mkv", scale=2, options=tolerant)
    times = {round(25 * time) for time in shown(tmp_path / "b.mkv")}
    assert set(range(60)) - times == {number % 60 for number in which}
    assert any(f"{len(which)} damaged" in note for note in done.notes)


@pytest.mark.parametrize("deinterlace", [False, True])
def test_of_numbered_pictures_all_but_the_damaged_are_taken(deinterlace, tmp_path):
    for k in range(6):
        Image.fromarray(picture(k)).save(tmp_path / f"{k}.png")
    data = bytearray((tmp_path / "3.png").read_bytes())
    begins = data.index(b"IDAT") + 4
    data[begins : begins + 40] = b"\xff" * 40
    (tmp_path / "3.png").write_bytes(data)
    options = EncodeOptions(allow_truncated=True, deinterlace=deinterlace)
    done = upscale_video(tmp_path / "%d.png", tmp_path / "b.mkv", scale=2, options=options)
    assert [round(25 * time) for time in shown(tmp_path / "b.mkv")] == [0, 1, 2, 4, 5]
    assert any("1 damaged" in note for note in done.notes)


@pytest.mark.parametrize("suffix", [".mov", ".mkv"])
def test_side_data_without_a_name_is_no_crash(suffix, tmp_path):
    """EXIF in the JPEG frames of a camera's timelapse."""
    exif = Image.Exif()
    exif[0x010F] = "Canon"
    with av.open(str(tmp_path / f"a{suffix}"), "w") as made:
        stream = made.add_mux_stream("mjpeg", rate=25, width=64, height=48)
        stream.time_base = Fraction(1, 25)
        for k in range(4):
            data = io.BytesIO()
            Image.fromarray(picture(k)).save(data, "jpeg", exif=exif)
            packet = av.Packet(data.getvalue())
            packet.stream, packet.pts, packet.dts, packet.duration = stream, k, k, 1
            packet.time_base, packet.is_keyframe = Fraction(1, 25), True
            made.mux(packet)
    done = upscale_video(tmp_path / f"a{suffix}", tmp_path / f"b{suffix}", scale=2)
    assert done.frames == 4 and "its EXIF is lost" in done.notes


def tags(path: Path) -> list[int]:
    with av.open(str(path)) as given:
        context = given.streams.video[0].codec_context
        return [int(t) for t in (context.color_primaries, context.color_trc, context.colorspace)]


@pytest.mark.parametrize(
    ("size", "wanted"),
    [((360, 640), [2, 2, 6]), ((576, 720), [5, 2, 6]), ((480, 720), [6, 2, 6]), ((720, 1280), [2, 2, 1])],
)
def test_an_untagged_video_keeps_the_colours_that_players_took(size, wanted, tmp_path):
    upscale_video(film(tmp_path / "a.mp4", [0], size=size), tmp_path / "b.mp4", scale=2)
    assert tags(tmp_path / "b.mp4") == wanted


@pytest.mark.parametrize("siting", ["left", "center", "topleft"])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_chroma_stays_where_the_file_says_it_sits(siting, suffix, tmp_path):
    options = {"chroma_sample_location": siting}
    source = film(tmp_path / f"a{suffix}", [0, 1], options=options, tags=(1, 9, 16, 9))
    upscale_video(source, tmp_path / f"b{suffix}", scale=2)
    for path in (source, tmp_path / f"b{suffix}"):
        with av.open(str(path)) as given:
            assert chroma_location(given.streams.video[0]) == siting


def test_of_a_preview_and_a_film_the_film_is_taken(tmp_path):
    paths = [film(tmp_path / "s.mkv", list(range(4)), size=(24, 32)), film(tmp_path / "l.mkv", list(range(8)))]
    both = joined(*paths, tmp_path / "both.mkv")
    with av.open(str(both)) as given:
        assert main_video(given).index == 1
    done = upscale_video(both, tmp_path / "c.mkv", scale=2)
    assert (done.frames, done.size) == (8, (96, 128))


def test_a_rate_that_is_a_clock_is_measured(tmp_path):
    source = film(tmp_path / "a.mkv", [round(k * 1000 / 29) for k in range(60)], MILLISECOND, rate=Fraction(1000))
    with av.open(str(source)) as given:
        assert mean_rate(given.streams.video[0], source) == 29


@pytest.mark.parametrize("rate", [Fraction(24000, 1001), Fraction(30000, 1001), Fraction(60000, 1001)], ids=str)
@pytest.mark.parametrize("start", [0, 1])
def test_videos_at_the_rates_of_television_can_be_overfitted(rate, start, tmp_path):
    """Frame 12, 15 or 30 falls on half a millisecond; and one that starts at no whole millisecond."""
    source = film(tmp_path / "a.mp4", list(range(start, start + 31)), 1 / rate, rate=rate)
    overfit(source, tmp_path / "b.mkv", budget=STEPS)
    assert len(shown(tmp_path / "b.mkv")) == 31


def test_times_too_fine_are_known_before_the_work(tmp_path):
    fine = film(tmp_path / "a.mp4", list(range(8)), Fraction(1, 4000), rate=Fraction(4000))
    burst = film(tmp_path / "c.mp4", [*range(400), *range(4000, 40000, 4000)], Fraction(1, 4000), rate=Fraction(25))
    for source in (fine, burst):
        with pytest.raises(UsageError, match="milliseconds"):
            overfit(source, tmp_path / "b.mkv", budget=STEPS)
        with pytest.raises(UsageError, match="milliseconds"):
            upscale_video(source, tmp_path / "b.mkv", scale=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "c.mp4"]


def test_halves_are_rounded_away_from_zero_and_a_taken_tick_is_left():
    base = Fraction(1, 2000)
    assert [rounded(pts, base) for pts in (-3, -1, 0, 1, 2, 3)] == [-2, -1, 0, 1, 1, 2]
    spacing = Spacing(base, MILLISECOND)
    placed = [spacing.place(pts) for pts in (0, 1, 2, 3, 8)]
    ticks = [rounded(pts, base) for pts in placed if pts is not None]
    assert len(set(ticks)) == 5 and ticks == sorted(ticks) and spacing.moved > 0
    assert spacing.place(-2000) is None
