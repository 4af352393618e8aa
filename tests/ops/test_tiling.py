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
