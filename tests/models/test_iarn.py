"""One network for all scales: invertible, exact in size, the same in parts, blind to nothing but what it must be."""

import math

import numpy as np
import pytest
import torch
from conftest import PHOTO, shake
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from rescale import Rescaler, load
from rescale.errors import UsageError
from rescale.geometry import Geometry
from rescale.io.images import Picture, read
from rescale.metrics import psnr
from rescale.models import IARN, IARNConfig
from rescale.models.layers import DCT, Haar
from rescale.models.weights import Weights
from rescale.ops import luma, quantize
from rescale.ops.oversample import OversampledGrid
from rescale.ops.resample import resample
from rescale.ops.tiling import tiled
from rescale.training import dataset
from rescale.training.recipe import Recipe, ScalesRecipe, recipes
from rescale.training.train import Loss, train

CONFIG = IARNConfig(blocks=2, growth=4, depth=2)
SIZES = [
    ((16, 16), (4, 4)), ((16, 16), (8, 8)), ((15, 15), (5, 5)), ((17, 13), (9, 4)), ((20, 9), (20, 3)),
    ((1, 9), (1, 5)), ((9, 1), (3, 1)), ((31, 40), (30, 11)), ((12, 12), (12, 12)), ((1, 1), (1, 1)),
]  # fmt: skip


def made(**changes) -> IARN:
    return shake(IARN(IARNConfig(**vars(CONFIG) | changes))).double().eval()


@pytest.mark.parametrize(("full", "size"), SIZES)
@pytest.mark.parametrize("shared", [True, False])
def test_nothing_is_lost_before_rounding(full, size, shared):
    model, grids = made(shared=shared), OversampledGrid(full, size)
    hr = torch.rand(2, 3, *full, dtype=torch.float64)
    lr, up = model(hr, grids)
    assert lr.shape[-2:] == size and up.shape[1:] == (45, *size)
    assert torch.allclose(model.inverse(lr, grids, up), hr, atol=1e-6)
    assert not torch.allclose(model.upscale(lr, full), hr, atol=1e-3), "shaken weights must matter"


def test_untrained_it_takes_means_of_what_lies_in_a_pixel():
    hr = torch.rand(1, 3, 12, 16)
    assert torch.allclose(IARN(CONFIG).downscale(hr, (3, 4)), torch.nn.functional.avg_pool2d(hr, 4), atol=1e-6)
    flat = torch.full((1, 3, 12, 18), 0.3)
    assert torch.allclose(IARN(CONFIG).downscale(flat, (5, 11)), torch.full((1, 3, 5, 11), 0.3), atol=1e-6)


@pytest.mark.parametrize(("full", "size"), [((150, 97), (61, 40)), ((97, 150), (25, 149)), ((64, 96), (32, 24))])
def test_tile_by_tile_it_is_the_same(full, size):
    model = made()
    x = torch.rand(1, 3, *full, dtype=torch.float64)
    lr = model.downscale(x, size)
    same = {"load": lambda t: t, "store": lambda t: t}
    assert torch.allclose(tiled(model.downscale_tiles(full, size, 48), x, size, **same), lr, atol=1e-12)
    assert torch.allclose(
        tiled(model.upscale_tiles(size, full, 48), lr, full, **same), model.upscale(lr, full), atol=1e-12
    )


@pytest.mark.parametrize("encoded", [True, False])
def test_scales_move_the_biases(encoded):
    """Told nothing, a network makes of one grid of samples the same at any scale; told the scale, it does not."""
    model = made(encoded=encoded)

    def small(side: int) -> torch.Tensor:
        grids = OversampledGrid((side, side), (5, 5))
        return model(torch.full((1, 3, side, side), 0.3, dtype=torch.float64), grids)[0]

    assert torch.allclose(small(15), small(14), atol=1e-9) != encoded


def test_every_parameter_gets_a_gradient():
    model = shake(IARN(CONFIG))
    _, terms = model.loss_terms(torch.rand(2, 3, 15, 16), torch.rand(2, 3, 4, 4))
    assert all(term.ndim == 0 and torch.isfinite(term) for term in terms.values())
    sum(terms.values()).backward()
    assert all(p.grad is not None and p.grad.any() for p in model.parameters())


def test_a_halo_is_what_it_says():
    model = made()
    grids = OversampledGrid((3, 4 * (2 * model.halo + 3)), (3, 2 * model.halo + 3))
    lr = torch.rand(1, 3, *grids.size, dtype=torch.float64)
    middle = slice(4 * model.halo, 4 * model.halo + 12)
    before = model.inverse(lr, grids)[..., middle]
    far = lr.clone()
    far[..., :1] += 0.3
    assert torch.allclose(
        model.inverse(far, grids)[..., 4 * model.halo + 4 :], model.inverse(lr, grids)[..., 4 * model.halo + 4 :]
    )
    near = lr.clone()
    near[..., model.halo] += 0.3
    assert not torch.allclose(model.inverse(near, grids)[..., middle], before, atol=1e-6)


@settings(max_examples=30)
@given(
    colour=st.lists(st.floats(0, 1), min_size=3, max_size=3),
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    scales=st.tuples(st.floats(1, 4), st.floats(1, 4)),
)
def test_a_flat_image_stays_as_it_is_whatever_the_weights_and_the_scale(colour, size, scales):
    model = shake(IARN(IARNConfig(blocks=2, growth=4, depth=3, padding="replicate", flat=True))).double()
    small = tuple(math.ceil(length / scale) for length, scale in zip(size, scales, strict=True))
    hr = torch.tensor(colour, dtype=torch.float64)[None, :, None, None].expand(-1, -1, *size)
    lr = model.downscale(hr, small)
    assert torch.allclose(lr, hr[..., :1, :1].expand_as(lr), atol=1e-8)
    assert torch.allclose(model.upscale(lr, size), hr, atol=1e-7)


@settings(max_examples=2000)
@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.one_of(
        st.floats(1, 4).map(lambda s: f"{s:.3f}"),
        st.tuples(st.floats(1, 4), st.floats(1, 4)).map(lambda pair: f"{pair[0]:.2f}x{pair[1]:.2f}"),
        st.integers(25, 100).map(lambda percent: f"{percent}%"),
        st.integers(17, 40).map(lambda side: f"{side}x"),  # below, these are scales
        st.integers(17, 40).map(lambda side: f"x{side}"),
        st.tuples(st.integers(17, 40), st.integers(17, 40), st.sampled_from("! >")).map(
            lambda box: f"{box[0]}x{box[1]}{box[2].strip()}"
        ),
    ),
)
def test_sizes_are_exact(height, width, words):
    """The bar: 2,000 random pairs of a size and a geometry, down and up; what cannot be is refused in one sentence."""
    picture = Picture(np.zeros((height, width, 3), np.uint8))
    try:
        size = TINY.sizes.small((height, width), words)
    except UsageError as error:
        assert "\n" not in str(error)
        wanted = Geometry.of(words)
        width_, height_ = wanted.width, wanted.height
        assert wanted.unit == "pixels", "every scale from 1 to 4 can be had"
        sides = [(side, full) for side, full in ((width_, width), (height_, height)) if side]
        assert any(side > full or 4 * side < full for side, full in sides)
        return
    small = TINY.downscale_picture(picture, size)
    assert small.size == size == Geometry.of(words).small_size((height, width))
    assert TINY.upscale_picture(small, size=(height, width)).size == (height, width)


TINY = Rescaler(Weights("tiny", "0" * 64, shake(IARN(IARNConfig(blocks=1, growth=2, depth=2))), {}))


def test_scales_are_needed_and_bounded(noise):
    image = noise(20, 30, 3)
    with pytest.raises(UsageError, match="needs to be given one"):
        TINY.downscale(image)
    with pytest.raises(UsageError, match=r"up to 4 along each axis, got x4\.5; beyond"):
        TINY.downscale(image, scale=4.5)
    with pytest.raises(UsageError, match="scales from 1 to 4"):
        TINY.downscale(image, size=(4, 30))
    with pytest.raises(UsageError, match="got size 30x20 as well as 2"):
        TINY.downscale(image, scale=2, size=(20, 30))
    with pytest.raises(UsageError, match="needs to be given a size or a scale"):
        TINY.upscale(image)
    with pytest.raises(UsageError, match="no small picture of 10x10"):
        TINY.upscale(image, size=(10, 10))
    assert TINY.downscale(image, scale=(1.5, 4)).shape == (14, 8, 3)
    assert TINY.downscale(image, scale="50%").shape == (10, 15, 3)
    assert TINY.downscale(image, size=(7, 30)).shape == (7, 30, 3)
    assert TINY.upscale(image, scale=(1.5, 2)).shape == (30, 60, 3)
    assert TINY.upscale(image, size=(33, 101)).shape == (33, 101, 3)


@pytest.mark.parametrize("side", [1, 2, 3, 4, 5])
def test_cosines_and_back(side):
    layer = DCT(2, side)
    x = torch.rand(1, 2, side * 3, side * 5)
    y = layer(x)
    assert torch.allclose(layer.inverse(y), x, atol=1e-5)
    assert torch.allclose(y[:, :2], torch.nn.functional.avg_pool2d(x, side), atol=1e-6)
    assert torch.allclose((y**2).sum() * side**2, (x**2).sum(), rtol=1e-4), "orthogonal, all bands alike"


def test_cosines_of_two_are_haar():
    x = torch.rand(1, 3, 6, 8)
    assert torch.allclose(DCT(3, 2)(x), Haar(3)(x), atol=1e-6)


def test_scales_are_drawn_by_the_rule():
    """AIDN's: tenths from 1.1 to 4, by a power of the scale; where the axes differ, all pairs alike, 1 among them."""
    generator = torch.Generator().manual_seed(1)
    pairs = torch.tensor([ScalesRecipe(power=2.0, asymmetric=0.5).draw(generator) for _ in range(4000)])
    assert torch.allclose(pairs * 10, (pairs * 10).round(), atol=1e-4)
    is_one = pairs[:, 0] == pairs[:, 1]
    assert 0.47 < is_one.float().mean() < 0.53
    known = torch.arange(1.1, 4.05, 0.1)
    assert pairs[is_one].mean() == pytest.approx(((known**3).sum() / (known**2).sum()).item(), abs=0.05)
    assert pairs[is_one].min() > 1.05 and pairs[~is_one].min() == 1 and pairs.max() == pytest.approx(4)
    assert pairs[~is_one].mean() == pytest.approx((known.sum().item() + 1) / 31, abs=0.06)


@pytest.mark.parametrize(
    ("recipe", "change", "sentence"),
    [
        ("iarn-small", "scales.most=4.5", "scales.most"),
        ("iarn-small", "scales.least=1.0", "scales.least"),
        ("iarn-small", "scales.step=1e-9", "scales.step"),
        ("iarn-small", "scales.power=1000.0", "scales.power"),
        ("iarn-small", "scales.least=4.0\nscales.most=2.0", "least must not be above most"),
        ("iarn-small", "config.depth=1", "depth of at least 2"),
        ("iarn-small", "crop=98", "crop: expected a multiple of 4"),
        ("irn-x2-small", "scales.power=1.0", "scales: expected them for a model of any scale"),
        ("iarn-small", "config.blocks=0", "at least 1"),
    ],
)
def test_bad_recipes_are_named(recipe, change, sentence):
    with pytest.raises(UsageError, match=sentence):
        Recipe.read(recipes()[recipe], [change])


def test_draws_end_at_the_largest_scale():
    generator = torch.Generator().manual_seed(1)
    drawn = {round(ScalesRecipe(step=1.5, asymmetric=0.5).draw(generator)[0], 6) for _ in range(50)}
    assert drawn == {1, 1.1, 2.6}


@pytest.mark.parametrize("shared", [True, False])
def test_it_learns_after_it_was_used(shared):
    """What is kept between calls was made under inference, and must not refuse gradients."""
    model = shake(IARN(IARNConfig(blocks=1, growth=2, depth=2, shared=shared)))
    hr = torch.rand(1, 3, 23, 31)
    with torch.inference_mode():
        model.upscale(model.downscale(hr, (11, 9)), (23, 31))
    model.loss_terms(hr, torch.rand(1, 3, 11, 9))[1]["restore"].backward()


@pytest.mark.parametrize("scale", [(1, 2), (2, 1), (1, 4), (4, 1), (1, 1.1), (1.5, 4), (1.02, 1.02)])
def test_an_axis_of_scale_one_is_like_all_others(scale):
    model = load("iarn-small", device="cpu")
    picture = Picture(read(PHOTO).pixels[100:196, 60:160])
    size = model.sizes.small(picture.size, scale)
    small = model.downscale_picture(picture, size)
    restored = model.upscale_picture(small, size=picture.size)
    bicubic = quantize(resample(picture.rgb, size))
    assert psnr(luma(small.rgb), luma(bicubic)) > 36
    plain = resample(bicubic, picture.size).clamp(0, 1)
    assert psnr(luma(restored.rgb), luma(picture.rgb)) > psnr(luma(plain), luma(picture.rgb)) + 1


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_strips_are_like_all_other_pictures(rows):
    model = load("iarn-small", device="cpu")
    picture = Picture(read(PHOTO).pixels[100 : 100 + rows, 60:260])
    size = model.sizes.small(picture.size, 2.5)
    small = model.downscale_picture(picture, size)
    restored = model.upscale_picture(small, size=picture.size)
    bicubic = quantize(resample(picture.rgb, size))
    assert psnr(luma(small.rgb), luma(bicubic)) > 30
    assert psnr(luma(restored.rgb), luma(picture.rgb)) > 28, "not as good as in the middle of a picture"


@pytest.mark.parametrize("kind", ["grey", "alpha", "deep"])
def test_at_scale_one_any_picture_is_itself(kind, noise):
    picture = Picture(noise(9, 7, 1 if kind == "grey" else 3, dtype=np.uint16 if kind == "deep" else np.uint8))
    if kind == "alpha":
        picture = Picture(picture.pixels, alpha=noise(9, 7))
    small = TINY.downscale_picture(picture, (9, 7))
    back = TINY.upscale_picture(small, size=(9, 7))
    assert (small.pixels == picture.pixels).all() and (back.pixels == picture.pixels).all()


def test_sizes_and_scales_must_agree(noise):
    image = noise(20, 30, 3)
    assert TINY.upscale(image, scale=2, size=(39, 60)).shape == (39, 60, 3)
    with pytest.raises(UsageError, match="do not agree"):
        TINY.upscale(image, scale=1.2, size=(40, 60))
    with pytest.raises(UsageError, match="expected a scale"):
        TINY.upscale(image, scale="banana", size=(40, 60))


def test_a_run_over_scales_learns_and_goes_on(tmp_path):
    """Asymmetric crops, bfloat16 for the large scales only, six scales validated: all in three steps."""
    recipe = Recipe.read(recipes()["iarn-small"], TINY_RUN)
    Image.open(PHOTO).crop((0, 0, 96, 80)).save(tmp_path / "a.png")
    Image.open(PHOTO).crop((100, 80, 196, 160)).save(tmp_path / "b.png")
    run = tmp_path.parent / f"{tmp_path.name}-run"
    reports = list(train(recipe, [tmp_path], run))
    assert reports[-1].step == 3
    assert load(run / "best.safetensors", device="cpu").sizes.small((50, 50), 2.5) == (20, 20)


TINY_RUN = [
    "steps=3", "batch=2", "crop=32", "warmup=1", "validate_every=2", "config.blocks=1", "config.growth=2",
    "config.depth=2", "scales.asymmetric=1.0",
]  # fmt: skip


def test_crops_have_the_scales_that_were_drawn(tmp_path):
    Image.open(PHOTO).crop((0, 0, 90, 60)).save(tmp_path / "a.png")
    Image.open(PHOTO).crop((100, 80, 190, 140)).save(tmp_path / "b.png")
    learn, _ = dataset.load([tmp_path], None)
    for scales in ((1.5, 4.0), (4.0, 1.5), (2.0, 2.0)):
        hr, bicubic = learn.batch_of(6, 8, scales, torch.Generator().manual_seed(2))
        assert hr.shape == (6, 3, round(8 * scales[0]), round(8 * scales[1])) and bicubic.shape == (6, 3, 8, 8)
        assert torch.allclose(bicubic, resample(hr, (8, 8)))
        assert len({tuple(x.flatten().tolist()) for x in hr}) == 6, "crops differ"
    both = learn.batch_of(4, 8, (2.0, 3.0), torch.Generator().manual_seed(2))[0]
    half = learn.batch_of(4, 8, (2.0, 3.0), torch.Generator().manual_seed(2), slice(2, 4))[0]
    assert torch.equal(both[2:], half)


def test_small_scales_stay_in_float32():
    recipe = Recipe.read(recipes()["iarn-small"], TINY_RUN)
    learner = Loss(recipe.build(), recipe)
    seen = []
    terms = learner.model.loss_terms

    def watch(hr, bicubic):
        seen.append(torch.is_autocast_enabled("cpu"))
        return terms(hr, bicubic)

    learner.model.loss_terms = watch
    for side in (16, 24):
        learner(torch.rand(1, 3, side, side), torch.rand(1, 3, 8, 8))
    assert seen == [False, True]
