"""An overfitted video that other tools cut or joined is restored as far as its networks know its frames."""

import hashlib
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from filming import film

from rescale import EncodeOptions, OverfitBudget, overfit, upscale_video
from rescale.errors import RecordError
from rescale.video.embedded.bundle import NetworkBundle
from rescale.video.embedded.frames import FrameTable, key_of
from rescale.video.embedded.partition import Partition
from rescale.video.record import VideoRecord

LOSSLESS = EncodeOptions(codec="ffv1")
NAME, KIND = "networks.rescale", "application/x-rescale"


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> list[Path]:
    """Two overfitted videos of three seconds at 4 frames a second, all of them key frames."""
    folder, found = tmp_path_factory.mktemp("clips"), []
    for name, seed in (("a", 1), ("b", 2)):
        noise = np.random.default_rng(seed)
        frames = [
            av.VideoFrame.from_ndarray(
                np.kron(noise.integers(30, 220, (12, 16, 3)), np.ones((8, 8, 1))).astype(np.uint8)
            )
            for _ in range(12)
        ]
        frames = [frame.reformat(format="yuv420p") for frame in frames]
        source = film(folder / f"{name}.mkv", list(range(12)), Fraction(1, 4), rate=Fraction(4), codec="ffv1",
                      size=(96, 128), frames=frames)  # fmt: skip
        small = folder / f"{name}.rescale.mkv"
        options = EncodeOptions(codec="h264", preset="ultrafast", quality=10)
        overfit(source, small, budget=OverfitBudget(2, steps=30, by="time"), options=options)
        found.append(_all_keys(small, folder / f"{name}.small.mkv"))
    return found


def _all_keys(small: Path, target: Path) -> Path:
    """The same frames in a lossless codec that can be cut anywhere; the tables know frames, not packets."""
    with av.open(str(small)) as given, av.open(str(target), "w") as made:
        made.metadata.update(given.metadata)
        copy = made.add_stream("ffv1", rate=4, options={"g": "1"})
        video = given.streams.video[0]
        copy.height, copy.width, copy.pix_fmt = video.height, video.width, video.pix_fmt
        made.add_attachment(NAME, KIND, given.streams.attachments[0].data)
        for frame in given.decode(video):
            made.mux(copy.encode(frame))
        made.mux(copy.encode(None))
    return target


def edited(target: Path, parts: list[tuple[Path, range]], *, attachments: int = 9) -> Path:
    """Packets of several videos one after the other, with the record of the first, as other tools make of them."""
    with av.open(str(target), "w") as made:
        with av.open(str(parts[0][0])) as first:
            copy = made.add_stream_from_template(first.streams.video[0])
            made.metadata.update(first.metadata)
        contents = []
        for path, _ in parts:
            with av.open(str(path)) as given:
                contents += [s.data for s in given.streams.attachments if s.data not in contents]
        for content in contents[:attachments]:
            made.add_attachment(NAME, KIND, content)
        count = 0
        for path, which in parts:
            with av.open(str(path)) as given:
                packets = [packet for packet in given.demux(video=0) if packet.size]
                for k in which:
                    packets[k].stream, packets[k].pts = copy, 250 * count
                    packets[k].dts = packets[k].pts
                    made.mux(packets[k])
                    count += 1
    return target


def restored(path: Path, target: Path, **how) -> tuple[list[np.ndarray], tuple[str, ...]]:
    notes = upscale_video(path, target, options=LOSSLESS, overwrite=True, **how).notes
    return _gray(target), notes


def _gray(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as made:
        return [frame.to_ndarray(format="gray") for frame in made.decode(video=0)]


def test_each_frame_is_restored_by_its_own_networks_wherever_it_went(clips, tmp_path):
    (a, b), large = clips, tmp_path / "l.mkv"
    own, other = restored(a, large)[0], restored(b, large)[0]
    plain = restored(b, large, scale=2, model="espcn-x2-mid")[0]
    assert not np.array_equal(other[0], plain[0])
    for parts, wanted in (
        ([(a, range(5, 12))], own[5:]),
        ([(a, range(9, 12)), (a, range(3))], own[9:] + own[:3]),
        ([(a, range(12)), (b, range(12))], own + other),
        ([(b, range(2, 4)), (a, range(4))], other[2:4] + own[:4]),
    ):
        made, notes = restored(edited(tmp_path / "e.mkv", parts), large)
        assert len(made) == len(wanted) and all(map(np.array_equal, made, wanted)) and notes == ()
    by_time = upscale_video(edited(tmp_path / "e.mkv", [(a, range(9, 12))]), large, overwrite=True,
                            options=EncodeOptions(codec="ffv1", force=True))  # fmt: skip
    assert by_time.frames == 3 and not np.array_equal(_gray(large)[0], own[9])  # as by other networks


def test_frames_that_no_table_knows_are_enlarged_as_ordinary_ones_and_counted(clips, tmp_path):
    (a, b), large = clips, tmp_path / "l.mkv"
    own = restored(a, large)[0]
    generic = restored(b, large, scale=2, model="espcn-x2-mid")[0]
    for parts, wanted in (
        ([(a, range(12)), (b, range(5))], own + generic[:5]),
        ([(a, range(6, 12)), (b, range(3))], own[6:] + generic[:3]),
    ):
        made, notes = restored(edited(tmp_path / "e.mkv", parts, attachments=1), large)
        assert all(map(np.array_equal, made, wanted))
        count = len(parts[1][1])
        assert f"{count} frames are not of the video that was overfitted, and are enlarged as an ordinary one" in notes


def test_a_video_of_strange_frames_only_is_refused_but_for_force(clips, tmp_path):
    a, b = clips
    with av.open(str(a)) as given:
        text, content = dict(given.metadata), given.streams.attachments[0].data
    strange = tmp_path / "s.mkv"
    with av.open(str(b)) as given, av.open(str(strange), "w") as made:
        copy = made.add_stream_from_template(given.streams.video[0])
        made.metadata.update(text)
        made.add_attachment(NAME, KIND, content)
        for packet in given.demux(video=0):
            if packet.size:
                packet.stream = copy
                made.mux(packet)
    with pytest.raises(RecordError, match="re-encoded or edited"):
        upscale_video(strange, tmp_path / "l.mkv")
    assert upscale_video(strange, tmp_path / "l.mkv", options=EncodeOptions(force=True)).frames == 12


def test_networks_without_a_table_restore_as_before(clips, tmp_path):
    """As earlier releases made them."""
    a, large = clips[0], tmp_path / "l.mkv"
    with av.open(str(a)) as given:
        data = given.streams.attachments[0].data
        record = VideoRecord.find(given.metadata)
    bundle = NetworkBundle.unpack(data, record.networks)
    assert len(bundle.frames.slots) == 12 and len(bundle.frames.pack()) == 8 * 12
    bare = NetworkBundle(bundle.networks, bundle.partition, bundle.start).pack()
    old = record.model_copy(update={"networks": hashlib.sha256(bare).hexdigest()}).model_dump_json(exclude_none=True)
    with av.open(str(a)) as given, av.open(str(tmp_path / "old.mkv"), "w") as made:
        copy = made.add_stream_from_template(given.streams.video[0])
        made.metadata["rescale"] = old
        made.add_attachment(NAME, KIND, bare)
        for packet in given.demux(video=0):
            if packet.size:
                packet.stream = copy
                made.mux(packet)
    made, notes = restored(tmp_path / "old.mkv", large)
    assert all(map(np.array_equal, made, restored(a, large)[0])) and notes == ()


def test_a_table_comes_back_and_names_all_slots_of_frames_that_are_the_same():
    table = FrameTable.of([(b"abcdef", 3), (b"ghijkl", 0), (b"abcdef", 65_535), (b"abcdef", 3)])
    assert table.slots == {b"abcdef": [3, 65_535], b"ghijkl": [0]}
    assert FrameTable.unpack(table.pack()) == table and FrameTable.unpack(b"") == FrameTable()
    with pytest.raises(ValueError, match="8 bytes"):
        FrameTable.unpack(b"1234567")


def test_a_key_tells_samples_shapes_and_planes_apart_but_not_types():
    plane = torch.arange(12, dtype=torch.uint8).reshape(3, 4)
    assert key_of([plane]) == key_of([plane.int()]) and len(key_of([plane])) == 6
    others = [[plane + 1], [plane.reshape(4, 3)], [plane, plane], [plane.T.reshape(3, 4)]]
    assert len({key_of(planes) for planes in others} | {key_of([plane])}) == 5


def test_the_slot_of_a_time_is_the_one_that_serves_it():
    partition = Partition(torch.zeros(3, 1, 1, dtype=torch.uint8), slot_ms=1000)
    assert [partition.slot(time) for time in (-5, 0, 999, 1000, 2500, 10**9)] == [0, 0, 0, 1, 2, 2]
