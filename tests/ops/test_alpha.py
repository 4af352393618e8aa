"""Invisible pixels take the colours of their neighbours; visible ones keep their own."""

import pytest
import torch

from rescale import load
from rescale.io.images import Picture
from rescale.ops.alpha import fill


def hole(height: int, width: int) -> torch.Tensor:
    """Alpha that is 1 in the top left quarter."""
    alpha = torch.zeros(1, 1, height, width)
    alpha[..., : -(-height // 2), : -(-width // 2)] = 1
    return alpha


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (7, 1), (2, 3), (9, 13), (64, 64)])
@pytest.mark.parametrize("channels", [1, 3])
def test_what_is_visible_stays_and_what_is_not_is_filled(size, channels):
    rgb, alpha = torch.rand(1, channels, *size), hole(*size)
    filled = fill(rgb, alpha)
    seen = (alpha > 0).expand_as(rgb)
    assert torch.equal(filled[seen], rgb[seen])
    assert filled.shape == rgb.shape and filled.min() >= 0 and filled.max() <= 1


@pytest.mark.parametrize("size", [(5, 8), (33, 20)])
def test_one_visible_colour_spreads_everywhere(size):
    alpha = hole(*size)
    filled = fill(torch.where(alpha > 0, 0.625, torch.rand(1, 3, *size)), alpha)
    assert torch.allclose(filled, torch.full_like(filled, 0.625), atol=1e-5)


def test_a_faint_pixel_far_away_still_gives_its_colour():
    alpha = torch.zeros(1, 1, 300, 300)
    alpha[..., 0, 0] = 1 / 65535
    filled = fill(torch.full((1, 3, 300, 300), 0.5) * (alpha > 0), alpha)
    assert torch.allclose(filled, torch.full_like(filled, 0.5), atol=1e-4)


def test_nothing_visible_is_black_and_all_visible_is_untouched():
    rgb = torch.rand(1, 3, 6, 5)
    assert torch.equal(fill(rgb, torch.zeros(1, 1, 6, 5)), torch.zeros_like(rgb))
    assert torch.equal(fill(rgb, torch.full((1, 1, 6, 5), 0.01)), rgb)


def test_colours_under_zero_alpha_do_not_bleed(noise):
    """A smooth sprite on garbage goes down and up like the same sprite on other garbage."""
    alpha = (hole(48, 48)[0, 0] * 255).byte().numpy()
    rescaler = load("irn-x2-small", device="cpu")
    results = []
    for garbage in (noise(48, 48, 3), noise(48, 48, 3)):
        garbage[alpha > 0] = (200, 120, 40)
        small = rescaler.downscale_picture(Picture(garbage, alpha))
        results.append(rescaler.upscale_picture(small))
    assert (results[0].pixels == results[1].pixels).all()
    inside = results[0].pixels[:20, :20].astype(int)
    assert abs(inside - (200, 120, 40)).max() < 24
