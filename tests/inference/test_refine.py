"""HCD: it gains, it never loses, and what it gains survives the file."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import PHOTO
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

import rescale
from rescale.errors import UsageError
from rescale.inference import files
from rescale.inference.refine import RefineBudget, refine_downscaled, refine_hr, refine_lr
from rescale.io import images, record
from rescale.metrics import psnr
from rescale.ops import luma, quantize
from rescale.ops.resample import resample

MODELS = ["irn-x2-small", "irn-x4-small", "espcn-x3", "bicubic-x2", "iarn-small"]


def photo(height: int = 96, width: int = 120, top: int = 40) -> torch.Tensor:
    pixels = images.read(PHOTO).pixels[top : top + height, 60 : 60 + width]
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 255


def network(name: str) -> rescale.Rescaler:
    return rescale.load(name, device="cpu")


def small(model, hr):
    """At x2.5, where the model has no scale of its own."""
    with torch.no_grad():
        return quantize(model.downscale(hr, tuple(math.ceil(side / 2.5) for side in hr.shape[-2:])))


def score(model, lr, hr) -> tuple[float, float]:
    """PSNR of the restored picture, of RGB and of luma."""
    with torch.no_grad():
        restored = quantize(model.upscale(lr, size=tuple(hr.shape[-2:])))
    return psnr(restored, hr).mean().item(), psnr(luma(restored), luma(hr)).mean().item()


@pytest.mark.parametrize(("name", "gain"), [*zip(MODELS, (0.2, 0.3, 0.1, 0.1, 0.1), strict=True)])
def test_it_gains(name, gain):
    model, hr = network(name).model, photo()
    lr = small(model, hr)
    better = refine_downscaled(model, hr, lr, RefineBudget(15))
    assert score(model, better, hr)[1] > score(model, lr, hr)[1] + gain
    assert torch.equal(better, quantize(better)), "on the levels of a file"
    bicubic = resample(hr, tuple(lr.shape[-2:]))
    if model.hides_detail:
        assert psnr(better, bicubic) > psnr(lr, bicubic) - 1.5, "the closer it was, the more shows"
    else:
        assert psnr(better, bicubic) > 35, "no longer bicubic, but still like it"


@pytest.mark.parametrize("name", ["irn-x4-small", "espcn-x3"])
@given(
    kind=st.sampled_from(["flat", "noise", "black", "white", "edge"]), size=st.integers(1, 8), seed=st.integers(0, 9)
)
@example(kind="black", size=6, seed=0)
def test_never_worse(name, kind, size, seed):
    """As it is delivered: by the very engine that restores, which may round otherwise than the plain network."""
    model = network(name)
    side = size * (model.scale or 1)
    hr = {
        "flat": torch.full((1, 3, side, side), 0.3),
        "noise": torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(seed)).mul(255).round() / 255,
        "black": torch.zeros(1, 3, side, side),
        "white": torch.ones(1, 3, side, side),
        "edge": (torch.arange(side) > side // 2).float().expand(1, 3, side, side).contiguous(),
    }[kind]
    before, after = (score(model, model.downscale(hr, refine=budget), hr) for budget in (None, RefineBudget(4)))
    assert after[0] >= before[0] and after[1] >= before[1]


def test_pictures_of_a_batch_do_not_see_each_other():
    """Bit for bit: whatever the neighbour is, and its turn in the batch, a picture becomes the same."""
    model = network("irn-x2-small").model
    one, two, three = (photo(48, 64, top=top) for top in (0, 120, 60))
    results = []
    for pair in ((one, two), (one, three), (two, one)):
        hr = torch.cat(pair)
        results.append(refine_lr(model, hr, small(model, hr), RefineBudget(6)))
    assert torch.equal(results[0][0], results[1][0]) and torch.equal(results[0][0], results[2][1])
    assert not torch.equal(results[0][0], small(model, one)[0]), "refining must have been at work"


def test_weights_and_the_given_picture_stay_as_they_are():
    model, hr = network("irn-x2-small").model, photo(32, 32)
    state, lr = {k: v.clone() for k, v in model.state_dict().items()}, small(model, hr)
    kept = lr.clone()
    refine_downscaled(model, hr, lr, RefineBudget(3))
    assert torch.equal(lr, kept) and all(p.grad is None for p in model.parameters())
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())


def test_tiles_gain_as_much_as_the_whole_and_stay_apart(monkeypatch):
    model, hr = network("irn-x4-small").model, photo(144, 192, top=0)
    lr = small(model, hr)
    whole = score(model, refine_downscaled(model, hr, lr, RefineBudget(8)), hr)[1]
    monkeypatch.setattr("rescale.inference.refine.SIDE", 20)
    seen = []
    tiled = score(
        model, refine_downscaled(model, hr, lr, RefineBudget(8), report=lambda done, _: seen.append(done)), hr
    )[1]
    plain = score(model, lr, hr)[1]
    assert tiled - plain > 0.7 * (whole - plain) > 0.2
    assert seen == sorted(seen) and seen[-1] == 1


def test_the_hr_stage_gains_too():
    model, hr = network("irn-x4-small").model, photo(64, 64)
    lr = small(model, hr)
    assert score(model, refine_hr(model, hr, lr, RefineBudget(10)), hr)[1] > score(model, lr, hr)[1] + 0.2


def test_time_and_gain_are_limits():
    model, hr = network("irn-x4-small").model, photo(64, 64)
    lr = small(model, hr)
    gains = []
    refine_downscaled(model, hr, lr, RefineBudget(gain_db=0.1), report=lambda done, gain: gains.append(gain))
    assert gains[-1] >= 0.1 > gains[-2] and len(gains) < 30
    steps = []
    refine_downscaled(model, hr, lr, RefineBudget(seconds=1e-6), report=lambda *_: steps.append(1))
    assert len(steps) == 1, "there is no time for another"


@pytest.mark.parametrize(
    "asked",
    [
        "20",
        20,
        "30s",
        "+1dB",
        "+0.5dB",
        "1.5 s",
        RefineBudget(3),
        "hr 20",
        "hr lr 30s",
        "+1dB, fidelity 0",
        "hr 5, fidelity 0.1",
    ],
)
def test_efforts_are_understood_and_said_again(asked):
    effort = RefineBudget.of(asked)
    assert RefineBudget.of(str(effort)) == effort


@pytest.mark.parametrize(
    "asked", ["0", "", "-3", "20 steps", "0s", "1e9", "+0dB", "nan", "infs", -1, 1.5, "lr", "lr hr 20", "20, fidelity"]
)
def test_other_efforts_are_refused(asked):
    with pytest.raises(UsageError, match="expected refinement as steps"):
        RefineBudget.of(asked)


@pytest.mark.parametrize("name", ["irn-x2-small", "iarn-small"])
@pytest.mark.parametrize("kind", ["rgb", "grey", "alpha", "deep"])
def test_what_it_gains_survives_the_file(name, kind, tmp_path):
    """The bar: equal to 0.001 dB, from the PNG on disk; here level by level."""
    levels = images.read(PHOTO).pixels[40:101, 60:131]
    if kind == "deep":
        levels = levels.astype("uint16") * 257 + 3
    picture = images.Picture(levels[..., 1:2] if kind == "grey" else levels)
    if kind == "alpha":
        picture = replace(picture, alpha=levels[..., 0])
    images.write(tmp_path / "p.png", picture)
    model = network(name)
    scale = model.scale or 2.5
    files.downscale_file(model, tmp_path / "p.png", tmp_path / "s.png", scale=scale, refine=RefineBudget(8))
    files.downscale_file(model, tmp_path / "p.png", tmp_path / "plain.png", scale=scale)
    assert record.extract(images.read(tmp_path / "s.png")).refined == "8"
    assert record.extract(images.read(tmp_path / "plain.png")).refined == ""
    errors = []
    for small in ("s", "plain"):
        files.upscale_file(tmp_path / f"{small}.png", tmp_path / f"{small}.back.png")
        back = images.read(tmp_path / f"{small}.back.png")
        assert back.depth == picture.depth and back.is_grey == picture.is_grey
        errors.append(((back.pixels.astype(float) - picture.pixels) ** 2).mean())
    assert errors[0] < errors[1] * 0.99
    size = model.sizes.small(picture.size, scale)
    small = model.downscale_picture(picture, size, refine=RefineBudget(8))
    again = model.upscale_picture(small, size=picture.size, is_grey=picture.is_grey).pixels
    assert (again == images.read(tmp_path / "s.back.png").pixels).all()


def test_kinds_of_images_can_be_refined():
    model, hr = network("irn-x4-small"), photo(64, 64)
    image = (hr[0].permute(1, 2, 0).numpy() * 255).round().astype("uint8")
    small = {
        "tensor": model.downscale(hr, refine=6),
        "array": model.downscale(image, refine="6"),
        "pillow": model.downscale(Image.fromarray(image), refine=RefineBudget(6)),
    }
    levels = (small["tensor"][0].permute(1, 2, 0).numpy() * 255).round()
    assert (levels == small["array"]).all() and (small["array"] == np.asarray(small["pillow"])).all()
    assert '"refined":"6"' in small["pillow"].info["rescale"]
    assert not (model.downscale(image) == small["array"]).all()
    with pytest.raises(UsageError, match="expected refinement"):
        model.downscale(image, refine="often")


def test_the_whole_picture_has_the_last_word(monkeypatch):
    """Whatever refining brings, a picture that restores worse is not taken."""
    model = network("irn-x2-small")
    monkeypatch.setattr("rescale.inference.rescaler.refine_downscaled", lambda _, hr, lr, *args, **how: 1 - lr)
    image = (photo(32, 32)[0].permute(1, 2, 0).numpy() * 255).round().astype("uint8")
    assert (model.downscale(image, refine=5) == model.downscale(image)).all()


@pytest.mark.parametrize("stages", ["hr", "hr lr"])
@pytest.mark.parametrize("name", ["irn-x4-small", "iarn-small"])
def test_the_other_stages_gain_too(name, stages):
    model, hr = network(name).model, photo(64, 64)
    lr, seen = small(model, hr), []
    better = refine_downscaled(model, hr, lr, RefineBudget(10, stages=stages), report=lambda done, _: seen.append(done))
    assert score(model, better, hr)[1] > score(model, lr, hr)[1] + 0.05
    assert seen == sorted(seen) and seen[-1] == 1


@pytest.mark.parametrize("name", ["irn-x4-small", "espcn-x3"])
@pytest.mark.parametrize("grey", [False, True])
def test_the_hr_stage_takes_any_size_and_grey(name, grey):
    model = network(name)
    image = (photo(61, 70)[0].permute(1, 2, 0).numpy() * 255).round().astype("uint8")
    image = image[..., 1] if grey else image
    plain, better = model.downscale(image), model.downscale(image, refine="hr lr 6")
    assert better.shape == plain.shape
    restored = [model.upscale(x, size=image.shape[:2], grey=grey).squeeze().astype(float) for x in (plain, better)]
    before, after = (((r - image) ** 2).mean() for r in restored)
    assert after < before


def test_the_hr_stage_refuses_what_is_too_large(monkeypatch):
    monkeypatch.setattr("rescale.inference.refine.WHOLE", 1000)
    with pytest.raises(UsageError, match="at most 1,000 pixels for the hr stage, got 48x32"):
        refine_downscaled(network("irn-x2-small").model, photo(32, 48), photo(16, 24), RefineBudget(1, stages="hr"))
