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


@pytest.mark.parametrize("name", [name for name, entry in zoo.manifest().items() if entry.model == "sr"])
def test_no_drawn_picture_gets_worse_than_bicubic(folder, name):
    bicubic = {row.picture: row for row in evaluate(f"bicubic-x{zoo.manifest()[name].scale}", folder)}
    made = {row.picture: row for row in evaluate(name, folder)}
    assert len(made) == 10 and made.keys() == bicubic.keys()
    worse = [
        name
        for name in made
        if made[name].psnr_rgb < bicubic[name].psnr_rgb or made[name].psnr_y < bicubic[name].psnr_y
    ]
    assert not worse
