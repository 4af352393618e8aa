"""What video is made of: luma as the plain network makes it, chroma where it sits, colours as the standards say."""

from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from conftest import shake
from filming import film
from hypothesis import given
from hypothesis import strategies as st

from rescale import EncodeOptions, downscale_video, upscale_video
from rescale.errors import RescaleError, UsageError
from rescale.models import ESPCN, ESPCNConfig
from rescale.ops.resample import phased, resample
from rescale.video.io.colour import Colours, Levels, from_rgb, resized_chroma, to_rgb
from rescale.video.io.encoders import encoding
from rescale.video.io.frames import Frame, StreamInfo
from rescale.video.io.planes import planes_of, to_frame
from rescale.video.luma_upscaler import LumaUpscaler
from rescale.video.pipeline import ahead

SITES = ["left", "center", "topleft", "top", "bottomleft", "bottom"]


@given(
    scale=st.integers(2, 4),
    cell=st.integers(1, 3),
    activation=st.sampled_from(["tanh", "relu"]),
    depth=st.sampled_from([8, 10]),
    is_full=st.booleans(),
    size=st.tuples(st.integers(1, 20), st.integers(1, 20)),
)
def test_luma_is_enlarged_as_the_plain_network_does_it(scale, cell, activation, depth, is_full, size):
    """Amid mirrored surroundings, to the nearest level."""
    config = ESPCNConfig(scale, (8, 4), (3, 3, 3), residual=True, cell=cell, activation=activation)
    model, levels = shake(ESPCN(config)).eval(), Levels(depth, is_full)
    y = torch.randint(0, levels.top + 1, size, dtype=torch.uint8 if depth == 8 else torch.int32)
    made = LumaUpscaler(model, levels, "float32")(y)
    border = model.halo + cell  # a last cell may be half a one
    rows, columns = (torch.arange(-border, side + border) % (2 * side) for side in size)
    rows, columns = (torch.where(i < side, i, 2 * side - 1 - i) for i, side in zip((rows, columns), size, strict=True))
    with torch.inference_mode():
        plain = model(levels.to_unit(y[rows][:, columns].float())[None, None])[0, 0]
    inner = slice(border * scale, -border * scale)
    wanted = (plain[inner, inner] - levels.to_unit(torch.zeros(1))) * levels.unit
    assert made.dtype == y.dtype and made.shape == (scale * size[0], scale * size[1])
    assert (made - wanted.clamp(0, levels.top)).abs().max() < 0.51 + 2e-3 * 2 ** (depth - 8)


@pytest.mark.parametrize("siting", SITES)
@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("chroma", [(2, 2), (1, 2), (1, 1)])
def test_chroma_stays_where_it_sits(siting, scale, chroma):
    """A slope over the picture is the same slope at any scale, read where each sample sits."""
    colours = Colours(Levels(), 6, chroma, siting)

    def slope(size: tuple[int, int], times: int) -> torch.Tensor:
        """Of samples for luma `times` as large as 48 x 64."""
        places = [
            ((torch.arange(side) + 0.5) * by + colours.offset(axis)) / times
            for axis, (side, by) in enumerate(zip(size, chroma, strict=True))
        ]
        return (places[0][:, None] * 0.7 + places[1] * 0.4)[None].double()

    small, large = (48 // chroma[0], 64 // chroma[1]), (48 * scale // chroma[0], 64 * scale // chroma[1])
    made = resized_chroma(slope(small, 1), large, colours)
    inner = slice(4 * scale, -4 * scale)
    assert torch.allclose(made[:, inner, inner], slope(large, scale)[:, inner, inner], atol=1e-9)


def test_left_siting_is_an_eighth_of_a_sample():
    """As the standards' own arithmetic has it at twice the size: sample j reads from j/2 - 1/8."""
    ramp = torch.arange(20.0, dtype=torch.float64)[None]
    made = phased(ramp, 40, -1, before=-0.25, after=-0.25)
    assert torch.allclose(made[0, 8:32], torch.arange(8, 32, dtype=torch.float64) / 2 - 0.125)


def test_no_shift_is_plain_resampling():
    x = torch.rand(2, 9, 13, dtype=torch.float64)
    both = phased(phased(x, 20, -2, before=0.0, after=0.0), 7, -1, before=0.0, after=0.0)
    assert torch.equal(both, resample(x, (20, 7)))


BARS = [
    (191, 191, 191),
    (191, 191, 0),
    (0, 191, 191),
    (0, 191, 0),
    (191, 0, 191),
    (191, 0, 0),
    (0, 0, 191),
    (9, 180, 99),
]


@pytest.mark.parametrize("matrix", [1, 6, 9])
@pytest.mark.parametrize("is_full", [False, True])
@pytest.mark.parametrize("chroma", [(1, 1), (2, 2)])
@pytest.mark.parametrize("depth", [8, 10])
def test_bars_become_levels_by_the_standards_arithmetic(matrix, is_full, chroma, depth):
    """Against H.273's formulas, written out once more; within 2 code values is the bar, half of one is kept."""
    kr, kb = {1: (0.2126, 0.0722), 6: (0.299, 0.114), 9: (0.2627, 0.0593)}[matrix]
    colours = Colours(Levels(depth, is_full), matrix, chroma, "left")
    rgb = torch.tensor(BARS).T[:, None, :, None].expand(3, 16, -1, 16).reshape(3, 16, -1) / 255
    planes = from_rgb(rgb, colours)
    times, top = 2 ** (depth - 8), 2**depth - 1
    for k, bar in enumerate(BARS):
        r, g, b = (level / 255 for level in bar)
        y = kr * r + (1 - kr - kb) * g + kb * b
        cb, cr = (b - y) / (2 - 2 * kb), (r - y) / (2 - 2 * kr)
        wanted = (
            (y * top, cb * top + 128 * times, cr * top + 128 * times)
            if is_full
            else ((16 + 219 * y) * times, (128 + 224 * cb) * times, (128 + 224 * cr) * times)
        )
        for plane, level in zip(planes, wanted, strict=True):
            wide = plane.shape[1] // len(BARS)
            assert abs(plane[plane.shape[0] // 2, k * wide + wide // 2].item() - level) <= 0.51
    inner = torch.stack([to_rgb(planes, colours)[:, :, 16 * k + 6 : 16 * k + 10] for k in range(len(BARS))])
    wanted = torch.tensor(BARS)[:, :, None, None] / 255
    assert (inner - wanted).abs().max() <= 1.6 / 255


@pytest.mark.parametrize("layout", ["yuv420p", "yuv422p", "yuv444p", "gray", "gbrp", "yuv420p10le", "gbrp12le"])
def test_planes_become_frames_and_back(layout):
    depth = int(layout[-4:-2]) if layout.endswith("le") else 8
    tall, wide = {"yuv420p": (2, 2), "yuv422p": (1, 2)}.get(layout.removesuffix("10le"), (1, 1))
    sizes = [(37, 51)] + [(-(-37 // tall), -(-51 // wide))] * (layout != "gray") * 2
    dtype = torch.uint8 if depth == 8 else torch.int32
    planes = [torch.randint(0, 2**depth, size, dtype=dtype) for size in sizes]
    again = planes_of(to_frame(planes, layout), depth)
    assert all(torch.equal(a, b) for a, b in zip(planes, again, strict=True))


def test_what_a_thread_makes_ahead_comes_in_order_with_its_errors():
    assert list(ahead(range(50))) == list(range(50))

    def broken():
        yield 1
        raise ValueError("on purpose")

    made = ahead(broken())
    assert next(made) == 1
    with pytest.raises(ValueError, match="on purpose"):
        next(made)


def test_a_thread_ends_when_nobody_wants_more():
    made, ended = 0, []

    def endless():
        nonlocal made
        try:
            while True:
                made += 1
                yield made
        finally:
            ended.append(True)

    source = endless()
    some = ahead(source)
    next(some)
    some.close()
    count = made
    assert made == count < 20
    source.close()
    assert ended


@pytest.mark.parametrize(
    ("container", "codec", "layout", "reason"),
    [("webm", "h264", "yuv420p", "vp9, av1"), ("mp4", "ffv1", "yuv420p", "h264, h265")],
)  # fmt: skip
def test_what_an_encoder_does_not_take_is_said(container, codec, layout, reason):
    colours = Colours(Levels(8), 6)
    facts = StreamInfo((48, 64), layout, colours, Fraction(1, 25), Fraction(25), Fraction(1), (0, 2, 2, 2), None)
    with pytest.raises(UsageError, match=reason):
        encoding(facts, facts.size, container, codec=codec)


@pytest.mark.parametrize("codec", ["h264", "h265", "av1", "vp9", "ffv1"])
def test_every_codec_encodes_what_decodes(codec):
    colours = Colours(Levels(8), 1)
    facts = StreamInfo((96, 128), "yuv420p", colours, Fraction(1, 25), Fraction(25), Fraction(1), (1, 1, 1, 1), None)
    plan, notes = encoding(facts, facts.size, "matroska", codec=codec)
    planes = [
        torch.full(size, level, dtype=torch.uint8)
        for size, level in (((96, 128), 90), ((48, 64), 110), ((48, 64), 140))
    ]
    packets = list(plan.packets(plan.begin(), iter([Frame(planes, k) for k in range(5)])))
    assert sorted(packet.pts for packet in packets) == list(range(5)) and notes == []
    decoder = av.CodecContext.create({"h265": "hevc", "av1": "libdav1d"}.get(codec, codec), "r")
    decoder.extradata = plan.begin().extradata
    decoder.width, decoder.height = 128, 96
    frames = [f for packet in [*packets, None] for f in decoder.decode(packet)]
    assert len(frames) == 5
    assert all(np.abs(f.to_ndarray()[:96].astype(int) - 90).max() <= 2 for f in frames)


def test_numbers_that_are_not_finite_are_an_error():
    model = shake(ESPCN(ESPCNConfig(2, (8, 4), (3, 3, 3), residual=True, cell=2, activation="relu"))).eval()
    model.up.conv.weight.data[3] = float("nan")
    with pytest.raises(RescaleError, match="not finite"):
        LumaUpscaler(model, Levels())(torch.zeros(8, 8, dtype=torch.uint8))


@pytest.mark.parametrize("codec", ["h264", "h265"])
def test_the_same_frames_are_always_the_same_bytes(codec):
    """Whatever lay in memory before: of 20 runs in x264's own fastest code, three kinds came."""
    rng = np.random.default_rng(1)
    picture = np.kron(rng.integers(16, 235, (12, 16)), np.ones((8, 8))).astype(np.uint8)
    colours = Colours(Levels(8), 1)
    facts = StreamInfo((72, 96), "yuv420p", colours, Fraction(1, 25), Fraction(25), Fraction(1), (1, 1, 1, 1), None)
    plan, _ = encoding(facts, facts.size, "matroska", codec=codec, preset="veryfast", threads=1)

    def encoded():
        frames = []
        for k in range(6):
            junk = [torch.randint(0, 255, (n,), dtype=torch.uint8) for n in (5000, 70000, 300, 9000)]
            luma = torch.from_numpy(np.ascontiguousarray(picture[k : k + 72, k : k + 96]))
            frames.append(Frame([luma, luma[::2, ::2], luma[1::2, 1::2]], k))
            del junk
        return b"".join(bytes(packet) for packet in plan.packets(plan.begin(), iter(frames)))

    assert len({encoded() for _ in range(12)}) == 1


def test_an_animation_comes_back_as_a_video_with_its_times(tmp_path):
    """The way round that the refusal of a GIF names, here by PyAV: lossless RGB frames of uneven durations."""
    levels = np.random.default_rng(5).integers(0, 256, (4, 32, 48, 3), dtype=np.uint8)
    times = [0, 100, 300, 350]
    with av.open(str(tmp_path / "a.mkv"), "w") as made:
        stream = made.add_stream("ffv1", rate=10, options={"threads": "1"})
        stream.width, stream.height, stream.pix_fmt, stream.time_base = 48, 32, "bgr0", Fraction(1, 1000)
        stream.codec_context.time_base = Fraction(1, 1000)
        for pixels, at in zip(levels, times, strict=True):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="bgr0")
            frame.pts, frame.time_base = at, Fraction(1, 1000)
            made.mux(stream.encode(frame))
        made.mux(stream.encode(None))
    downscale_video("bicubic-x2", tmp_path / "a.mkv", tmp_path / "small.mkv")
    upscale_video(tmp_path / "small.mkv", tmp_path / "back.mkv", options=EncodeOptions(codec="ffv1"))
    with av.open(str(tmp_path / "back.mkv")) as back:
        assert [round(float(frame.pts * frame.time_base) * 1000) for frame in back.decode(video=0)] == times


@pytest.mark.parametrize(("lowest", "highest", "count"), [(16, 235, 0), (14, 237, 0), (2, 235, 3), (16, 250, 3)])
@pytest.mark.parametrize("layout", ["yuv420p", "yuv420p10le"])
def test_levels_that_rgb_cuts_are_counted_and_enlarging_keeps_them(lowest, highest, count, layout, tmp_path):
    depth, times = (8, 1) if layout == "yuv420p" else (10, 4)
    luma = torch.full((48, 64), lowest * times)
    luma[:10] = highest * times
    planes = [luma, *[torch.full((24, 32), 128 * times)] * 2]
    frames = [to_frame(planes, layout) for _ in range(3)]
    source = film(tmp_path / "a.mkv", [0, 1, 2], codec="ffv1", layout=layout, frames=frames)
    done = downscale_video("bicubic-x2", source, tmp_path / "b.mkv")
    note = f"{count} frames hold levels below black or above white, which RGB cuts"
    assert [found for found in done.notes if "below black" in found] == [note] * bool(count)
    upscale_video(source, tmp_path / "c.mkv", scale=2, options=EncodeOptions(codec="ffv1"))
    with av.open(str(tmp_path / "c.mkv")) as made:
        large = planes_of(next(made.decode(video=0)), depth)[0]
    assert abs(large[5, 60] - highest * times) <= 1 and abs(large[-5, 60] - lowest * times) <= 1
