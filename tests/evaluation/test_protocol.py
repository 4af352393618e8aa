"""The table: the published bicubic rows come out, and every number is what it says."""

import csv
import json
import math

import numpy as np
import pytest
import torch
from conftest import PHOTO, shared
from skimage.color import rgb2ycbcr
from skimage.metrics import peak_signal_noise_ratio

import rescale
from rescale.errors import InputError, UsageError
from rescale.evaluation.protocol import NUMBERS, Scores, evaluate, means, protocol, round_trip, score
from rescale.evaluation.tables import markdown, records, table
from rescale.io import images
from rescale.io.budget import Lossy
from rescale.io.images import Picture
from rescale.metrics import psnr

# The rows that papers copy from each other, on Y; bridge of Set14 is grey.
BICUBIC = {
    ("Set5", 2): 33.66, ("Set5", 3): 30.39, ("Set5", 4): 28.42,
    ("Set14", 2): 30.24, ("Set14", 3): 27.54, ("Set14", 4): 26.00,
    ("B100", 2): 29.56, ("B100", 3): 27.21, ("B100", 4): 25.96,
}  # fmt: skip


def scored(rescaler: rescale.Rescaler, picture: Picture, set_name: str, name: str, **how: object) -> Scores:
    """Down, up, compare."""
    return score(round_trip(rescaler, picture, name), set_name, name, **how)


@pytest.mark.parametrize(("name", "scale"), BICUBIC)
def test_published_bicubic_rows(name, scale):
    rows = evaluate(rescale.load(f"bicubic-x{scale}"), shared("data/test") / name, round_luma=True)
    (mean,) = means(rows)
    assert mean.psnr_y == pytest.approx(BICUBIC[name, scale], abs=0.021)


@pytest.mark.parametrize(("scale", "ssim"), [(2, 0.9299), (4, 0.8104)])
def test_published_bicubic_ssim(scale, ssim):
    (mean,) = means(evaluate(rescale.load(f"bicubic-x{scale}"), shared("data/test/Set5"), round_luma=True))
    assert mean.ssim_y == pytest.approx(ssim, abs=5e-4)


def test_a_row_is_what_the_files_hold(tmp_path):
    """Down and up through files on disk, measured by scikit-image: the same PSNR to 0.001 dB."""
    rescaler = rescale.load("irn-x4-small", device="cpu")
    photo = images.read(PHOTO)
    photo = Picture(photo.pixels[:256, :320])
    row = scored(rescaler, photo, "set", "photo")
    source, small, large = (tmp_path / name for name in ("photo.png", "photo.x4.png", "restored.png"))
    images.write(source, photo)
    rescale.downscale_file(rescaler, source, small)
    rescale.upscale_file(small, large)
    inner = (slice(4, -4), slice(4, -4))
    a, b = (images.read(path).pixels[inner].astype(float) for path in (source, large))
    weights = np.array([65.481, 128.553, 24.966]) / 255
    assert peak_signal_noise_ratio(a @ weights, b @ weights, data_range=255) == pytest.approx(row.psnr_y, abs=1e-3)
    assert peak_signal_noise_ratio(a, b, data_range=255) == pytest.approx(row.psnr_rgb, abs=1e-3)
    for channel, known in ((1, row.psnr_cb), (2, row.psnr_cr)):
        planes = (rgb2ycbcr(x.astype(np.uint8))[..., channel] for x in (a, b))
        assert peak_signal_noise_ratio(*planes, data_range=255) == pytest.approx(known, abs=1e-3)


def test_bicubic_down_is_exact_and_written_so():
    row = scored(rescale.load("bicubic-x2"), Picture(images.read(PHOTO).pixels[:64, :64]), "set", "photo")
    assert row.lr_psnr_y == math.inf and row.lr_ssim_y == pytest.approx(1)
    assert "exact" in markdown([row])
    assert json.loads(json.dumps(records([row]), allow_nan=False))[0]["lr_psnr_y"] is None


def test_means_are_means_of_each_pictures_value(noise):
    rows = [scored(rescale.load("bicubic-x2"), Picture(noise(40, 40, 3)), "set", str(n)) for n in range(3)]
    (mean,) = means(rows)
    asked = [key for key in NUMBERS if "lpips" not in key]
    assert all(math.isclose(getattr(mean, key), sum(getattr(r, key) for r in rows) / 3) for key in asked)
    assert math.isnan(mean.lpips_alex)
    assert markdown(rows).count("\n") == 4


def test_the_table_as_csv(noise):
    row = scored(rescale.load("bicubic-x2"), Picture(noise(40, 40, 3)), "set", "a, b", lpips={"vgg": psnr})
    (read,) = csv.DictReader(table([row]).splitlines())
    assert read["picture"] == "a, b" and read["lr_psnr_y"] == "" and read["lpips_alex"] == ""
    assert float(read["psnr_y"]) == row.psnr_y
    assert float(read["lpips_vgg"]) == row.psnr_rgb, "a distance gets the cropped RGB"


def test_bits_are_those_of_the_png(tmp_path, noise):
    rescaler, picture = rescale.load("bicubic-x2"), Picture(noise(40, 44, 3))
    path = tmp_path / "small.png"
    images.write(path, rescaler.downscale_picture(picture))
    assert scored(rescaler, picture, "set", "n").bits_per_pixel == 8 * path.stat().st_size / (40 * 44)


def test_grey_is_its_own_luma(noise):
    grey = Picture(noise(40, 40, 1))
    row = scored(rescale.load("bicubic-x2"), grey, "set", "grey")
    assert row.psnr_y == pytest.approx(row.psnr_rgb)


def test_too_small_a_picture_is_named(noise):
    with pytest.raises(InputError, match="tiny: expected sides above 8"):
        scored(rescale.load("bicubic-x4"), Picture(noise(8, 40, 3)), "set", "tiny")


def test_the_protocol_says_how_luma_was_rounded():
    assert "unrounded" in protocol() and "unrounded" not in protocol(round_luma=True)


def test_evaluation_does_not_depend_on_threads():
    picture = Picture(images.read(PHOTO).pixels[:128, :128])
    rows = []
    for count in (1, 2):
        torch.set_num_threads(count)
        rows.append(scored(rescale.load("irn-x2-small", device="cpu"), picture, "set", "photo"))
    assert rows[0].psnr_y == pytest.approx(rows[1].psnr_y, abs=1e-3)


@pytest.mark.parametrize("text", ["jpeg:75", "jpg:75", "webp:80", "AVIF:60"])
def test_an_lr_image_is_scored_as_a_codec_leaves_it(text, tmp_path):
    images.write(tmp_path / "a.png", Picture(images.read(PHOTO).pixels[:96, :96]))
    plain, saved = (next(evaluate("irn-x2-small", tmp_path, saved_as=codec)) for codec in (None, Lossy.parse(text)))
    assert (plain.saved_as, saved.saved_as) == ("", text.lower().replace("jpg", "jpeg"))
    assert saved.psnr_y < plain.psnr_y - 3 and saved.lr_psnr_rgb < plain.lr_psnr_rgb
    assert saved.bits_per_pixel < plain.bits_per_pixel / 2


def test_saving_at_a_higher_quality_costs_less(tmp_path):
    images.write(tmp_path / "a.png", Picture(images.read(PHOTO).pixels[:96, :96]))
    rows = [next(evaluate("espcn-x2", tmp_path, saved_as=Lossy("JPEG", quality))) for quality in (40, 70, 95)]
    assert [row.psnr_y for row in rows] == sorted(row.psnr_y for row in rows)
    assert [row.bits_per_pixel for row in rows] == sorted(row.bits_per_pixel for row in rows)


def test_a_grey_lr_image_stays_grey(tmp_path):
    images.write(tmp_path / "a.png", Picture(images.read(PHOTO).pixels[:64, :64, :1]))
    trial = round_trip(rescale.load("espcn-x2"), images.read(tmp_path / "a.png"), "a", saved_as=Lossy.parse("webp:50"))
    assert trial.small.is_grey and trial.restored.is_grey


@pytest.mark.parametrize("text", ["", "jpeg", "jpeg:0", "jpeg:101", "png:50", "jpeg:high"])
def test_what_is_no_lossy_format(text):
    with pytest.raises(UsageError, match="expected a lossy format"):
        Lossy.parse(text)


def test_codecs_on_the_command_line(call, tmp_path):
    images.write(tmp_path / "a.png", Picture(images.read(PHOTO).pixels[:64, :64]))
    code, out, _ = call("evaluate", tmp_path, "-m", "bicubic-x2", "--saved-as", "jpeg:75", "--json")
    assert code == 0 and [row["saved_as"] for row in json.loads(out)["rows"]] == ["", "jpeg:75"]
