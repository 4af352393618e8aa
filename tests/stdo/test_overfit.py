"""A video that carries the networks that restore it: partition, parcel, lesson, and the whole way there and back."""

import copy
import hashlib
import itertools
import json
import shutil
import signal
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from conftest import shared
from filming import film, heard, picture, shown
from hypothesis import given, settings
from hypothesis import strategies as st
from waiting import HANG_S, until

from rescale.errors import RecordError, RescaleError, UsageError
from rescale.models import ESPCN, WDSR, ESPCNConfig, LumaSR, WDSRConfig, weights
from rescale.ops.resample import resample
from rescale.stdo.dataset import FramePairs
from rescale.stdo.measure import measured
from rescale.stdo.overfit import OverfitBudget, overfit
from rescale.stdo.training import OverfitTrainer, prepared
from rescale.video.embedded.bundle import NetworkBundle, as_half_precision
from rescale.video.embedded.partition import Partition, by_difficulty, by_network, by_time, grid
from rescale.video.embedded.patchwise import PatchwiseUpscaler
from rescale.video.embedded.quantization import Start
from rescale.video.files import upscale_video
from rescale.video.io.colour import Levels
from rescale.video.io.frames import VideoReader
from rescale.video.luma_upscaler import LumaUpscaler
from rescale.video.options import EncodeOptions

CONFIG = ESPCNConfig(2, (8,), (3, 3), residual=True, cell=2, activation="relu")
FAST = EncodeOptions(preset="veryfast", threads=1)


def shaken(seed: int, model: type[LumaSR] = ESPCN) -> LumaSR:
    """Networks that differ, rounded as they travel."""
    torch.manual_seed(seed)
    made = ESPCN(CONFIG) if model is ESPCN else WDSR(WDSRConfig(2, 4, 2, 2, 2))
    for parameter in made.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    return as_half_precision(made)


def luma(count: int = 6, size: tuple[int, int] = (100, 140)) -> FramePairs:
    """A scene that moves, with fine lines; small by bicubic."""
    rows, columns = np.mgrid[: size[0], : size[1]]
    large = np.stack([(128 + 60 * np.sin((rows + 2 * k) / 3.0) * np.sin(columns / 2.5)) for k in range(count)])
    large = large.round().astype(np.uint8)
    small = resample(torch.from_numpy(large).float()[:, None], (size[0] // 2, size[1] // 2))[:, 0]
    return FramePairs(large, small.round().clamp(0, 255).byte().numpy(), [40 * k for k in range(count)], Levels(), 2)


@given(
    st.lists(st.integers(0, 5000), min_size=1, max_size=30, unique=True).map(sorted),
    st.integers(1, 5), st.integers(1, 5), st.integers(1, 6),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_every_patch_has_a_network_and_every_network_its_share(times, rows, columns, parts):
    error = torch.rand(len(times), rows, columns)
    for divide in (by_difficulty, by_time):
        made = divide(error, times, parts)
        assert made.choice.shape == (times[-1] // 1000 + 1, rows, columns) and int(made.choice.max()) < parts
        assert all(made.at(time).shape == (rows, columns) for time in (*times, 10**9, -5))
    counts = torch.bincount(by_difficulty(error, times, parts).choice.flatten())
    assert counts.max() - counts.min() <= 1 and len(counts) == min(parts, made.choice.numel())


def test_the_hardest_patches_are_the_first_networks():
    error = torch.tensor([[[9.0, 1.0], [4.0, 0.0]]])
    assert by_difficulty(error, [0], 2).choice.tolist() == [[[0, 1], [0, 1]]]
    assert by_difficulty(error, [0], 4).choice.tolist() == [[[0, 2], [1, 3]]]


def test_each_patch_goes_to_the_network_that_misses_least():
    errors = torch.tensor([[[[1.0, 5.0]]], [[[2.0, 3.0]]]])
    assert by_network(errors, [0]).choice.tolist() == [[[0, 1]]]


def test_an_hour_has_no_more_slots_than_a_map_has_use_for():
    times = list(range(0, 3_600_000, 30_000))
    made = by_time(torch.rand(len(times), 2, 2), times, 4)
    assert len(made.choice) <= 65 and made.at(3_599_000).unique().item() == 3


@pytest.mark.parametrize("depth", [8, 10])
@pytest.mark.parametrize("model", [ESPCN, WDSR])
def test_patches_are_what_each_network_makes_of_the_whole_frame(model, depth):
    """But for how sums are rounded; so seams are only where two networks disagree."""
    levels = Levels(depth)
    y = torch.randint(0, levels.top + 1, (101, 150)).to(torch.uint8 if depth == 8 else torch.int32)
    networks = [shaken(k, model) for k in range(3)]
    choice = torch.randint(0, 3, (2, *grid((101, 150), 48)), dtype=torch.uint8)
    work = PatchwiseUpscaler(networks, Partition(choice), levels, "float32")
    whole = [LumaUpscaler(network, levels, "float32")(y).int() for network in networks]
    assert (whole[0] - whole[1]).abs().max() > 2
    for slot in range(2):
        made = work(y, 1000 * slot).int()
        which = choice[slot].repeat_interleave(96, 0).repeat_interleave(96, 1)[:202, :300]
        expected = torch.stack(whole).gather(0, which[None].long())[0]
        assert (made - expected).abs().max() <= 1 and (made != expected).float().mean() < 1e-3


def test_one_network_is_the_plain_enlarger():
    y = torch.randint(0, 256, (50, 70), dtype=torch.uint8)
    network = shaken(1)
    made = PatchwiseUpscaler([network], Partition(torch.zeros(1, 2, 2, dtype=torch.uint8)), Levels())(y, 0)
    assert torch.equal(made, LumaUpscaler(network, Levels())(y))


@pytest.mark.parametrize("model", [ESPCN, WDSR])
@pytest.mark.parametrize("is_close", [True, False])
def test_a_parcel_comes_back_to_the_bit(model, is_close):
    first = shaken(1, model)
    second = as_half_precision(shaken(1, model)) if is_close else shaken(2, model)
    if is_close:
        next(second.parameters()).data.flatten()[0] = 1.0
    parcel = NetworkBundle([first, second], Partition(torch.tensor([[[0, 1, 1]], [[1, 0, 0]]], dtype=torch.uint8)))
    data = parcel.pack()
    back = NetworkBundle.unpack(data, hashlib.sha256(data).hexdigest())
    assert torch.equal(back.partition.choice, parcel.partition.choice) and back.scale == 2
    for a, b in zip(parcel.networks, back.networks, strict=True):
        assert type(a) is type(b) and a.config == b.config
        assert all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))
    header = json.loads(json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]["rescale"])
    assert header["differs"] == [False, is_close]  # a difference where that is smaller, and only there


def test_a_wide_network_travels_beside_others(tmp_path):
    wide = shaken(1)
    next(wide.parameters()).data *= 1 + 1e-5
    for networks in ([wide, shaken(2)], [shaken(2), wide, shaken(2)]):
        data = NetworkBundle(networks, Partition(torch.tensor([[[0, 1]]], dtype=torch.uint8))).pack()
        back = NetworkBundle.unpack(data, hashlib.sha256(data).hexdigest())
        for a, b in zip(networks, back.networks, strict=True):
            assert all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def refusal(data: bytes, sha256: str | None = None) -> str:
    with pytest.raises(RecordError) as caught:
        NetworkBundle.unpack(data, sha256 or hashlib.sha256(data).hexdigest())
    return str(caught.value)


def packed() -> bytes:
    partition = Partition(torch.tensor([[[0, 1]]], dtype=torch.uint8))
    return NetworkBundle([shaken(1), shaken(2)], partition).pack()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'\\"version\\":1', b'\\"version\\":3'), (b'\\"version\\":1', b'\\"version\\":4'),
        (b'\\"widths\\":[8]', b'\\"widths\\":[9]'),
        (b'\\"kernels\\":[3,3]', b'\\"kernels\\":[3,9]'), (b'\\"shape\\":[1,1,2]', b'\\"shape\\":[1,1,9]'),
        (b'\\"model\\":\\"espcn\\"', b'\\"model\\":\\"espcx\\"'), (b'[false,', b'[true ,'),
        (b'\\"side\\":48', b'\\"side\\":47'), (b'\\"cell\\":2', b'\\"cell\\":9'), (b'network.1', b'network.7'),
        (b'\\"residual\\":true', b'\\"residual\\":null'),
    ],
)  # fmt: skip
def test_a_parcel_with_another_header_is_refused_in_one_sentence(old, new):
    data = packed()
    assert old in data
    said = refusal(data.replace(old, new, 1))
    assert "\n" not in said and ("damaged" in said or "newer" in said or "networks" in said or "patches" in said)


def test_other_bytes_than_the_record_names_are_never_parsed():
    assert "damaged" in refusal(b"x" + packed(), "0" * 64)


@given(st.integers(0, 10**6), st.integers(0, 255))
@settings(max_examples=150, deadline=None)
def test_any_changed_byte_is_refused_or_harmless(at, value):
    """Even where somebody makes the record's digest fit."""
    data = bytearray(packed())
    data[at % len(data)] = value
    try:
        made = NetworkBundle.unpack(bytes(data), hashlib.sha256(data).hexdigest())
    except RescaleError:
        return
    assert all(torch.isfinite(value).all() for n in made.networks for value in n.state_dict().values())


def lesson(pairs: FramePairs, steps: int, parts: int = 2, **how: object) -> OverfitTrainer:
    generic = weights.load("espcn-x2-rt").model
    assert isinstance(generic, LumaSR)
    partition, error = prepared(pairs, generic, parts, "time")
    return OverfitTrainer(pairs, generic, partition, error, steps, **how)  # type: ignore[arg-type]


def test_a_lesson_gains_and_says_how_much(tmp_path):
    pairs, told = luma(), []
    work = lesson(pairs, 120, is_learned=True)
    parcel = work.learn(tmp_path / "state.safetensors", told.append)
    near = measured(pairs, work.generic, parcel)
    assert near.overfitted > near.generic + 1
    assert [p.step for p in told] == list(range(1, 121)) and told[-1].gain_db == pytest.approx(
        near.overfitted - near.generic, abs=0.3
    )
    assert near.frames == 6 and near.shaved[2] > near.shaved[1]


def test_a_lesson_is_never_worse_than_the_generic_network(tmp_path, monkeypatch):
    """Steps so large that the networks are ruined."""
    monkeypatch.setattr("rescale.stdo.training.LR", 10.0)
    pairs = luma(3)
    work = lesson(pairs, 30)
    near = measured(pairs, work.generic, work.learn(tmp_path / "state.safetensors", lambda _: None))
    assert near.overfitted >= near.generic


def test_what_no_lesson_betters_travels_as_it_is(tmp_path, monkeypatch):
    """Half precision would cost it something, which shows wherever convolutions are exact."""
    monkeypatch.setattr("rescale.stdo.training.LR", 10.0)
    work = lesson(luma(3), 30)
    data = work.learn(tmp_path / "state.safetensors", lambda _: None).pack()
    back = NetworkBundle.unpack(data, hashlib.sha256(data).hexdigest())
    wanted = work.generic.state_dict()
    assert all(torch.equal(a, wanted[key]) for key, a in back.networks[0].state_dict().items())
    assert not torch.equal(next(back.networks[0].parameters()), next(as_half_precision(work.generic).parameters()))


@pytest.mark.parametrize("is_learned", [True, False])
def test_a_lesson_goes_on_where_it_was_saved(tmp_path, is_learned):
    """The same networks to the bit as without the interruption."""
    pairs, state = luma(4), tmp_path / "state.safetensors"
    whole = lesson(pairs, 24, is_learned=is_learned).learn(tmp_path / "other.safetensors", lambda _: None)

    def stop(progress):
        if progress.step == 15:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        lesson(pairs, 24, is_learned=is_learned).learn(state, stop)
    again = lesson(pairs, 1, is_learned=is_learned)
    again.resume(state)
    assert 0 < again.step <= 15 and again.steps == 24
    assert again.learn(state, lambda _: None).pack() == whole.pack()


def test_a_damaged_state_is_one_sentence(tmp_path):
    (tmp_path / "state").write_bytes(b"no state")
    with pytest.raises(RescaleError, match="remove it"):
        lesson(luma(2), 4).resume(tmp_path / "state")


def test_a_budget_of_time_is_kept_however_fast_the_machine(tmp_path, monkeypatch):
    """Each look at the clock finds it so much later."""
    for each in (0.1, 0.7):
        ticks = itertools.count(step=each)
        monkeypatch.setattr("rescale.stdo.training.time.monotonic", lambda ticks=ticks: next(ticks))
        work, told = lesson(luma(3), 1, seconds=20.0), []
        work.learn(tmp_path / f"{each}", told.append)
        assert 20 <= told[-1].elapsed_s <= 20 + 3 * each and told[-1].steps == told[-1].step
        assert work.optimisers[0].param_groups[0]["lr"] < 1e-4


@pytest.fixture(scope="module")
def start() -> Start:
    found = Start.find(weights.load("espcn-x2-mid").sha256[:16])
    assert found
    return found


def moved(start: Start, far: float, seed: int = 0) -> LumaSR:
    made = copy.deepcopy(start.network)
    torch.manual_seed(seed)
    for value in made.parameters():
        value.data += far * value.abs().mean() * torch.randn_like(value)
    return made


@given(st.floats(0, 30), st.integers(0, 9))
@settings(max_examples=20, deadline=None)
def test_steps_from_a_start_come_back_to_the_bit(start, far, seed):
    network = start.quantized(moved(start, far, seed))
    assert all(map(torch.equal, start.quantized(network).parameters(), network.parameters()))
    assert all(map(torch.equal, start.unpack(start.pack(network)).parameters(), network.parameters()))


def test_a_start_itself_travels_exactly_and_costs_next_to_nothing(start):
    data = NetworkBundle([start.network], Partition(torch.zeros(1, 1, 1, dtype=torch.uint8)), start).pack()
    back = NetworkBundle.unpack(data, hashlib.sha256(data).hexdigest())
    assert all(map(torch.equal, back.networks[0].parameters(), start.network.parameters())) and len(data) < 1500


def test_a_training_step_sees_what_travels_and_moves_what_is_exact(start):
    network = moved(start, 0.3)
    seen = start.straight_through(network)
    assert all(torch.equal(seen[key], value) for key, value in start.quantized(network).state_dict().items())
    sum(value.sum() for value in seen.values()).backward()
    assert all(value.grad is not None and value.grad.allclose(torch.ones(())) for value in network.parameters())


def test_networks_of_a_start_that_is_not_there_are_refused(start):
    data = NetworkBundle([start.network], Partition(torch.zeros(1, 1, 1, dtype=torch.uint8)), start).pack()
    assert "release" in refusal(data.replace(start.digest.encode(), b"0" * 16))


def test_weights_that_videos_are_coded_against_stay():
    """Or files that were made with them could not be restored any more."""
    frozen = {
        "espcn-x2-mid": "662cf70105fda411",
        "espcn-x2-rt": "f331ac7890f5f1bc",
        "espcn-x3-rt": "fa9f9aac581a3283",
        "espcn-x4-rt": "8e7483eb2cac5dc0",
        "espcn-x2": "e695b4cd4e566c26",
        "espcn-x3": "ba2548d52629d34a",
        "espcn-x4": "b816145a292d8e09",
    }
    assert {name: weights.load(name).sha256[:16] for name in frozen} == frozen


def restored(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as made:
        return [frame.to_ndarray(format="gray") for frame in made.decode(video=0)]


@pytest.mark.parametrize(
    ("size", "layout", "codec"),
    [((98, 130), "yuv420p", "libx264"), ((97, 131), "yuv444p", "libx264"), ((96, 128), "yuv420p10le", "libx265"),
     ((96, 128), "gray", "ffv1")],
)  # fmt: skip
def test_there_and_back(tmp_path, size, layout, codec):
    """Frames, their times, sound and size as in the source; closer to it than without the networks."""
    odd = [0, 1, 2, 4, 5, 7, 8, 9]
    options = {"x265-params": "log-level=error"} if codec == "libx265" else {}
    kept = {"sound": [0.0]} if layout == "yuv420p" else {}
    source = film(tmp_path / "clip.mkv", odd, size=size, layout=layout, codec=codec, options=options, **kept)
    small, large = tmp_path / "clip.rescale.mkv", tmp_path / "large.mkv"
    done = overfit(source, small, budget=OverfitBudget(parts=2, steps=40), options=FAST)
    assert done.frames == 8 and done.closeness.overfitted >= done.closeness.generic
    assert not list(tmp_path.glob(".*"))
    with av.open(str(small)) as container:
        stream = container.streams.video[0]
        assert (stream.height, stream.width) == (-(-size[0] // 4) * 2, -(-size[1] // 4) * 2)
        assert stream.codec_context.name in ("h264", "hevc")
    upscale_video(small, large, options=EncodeOptions(codec="ffv1"))
    assert shown(large) == shown(source) and heard(large) == heard(source)
    assert restored(large)[0].shape == size
    with av.open(str(large)) as container:
        assert container.streams.video[0].codec_context.pix_fmt == layout
        assert not list(container.streams.attachments)


def test_other_attachments_and_streams_are_kept(tmp_path):
    with_note = tmp_path / "noted.mkv"
    with av.open(str(with_note), "w") as noted:
        stream = noted.add_stream("ffv1", rate=25)
        stream.height, stream.width, stream.pix_fmt = 96, 128, "yuv420p"
        noted.add_attachment("cover.txt", "text/plain", b"hello")
        for k in range(3):
            frame = av.VideoFrame.from_ndarray(picture(k, 96, 128)).reformat(format="yuv420p")
            frame.pts = k
            noted.mux(stream.encode(frame))
        noted.mux(stream.encode(None))
    small, large = tmp_path / "s.mkv", tmp_path / "l.mkv"
    overfit(with_note, small, budget=OverfitBudget(1, steps=2), options=FAST)
    names = lambda path: sorted(s.name for s in av.open(str(path)).streams.attachments)  # noqa: E731
    assert names(small) == ["cover.txt", "networks.rescale"]
    upscale_video(small, large)
    assert names(large) == ["cover.txt"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A source, and what was made of it."""
    folder = tmp_path_factory.mktemp("overfitted")
    source = film(folder / "clip.mp4", list(range(6)), size=(96, 128), sound=[0.0])
    overfit(source, folder / "clip.rescale.mkv", budget=OverfitBudget(2, steps=4), options=FAST)
    return folder / "clip.rescale.mkv"


def said(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "rescale", *words]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=HANG_S, check=False)


def encoded_anew(source: Path, target: Path, networks: bytes) -> Path:
    """The same record, with its frames encoded anew."""
    with av.open(str(source)) as given_, av.open(str(target), "w") as made_:
        made_.metadata.update(given_.metadata)
        video = given_.streams.video[0]
        copy = made_.add_stream("libx264", rate=25, options={"crf": "40"})
        copy.height, copy.width, copy.pix_fmt = video.height, video.width, video.pix_fmt
        made_.add_attachment("networks.rescale", "application/x-rescale", networks)
        for frame in given_.decode(video):
            frame.pict_type = 0
            made_.mux(copy.encode(frame))
        made_.mux(copy.encode(None))
    return target


def attached(path: Path) -> bytes:
    with av.open(str(path)) as container:
        return next(s.data for s in container.streams.attachments)


def test_damaged_or_missing_networks_are_one_sentence_and_plain_enlarging_is_offered(made, tmp_path):
    whole, data = made.read_bytes(), attached(made)
    assert whole.count(data) == 1 and whole.count(b"networks.rescale") == 1
    (tmp_path / "damaged.mkv").write_bytes(whole.replace(data, data[:-3] + bytes([data[-3] ^ 1]) + data[-2:]))
    (tmp_path / "missing.mkv").write_bytes(whole.replace(b"networks.rescale", b"something.differs"[:16]))
    encoded_anew(made, tmp_path / "encoded.mkv", data)
    words = {"damaged": "networks in it are damaged", "missing": "are missing", "encoded": "re-encoded"}
    for name, word in words.items():
        done = said("up", f"{name}.mkv", cwd=tmp_path)
        assert done.returncode == 4 and word in done.stderr and "--scale 2" in done.stderr, done.stderr
        assert done.stderr.count("\n") == 1
        assert not (tmp_path / f"{name}.restored.mkv").exists()
    done = said("up", "missing.mkv", "--scale", "2", "-o", "plain.mkv", cwd=tmp_path)
    assert done.returncode == 0 and len(restored(tmp_path / "plain.mkv")) == 6
    done = said("up", "encoded.mkv", "--force", "-o", "forced.mkv", cwd=tmp_path)
    assert done.returncode == 0 and len(restored(tmp_path / "forced.mkv")) == 6


def test_networks_of_another_video_are_refused(made, tmp_path):
    other = film(tmp_path / "other.mp4", [0, 1, 2], size=(200, 240))
    overfit(other, tmp_path / "other.rescale.mkv", budget=OverfitBudget(1, steps=1), options=FAST)
    strange = encoded_anew(made, tmp_path / "strange.mkv", attached(tmp_path / "other.rescale.mkv"))
    with pytest.raises(RecordError, match="damaged"):
        upscale_video(strange, tmp_path / "l.mkv")


def test_a_model_beside_own_networks_is_refused(made, tmp_path):
    with pytest.raises(UsageError, match="brings its own"):
        upscale_video(made, tmp_path / "l.mkv", model="espcn-x2")


def test_the_small_file_is_an_ordinary_video(made):
    with av.open(str(made)) as container:
        assert container.streams.video[0].codec_context.name == "h264" and len(container.streams.audio) == 1
        assert sum(1 for _ in container.decode(video=0)) == 6


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["clip.mp4", "-o", "x.webm"], 2, "ends in .mkv, .mp4 or .mov"),
        (["clip.mp4", "-o", "x.mkv", "--scale", "5"], 2, "2, 3, 4"),
        (["clip.mp4", "-o", "x.mkv", "-m", "irn-x2-small"], 2, "enlarges video by 2"),
        (["clip.mp4", "-o", "x.mkv", "--codec", "vp9"], 2, "h264 or h265"),
        (["clip.mp4", "-o", "x.mkv", "--by", "chance"], 2, "network"), (["none.mp4"], 3, "No such file"),
        (["clip.mp4", "-o", "clip.rescale.mkv"], 4, "exists"),
    ],
)  # fmt: skip
def test_bad_input_is_one_sentence(made, words, code, sentence):
    done = said("overfit", *words, cwd=made.parent)
    assert (done.returncode, done.stderr.count("\n")) == (code, 1) and sentence in done.stderr, done.stderr
    assert sorted(path.name for path in made.parent.iterdir()) == ["clip.mp4", "clip.rescale.mkv"]


def test_a_killed_run_goes_on_to_the_same_networks(tmp_path):
    film(tmp_path / "clip.mp4", list(range(10)), size=(96, 128))
    words = ("overfit", "clip.mp4", "--steps", "1500", "--parts", "2", "--threads", "1")
    assert said(*words, "-o", "whole.mkv", cwd=tmp_path).returncode == 0
    running = subprocess.Popen([sys.executable, "-m", "rescale", *words, "-o", "killed.mkv"], cwd=tmp_path)
    state = tmp_path / ".killed.mkv.partial" / "state.safetensors"
    saved: set[int] = set()

    def is_saved_again() -> bool:
        """In the midst of its steps."""
        saved.update(path.stat().st_mtime_ns for path in state.parent.glob(state.name))
        return len(saved) > 1 or running.poll() is not None

    until(is_saved_again)
    running.send_signal(signal.SIGKILL)
    running.wait()
    assert state.exists() and not (tmp_path / "killed.mkv").exists()
    done = said(*words, "-o", "killed.mkv", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert attached(tmp_path / "killed.mkv") == attached(tmp_path / "whole.mkv")
    assert not list(tmp_path.glob(".*"))


def test_a_real_clip_gains(tmp_path):
    """Half a minute of learning of one second; the figures of the README are by minutes of ten."""
    clip = shared("data/video/nasa_13013.mp4")
    with av.open(str(clip)) as given_, av.open(str(tmp_path / "clip.mp4"), "w") as made_:
        stream = given_.streams.video[0]
        copy = made_.add_stream_from_template(stream)
        for packet in given_.demux(stream):
            if packet.dts is not None and packet.pts * packet.time_base < Fraction(1):
                packet.stream = copy
                made_.mux(packet)
    done = overfit(tmp_path / "clip.mp4", tmp_path / "s.mkv", budget=OverfitBudget(1, steps=300))
    assert done.closeness.overfitted > done.closeness.generic + 0.5
    shutil.rmtree(tmp_path)


def test_a_source_without_luma_is_refused(tmp_path):
    source = film(tmp_path / "rgb.mkv", [0, 1], codec="libx264rgb", layout="rgb24")
    with pytest.raises(UsageError, match="luma"):
        overfit(source, tmp_path / "s.mkv", budget=OverfitBudget(1, steps=1))
    with av.open(str(source)) as container:
        assert VideoReader(container, source).facts.colours.matrix == 0


@pytest.mark.parametrize("bad", [{"parts": 0}, {"parts": 17}, {"minutes": 0.0}, {"steps": 0}, {"by": "luck"}])
def test_efforts_that_cannot_be(bad):
    with pytest.raises(UsageError):
        OverfitBudget(**bad)


def test_bench_weighs_it_against_the_same_bytes(made, tmp_path):
    done = said("bench", "overfit", "clip.mp4", "clip.rescale.mkv", "--json", cwd=made.parent)
    assert done.returncode == 0, done.stderr
    rows = {row["name"].split(",")[0]: row for row in map(json.loads, done.stdout.splitlines())}
    assert list(rows) == ["bicubic", "espcn-x2-mid", "overfitted", "libx264", "libx265"]
    assert rows["overfitted"]["bytes"] == rows["bicubic"]["bytes"] + len(attached(made))
    assert rows["overfitted"]["psnr"] > rows["bicubic"]["psnr"] and rows["libx264"]["ssim"] > 0.9
    done = said("bench", "overfit", "clip.mp4", "clip.mp4", cwd=made.parent)
    assert done.returncode == 3 and "expected an overfitted video" in done.stderr and done.stderr.count("\n") == 1


def test_refined_frames_restore_better_and_go_on_after_a_kill(tmp_path):
    source = film(tmp_path / "clip.mp4", list(range(6)), size=(96, 128), sound=[0.0])
    plain = overfit(source, tmp_path / "plain.mkv", budget=OverfitBudget(1, steps=60), options=FAST)
    words = ("overfit", "clip.mp4", "--parts", "1", "--steps", "90", "--refine", "8", "--preset", "veryfast")
    done = said(*words, "--threads", "1", "--json", "-o", "refined.mkv", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["closeness"]["overfitted"] > plain.closeness.overfitted + 0.05
    running = subprocess.Popen([sys.executable, "-m", "rescale", *words, "--threads", "1", "-o", "k.mkv"], cwd=tmp_path)
    second = tmp_path / ".k.mkv.partial" / ".refined.partial" / "state.safetensors"
    until(lambda: second.exists() or running.poll() is not None)
    running.kill()
    running.wait()
    assert second.exists() and not (tmp_path / "k.mkv").exists()
    assert said(*words, "--threads", "1", "-o", "k.mkv", cwd=tmp_path).returncode == 0
    assert attached(tmp_path / "k.mkv") == attached(tmp_path / "refined.mkv")
    assert not list(tmp_path.glob(".*"))


def test_it_plays_restored(made):
    command = [sys.executable, "-m", "rescale", "play", str(made), "-o", "-"]
    done = subprocess.run(command, capture_output=True, timeout=HANG_S, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(b"YUV4MPEG2 W128 H96 ") and done.stdout.count(b"FRAME\n") == 6
