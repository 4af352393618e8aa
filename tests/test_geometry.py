"""Scales and sizes in the words of a user: what they mean, and which of them mean nothing."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rescale.errors import UsageError
from rescale.geometry import Geometry, enlargement


@pytest.mark.parametrize(
    ("words", "full", "small"),
    [
        ("2", (100, 60), (50, 30)),
        ("2.7", (100, 60), (38, 23)),
        ("1", (100, 60), (100, 60)),
        ("3", (100, 60), (34, 20)),
        (".5e0", None, None),
        ("1.5x2.5", (100, 60), (40, 40)),
        ("4x1", (100, 60), (100, 15)),
        ("1X3", (9, 7), (3, 7)),
        ("50%", (101, 60), (51, 30)),
        ("33.3333333%", (300, 60), (100, 20)),
        ("100%", (3, 5), (3, 5)),
        ("50x25%", (100, 60), (25, 30)),
        ("50%x25%", (100, 60), (25, 30)),
        ("800x600", (1200, 1600), (600, 800)),
        ("800x600", (1000, 1600), (500, 800)),
        ("800x600", (2400, 1600), (600, 400)),
        ("800x600!", (2400, 1600), (600, 800)),
        ("800x", (1000, 1600), (500, 800)),
        ("x600", (1200, 1500), (600, 750)),
        ("x4", (100, 60), (25, 15)),
        ("4x", (100, 60), (25, 15)),
        ("X2.7", (100, 60), (38, 23)),
        ("×2", (9, 7), (5, 4)),
        ("x1.5x2.5", (100, 60), (40, 40)),
        ("x16", (160, 16), (10, 1)),
        ("x4>", (100, 60), (4, 3)),
        ("17x", (400, 51), (134, 17)),
        ("800x600>", (1200, 1600), (600, 800)),
        ("800x600>", (600, 800), (600, 800)),
        ("800x600>", (30, 40), (30, 40)),
        ("800x600<", (1200, 1600), (1200, 1600)),
        ("800x>", (9999, 700), (9999, 700)),
        (" 4 ", (8, 8), (2, 2)),
        ("20x", (61, 80), (16, 20)),
        ("x17", (68, 79), (17, 20)),
        ("800x600", (2401, 3200), (600, 800)),
        ("800x600", (2399, 3200), (600, 800)),
        ("16x17!", (40, 40), (17, 16)),
        ("20x20", (40, 40), (20, 20)),
    ],
)
def test_words(words, full, small):
    if full is None:
        with pytest.raises(UsageError):
            Geometry.of(words)
    else:
        assert Geometry.of(words).small_size(full) == small


@pytest.mark.parametrize(
    "words",
    [
        "", "x", "0", "0.5", "-2", "nan", "inf", "1e3", "800y600", "800x600x2", "0x5", "800x0", "0x", "0%", "200%",
        "-1x4", "x0.5", "x1.5x", "2 x 2 x", "!", "800!", "800x!", "2.5!", "1.5x2.5>", "50%x", "%", "x%", "50%<", "٣",
        "2,7", "0.9x2", "9" * 30,
    ],
)  # fmt: skip
def test_words_that_mean_nothing(words):
    with pytest.raises(UsageError, match="expected"):
        Geometry.of(words).small_size((900, 900))


@pytest.mark.parametrize("size", ["800x600", "800x", "x600", "800x600!", "30x600!", "800x600<"])
def test_a_size_larger_than_the_picture_is_refused(size):
    with pytest.raises(UsageError, match="within the picture's own 40x30"):
        Geometry.of(size).small_size((30, 40))


@pytest.mark.parametrize(
    "bad",
    [0, 0.5, -1, math.nan, math.inf, (2,), (2, 3, 4), (2, "3"), (0.5, 2), None, [[2], 3], 10**400, True, (2, True)],
)
def test_numbers_that_mean_nothing(bad):
    with pytest.raises(UsageError, match="expected"):
        Geometry.of(bad)


def test_numpys_numbers_are_numbers():
    assert Geometry.of(np.float32(2.5)) == Geometry.of((np.int64(5) / 2, np.float64(2.5))) == Geometry.of("2.5")


@given(st.integers(1, 3000), st.integers(1, 3000), st.sampled_from(["w", "h", "box"]), st.integers(1, 4))
def test_a_whole_share_of_a_side_can_always_be_had(height, width, kind, share):
    """As the free side is rounded up, no axis is asked for more than the fixed one."""
    if kind == "w":
        width = max(width, 17) * share
        words = f"{width // share}x"
    elif kind == "h":
        height = max(height, 17) * share
        words = f"x{height // share}"
    else:
        words = f"{max(-(-width // share), 17)}x{max(-(-height // share), 17)}>"
    small = Geometry.of(words).small_size((height, width))
    assert all(1 <= part <= full <= share * part for full, part in zip((height, width), small, strict=True))


@given(st.floats(1, 16), st.floats(1, 16))
def test_what_is_printed_is_read_again(width, height):
    """The names of results say their scale, so a user types it as they have it."""
    geometry = Geometry.of((float(f"{height:.5g}"), float(f"{width:.5g}")))
    assert Geometry.of(str(geometry)) == geometry


@pytest.mark.parametrize(("text", "scale"), [("2", 2), ("x3", 3), ("4x", 4), (" 1.5 ", 1.5), ("X2.5", 2.5)])
def test_a_scale_to_enlarge_by(text, scale):
    assert enlargement(text) == scale


@pytest.mark.parametrize("text", ["", "x", "50%", "200%", "50%x20%", "0.5", "-2", "two", "nan", "0x4!", "x0"])
def test_what_is_no_scale_to_enlarge_by(text):
    with pytest.raises(UsageError, match="expected"):
        enlargement(text)


@pytest.mark.parametrize(
    ("words", "small", "large"),
    [
        ("2.5", (11, 20), (28, 50)),
        ("1.5x2", (11, 11), (22, 16)),
        ("1920x", (540, 960), (1080, 1920)),
        ("x1080", (500, 300), (1080, 648)),
        ("1920x1080", (500, 300), (1080, 648)),
        ("1920x1080!", (500, 800), (1080, 1920)),
        ("800x600<", (300, 300), (600, 600)),
        ("800x600<", (700, 300), (700, 300)),
    ],
)
def test_sizes_to_enlarge_to(words, small, large):
    assert Geometry.of(words).large_size(small) == large


@pytest.mark.parametrize(("words", "small"), [("100x", (200, 200)), ("300x100!", (200, 200)), ("900x900>", (20, 20))])
def test_what_would_make_smaller_is_no_size_to_enlarge_to(words, small):
    with pytest.raises(UsageError, match="expected a size"):
        Geometry.of(words).large_size(small)


@given(st.integers(1, 4000), st.integers(1, 4000), st.floats(1, 4))
def test_enlarging_undoes_the_size_of_downscaling(height, width, scale):
    """Up to what rounding up added: half an LR pixel's worth for each side."""
    small = Geometry.of(scale).small_size((height, width))
    large = Geometry.of(scale).large_size(small)
    assert all(full - 1 <= made <= full + scale + 1 for full, made in zip((height, width), large, strict=True))


@given(st.integers(1, 4000), st.integers(1, 4000))
def test_a_box_is_filled_along_one_axis_and_never_left(height, width):
    large = Geometry.of("4000x4000").large_size((height, width))
    assert max(large) == 4000 and min(large) >= min(height, width)


def test_numbers_come_height_first_words_width_first():
    assert Geometry.of((1.5, 4)) == Geometry.of("4x1.5") and Geometry.of(2.5) == Geometry.of("2.5")
    assert Geometry.of(Geometry.of("3")) == Geometry.of(3)
    assert [str(Geometry.of(text)) for text in ("2.70", "1.5x2.5", "50%", "800x600>", "800x", "x600")] == [
        "x2.7", "x1.5x2.5", "x2", "800x600", "800x", "x600",
    ]  # fmt: skip


@given(st.integers(1, 5000), st.integers(1, 5000), st.floats(1, 4), st.floats(1, 4))
def test_scales_are_never_exceeded_and_cover_the_picture(height, width, down, across):
    small = Geometry.of((down, across)).small_size((height, width))
    for full, part, scale in ((height, small[0], down), (width, small[1], across)):
        assert 1 <= part <= full and full / part <= scale * (1 + 1e-5) and part < full / scale + 1
