"""An overfitted MP4 or MOV carries its networks in the stream, where players pass them over and any copy keeps them."""

import hashlib
import subprocess
import uuid
from pathlib import Path

import av
import numpy as np
import pytest
from filming import film, picture

from rescale import EncodeOptions, OverfitBudget, overfit, upscale_video
from rescale.bench.rate_distortion import compare
from rescale.errors import RecordError, RescaleError, UsageError
from rescale.stdo.overfit import OverfitResult
from rescale.video import carriage
from rescale.video.embedded import postfilter
from rescale.video.io import nal
from rescale.video.io.container import opened
from rescale.video.record import VideoRecord

LOSSLESS = EncodeOptions(codec="ffv1", overwrite=True)


def overfitted(folder: Path, name: str, codec: str, seed: int) -> tuple[OverfitResult, Path]:
    frames = [av.VideoFrame.from_ndarray(np.roll(picture(k, 96, 128), 16 * seed, 1)) for k in range(6)]
    frames = [frame.reformat(format="yuv420p") for frame in frames]
    source = film(folder / f"{seed}.mkv", list(range(6)), size=(96, 128), codec="ffv1", frames=frames)
    options = EncodeOptions(codec=codec, preset="veryfast", threads=1)
    return overfit(source, folder / name, budget=OverfitBudget(2, steps=3), options=options), source


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> dict[str, OverfitResult]:
    folder = tmp_path_factory.mktemp("in stream")
    named = {"h264": ("a.mp4", "h264", 0), "h265": ("b.mov", "h265", 1), "other": ("c.m4v", "h264", 2)}
    return {key: overfitted(folder, *how)[0] for key, how in named.items()}


def ffmpeg(*words: str | Path) -> str:
    """Run FFmpeg; return its warnings."""
    command = ["ffmpeg", "-nostdin", "-v", "warning", "-y", *map(str, words)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stderr


def restored(path: Path) -> list[np.ndarray]:
    large = path.with_suffix(".large.mkv")
    assert [note for note in upscale_video(path, large, options=LOSSLESS).notes if "TS" not in note] == []
    with av.open(str(large)) as container:
        return [frame.to_ndarray(format="gray") for frame in container.decode(video=0)]


def are_same(a: list[np.ndarray], b: list[np.ndarray]) -> bool:
    return len(a) == len(b) and all(map(np.array_equal, a, b))


def first_units(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        size = nal.length_size(stream.codec_context.extradata, stream.codec_context.name)
        return list(nal.units(bytes(next(container.demux(stream))), size))


@pytest.mark.parametrize(("key", "name", "sei"), [("h264", "h264", 6), ("h265", "hevc", 39)])
def test_the_first_packet_carries_record_and_filter_in_front_of_the_picture(made, key, name, sei):
    path = made[key].target
    units = first_units(path)
    *before, picture_unit = [nal._kind(unit, name) for unit in units]
    assert before[-2:] == [sei, sei] and nal._is_picture(units[-1], name), picture_unit
    (record,), (filter_, switch) = (list(nal.messages(unit, name)) for unit in units[-3:-1])
    assert record[0] == 5 and record[1][:16] == uuid.uuid5(uuid.NAMESPACE_URL, "urn:rescale:1.0").bytes
    assert (filter_[0], switch) == (210, (211, b"\xb3"))
    with av.open(str(path)) as container:
        found = VideoRecord.find(container.metadata)
        assert not container.streams.attachments and record[1][24:].decode() == container.metadata["rescale"]
    assert hashlib.sha256(*postfilter.unpack([filter_])).hexdigest() == found.networks
    assert made[key].networks_bytes == len(units[-3]) + len(units[-2])


@pytest.mark.parametrize("key", ["h264", "h265"])
def test_others_decode_it_without_a_warning_to_the_same_frames(made, key, tmp_path):
    path = made[key].target
    assert not ffmpeg("-i", path, "-f", "null", "-")
    bare, name = tmp_path / "bare.mkv", "h264" if key == "h264" else "hevc"
    kinds = "6" if key == "h264" else "39"
    ffmpeg("-i", path, "-c", "copy", "-bsf:v", f"filter_units=remove_types={kinds}", bare)
    assert not any(list(nal.messages(unit, name)) for unit in first_units(bare))
    with av.open(str(path)) as a, av.open(str(bare)) as b:
        for one, two in zip(a.decode(video=0), b.decode(video=0), strict=True):
            assert np.array_equal(one.to_ndarray(), two.to_ndarray())


@pytest.mark.parametrize("key", ["h264", "h265"])
def test_copies_to_other_containers_and_back_restore_the_same(made, key, tmp_path):
    """Even where FFmpeg drops the record of the container, as it does in a plain MP4."""
    path = made[key].target
    wanted, last = restored(path), path
    for name in ("1.mkv", "2.mp4", "3.ts", "4.mov", "5.mkv"):
        ffmpeg("-i", last, "-c", "copy", tmp_path / name)
        last = tmp_path / name
        assert are_same(restored(last), wanted), name
    with av.open(str(tmp_path / "2.mp4")) as container:
        assert "rescale" not in container.metadata


def test_joined_videos_bring_their_networks_along(made, tmp_path):
    a, c = made["h264"].target, made["other"].target
    (tmp_path / "list").write_text(f"file '{a}'\nfile '{c}'\n")
    ffmpeg("-f", "concat", "-safe", "0", "-i", tmp_path / "list", "-c", "copy", tmp_path / "both.mp4")
    with opened(tmp_path / "both.mp4") as container:
        assert len(carriage.find_networks(container, tmp_path / "both.mp4")) == 2
    assert are_same(restored(tmp_path / "both.mp4"), restored(a) + restored(c))


def test_a_flipped_byte_is_one_sentence_or_harmless(made, tmp_path):
    """In each part of what is carried, of a copy whose container has no record."""
    path, bad = tmp_path / "copy.mp4", tmp_path / "bad.mp4"
    ffmpeg("-i", made["h264"].target, "-c", "copy", path)
    wanted, whole = restored(path), path.read_bytes()
    first, second = first_units(path)[-3:-1]
    begin = whole.index(first)
    end = whole.index(second) + len(second)
    data = whole.index(b";base64,")
    places = {"record": begin + 60, "uuid": begin + 8, "filter": data + 100, "scheme": data + 3, "tag": data - 40}
    words = {"record": "record is damaged", "uuid": "record of the networks in it is missing", "filter": "damaged",
             "scheme": "missing", "tag": "missing"}  # fmt: skip
    for name, at in places.items():
        bad.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(RecordError, match=words[name]) as caught:
            upscale_video(bad, tmp_path / "large.mkv")
        assert "\n" not in str(caught.value) and not (tmp_path / "large.mkv").exists()
    assert upscale_video(bad, tmp_path / "plain.mkv", scale=2).frames == 6
    for at in range(begin - 4, end, (end - begin) // 12):
        bad.write_bytes(whole[:at] + bytes([whole[at] ^ 0x20]) + whole[at + 1 :])
        try:
            assert are_same(restored(bad), wanted), at - begin
        except RescaleError as error:
            assert "\n" not in str(error)


def test_a_video_without_its_first_packet_says_that_the_networks_are_missing(made, tmp_path):
    path, bare = made["h264"].target, tmp_path / "bare.mp4"
    with av.open(str(path)) as given, av.open(str(bare), "w", options={"movflags": "use_metadata_tags"}) as copy:
        copy.metadata.update(given.metadata)
        stream = copy.add_stream_from_template(given.streams.video[0])
        size = nal.length_size(given.streams.video[0].codec_context.extradata, "h264")
        for packet in given.demux(video=0):
            kept = [u for u in nal.units(bytes(packet), size) if nal._is_picture(u, "h264")]
            if kept:
                made_ = av.Packet(b"".join(len(unit).to_bytes(size) + unit for unit in kept))
                made_.stream, made_.pts, made_.dts, made_.time_base = stream, packet.pts, packet.dts, packet.time_base
                made_.is_keyframe = packet.is_keyframe
                copy.mux(made_)
    with pytest.raises(RecordError, match="networks that restore it are missing"):
        upscale_video(bare, tmp_path / "large.mkv")


def test_its_bytes_are_counted_as_those_of_networks_not_of_the_small_video(made, tmp_path):
    done = made["h264"]
    with opened(done.target) as container:
        carried = carriage.carried_bytes(container, done.target)
    assert carried == done.networks_bytes + 8  # two start codes, or lengths
    shown = {one.name: one.bytes for one in compare(done.source, done.target, seconds=1)[:3]}
    assert shown["overfitted"] - shown["bicubic"] == carried
    assert 0 <= shown["bicubic"] - done.stream_bytes < 9  # start codes of three bytes are lengths of four


def test_no_more_is_collected_than_memory_is_meant_for(monkeypatch, made):
    monkeypatch.setattr(carriage, "_MOST_BYTES", 100)
    with opened(made["h264"].target) as container:
        assert carriage.find_networks(container, made["h264"].target) == []


def test_ordinary_videos_bring_nothing_and_webm_holds_no_networks(tmp_path):
    for name, codec in (("a.mp4", "libx264"), ("b.mkv", "ffv1")):
        path = film(tmp_path / name, [0, 1, 2], codec=codec)
        with opened(path) as container:
            assert carriage.find_record(container, path) is None and carriage.find_networks(container, path) == []
    with pytest.raises(UsageError, match=r"\.mkv, \.mp4 or \.mov"):
        overfit(tmp_path / "a.mp4", tmp_path / "a.webm")
