"""Ratios are ratios: what is known to take longer is found to, by about as much."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from rescale.bench.images import refining, rescaling, training
from rescale.bench.timing import limits, race, timed
from rescale.training.recipe import Recipe, recipes


def test_a_race_measures_how_many_times_faster(monkeypatch):
    """By a clock that the work itself moves."""
    now = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    costs = iter([7, 9, 1, 4, 2, 4, 1, 6])  # the first of each is not counted

    def work() -> None:
        now[0] += next(costs)

    result = race(("quick", work), ("slow", work), turns=3)
    assert (result.contender, result.baseline) == ("quick", "slow")
    assert (result.least, result.ratio, result.most) == (2, 4, 6)
    assert (result.contender_s, result.baseline_s) == (1, 4)


def test_every_turn_runs_both_and_the_first_does_not_count():
    calls = []
    race(("a", lambda: calls.append("a")), ("b", lambda: calls.append("b")), turns=2)
    assert "".join(calls) == "ababab"


@pytest.mark.parametrize("name", ["irn-x4-tiny", "espcn-x2"])
def test_training_is_raced_against_contiguous_float32(name):
    recipe = Recipe.read(recipes()[name], ["batch=1", "crop=32"])
    result = training(recipe, turns=1)
    assert result.baseline == "float32, contiguous" and "channels_last" in result.contender
    assert result.ratio == result.least == result.most > 0


def operations(work) -> int:
    """How much work it is, whatever a clock says."""
    with FlopCounterMode(display=False) as counted:
        work()
    return counted.get_total_flops()


@pytest.mark.parametrize("name", ["irn-x4-small", "iarn-small"])
def test_refining_is_counted_in_round_trips(name, monkeypatch):
    monkeypatch.setattr("rescale.bench.timing._seconds", operations)
    result = refining(name, steps=6, side=48, turns=1)
    assert result.contender == "down and up" and "6 steps" in result.baseline
    assert result.ratio > 3, "a step is a way up and back"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "others"), [("irn-x2-small", 2), ("espcn-x3", 3), ("iarn-small", 0)])
def test_the_engine_races_the_plain_network_and_other_programs(name, others):
    speed = rescaling(name, full=(60, 48), turns=1)
    assert len(speed.rivals) == others and speed.size == (60, 48)
    assert speed.total > 0 and 0 < speed.limit_gbytes < 1e5
    assert 0 < speed.limit_gflops < 1e6 and 0 < speed.limit_convolution < 1e6 and speed.share > 0
    assert (speed.down is None) == (name == "espcn-x3") and speed.processor
    assert 0 <= speed.levels < 4
    assert {speed.up.contender, speed.up.baseline} == {"engine, up", "plain, up"}


def test_limits_are_measured_in_the_turns_of_the_race():
    """So that a machine that is busy meanwhile slows both alike."""
    calls = []
    works = {name: (lambda name=name: calls.append(name)) for name in ("engine", "plain", "product", "copy")}
    times = timed(works, 2)
    assert calls == [*works] * 3 and all(len(seconds) == 2 for seconds in times.values())
    found = limits({"product": [2.0, 1.0], "convolution": [0.001, 1.0], "copy": [0.5, 0.25]}, torch.device("cpu"))
    assert found.product[1] == 2 * found.product[0] == pytest.approx(2e-9 * 2048**3)
    assert found.operations == [found.convolution[0], found.product[1]] and found.copied[1] == 2 * found.copied[0]
