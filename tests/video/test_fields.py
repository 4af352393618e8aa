"""Interlaced video: fields stay apart, the result says what it is, and deinterlacing makes a frame of each."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from filming import film, picture, pixels, shown
from test_layouts import smooth

from rescale import EncodeOptions, downscale_video, upscale_video
from rescale.video.io.fields import FieldMarker, fields_of, woven

NOTE, DONE = "it is interlaced", "one whole frame of each"


def fielded(k: int) -> np.ndarray:
    """Two moments in one frame: a square that moves by 8 pixels between them."""
    moments = [np.full((48, 64, 3), 60, np.uint8) for _ in range(2)]
    for moment, rgb in enumerate(moments):
        left = 8 * (2 * (k % 3) + moment)
        rgb[12:36, left : left + 16] = 220
    whole = moments[0].copy()
    whole[1::2] = moments[1][1::2]
    return whole


def interlaced(path: Path, orders: list[str], codec: str = "mpeg2video") -> Path:
    frames = []
    for k, order in enumerate(orders):
        frame = av.VideoFrame.from_ndarray(fielded(k) if order else picture(k)).reformat(format="yuv420p")
        frame.pts, frame.time_base = k, Fraction(1, 25)
        frames.append(FieldMarker(order)(frame))
    options = {"flags": "+ildct+ilme", "b": "4000000"}
    return film(path, list(range(len(orders))), codec=codec, frames=frames, options=options)


def flags(path: Path) -> list[bool]:
    with av.open(str(path)) as given:
        return [frame.interlaced_frame for frame in given.decode(video=0)]


@pytest.mark.parametrize("order", ["tff", "bff"])
@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_fields_are_enlarged_by_themselves_and_marked(order, suffix, tmp_path):
    source = interlaced(tmp_path / "a.mkv", [order] * 6)
    assert flags(source) == [True] * 6
    told: list[tuple[int, tuple[str, ...]]] = []
    target = tmp_path / f"b{suffix}"
    options = EncodeOptions(tell=lambda clock: told.append((clock.frames, clock.notes)))
    done = upscale_video(source, target, scale=2, options=options)
    assert told[0][0] == 0 and any(NOTE in note for note in told[0][1])
    assert any(NOTE in note for note in done.notes) and flags(target) == [True] * 6
    with av.open(str(target)) as made:
        list(made.decode(video=0))
        assert made.streams.video[0].codec_context.field_order in ((2, 4) if order == "tff" else (3, 5))
    grey = pixels(target, "gray")[0].astype(int)
    top, bottom = grey[0::2], grey[1::2]  # of moments 8 pixels apart, which whole frames would have mixed
    assert (top[12:36, 4:28] > 180).all() and (top[12:36, 40:] < 100).all()
    assert (bottom[12:36, 22:44] > 180).all() and (bottom[12:36, :12] < 100).all()


def test_deinterlacing_makes_one_whole_frame_of_each(tmp_path):
    source = interlaced(tmp_path / "a.mkv", ["tff"] * 6)
    done = upscale_video(source, tmp_path / "b.mkv", scale=2, options=EncodeOptions(deinterlace=True))
    assert done.frames == 6 and flags(tmp_path / "b.mkv") == [False] * 6
    assert shown(tmp_path / "b.mkv") == shown(source)
    assert any(DONE in note for note in done.notes) and not any(NOTE in note for note in done.notes)
    grey = pixels(tmp_path / "b.mkv", "gray")[2].astype(int)
    assert np.abs(grey[30:66:2, 8:-8] - grey[31:67:2, 8:-8]).mean() < 6  # no comb
    small = downscale_video("bicubic-x2", source, tmp_path / "c.mkv", options=EncodeOptions(deinterlace=True))
    assert small.frames == 6 and any(DONE in note for note in small.notes)


def test_frames_that_say_nothing_are_deinterlaced_where_it_is_asked_for(tmp_path):
    frames = [av.VideoFrame.from_ndarray(fielded(k)).reformat(format="yuv420p") for k in range(4)]
    source = film(tmp_path / "a.mkv", list(range(4)), codec="ffv1", frames=frames)
    upscale_video(source, tmp_path / "b.mkv", scale=2, options=EncodeOptions(deinterlace=True))
    grey = pixels(tmp_path / "b.mkv", "gray")[1].astype(int)
    assert np.abs(grey[30:66:2, 8:-8] - grey[31:67:2, 8:-8]).mean() < 6


def spliced(path: Path, codec: str, frames: list[av.VideoFrame], **options: str) -> Path:
    """Six frames, the last three by an encoder of their own, as recorders splice what they are given."""
    with av.open(str(path), "w") as made:
        stream = made.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = frames[0].width, frames[0].height, frames[0].format.name
        for start, extra in ((0, {}), (3, options)):
            own = av.CodecContext.create(codec, "w")
            own.width, own.height, own.pix_fmt = frames[start].width, frames[start].height, frames[start].format.name
            own.time_base = own.framerate = Fraction(1, 25)
            own.framerate, own.options = Fraction(25), extra
            packets = [packet for frame in [*frames[start : start + 3], None] for packet in own.encode(frame)]
            for k, packet in enumerate(packets, start):
                packet.stream, packet.pts, packet.dts, packet.time_base = stream, k, k, Fraction(1, 25)
                made.mux(packet)
    return path


def numbered(frames: list[av.VideoFrame]) -> list[av.VideoFrame]:
    for k, frame in enumerate(frames):
        frame.pts, frame.time_base = k, Fraction(1, 25)
    return frames


def test_a_video_that_becomes_interlaced_says_so(tmp_path):
    still = [av.VideoFrame.from_ndarray(picture(k)).reformat(format="yuv420p") for k in range(3)]
    moving = [av.VideoFrame.from_ndarray(fielded(k)).reformat(format="yuv420p") for k in range(3)]
    marker, frames = FieldMarker("tff"), numbered([*still, *moving])
    frames[3:] = [marker(frame) for frame in frames[3:]]
    source = spliced(tmp_path / "a.mkv", "mpeg2video", frames, flags="+ildct+ilme")
    count, said = len(flags(source)), flags(source)  # a decoder drops one where two streams meet
    assert count >= 5 and not said[0] and said[-1]
    done = upscale_video(source, tmp_path / "b.mkv", scale=2)
    assert done.frames == count and any("it is interlaced from" in note for note in done.notes)
    done = upscale_video(source, tmp_path / "c.mkv", scale=2, options=EncodeOptions(deinterlace=True))
    assert done.frames == count and shown(tmp_path / "c.mkv") == shown(source)
    grey = pixels(tmp_path / "c.mkv", "gray")[-2].astype(int)
    assert np.abs(grey[30:66:2, 8:-8] - grey[31:67:2, 8:-8]).mean() < 6


def test_fields_weave_to_the_frame_they_came_of():
    planes = [torch.randint(0, 255, size) for size in ((12, 8), (6, 4), (6, 4))]
    assert all(map(torch.equal, planes, woven(*fields_of(planes))))


def test_a_size_that_changes_midway_is_brought_to_the_first(tmp_path):
    source = tmp_path / "a.mkv"
    sizes = [(48, 64)] * 3 + [(60, 96)] * 3
    frames = [av.VideoFrame.from_ndarray(smooth(*size)).reformat(format="yuvj420p") for size in sizes]
    spliced(source, "mjpeg", numbered(frames))
    done = upscale_video(source, tmp_path / "b.mkv", scale=2)
    assert done.frames == 6 and done.size == (96, 128)
    assert [note for note in done.notes if "96x60 from 0.120 s on, and made 64x48" in note]
    first, last = (pixels(tmp_path / "b.mkv", "gray")[k].astype(int) for k in (0, 5))
    assert np.abs(first - last).mean() < 4


def test_fields_of_an_untagged_video_keep_the_colours_that_players_took(tmp_path):
    frames = []
    for k in range(2):
        frame = av.VideoFrame.from_ndarray(picture(k, 720, 640)).reformat(format="yuv420p")
        frame.pts, frame.time_base = k, Fraction(1, 25)
        frames.append(FieldMarker("tff")(frame))
    options = {"flags": "+ildct+ilme"}
    film(tmp_path / "a.mkv", [0, 1], codec="mpeg2video", size=(720, 640), frames=frames, options=options)
    upscale_video(tmp_path / "a.mkv", tmp_path / "b.mkv", scale=2)
    with av.open(str(tmp_path / "b.mkv")) as made:
        assert int(made.streams.video[0].codec_context.colorspace) == 1
    assert flags(tmp_path / "b.mkv") == [True] * 2
