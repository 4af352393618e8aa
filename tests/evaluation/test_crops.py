"""Details side by side: the same place of each, where the original has most to show."""

import numpy as np
import pytest
from conftest import PHOTO

import rescale
from rescale.evaluation.crops import LABEL, SIDE, ZOOM, Grid, busiest, details
from rescale.evaluation.protocol import round_trip
from rescale.io import images
from rescale.io.picture import Picture


@pytest.mark.parametrize("at", [(0, 0), (40, 100), (104, 200)])
def test_the_busiest_place_is_found(noise, at):
    pixels = np.full((216, 312, 3), 128, np.uint8)
    pixels[at[0] : at[0] + SIDE, at[1] : at[1] + SIDE] = noise(SIDE, SIDE, 3)
    found = busiest(Picture(pixels))
    assert all(abs(a - b) <= 9 for a, b in zip(found, at, strict=True))


def test_cells_show_what_they_name():
    photo = Picture(images.read(PHOTO).pixels[:203, :241])
    grid = Grid()
    for name in ("bicubic-x2", "bicubic-x7"):
        grid.add("key", details("photo", photo, round_trip(rescale.load(name), photo, "photo")))
    sheet = grid.picture().pixels
    assert sheet.shape == (SIDE * ZOOM + LABEL, 3 * (SIDE * ZOOM + 4), 3)
    top, left = busiest(photo)
    detail = photo.pixels[top : top + SIDE, left : left + SIDE]
    shown = [sheet[: SIDE * ZOOM : ZOOM, x : x + SIDE * ZOOM : ZOOM] for x in range(0, 500, SIDE * ZOOM + 4)]
    assert np.array_equal(shown[0], detail)
    apart = [np.abs(cell.astype(int) - detail).mean() for cell in shown]
    assert apart[0] == 0 < apart[1] < apart[2]
    assert (sheet[SIDE * ZOOM :] < 100).any(), "labels"


def test_small_pictures_of_the_same_name_fit(noise):
    grid = Grid()
    for index in range(2):
        picture = Picture(noise(30, 40 + index, 3))
        grid.add(index, details("same name", picture, round_trip(rescale.load("bicubic-x2"), picture, "n")))
    assert list(grid.rows) == [0, 1] and grid.picture().size == (2 * (SIDE * ZOOM + LABEL), 2 * (SIDE * ZOOM + 4))
