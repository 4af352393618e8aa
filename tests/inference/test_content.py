"""Pictures that are no photographs: the networks that `up --scale` takes make none of them worse than bicubic does."""

import pytest
from drawing import DRAWN, drawn

from rescale.evaluation.protocol import evaluate
from rescale.models import zoo


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("drawn")
    for draw in DRAWN:
        drawn(draw).save(made / f"{draw.__name__}.png")
    return made


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("is_photo", [False, True])
def test_no_drawn_picture_gets_worse_than_bicubic(folder, scale, is_photo):
    bicubic = {row.picture: row for row in evaluate(f"bicubic-x{scale}", folder)}
    made = {row.picture: row for row in evaluate(zoo.super_resolution_model(scale, is_photo=is_photo), folder)}
    assert len(made) == 10 and made.keys() == bicubic.keys()
    worse = [
        name
        for name in made
        if made[name].psnr_rgb < bicubic[name].psnr_rgb or made[name].psnr_y < bicubic[name].psnr_y
    ]
    assert not worse
