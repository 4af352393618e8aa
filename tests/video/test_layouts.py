"""Pixel formats of all kinds: RGB, odd subsampling, deep grey, palettes and alpha come out in their colours."""

import re
from fractions import Fraction
from itertools import product
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from filming import film, picture

from rescale import downscale_video, upscale_video
from rescale.errors import UsageError
from rescale.video.io.colour import Colours, Levels, from_rgb, to_rgb
from rescale.video.io.encoders import _CARRIED, CODECS, encoding
from rescale.video.io.frames import Frame, StreamInfo
from rescale.video.io.layouts import LAYOUTS, layout_of, nearest
from rescale.video.io.planes import on_black, split, to_frame
from rescale.video.io.relayout import relaid, relay
from rescale.video.options import EncodeOptions


def smooth(height: int, width: int) -> np.ndarray:
    """RGB that any subsampling of chroma leaves nearly as it is."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([columns * 255 // width, rows * 255 // height, 255 - columns * 200 // width], 2).astype(np.uint8)


def filmed(path: Path, codec: str, layout: str, size: tuple[int, int] = (48, 64), **options: str) -> Path:
    frames = [av.VideoFrame.from_ndarray(smooth(*size)).reformat(format=layout) for _ in range(3)]
    return film(path, [0, 1, 2], codec=codec, layout=layout, size=size, frames=frames, options=options)


def colours_of(path: Path, size: tuple[int, int]) -> np.ndarray:
    with av.open(str(path)) as given:
        frame = next(given.decode(video=0))
        return frame.reformat(size[1], size[0], "rgb24", interpolation="AREA").to_ndarray().astype(int)


@pytest.mark.parametrize(
    ("suffix", "codec", "layout"),
    [
        (".mov", "qtrle", "rgb24"), (".mp4", "libx264rgb", "bgr0"), (".mov", "png", "rgb48be"),
        (".mov", "png", "rgb24"), (".mov", "qtrle", "rgb555be"), (".mkv", "ffv1", "yuv411p"),
        (".mkv", "ffv1", "yuv410p"),
        (".mkv", "ffv1", "yuv440p"), (".mkv", "ffv1", "gray16le"), (".mov", "qtrle", "gray"), (".mkv", "ffv1", "bgr0"),
        (".mkv", "ffv1", "yuv440p12le"), (".mov", "v210", "yuv422p10le"),
        (".mkv", "rawvideo", "uyvy422"), (".mkv", "ffv1", "gbrp14le"),
        (".mov", "qtrle", "argb"),
    ],
)  # fmt: skip
def test_every_layout_is_enlarged_by_the_default_codec_in_its_colours(suffix, codec, layout, tmp_path):
    source, target = filmed(tmp_path / f"a{suffix}", codec, layout), tmp_path / f"b{suffix}"
    done = upscale_video(source, target, scale=2)
    with av.open(str(source)) as given, av.open(str(target)) as made:
        seen, written = next(given.decode(video=0)), next(made.decode(video=0))
    assert done.frames == 3 and written.width == 128
    error = np.abs(colours_of(target, (48, 64)) - colours_of(source, (48, 64)))[4:-4, 4:-4]
    assert error.mean() < (5 if layout in ("yuv410p", "yuv411p") else 3)  # FFmpeg takes their chroma to sit elsewhere
    if layout_of(seen.format).startswith("gbrp") and written.format.name.startswith("yuv"):
        assert int(written.colorspace) in (1, 6) and int(written.color_range) == 1
        assert any(note == "RGB is written as 4:4:4" for note in done.notes)


def test_a_palette_is_read_as_its_colours(tmp_path):
    indices = np.arange(48 * 64, dtype=np.uint8).reshape(48, 64) // 16
    palette = np.zeros((256, 4), np.uint8)
    palette[:, 0], palette[:, 1], palette[:, 2], palette[:, 3] = (
        255,
        np.arange(256),
        90,
        255 - np.arange(256),
    )  # A R G B
    frame = av.VideoFrame.from_ndarray((indices, palette), format="pal8")
    planes, alpha = split(frame, "gbrp")
    assert alpha is None
    assert (planes[2].numpy() == indices).all() and (planes[0] == 90).all()
    assert (planes[1].numpy() == 255 - indices).all()


@pytest.mark.parametrize("name", ["rgb24", "bgr0", "argb", "rgb48be", "bgra64le", "gbrp10le", "x2rgb10le", "rgba"])
def test_rgb_keeps_every_level_in_any_order(name):
    layout = layout_of(av.VideoFormat(name, 8, 8))
    depth, rng = LAYOUTS[layout][1], np.random.default_rng(2)
    dtype = torch.uint8 if depth == 8 else torch.int32
    planes = [torch.from_numpy(rng.integers(0, 2**depth, (16, 32))).to(dtype) for _ in range(3)]
    packed = to_frame(planes, layout).reformat(format=name)
    again, alpha = split(packed, layout)
    assert alpha is None and all(torch.equal(a, b) for a, b in zip(planes, again, strict=True))


@pytest.mark.parametrize(
    ("layout", "takes", "wanted"),
    [
        ("gbrp", ("yuv420p", "yuv422p", "yuv444p", "gray"), "yuv444p"), ("gbrp", ("yuv420p", "yuv420p10le"), "yuv420p"),
        ("yuv411p", ("yuv420p", "yuv422p", "yuv444p"), "yuv422p"), ("yuv410p", ("yuv420p", "yuv422p"), "yuv420p"),
        ("yuv440p", ("yuv420p", "yuv422p", "yuv444p"), "yuv444p"), ("gray16le", ("gray", "gray12le"), "gray12le"),
        ("yuv420p9le", ("yuv420p", "yuv420p10le", "yuv420p12le"), "yuv420p10le"),
        ("gray", ("yuv420p", "gbrp"), "yuv420p"),
        ("yuv422p14le", ("yuv422p12le", "yuv420p12le", "yuv422p10le"), "yuv422p12le"),
    ],
)  # fmt: skip
def test_the_nearest_layout_keeps_depth_and_chroma_first(layout, takes, wanted):
    assert nearest(layout, takes) == wanted


@pytest.mark.parametrize("is_full", [False, True])
@pytest.mark.parametrize(
    ("before", "after"), [*product(["yuv420p", "yuv411p", "yuv440p10le"], ["yuv444p", "yuv420p10le"])]
)
def test_another_subsampling_leaves_a_slope_where_it_is(before, after, is_full):
    """Through RGB, which both describe alike."""
    facts = _facts(before, (48, 64), is_full=is_full)
    slope = torch.linspace(0.2, 0.8, 64).expand(48, 64)
    rgb = torch.stack([slope, slope.flip(1), 0 * slope + 0.4])
    wanted, notes = relaid(facts, after)
    planes = relay(from_rgb(rgb, facts.colours), facts, wanted)
    assert [tuple(plane.shape) for plane in planes] == [tuple(p.shape) for p in from_rgb(rgb, wanted.colours)]
    assert len(notes) == 1
    assert (to_rgb(planes, wanted.colours) - rgb)[:, 8:-8, 8:-8].abs().max() < 2.5 / 255


def _facts(layout: str, size: tuple[int, int], *, is_full: bool = False, **more) -> StreamInfo:
    chroma, depth = LAYOUTS[layout]
    colours = Colours(
        Levels(depth, is_full or layout.startswith("gbrp")), 0 if layout.startswith("gbrp") else 1, chroma
    )
    return StreamInfo(size, layout, colours, Fraction(1, 25), Fraction(25), Fraction(1), (0, 2, 2, 2), None, **more)


@pytest.mark.parametrize("size", [(51, 63), (51, 64), (52, 63)])
def test_odd_sizes_are_kept_by_every_codec_but_av1(size):
    for (container, carried), layout in product(_CARRIED.items(), ["yuv420p", "yuv422p", "gbrp", "yuv420p10le"]):
        for codec in (None, *carried):
            facts = _facts(layout, size)
            try:
                plan, _ = encoding(facts, size, container, codec=codec)
            except UsageError as error:
                assert codec == "av1" or (container == "webm" and codec is None)
                for advice in re.findall(r"'(\w+)'", error.hint):
                    assert advice in carried
                    _encode_one(encoding(facts, size, container, codec=advice)[0])
                continue
            _encode_one(plan)


def _encode_one(plan) -> None:
    (tall, wide), depth = LAYOUTS[plan.given.layout]
    height, width = plan.size
    dtype = torch.uint8 if depth == 8 else torch.int32
    sizes = [(height, width)] + [(-(-height // tall), -(-width // wide))] * 2
    frames = [Frame([torch.full(size, 2 ** (depth - 1), dtype=dtype) for size in sizes], k) for k in range(2)]
    assert len(list(plan.packets(plan.begin(), iter(frames)))) == 2


def test_what_an_error_advises_works(tmp_path):
    source = filmed(tmp_path / "odd.mkv", "ffv1", "yuv420p", (37, 51))
    for suffix in (".mp4", ".mkv", ".webm"):
        with pytest.raises(UsageError, match="even sizes") as caught:
            upscale_video(source, tmp_path / f"b{suffix}", scale=3, options=EncodeOptions(codec="av1"))
        advised = re.findall(r"'(\w+)'", caught.value.hint)
        assert advised
        for codec in advised:
            options = EncodeOptions(codec=codec, overwrite=True)
            assert upscale_video(source, tmp_path / f"b{suffix}", scale=3, options=options).size == (111, 153)
    with pytest.raises(UsageError, match="in this container") as caught:
        upscale_video(source, tmp_path / "b.mov", scale=2, options=EncodeOptions(codec="ffv1"))
    for codec in str(caught.value).split("one of ")[1].split(" in ")[0].split(", "):
        upscale_video(source, tmp_path / "b.mov", scale=2, options=EncodeOptions(codec=codec, overwrite=True))


# ------------------------------------------------------------------------------------------------------------- alpha


def clear(size: tuple[int, int] = (48, 64)) -> np.ndarray:
    """RGBA, opaque on the left and invisible on the right, where its colours are black."""
    rgba = np.dstack([picture(0, *size), np.full(size, 255, np.uint8)])
    rgba[:, size[1] // 2 :] = 0
    return rgba


def film_clear(path: Path, codec: str, layout: str) -> Path:
    frames = [av.VideoFrame.from_ndarray(clear(), format="rgba").reformat(format=layout) for _ in range(3)]
    return film(path, [0, 1, 2], codec=codec, layout=layout, frames=frames)


KEEPERS = [(".mkv", "ffv1", "bgra", "ffv1"), (".mkv", "ffv1", "yuva420p", "ffv1"),
           (".mkv", "ffv1", "gbrap12le", "ffv1"),
           (".mov", "qtrle", "argb", "prores"), (".mov", "prores_ks", "yuva444p10le", "prores"),
           (".mov", "png", "rgba", "prores"), (".mkv", "ffv1", "ya8", "ffv1")]  # fmt: skip


@pytest.mark.parametrize(("suffix", "codec", "layout", "written"), KEEPERS)
def test_transparency_is_kept_where_the_container_has_a_codec_for_it(suffix, codec, layout, written, tmp_path):
    source, target = film_clear(tmp_path / f"a{suffix}", codec, layout), tmp_path / f"b{suffix}"
    done = upscale_video(source, target, scale=2)
    assert not any("black" in note for note in done.notes)
    with av.open(str(target)) as made:
        assert made.streams.video[0].codec_context.codec.name == written
        rgba = next(made.decode(video=0)).reformat(format="rgba").to_ndarray()
    assert (rgba[:, :60, 3] > 250).all() and (rgba[:, 66:, 3] < 16).all() and (rgba[:, 76:, 3] < 3).all()
    edge = rgba[20:76, 62:64, :3].astype(int) - rgba[20:76, 58:60, :3]
    assert np.abs(edge).mean() < 40  # no dark fringe


@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".mkv"])
def test_transparency_that_no_codec_there_holds_is_laid_on_black_and_said(suffix, tmp_path):
    source, target = film_clear(tmp_path / "a.mkv", "ffv1", "bgra"), tmp_path / f"b{suffix}"
    codec = "h264" if suffix == ".mkv" else None
    done = upscale_video(source, target, scale=2, options=EncodeOptions(codec=codec))
    assert any("laid on black" in note for note in done.notes)
    with av.open(str(target)) as made:
        rgb = next(made.decode(video=0)).reformat(format="rgb24").to_ndarray()
    assert (rgb[4:-4, 70:-4] < 20).all() and rgb[:, :60].mean() > 60


def test_vp9_with_alpha_does_not_go_on_claiming_it(tmp_path):
    source = film_clear(tmp_path / "a.webm", "libvpx-vp9", "yuva420p")
    with av.open(str(source)) as given:
        assert (
            given.streams.video[0].metadata.get("ALPHA_MODE", given.streams.video[0].metadata.get("alpha_mode")) == "1"
        )
    done = upscale_video(source, tmp_path / "b.webm", scale=2)
    assert any("laid on black" in note for note in done.notes)
    with av.open(str(tmp_path / "b.webm")) as made:
        assert not {key for key in made.streams.video[0].metadata if key.lower() == "alpha_mode"}
        rgb = next(made.decode(video=0)).reformat(format="rgb24").to_ndarray()
    assert (rgb[4:-4, 70:-4] < 24).all()
    done = upscale_video(source, tmp_path / "b.mkv", scale=2)
    with av.open(str(tmp_path / "b.mkv")) as made:
        assert next(made.decode(video=0)).format.name == "yuva420p"
        assert not {key for key in made.streams.video[0].metadata if key.lower() == "alpha_mode"}


def test_what_is_opaque_from_first_to_last_is_an_ordinary_video(tmp_path):
    source = filmed(tmp_path / "a.mov", "qtrle", "argb")
    done = upscale_video(source, tmp_path / "b.mov", scale=2)
    with av.open(str(tmp_path / "b.mov")) as made:
        assert made.streams.video[0].codec_context.codec.name == "h264"
    assert done.notes == ("RGB is written as 4:4:4",)


def test_a_small_video_of_a_transparent_one_restores_without_it_and_says_so(tmp_path):
    source = film_clear(tmp_path / "a.mkv", "ffv1", "bgra")
    done = downscale_video("bicubic-x2", source, tmp_path / "small.mkv")
    assert any("laid on black" in note for note in done.notes)
    assert upscale_video(tmp_path / "small.mkv", tmp_path / "b.mp4").size == (48, 64)


@pytest.mark.parametrize("layout", ["yuv420p", "yuv444p10le", "gbrp", "gray"])
def test_on_black_is_black_where_nothing_shows(layout):
    facts = _facts(layout, (8, 12))
    depth, (tall, wide) = facts.depth, facts.colours.chroma
    sizes = [(8, 12)] + [(8 // tall, 12 // wide)] * (0 if layout == "gray" else 2)
    planes = [torch.full(size, 200, dtype=torch.uint8 if depth == 8 else torch.int32) for size in sizes]
    made = on_black(planes, torch.zeros(8, 12), facts.colours)
    assert (to_rgb(made, facts.colours).abs() < 0.01).all()
    assert all(map(torch.equal, on_black(planes, torch.full((8, 12), 2**depth - 1), facts.colours), planes))


def test_every_codec_has_its_layouts():
    assert set(CODECS) == {codec for carried in _CARRIED.values() for codec in carried}
