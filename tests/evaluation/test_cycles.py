"""Down and up again and again: what is counted, and what differs between the kinds."""

from itertools import pairwise

import numpy as np
import pytest

import rescale
from rescale.evaluation.cycles import Cycle, cycles, markdown
from rescale.geometry import Geometry
from rescale.io.images import Picture


@pytest.fixture
def picture(noise):
    return Picture(np.repeat(np.repeat(noise(8, 9, 3), 4, axis=0), 4, axis=1))


def test_the_first_cycle_is_the_evaluation(picture):
    model = rescale.load("irn-x2-small", device="cpu")
    first = next(cycles(model, picture, 1, Geometry.of(2)))
    restored = model.upscale_picture(model.downscale_picture(picture)).pixels.astype(float)
    y = np.array([65.481, 128.553, 24.966]) / 255
    error = ((restored - picture.pixels) @ y) ** 2
    assert first.psnr_y == pytest.approx(10 * np.log10(255**2 / error.mean()), abs=0.01)


def test_bicubic_loses_more_in_every_cycle(picture):
    rows = list(cycles(rescale.load("bicubic", device="cpu"), picture, 4, Geometry.of(2.3)))
    assert [row.count for row in rows] == [1, 2, 3, 4]
    assert all(later.psnr_y < row.psnr_y for row, later in pairwise(rows))
    assert rows[0].lr_psnr_y == np.inf > rows[1].lr_psnr_y


def test_kinds_differ_from_the_second_cycle_on(picture):
    model = rescale.load("bicubic", device="cpu")
    ends = {kind: list(cycles(model, picture, 2, Geometry.of(2), kind=kind)) for kind in ("same", "shift", "random")}
    assert ends["same"][0].psnr_y == ends["shift"][0].psnr_y != ends["random"][0].psnr_y
    assert ends["same"][1].psnr_y != ends["shift"][1].psnr_y
    assert [rows[0].scale for rows in ends.values()] == ["x2", "x2, shifted", "x1.1..x4"]


def test_the_table_shows_means_at_some_counts():
    rows = [Cycle("m", "x2", "s", n, 40 - n + k, 50.0) for n in range(1, 7) for k in (0, 1)]
    head, _, line = markdown(rows).splitlines()
    assert "after 5" in head and "after 4" not in head and "after 10" not in head
    assert line.startswith("| m | x2 | s | 39.50 | 38.50 | 37.50 | 35.50 | 50.00 |")
