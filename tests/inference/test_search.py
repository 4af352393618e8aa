"""A search for a scale: bytes or dB that are asked for are met, in few trials, or refused."""

import math

import numpy as np
import pytest
from conftest import PHOTO
from drawing import curves, drawn
from hypothesis import given
from hypothesis import strategies as st

from rescale.errors import RefusedError, UsageError
from rescale.inference import files
from rescale.inference.options import RescaleOptions
from rescale.inference.search import TRIALS, Aim, parse_bytes, search
from rescale.inference.verify import Verification, against_codecs
from rescale.io import images
from rescale.io.budget import codecs_for

sides = st.integers(200, 4000)


@given(sides, sides, st.floats(1.2, 2.2), st.floats(0.3, 4), st.floats(0.05, 1.2))
def test_bytes_are_met_within_five_percent_or_no_scale_has_so_few(height, width, power, bytes_per_pixel, share):
    whole = height * width * bytes_per_pixel
    aim = Aim(n_bytes=max(int(share * whole), 1))

    def trial(size):
        return size, math.log(whole * (size[0] * size[1] / (height * width)) ** (power / 2))

    try:
        size, trials = search((height, width), trial, aim)
    except RefusedError:
        assert math.exp(trial((math.ceil(height / 4), math.ceil(width / 4)))[1]) > aim.n_bytes
        return
    made = math.exp(trial(size)[1])
    assert trials <= TRIALS and made <= aim.n_bytes * (1 + 1e-9)
    assert made >= 0.95 * aim.n_bytes or size == (height, width)


@given(sides, sides, st.floats(28, 50), st.floats(4, 25), st.floats(20, 60))
def test_a_psnr_is_met_within_a_tenth_or_kept(height, width, at_two, fall, asked):
    """Restored dB fall with the logarithm of the scale, and an untouched picture is exact."""

    def trial(size):
        scale = math.sqrt(height * width / (size[0] * size[1]))
        return size, 100.0 if size == (height, width) else at_two - fall * math.log2(scale / 2)

    try:
        size, trials = search((height, width), trial, Aim(psnr=asked))
    except RefusedError:
        assert asked > at_two + 0.9 * fall
        return
    value = trial(size)[1]
    assert trials <= TRIALS and value >= asked
    is_smallest = size == (math.ceil(height / 4), math.ceil(width / 4))
    a_pixel_more = fall * math.log2(1 + 2 / min(size))
    assert value <= asked + 0.1 + a_pixel_more or is_smallest or asked > at_two + 0.9 * fall


@pytest.mark.parametrize(
    ("text", "count"), [("50000", 50_000), ("50k", 50_000), ("1.5M", 1_500_000), ("64Ki", 65_536), (" 2 kB ", 2_000)]
)
def test_bytes_in_words(text, count):
    assert parse_bytes(text) == count


@pytest.mark.parametrize("text", ["", "k", "-5", "5 apples", "1e5", "nan"])
def test_what_is_no_number_of_bytes(text):
    with pytest.raises(UsageError, match="expected a number of bytes"):
        parse_bytes(text)


@pytest.mark.parametrize("aim", [{}, {"n_bytes": 5, "psnr": 30}, {"n_bytes": 0}, {"psnr": 0}, {"psnr": math.nan}])
def test_what_is_no_aim(aim):
    with pytest.raises(UsageError, match="expected"):
        Aim(**aim)


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
    source = tmp_path_factory.mktemp("p") / "p.png"
    images.write(source, images.Picture(images.read(PHOTO).pixels[:144, :160]))
    return source


def test_a_photograph_in_so_many_bytes(picture, tmp_path):
    options = RescaleOptions(aim=Aim(n_bytes=20_000))
    done = files.downscale_file("iarn-small", picture, tmp_path / "s.png", options=options)
    n_bytes = (tmp_path / "s.png").stat().st_size
    assert 19_000 <= n_bytes <= 20_000 and f"{n_bytes:,} bytes, found in" in done.notes[-2]
    assert "at full size, in as many bytes, comes back at" in done.notes[-1]
    assert files.upscale_file(tmp_path / "s.png", tmp_path / "r.png").size == (144, 160)


def test_a_photograph_at_so_many_db(picture, tmp_path, call):
    code, out, err = call("down", picture, "-o", tmp_path / "s.png", "--target-psnr", "36", "--json")
    assert code == 0, err
    assert 36 <= float(out.split('"psnr_rgb": ')[1].split(",")[0]) <= 36.5


def test_what_no_scale_meets_is_refused_and_no_file_is_left(picture, tmp_path, call):
    code, _, err = call("down", picture, "-o", tmp_path / "s.png", "--target-bytes", "900")
    assert code == 4 and "no scale up to 4 meets that" in err and not (tmp_path / "s.png").exists()


def test_a_least_psnr_is_for_what_is_written_and_not_for_trials(picture, tmp_path, call):
    """The first trial, at x2, restores worse than what is asked for; the search must go on."""
    words = "down", picture, "-o", tmp_path / "s.png", "--target-psnr", "42"
    code, _, err = call(*words, "--min-psnr", "42")
    assert code == 0, err
    code, _, err = call(*words[:4], "--target-bytes", "9k", "--min-psnr", "42", "--overwrite")
    assert code == 4 and "less than the 42 asked for" in err


def test_a_side_that_a_codec_cannot_hold_leaves_that_codec_out():
    long = images.Picture(np.zeros((2, 20_000, 3), np.uint8))
    assert codecs_for(long) == ["JPEG", "AVIF"]
    assert "at full size" in against_codecs(long, 10**6, Verification(40.0, 40.0, 40.0))


@pytest.mark.parametrize(
    "words",
    [
        ["--target-bytes", "5k", "--scale", "2"],
        ["--target-bytes", "5k", "-m", "irn-x2-small"],
        ["--target-bytes", "5k", "--target-psnr", "30"],
    ],
)
def test_an_aim_and_a_scale_contradict_each_other(picture, tmp_path, call, words):
    code, _, err = call("down", picture, "-o", tmp_path / "s.png", *words)
    assert code == 2 and "expected" in err and not (tmp_path / "s.png").exists()


def test_line_art_is_told_to_be_better_at_full_size(tmp_path):
    drawn(curves).crop((0, 0, 160, 144)).save(tmp_path / "t.png")
    options = RescaleOptions(aim=Aim(psnr=25))
    done = files.downscale_file("iarn-small", tmp_path / "t.png", tmp_path / "s.png", options=options)
    assert done.notes[-1].endswith("which is better")
