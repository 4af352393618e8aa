"""What a player is handed shows as the file would: upright, in its colours, at its rate."""

import struct
import subprocess
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from filming import film, picture, pixels

from rescale import EncodeOptions, upscale_video
from rescale.video.io.colour import Colours, Levels, from_rgb, offsets, recoloured, to_rgb
from rescale.video.io.orientation import Orientation, orientation
from rescale.video.io.streams import mean_rate
from rescale.video.y4m import pipe

TURNS = {"as it is": (1, 0, 0, 1), "left": (0, -1, 1, 0), "right": (0, 1, -1, 0), "over": (-1, 0, 0, -1),
         "mirrored": (-1, 0, 0, 1), "upside down": (1, 0, 0, -1), "transposed": (0, 1, 1, 0),
         "both": (0, -1, -1, 0)}  # fmt: skip
"""a, b, c and d of display matrices."""


def turned(path: Path, turn: str, **how) -> Path:
    a, b, c, d = (part << 16 for part in TURNS[turn])
    return film(path, [0, 1, 2], matrix=(a, b, 0, c, d, 0, 0, 0, 1 << 30), **how)


def piped(source: Path, target: Path, **how) -> str:
    """The header of what `play` writes, kept in a file."""
    with target.open("wb") as file:
        pipe(source, file, **how)
    return target.read_bytes().split(b"\n", 1)[0].decode()


def ffmpeg(*words: str | Path) -> bytes:
    return subprocess.run(["ffmpeg", "-nostdin", "-v", "error", "-y", *map(str, words)], check=True,
                          capture_output=True).stdout  # fmt: skip


@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize("layout", ["yuv420p", "yuv422p", "yuv444p"])
def test_a_phones_video_is_upright_as_ffmpeg_turns_it(turn, layout, tmp_path):
    source = turned(tmp_path / "a.mp4", turn, layout=layout)
    options = EncodeOptions(quality=0)
    upscale_video(source, tmp_path / "large.mp4", scale=2, options=options)
    header = piped(source, tmp_path / "a.y4m")
    assert ("W128 H96" if TURNS[turn][0] else "W96 H128") in header
    own = b"".join(frame.tobytes() for frame in pixels(tmp_path / "a.y4m", "gray"))
    assert own == ffmpeg("-i", tmp_path / "large.mp4", "-vf", "format=gray", "-f", "rawvideo", "-")


def test_a_quarter_turn_turns_the_pixels_aspect(tmp_path):
    options = {"x264-params": "sar=4/3"}
    assert " A4:3 " in piped(turned(tmp_path / "a.mp4", "over", options=options), tmp_path / "a.y4m")
    assert " Ip A3:4 " in piped(turned(tmp_path / "b.mp4", "left", options=options), tmp_path / "a.y4m")


@pytest.mark.parametrize("size", [(8, 10), (7, 10), (8, 9), (7, 9)])
@pytest.mark.parametrize("siting", ["left", "center", "topleft"])
@pytest.mark.parametrize(
    "turn", [Orientation(t, v, h) for t in (False, True) for v in (False, True) for h in (False, True)]
)
def test_chroma_is_known_to_sit_where_it_was_turned_to(turn, siting, size):
    colours = Colours(Levels(), siting=siting)
    shape = [-(-side // 2) for side in size]
    places = [torch.arange(n) * 2 + 0.5 + offset for n, offset in zip(shape, offsets(colours), strict=True)]
    down, across = torch.meshgrid(*places, indexing="ij")  # where each sample of chroma sits, in luma samples
    if turn.is_transposed:
        down, across = across.T, down.T
    height, width = turn.turned_size(size)
    if turn.is_upside_down:
        down = (height - 1 - down).flip(0)
    if turn.is_mirrored:
        across = (width - 1 - across).flip(1)
    found = turn.turned_offsets(offsets(colours), size, (2, 2))
    assert torch.equal(down[:, 0], torch.arange(len(down)) * 2 + 0.5 + found[0])
    assert torch.equal(across[0], torch.arange(across.shape[1]) * 2 + 0.5 + found[1])


def test_a_matrix_between_quarter_turns_and_none_at_all_are_taken():
    assert orientation(None) == orientation(b"") == orientation(bytes(36)) == Orientation()
    tilted = struct.pack("<9i", 60_000, 20_000, 0, -20_000, 60_000, 0, 0, 0, 2**30)
    assert orientation(tilted) == Orientation()


@pytest.mark.parametrize("tags", [(0, 2, 2, 2), (1, 6, 6, 6), (1, 1, 1, 1), (2, 1, 1, 1), (1, 9, 1, 9)])
@pytest.mark.parametrize("size", [(48, 64), (360, 640)])
def test_a_player_that_guesses_shows_the_colours_of_the_file(size, tags, tmp_path):
    """1280x720 is BT.709 to players, 128x96 BT.601."""
    matrix = tags[3] if tags[3] != 2 else 6
    colours = Colours(Levels(is_full=tags[0] == 2), matrix, (1, 1))
    flat = np.full((*size, 3), (200, 40, 90), np.uint8)
    planes = from_rgb(torch.from_numpy(flat).permute(2, 0, 1) / 255, colours)
    frame = av.VideoFrame.from_ndarray(np.stack([plane.byte().numpy() for plane in planes]), format="yuv444p")
    source = film(tmp_path / "a.mp4", [0], layout="yuv444p", size=size, tags=tags, frames=[frame],
                  options={"crf": "0"})  # fmt: skip
    header = piped(source, tmp_path / "a.y4m")
    assert "C444 XCOLORRANGE=LIMITED" in header
    made = torch.stack([torch.from_numpy(p) for p in pixels(tmp_path / "a.y4m", "yuv444p")[0]])
    guess = 1 if size[0] > 288 else 6
    rgb = to_rgb(list(made), Colours(Levels(), guess, (1, 1))) * 255
    assert (rgb - torch.tensor([200.0, 40, 90])[:, None, None]).abs().max() < 2.5


@pytest.mark.parametrize("chroma", [(1, 1), (2, 2), (1, 2)])
@pytest.mark.parametrize("is_full", [False, True])
def test_recolouring_and_back_is_the_identity_but_for_rounding(chroma, is_full):
    slope = torch.linspace(0.2, 0.7, 32)
    rgb = torch.stack([slope.expand(24, 32), slope.flip(0).expand(24, 32), torch.full((24, 32), 0.4)])
    before = Colours(Levels(12, is_full), 6, chroma, "center")
    after = Colours(Levels(12), 1, chroma, "left")
    planes = [plane.int() for plane in from_rgb(rgb, before)]
    made = recoloured(planes, before, after, offsets(before))
    assert not torch.equal(made[0], planes[0])
    straight = from_rgb(rgb, after)
    inner = slice(3, -3)
    assert all((a - b)[inner, inner].abs().max() < 4 for a, b in zip(made, straight, strict=True))
    again = recoloured(made, after, before, offsets(after))
    assert all((a - b)[inner, inner].abs().max() < 4 for a, b in zip(again, planes, strict=True))


def test_levels_beyond_the_range_are_handed_on():
    planes = [torch.tensor([[4, 250]], dtype=torch.uint8), *[torch.full((1, 2), 128, dtype=torch.uint8)] * 2]
    colours = Colours(Levels(), 6, (1, 1))
    made = recoloured(planes, colours, Colours(Levels(), 1, (1, 1)), offsets(colours))
    assert made[0].tolist() == [[4, 250]]


@pytest.mark.parametrize(
    ("codec", "layout", "name"),
    [("mjpeg", "yuvj420p", "420jpeg"), ("ffv1", "yuv420p10le", "420p10"), ("ffv1", "gbrp10le", "444p10"),
     ("ffv1", "yuv411p", "422"), ("ffv1", "gray10le", "mono10"), ("libx264", "yuv420p", "420mpeg2")],
)  # fmt: skip
def test_every_layout_is_handed_on_in_one_that_players_take(codec, layout, name, tmp_path):
    frames = [av.VideoFrame.from_ndarray(picture(k)).reformat(format=layout) for k in range(2)]
    source = film(tmp_path / "a.mkv", [0, 1], codec=codec, layout=layout, frames=frames)
    assert f" C{name} " in piped(source, tmp_path / "a.y4m")
    assert len(pixels(tmp_path / "a.y4m")) == 2


# ------------------------------------------------------------------------------------------------------------- rates


@pytest.mark.parametrize(
    ("times", "wanted"),
    [([round(k * 1000 / 29) for k in range(40)], Fraction(29)), ([0], Fraction(25)),
     ([round(k * 1000 / 29) + k * 7 % 11 for k in range(40)], Fraction(29)),
     ([k * 500 for k in range(8)], Fraction(2))],
)  # fmt: skip
def test_ticks_are_no_frame_rate(times, wanted, tmp_path):
    """The header states a frame a millisecond, as some writers do."""
    source = film(tmp_path / "a.mkv", times, Fraction(1, 1000), rate=Fraction(1000))
    with av.open(str(source)) as given:
        assert given.streams.video[0].average_rate == 1000
        assert abs(mean_rate(given.streams.video[0], source) / wanted - 1) < 0.02
    rate = piped(source, tmp_path / "a.y4m").split()[3]
    assert abs(Fraction(rate[1:].replace(":", "/")) / wanted - 1) < 0.02
    upscale_video(source, tmp_path / "b.mkv", scale=2)
    with av.open(str(tmp_path / "b.mkv")) as made:
        assert abs(made.streams.video[0].average_rate / wanted - 1) < 0.02  # from the default duration of a frame
