"""Tiles cover everything once, and tiled equals whole."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rescale.ops.resample import resample
from rescale.ops.tiling import downscale_tiles, plan, tiled, upscale_tiles


@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 20), st.integers(0, 9))
def test_a_plan_covers_every_pixel_once(height, width, side, halo):
    count = torch.zeros(height, width)
    for tile in plan((height, width), side, halo):
        count[tile.top : tile.bottom, tile.left : tile.right] += 1
        above, before, below, behind = tile.halo
        assert tile.top - above >= 0 and tile.left - before >= 0
        assert tile.bottom + below <= height and tile.right + behind <= width
    assert (count == 1).all()


@pytest.mark.parametrize(("pieces", "size"), [(upscale_tiles, (96, 152)), (downscale_tiles, (24, 38))])
def test_tiled_equals_whole(pieces, size):
    x = torch.rand(1, 2, 48, 76, dtype=torch.float64)

    def function(t):
        return resample(t, (t.shape[-2] * size[0] // 48, t.shape[-1] * size[0] // 48))

    def parts(halo):
        made = pieces(function, (48, 76), 2, side=16, halo=halo)
        return tiled(made, x, size, load=lambda t: t, store=lambda t: t)

    whole = function(x)
    assert torch.allclose(parts(8), whole, atol=1e-12)
    assert not torch.allclose(parts(0), whole, atol=1e-3)


def blended(function, x: torch.Tensor, blend: int = 4, store=lambda t: t) -> torch.Tensor:
    made = upscale_tiles(function, tuple(x.shape[-2:]), 2, side=16, halo=10, cell=8, blend=blend)
    return tiled(made, x, (2 * x.shape[-2], 2 * x.shape[-1]), load=lambda t: t, store=store)


@given(st.integers(1, 70), st.integers(1, 70))
def test_tiles_that_fade_into_each_other_change_nothing_where_they_agree(height, width):
    x = torch.rand(1, 1, height, width)
    whole = x.repeat_interleave(2, 2).repeat_interleave(2, 3)

    def double(t):
        return t.repeat_interleave(2, 2).repeat_interleave(2, 3)

    assert torch.allclose(blended(double, x), whole, atol=1e-6)
    levels = blended(double, x, store=lambda t: (t * 255).round().to(torch.uint8))
    assert torch.equal(levels, (whole * 255).round().to(torch.uint8))


@given(st.integers(1, 70), st.integers(1, 70), st.randoms())
def test_tiles_that_disagree_show_no_edge(height, width, random):
    """Each tile has a level of its own: the steps between neighbours are those of a slope."""

    def flat(t):
        return torch.full((1, 1, 2 * t.shape[-2], 2 * t.shape[-1]), random.random())

    made = blended(flat, torch.zeros(1, 1, height, width))[0, 0]
    assert made.min() >= 0 and made.max() <= 1
    steps = [made.diff(dim=dim).abs().max().item() for dim in (0, 1)]
    assert max(steps) <= 0.3, "a tile of a pixel or two has a steep slope"


def test_four_tiles_share_linearly_where_they_meet():
    values = iter([0.0, 0.0, 0.0, 1.0])
    made = blended(
        lambda t: torch.full((1, 1, 2 * t.shape[-2], 2 * t.shape[-1]), next(values)), torch.zeros(1, 1, 32, 32)
    )
    ramp = torch.cat([torch.zeros(24), torch.arange(1, 17) / 17, torch.ones(24)])
    assert torch.allclose(made[0, 0], ramp[:, None] * ramp, atol=1e-6)
