"""An axis on the grid of its small one, and exactly back; parts of it as the whole."""

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from rescale.bands import Bands
from rescale.cells import MOST, Grids, gather, samples, spread
from rescale.errors import UsageError
from rescale.resample import matrix


def is_scarce(length: int, size: int) -> bool:
    return length < samples(length, size) * size < 1.06 * length


@st.composite
def axes(draw, most=400):
    length = draw(st.integers(1, most))
    return length, draw(st.integers(-(-length // MOST), length))


@given(axes())
def test_gathering_undoes_spreading(axis):
    assume(not is_scarce(*axis))
    length, total = axis[0], samples(*axis) * axis[1]
    x = torch.rand(1, 1, length, 2, dtype=torch.float64)
    assert torch.allclose(gather(length, total).down(spread(length, total).down(x, 0, total), 0, length), x, atol=1e-6)


@given(axes())
def test_no_noise_is_blown_up(axis):
    """Samples next to pixels, for long: a plain inverse would multiply their errors by a hundred."""
    total = samples(*axis) * axis[1]
    rows = gather(axis[0], total).down(torch.eye(total, dtype=torch.float64), 0, axis[0])
    assert (rows**2).sum(dim=1).max() < 12


def test_where_samples_are_scarce_only_the_finest_detail_is_lost():
    length, size = 777, 195
    assert is_scarce(length, size)
    t = torch.linspace(0, 40, length, dtype=torch.float64)[None, None, :, None]
    smooth = torch.sin(t) + torch.cos(7.3 * t)
    back = gather(length, 4 * size).down(spread(length, 4 * size).down(smooth, 0, 4 * size), 0, length)
    assert (back - smooth).abs()[..., 3:-3, :].max() < 1e-4


@pytest.mark.parametrize(
    ("length", "size", "n"),
    [
        (8, 8, 1),
        (8, 4, 2),
        (9, 3, 3),
        (16, 4, 4),
        (100, 91, 2),
        (100, 54, 2),
        (100, 53, 2),
        (100, 52, 3),
        (101, 51, 3),
        (10, 3, 4),
    ],
)
def test_as_many_samples_as_the_scale_or_a_little_more(length, size, n):
    assert samples(length, size) == n


def test_a_whole_scale_takes_the_pixels_themselves():
    x = torch.rand(1, 1, 300, 3, dtype=torch.float64)
    assert torch.allclose(spread(300, 300).down(x, 0, 300), x, atol=1e-12)


@given(axes(), st.data())
def test_a_window_is_a_part_of_the_whole(axis, data):
    other = data.draw(axes(60))
    grids = Grids((axis[0], other[0]), (axis[1], other[1]))
    top = data.draw(st.integers(0, axis[1] - 1))
    rows = slice(top, data.draw(st.integers(top + 1, axis[1])))
    window, (a, b) = (rows, slice(0, other[1])), grids.cell
    x = torch.rand(1, 2, *grids.full, dtype=torch.float64)
    whole = grids.spread(x, grids.all_small)
    part = x[..., *grids.read_by(window)]
    assert torch.allclose(grids.spread(part, window), whole[..., a * rows.start : a * rows.stop, :], atol=1e-12)

    first = data.draw(st.integers(0, axis[0] - 1))
    window = slice(first, data.draw(st.integers(first + 1, axis[0]))), slice(0, other[0])
    need = grids.needed_for(window)
    seen = whole[..., a * need[0].start : a * need[0].stop, b * need[1].start : b * need[1].stop]
    made = grids.gather(seen, window, (need[0].start, need[1].start))
    assert torch.allclose(made, grids.gather(whole, grids.all_full)[..., *window], atol=1e-12)


@pytest.mark.parametrize(
    ("full", "size", "cell"),
    [((8, 8), (8, 8), (1, 1)), ((8, 8), (8, 4), (2, 2)), ((1, 9), (1, 3), (2, 3)), ((16, 7), (4, 7), (4, 2))],
)
def test_only_the_picture_itself_has_cells_of_one(full, size, cell):
    assert Grids(full, size).cell == cell


def test_what_is_kept_from_inference_can_be_learned_through():
    spread.cache_clear()
    gather.cache_clear()
    grids = Grids((33, 20), (13, 20))
    x = torch.rand(1, 1, 33, 20, dtype=torch.float64)
    with torch.inference_mode():
        grids.gather(grids.spread(x, grids.all_small), grids.all_full)
    x = x.clone().requires_grad_()
    grids.gather(grids.spread(x, grids.all_small), grids.all_full).sum().backward()
    assert torch.allclose(x.grad, torch.ones_like(x), atol=1e-6)


@pytest.mark.parametrize(("full", "size"), [((8, 8), (9, 8)), ((9, 8), (2, 8)), ((8, 8), (0, 8)), ((8, 33), (4, 8))])
def test_scales_beyond_one_to_four_are_refused(full, size):
    with pytest.raises(UsageError, match="expected a small picture of 1 to 1/4"):
        Grids(full, size)


def test_bands_are_the_matrix_they_are_cut_from():
    whole = matrix(700, 300)
    bands = Bands.of((0, rows) for rows in whole.split(128))
    x = torch.rand(2, 700, 5, dtype=torch.float64)
    assert torch.allclose(bands.down(x, 0, 300), whole @ x, atol=1e-12)
    first, last = bands.reads(130, 140)
    assert last - first < 40
    assert torch.allclose(bands.down(x[:, first:last], 130, 140, first), (whole @ x)[:, 130:140], atol=1e-12)
    assert torch.allclose(bands.across(x.mT, 5, 290), (whole @ x).mT[..., 5:290], atol=1e-12)
