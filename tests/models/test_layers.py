"""Forward and inverse undo each other, on shaken weights, to the precision of the numbers."""

import pytest
import torch
import torch.nn.functional as F
from conftest import shake
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from rescale.models import IRN, IRNConfig
from rescale.models.layers import Chain, Coupling, Dense, Haar, InnerLevel, SubPixelConv

INVERTIBLE = {
    "haar": lambda: Haar(4),
    "coupling": lambda: Coupling((3, 13), growth=8, depth=3),
    "shared coupling": lambda: Coupling((3, 13), growth=8, depth=4, shared=True),
    "chain": lambda: Chain(Coupling((3, 1), growth=8, depth=3), Haar(4), Coupling((3, 13), growth=8, depth=3)),
}


@pytest.mark.parametrize("make", INVERTIBLE.values(), ids=INVERTIBLE.keys())
def test_inverse_both_ways(make):
    layer = shake(make().double())
    channels = 16 if isinstance(layer, Coupling) else 4
    x = torch.rand(2, channels, 8, 12, dtype=torch.float64)
    y = layer(x)
    assert y.shape != x.shape or not torch.allclose(y, x, atol=1e-3), "shaken weights must change something"
    assert torch.allclose(layer.inverse(y), x, atol=1e-9)
    target = torch.rand_like(y)
    assert torch.allclose(layer(layer.inverse(target)), target, atol=1e-9)


def test_haar_averages_come_first():
    x = torch.rand(1, 3, 4, 6)
    bands = Haar(3)(x)
    cells = x.reshape(1, 3, 2, 2, 3, 2)
    a, b, c, d = cells[:, :, :, 0, :, 0], cells[:, :, :, 0, :, 1], cells[:, :, :, 1, :, 0], cells[:, :, :, 1, :, 1]
    expected = torch.cat([a + b + c + d, a - b + c - d, a + b - c - d, a - b - c + d], dim=1) / 4
    assert torch.allclose(bands, expected, atol=1e-6)


def test_haar_has_nothing_to_learn_or_to_store():
    layer = Haar(3)
    assert not list(layer.parameters())
    assert not layer.state_dict()
    assert isinstance(layer.merge, SubPixelConv)


def test_sub_pixel_convolution_is_convolution_then_shuffle():
    layer = SubPixelConv(5, 2, 3, kernel_size=3)
    x = torch.rand(1, 5, 4, 4)
    assert torch.equal(layer(x), nn.PixelShuffle(3)(layer.conv(x)))
    assert layer(x).shape == (1, 2, 12, 12)


def test_dense_starts_at_zero_and_every_parameter_learns():
    net = Dense(3, 5, growth=4, depth=3)
    x = torch.rand(1, 3, 6, 6)
    assert not net(x).any()
    shake(net)(x).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in net.parameters())


def test_autocast_leaves_the_couplings_in_float32():
    chain = shake(Chain(Haar(3), Coupling((3, 9), growth=8, depth=3)))
    x = torch.rand(1, 3, 16, 16)
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        y = chain(x)
        back = chain.inverse(y)
    assert y.dtype == torch.float32
    assert (back - x).abs().max() < 1e-3, "both ways round alike, but where float32's last bit tips a bfloat16"
    assert (y - chain(x)).abs().max() > 1e-4, "bfloat16 must have been at work"


@given(
    st.integers(1, 5), st.integers(1, 5), st.integers(1, 7), st.integers(1, 7), st.sampled_from(["zeros", "replicate"])
)
def test_an_inner_level_is_undone_at_any_size(low, detail, height, width, padding):
    coupling = Coupling((4 * low, 4 * detail), growth=3, depth=2, gain=1.0, padding=padding)
    level = shake(InnerLevel((low, detail), coupling)).double()
    x = torch.rand(2, low + detail, height, width, dtype=torch.float64)
    y = level(x)
    assert (torch.equal(y, x)) == (min(height, width) == 1)
    assert torch.allclose(level.inverse(y), x, atol=1e-9)
    assert torch.equal(y[..., height // 2 * 2 :, :], x[..., height // 2 * 2 :, :])


def test_repeated_edges_keep_one_colour_one_value():
    coupling = shake(Coupling((3, 9), growth=4, depth=3, gain=1.0, padding="replicate")).double()
    y = coupling(torch.rand(1, 12, 1, 1, dtype=torch.float64).expand(-1, -1, 5, 6))
    assert torch.allclose(y, y[..., :1, :1].expand_as(y), atol=1e-12)


@given(
    colour=st.lists(st.floats(0, 1), min_size=3, max_size=3),
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    shared=st.booleans(),
    latents=st.integers(0, 1),
)
def test_a_flat_image_stays_as_it_is_whatever_the_weights(colour, size, shared, latents):
    config = {"growth": 4, "depth": 3, "gain": 1.0, "shared": shared, "latents": latents, "padding": "replicate"}
    model = shake(IRN(IRNConfig(2, ((1, 1, 1),), flat=True, **config))).double()
    small = torch.tensor(colour, dtype=torch.float64)[None, :, None, None].expand(-1, -1, *size)
    large = small[..., :1, :1].expand(-1, -1, 2 * size[0], 2 * size[1])
    lr, up = model(large)
    assert torch.allclose(lr, small, atol=1e-9) and up.abs().max() < 1e-9
    assert torch.allclose(model.upscale(small), large, atol=1e-9)
    bent = large + torch.rand_like(large) / 8
    assert (model.downscale(bent) - F.avg_pool2d(bent, 2)).abs().max() > 1e-3, "the weights do something"


@pytest.mark.parametrize("zero_for", ["zero", "flat"])
def test_zero_comes_of_what_is_to_be_zero_and_of_nothing_else(zero_for):
    net = shake(Dense(3, 5, growth=4, depth=3, gain=1.0, padding="replicate", zero_for=zero_for)).double()
    assert net(torch.zeros(1, 3, 6, 7, dtype=torch.float64)).abs().max() < 1e-12
    flat = net(torch.full((1, 3, 6, 7), 0.7, dtype=torch.float64)).abs().max()
    assert flat < 1e-12 if zero_for == "flat" else flat > 1e-3
    net = shake(Dense(3, 5, growth=4, depth=3, padding="replicate", code=2, zero_for=zero_for)).double()
    code = torch.tensor([0.3, -2.0], dtype=torch.float64)
    assert net(torch.zeros(1, 3, 6, 7, dtype=torch.float64), code).abs().max() < 1e-12, "whatever the code"
