"""One network for all scales: invertible, exact in size, the same in parts, blind to nothing but what it must be."""

import itertools

import numpy as np
import pytest
import torch
from conftest import shake
from hypothesis import given, settings
from hypothesis import strategies as st

from rescale import Rescaler
from rescale.cells import MOST, Grids
from rescale.errors import UsageError
from rescale.geometry import Geometry
from rescale.images import Picture
from rescale.layers import Cosines, Haar, shuffle, unshuffle
from rescale.models import IARN, IARNConfig
from rescale.recipe import Recipe, ScalesRecipe, recipes
from rescale.tiles import tiled
from rescale.weights import Weights

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
    model, grids = made(shared=shared), Grids(full, size)
    hr = torch.rand(2, 3, *full, dtype=torch.float64)
    lr, up = model(hr, grids)
    assert lr.shape[-2:] == size and up.shape[1] == 3 * (grids.cell[0] * grids.cell[1] - 1)
    assert torch.allclose(model.inverse(lr, grids, up), hr, atol=1e-6)
    if full != size:
        assert not torch.allclose(model.upscale(lr, full), hr, atol=1e-3), "shaken weights must matter"


def test_at_scale_one_the_small_picture_is_the_picture():
    hr = torch.rand(1, 3, 9, 7)
    model = made().float()
    assert torch.equal(model.downscale(hr, (9, 7)), hr)
    assert torch.allclose(model.upscale(hr, (9, 7)), hr, atol=1e-6)


def test_untrained_it_takes_means_of_what_lies_in_a_pixel():
    hr = torch.rand(1, 3, 12, 18)
    assert torch.allclose(IARN(CONFIG).downscale(hr, (4, 9)), torch.nn.functional.avg_pool2d(hr, (3, 2)), atol=1e-6)


@pytest.mark.parametrize(("full", "size"), [((150, 97), (61, 40)), ((97, 150), (25, 149)), ((64, 96), (32, 24))])
def test_tile_by_tile_it_is_the_same(full, size):
    model = made()
    x = torch.rand(1, 3, *full, dtype=torch.float64)
    lr = model.downscale(x, size)
    same = {"load": lambda t: t, "store": lambda t: t}
    assert torch.allclose(tiled(model.shrinking(full, size, 48), x, size, **same), lr, atol=1e-12)
    assert torch.allclose(tiled(model.growing(size, full, 48), lr, full, **same), model.upscale(lr, full), atol=1e-12)


@pytest.mark.parametrize("encoded", [True, False])
def test_scales_move_the_biases(encoded):
    """Told nothing, a network makes of one grid of samples the same at any scale; told the scale, it does not."""
    model = made(encoded=encoded)

    def small(side: int) -> torch.Tensor:
        grids = Grids((side, side), (5, 5))
        assert grids.cell == (3, 3)
        return model(torch.full((1, 3, side, side), 0.3, dtype=torch.float64), grids)[0]

    assert torch.allclose(small(15), small(14), atol=1e-9) != encoded


def test_every_parameter_gets_a_gradient():
    model = shake(IARN(CONFIG))
    _, terms = model.terms(torch.rand(2, 3, 15, 16), torch.rand(2, 3, 4, 4))
    assert all(term.ndim == 0 and torch.isfinite(term) for term in terms.values())
    sum(terms.values()).backward()
    assert all(p.grad is not None and p.grad.any() for p in model.parameters())


def test_a_halo_is_what_it_says():
    model = made()
    grids = Grids((3, 4 * (2 * model.halo + 3)), (3, 2 * model.halo + 3))
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


@settings(max_examples=2000)
@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.one_of(
        st.floats(1, 4).map(lambda s: f"{s:.3f}"),
        st.tuples(st.floats(1, 4), st.floats(1, 4)).map(lambda pair: f"{pair[0]:.2f}x{pair[1]:.2f}"),
        st.integers(25, 100).map(lambda percent: f"{percent}%"),
        st.integers(1, 40).map(lambda side: f"{side}x"),
        st.integers(1, 40).map(lambda side: f"x{side}"),
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
        assert "expected" in str(error) and "\n" not in str(error)
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


@pytest.mark.parametrize("cell", list(itertools.product(range(1, MOST + 1), repeat=2)))
def test_cosines_and_back(cell):
    layer = Cosines(2, cell)
    x = torch.rand(1, 2, cell[0] * 3, cell[1] * 5)
    y = layer(x)
    assert torch.allclose(layer.inverse(y), x, atol=1e-5)
    assert torch.allclose(y[:, :2], torch.nn.functional.avg_pool2d(x, cell), atol=1e-6)
    assert torch.allclose((y**2).sum() * cell[0] * cell[1], (x**2).sum(), rtol=1e-4), "orthogonal, all bands alike"
    assert torch.equal(unshuffle(shuffle(y, cell), cell), y)


def test_cosines_of_two_are_haar():
    x = torch.rand(1, 3, 6, 8)
    assert torch.allclose(Cosines(3, (2, 2))(x), Haar(3)(x), atol=1e-6)


def test_scales_are_drawn_by_the_rule():
    """AIDN's: tenths from 1.1 to 4, by a power of the scale; a share of the pairs unequal."""
    generator = torch.Generator().manual_seed(1)
    pairs = [ScalesRecipe(power=2.0, asymmetric=0.5).draw(generator) for _ in range(4000)]
    rows = torch.tensor([pair[0] for pair in pairs])
    assert (
        rows.min() < 1.25
        and rows.max() == pytest.approx(4.0)
        and torch.allclose(rows * 10, (rows * 10).round(), atol=1e-4)
    )
    expected = (torch.arange(1.1, 4.05, 0.1) ** 3).sum() / (torch.arange(1.1, 4.05, 0.1) ** 2).sum()
    assert rows.mean() == pytest.approx(expected.item(), abs=0.05)
    assert 0.42 < sum(a != b for a, b in pairs) / len(pairs) < 0.52


@pytest.mark.parametrize(
    ("recipe", "change", "sentence"),
    [
        ("iarn-small", "scales.most=4.5", "scales.most"),
        ("iarn-small", "scales.least=1.0", "scales.least"),
        ("iarn-small", "crop=98", "crop: expected a multiple of 4"),
        ("irn-x2-small", "scales.power=1.0", "scales: expected them for a model of any scale"),
        ("iarn-small", "config.blocks=0", "at least 1"),
    ],
)
def test_bad_recipes_are_named(recipe, change, sentence):
    with pytest.raises(UsageError, match=sentence):
        Recipe.read(recipes()[recipe], [change])
