"""An axis on the grid of its small one, and exactly back; parts of it as the whole."""

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from rescale.errors import UsageError
from rescale.geometry import MAX_SCALE
from rescale.ops.banded import BandedMatrix
from rescale.ops.oversample import OversampledGrid, interpolation_matrix, reconstruction_matrix
from rescale.ops.resample import matrix


def is_scarce(length: int, size: int) -> bool:
    return length < MAX_SCALE * size < 1.06 * length


@st.composite
def axes(draw, most=400):
    length = draw(st.integers(1, most))
    return length, draw(st.integers(-(-length // MAX_SCALE), length))


@given(axes())
def test_gathering_undoes_spreading(axis):
    assume(not is_scarce(*axis))
    length, size = axis
    x = torch.rand(1, 1, length, 2, dtype=torch.float64)
    assert torch.allclose(
        reconstruction_matrix(*axis).down(interpolation_matrix(*axis).down(x, 0, MAX_SCALE * size), 0, length),
        x,
        atol=1e-6,
    )


@given(axes())
def test_no_noise_is_blown_up(axis):
    """Samples next to pixels, for long: a plain inverse would multiply their errors by a hundred."""
    total = MAX_SCALE * axis[1]
    rows = reconstruction_matrix(*axis).down(torch.eye(total, dtype=torch.float64), 0, axis[0])
    assert (rows**2).sum(dim=1).max() < 12


def test_where_samples_are_scarce_only_the_finest_detail_is_lost():
    length, size = 777, 195
    assert is_scarce(length, size)
    t = torch.linspace(0, 40, length, dtype=torch.float64)[None, None, :, None]
    smooth = torch.sin(t) + torch.cos(7.3 * t)
    back = reconstruction_matrix(length, size).down(
        interpolation_matrix(length, size).down(smooth, 0, 4 * size), 0, length
    )
    assert (back - smooth).abs()[..., 3:-3, :].max() < 1e-4


def test_the_largest_scale_takes_the_pixels_themselves():
    x = torch.rand(1, 1, 300, 3, dtype=torch.float64)
    assert torch.allclose(interpolation_matrix(300, 75).down(x, 0, 300), x, atol=1e-12)


@given(axes(), st.data())
def test_a_window_is_a_part_of_the_whole(axis, data):
    other = data.draw(axes(60))
    grids = OversampledGrid((axis[0], other[0]), (axis[1], other[1]))
    top = data.draw(st.integers(0, axis[1] - 1))
    rows = slice(top, data.draw(st.integers(top + 1, axis[1])))
    window, a = (rows, slice(0, other[1])), MAX_SCALE
    x = torch.rand(1, 2, *grids.full, dtype=torch.float64)
    whole = grids.interpolate(x, grids.all_small)
    part = x[..., *grids.read_by(window)]
    assert torch.allclose(grids.interpolate(part, window), whole[..., a * rows.start : a * rows.stop, :], atol=1e-12)

    first = data.draw(st.integers(0, axis[0] - 1))
    window = slice(first, data.draw(st.integers(first + 1, axis[0]))), slice(0, other[0])
    need = grids.needed_for(window)
    seen = whole[..., a * need[0].start : a * need[0].stop, a * need[1].start : a * need[1].stop]
    made = grids.reconstruct(seen, window, (need[0].start, need[1].start))
    assert torch.allclose(made, grids.reconstruct(whole, grids.all_full)[..., *window], atol=1e-12)


@given(axes(120), st.data())
def test_a_window_alone_makes_its_part(axis, data):
    grids = OversampledGrid((axis[0], 20), (axis[1], 9))
    top = data.draw(st.integers(0, axis[1] - 1))
    window = slice(top, data.draw(st.integers(top + 1, axis[1]))), slice(0, 9)
    made = grids.made_from(window)
    if made[0].stop > made[0].start:
        need = grids.needed_for(made)
        assert window[0].start <= need[0].start and need[0].stop <= window[0].stop
    if window[0] == slice(0, axis[1]):
        assert made == grids.all_full


def test_what_is_kept_from_inference_can_be_learned_through():
    interpolation_matrix.cache_clear()
    reconstruction_matrix.cache_clear()
    grids = OversampledGrid((33, 20), (13, 20))
    x = torch.rand(1, 1, 33, 20, dtype=torch.float64)
    with torch.inference_mode():
        grids.reconstruct(grids.interpolate(x, grids.all_small), grids.all_full)
    x = x.clone().requires_grad_()
    grids.reconstruct(grids.interpolate(x, grids.all_small), grids.all_full).sum().backward()
    assert torch.allclose(x.grad, torch.ones_like(x), atol=1e-6)


@pytest.mark.parametrize(("full", "size"), [((8, 8), (9, 8)), ((9, 8), (2, 8)), ((8, 8), (0, 8)), ((8, 33), (4, 8))])
def test_scales_beyond_one_to_four_are_refused(full, size):
    with pytest.raises(UsageError, match="expected a small picture of 1 to 1/4"):
        OversampledGrid(full, size)


def test_bands_are_the_matrix_they_are_cut_from():
    whole = matrix(700, 300)
    bands = BandedMatrix.of((0, rows) for rows in whole.split(128))
    x = torch.rand(2, 700, 5, dtype=torch.float64)
    assert torch.allclose(bands.down(x, 0, 300), whole @ x, atol=1e-12)
    first, last = bands.reads(130, 140)
    assert last - first < 40
    assert torch.allclose(bands.down(x[:, first:last], 130, 140, first), (whole @ x)[:, 130:140], atol=1e-12)
    assert torch.allclose(bands.across(x.mT, 5, 290), (whole @ x).mT[..., 5:290], atol=1e-12)
