"""The papers' table: published rows are quoted as they stand, and ours stand among them in order."""

import pytest

from rescale.evaluation.protocol import NUMBERS, Scores
from rescale.evaluation.published import markdown, measured, published


def mean(model: str, set_name: str, psnr: float, scale: str = "x2") -> Scores:
    return Scores(
        model,
        scale,
        "",
        "",
        set_name,
        "mean",
        **dict.fromkeys(NUMBERS, 0.5) | {"psnr_y": psnr, "psnr_rgb": psnr - 3, "lr_psnr_y": 44.0, "lr_psnr_rgb": 41.0},
    )


def test_rows_stand_in_order_beside_those_of_their_scale():
    ours = measured([mean("a", "Set5", 39.0), mean("b", "Set5", 33.0), mean("a", "BSD100", 38.0)], SIZES)
    lines = markdown(ours).splitlines()
    assert [line.split(" | ")[1] for line in lines[2:9]] == [
        "`b`",
        "bicubic, published",
        *(f"{name}, published" for name in ("bicubic & EDSR", "bicubic & RCAN", "CAR & EDSR")),
        "`a`",
        "IRN, published",
    ]
    assert "| x2 | `a` | 7 | 39.00 / 0.5000 | 36.00 | 44.00 / 41.00 | 38.00 / 0.5000 | 35.00 | 44.00 / 41.00 |" in lines
    assert "| x2 | `b` | - | 33.00 / 0.5000 | 30.00 | 44.00 / 41.00 | - | - | - |" in lines
    assert "| x2 | IRN, published | 1,667,952 | 43.99/.9871 | - | - | 41.32/.9876 | - | - |" in lines
    assert lines[-1].startswith("Published rows: IRN repository")


SIZES = {"a": 7, "b": 0, "c": 5}


def test_published_rows_come_whatever_the_order_of_sets():
    text = markdown(measured([mean("a", "mine", 39.0), mean("a", "Set5", 39.0)], SIZES))
    assert "IRN, published | 1,667,952 | - | - | - | 43.99/.9871" in text


def test_without_published_rows_nothing_is_cited():
    text = markdown(measured([mean("c", "Set5", 30.0, "x3")], SIZES))
    assert "ublished" not in text and text.count("\n") == 2


@pytest.mark.parametrize("row", published(), ids=lambda row: f"{row.name} {row.scale}")
def test_published_rows_are_whole(row):
    assert (
        row.cite
        and (row.parameters > 10**6 or row.name == "bicubic")
        and ({"Set5", "Set14", "B100"} <= row.scores.keys() or row.name == "AIDN")
    )
    assert row.name != "AIDN" or row.rgb.keys() == row.lr.keys() == row.scores.keys()
    for name, rgb in row.rgb.items():
        y, lr_y, lr_rgb = map(float, (row.scores[name].split("/")[0], *row.lr[name].split(" / ")))
        assert 2 < y - float(rgb) < 6 and 5 < lr_y - lr_rgb < 7, "luma is nearer than colour, at both ends"
    for score in row.scores.values():
        psnr, ssim = map(float, score.split("/"))
        assert 20 < psnr < 51 and 0.5 < ssim < 1
