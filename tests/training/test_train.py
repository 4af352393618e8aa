"""Training on real crops: it learns, it resumes to the same weights, and it says what is wrong."""

import csv
import itertools
import math
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import safetensors
import safetensors.torch
import torch
from conftest import PHOTO
from waiting import until

from rescale.errors import InputError, RescaleError, UsageError
from rescale.io import images
from rescale.io.images import Picture
from rescale.models import build, weights
from rescale.ops import quantize
from rescale.ops.resample import resample
from rescale.training.dataset import load, split
from rescale.training.recipe import Recipe, recipes
from rescale.training.state import State
from rescale.training.train import _batch, train, validate

TINY = {
    "model": "irn",
    "config": {"scale": 2, "blocks": [1], "growth": 4, "depth": 2, "gain": 1.0},
    "loss": {"restore": 1.0, "guide": 1.0, "range": 1.0},
    "steps": 30,
    "batch": 2,
    "crop": 32,
    "warmup": 2,
    "lr": 5e-3,
    "validate_every": 10,
}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    """Six pieces of a real photograph."""
    folder = tmp_path_factory.mktemp("pictures")
    photo = images.read(PHOTO)
    for index in range(6):
        images.write(folder / f"{index}.png", Picture(photo.pixels[50 : 50 + 64, 90 * index : 90 * index + 90]))
    return folder


def run(folder: Path, out: Path, **changes: object) -> list:
    return list(train(Recipe(**(TINY | changes)), [folder], out))


def tensors(path: Path) -> dict[str, torch.Tensor]:
    return weights.load(path).model.state_dict()


def test_it_learns(pictures, tmp_path):
    wider = TINY["config"] | {"growth": 8, "depth": 3, "blocks": [3], "shared": True}
    reports = run(pictures, tmp_path, steps=200, lr=3e-3, config=wider, validate_every=100)
    untrained = validate(Recipe(**TINY).build(), load([pictures], 2)[1])
    assert max(report.hr_db for report in reports) > untrained.hr_db + 1
    assert any(report.is_best for report in reports)
    loaded = weights.load(tmp_path / "best.safetensors")
    assert loaded.header["steps"] in (100, 200) and loaded.header["recipe"]["lr"] == 3e-3
    rows = list(csv.DictReader((tmp_path / "log.csv").read_text().splitlines()))
    assert [int(row["step"]) for row in rows] == [100, 200]


def mean_db(report) -> float:
    return report.hr_db + report.hr_rgb_db


def test_small_images_too_far_from_bicubic_are_not_kept(pictures, tmp_path):
    reports = run(pictures, tmp_path / "any")
    assert any(report.is_best for report in reports)
    reports = run(pictures, tmp_path / "none", least_lr_rgb_db=120.0)
    assert not any(report.is_best for report in reports) and not (tmp_path / "none" / "best.safetensors").exists()


def test_a_network_of_cells_learns_what_is_left_over(pictures, tmp_path):
    """Odd sides come up, so that the row beside the last cell is learned too; drawn pictures stand beside."""
    seen = set()
    recipe = Recipe(
        **(TINY | {"config": TINY["config"] | {"blocks": [[1, 1, 0]], "padding": "replicate"}, "drawn": 0.4})
    )
    state, (learn, held) = State.begin(recipe), load([pictures], 2, drawn=0.4, seed=10)
    for state.step in range(12):
        hr, bicubic = _batch(state, learn, slice(None))
        assert (hr.shape[-2], hr.shape[-1]) == (2 * bicubic.shape[-2], 2 * bicubic.shape[-1])
        seen.add(tuple(bicubic.shape[-2:]))
    assert seen == {(16, 16), (15, 16), (16, 15), (15, 15)}
    areas = [x[0].numel() for x in learn.hr]
    assert sum(areas[5:]) / sum(areas) == pytest.approx(0.4, abs=0.3) and len(held.hr) == 1
    assert all(report.hr_db > 10 for report in train(recipe, [pictures], tmp_path))


def test_the_best_is_kept_and_not_the_last(pictures, tmp_path):
    best = max(run(pictures, tmp_path, lr=0.5, clip=1e9, steps=40, validate_every=5), key=mean_db)
    assert weights.load(tmp_path / "best.safetensors").header["steps"] == best.step


def test_a_resumed_run_ends_at_the_same_weights(pictures, tmp_path):
    run(pictures, tmp_path / "whole")
    stopped = train(Recipe(**TINY), [pictures], tmp_path / "parts")
    next(stopped)
    stopped.close()
    reports = run(pictures, tmp_path / "parts")
    assert [report.step for report in reports] == [20, 30]
    whole, parts = (tensors(tmp_path / name / "best.safetensors") for name in ("whole", "parts"))
    assert all(torch.equal(whole[key], parts[key]) for key in whole)


@pytest.mark.slow
def test_a_run_killed_at_half_way_ends_at_the_same_weights(pictures, tmp_path):
    """200 steps, against 100, kill -9 in the midst of the rest, and the rest again; with both optimisers."""
    for optimiser in ("adam", "muon"):
        recipe = tmp_path / f"{optimiser}.toml"
        recipe.write_text(
            f'model = "irn"\noptimiser = "{optimiser}"\nsteps = 200\nbatch = 2\ncrop = 32\nvalidate_every = 100\n'
            "[config]\nscale = 2\nblocks = [1]\ngrowth = 4\ndepth = 2\nup_std = 1.0\n[loss]\nrestore = 1.0\n"
        )
        ends = []
        for name in ("whole", "killed"):
            run = tmp_path / optimiser / name
            words = [sys.executable, "-m", "rescale", "train", str(recipe), "-d", str(pictures), "-o", str(run)]
            process = subprocess.Popen(
                words, env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            if name == "killed":
                until(lambda run=run, process=process: (run / "curve.png").exists() or process.poll() is not None)
                process.send_signal(signal.SIGKILL)
                assert process.wait() == -signal.SIGKILL
                subprocess.run(words, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=True, capture_output=True)
            assert process.wait() in (0, -signal.SIGKILL)
            steps = [row["step"] for row in csv.DictReader((run / "log.csv").read_text().splitlines())]
            assert steps == ["100", "200"]
            ends.append(safetensors.torch.load_file(run / "last.safetensors"))
        assert ends[0].keys() == ends[1].keys()
        assert all(torch.equal(ends[0][key], ends[1][key]) for key in ends[0])


def test_time_is_a_budget(pictures, tmp_path, monkeypatch):
    """By a clock that moves a second whenever it is looked at, which is once before the first step and after each."""
    clock = SimpleNamespace(monotonic=itertools.count().__next__)
    monkeypatch.setattr(sys.modules[train.__module__], "time", clock)
    reports = list(train(Recipe(**(TINY | {"steps": 10**6})), [pictures], tmp_path, minutes=1 / 6))
    assert reports[-1].step == reports[-1].elapsed_s == 10


def test_the_curve_is_a_picture(pictures, tmp_path):
    run(pictures, tmp_path)
    curve = images.read(tmp_path / "curve.png")
    assert min(curve.size) > 300 and len(set(map(tuple, curve.pixels.reshape(-1, 3)[::7].tolist()))) > 10


def test_a_run_begins_from_given_weights(pictures, tmp_path):
    run(pictures, tmp_path / "first")
    start = str(tmp_path / "first" / "best.safetensors")
    recipe = Recipe(**(TINY | {"lr": 1e-12, "ema": 0.0, "steps": 1}))
    list(train(recipe, [pictures], tmp_path / "second", start=start))
    first, second = (tensors(tmp_path / name / "best.safetensors") for name in ("first", "second"))
    assert all(torch.allclose(first[key], second[key], atol=1e-9) for key in first)
    origin = weights.load(tmp_path / "second" / "best.safetensors").header["origin"]
    given = weights.load(start)
    assert origin == {"name": "best", "sha256": given.sha256, "steps": given.header["steps"]}


@pytest.mark.parametrize(("start", "reason"), [("espcn-x2", "weights of IRN .* got ESPCN"), ("irn-x2-small", "shape")])
def test_weights_of_another_network_are_no_start(pictures, tmp_path, start, reason):
    with pytest.raises(UsageError, match=reason):
        list(train(Recipe(**TINY), [pictures], tmp_path, start=start))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")  # which compiling itself still brings
@pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="torch.compile needs a C++ compiler")
@pytest.mark.parametrize("config", [{}, {"blocks": [[0, 1, 0]], "padding": "replicate"}], ids=["plain", "inner"])
def test_a_compiled_step_learns_the_same(pictures, tmp_path, config):
    recipe = Recipe(**(TINY | {"steps": 5, "validate_every": 1, "config": TINY["config"] | config}))
    plain, compiled = (
        [report.loss for report in train(recipe, [pictures], tmp_path / str(flag), compiled=flag)]
        for flag in (False, True)
    )
    assert compiled == pytest.approx(plain, rel=1e-3)


def test_a_loss_that_is_not_finite_stops_the_run(pictures, tmp_path):
    with pytest.raises(RescaleError, match=r"is (nan|inf).* at step .*the state of the last validation is kept"):
        run(pictures, tmp_path, steps=200, lr=1e4, warmup=1, clip=1e9)


def test_a_gradient_that_is_not_finite_moves_nothing_and_the_kept_state_goes_on(pictures, tmp_path, monkeypatch):
    """A finite loss can have such a gradient; the state saved before must be whole and of use."""
    descend = State.descend

    def broken(self, loss):
        descend(self, loss * torch.nan if self.step == 14 else loss)

    with monkeypatch.context() as patch:
        patch.setattr(State, "descend", broken)
        with pytest.raises(RescaleError, match="the gradient is nan at step 14"):
            run(pictures, tmp_path / "run")
    kept = safetensors.torch.load_file(tmp_path / "run" / "last.safetensors")
    assert kept and all(torch.isfinite(t).all() for t in kept.values())
    run(pictures, tmp_path / "run")
    run(pictures, tmp_path / "whole")
    ends = [safetensors.torch.load_file(tmp_path / name / "last.safetensors") for name in ("run", "whole")]
    assert all(torch.equal(ends[0][key], ends[1][key]) for key in ends[0])


def test_exact_pictures_do_not_freeze_the_best(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for index in range(4):
        images.write(folder / f"{index}.png", Picture(np.full((40, 40, 3), 60 * index, np.uint8)))
    assert validate(Recipe(**TINY).build(), load([folder], 2)[1]) == (99, 99, 99, 99)


def test_a_run_does_not_lie_among_its_pictures(pictures):
    with pytest.raises(UsageError, match="lies in"):
        run(pictures, pictures / "runs" / "x")
    assert not (pictures / "runs").exists()


def test_a_device_that_is_not_there_is_one_sentence(pictures, tmp_path):
    for device in ("quantum", "cuda:77"):
        with pytest.raises(UsageError, match="expected a device that this machine has"):
            list(train(Recipe(**TINY), [pictures], tmp_path, device=device))


def test_moments_are_laid_out_like_their_kernels(pictures, tmp_path):
    run(pictures, tmp_path, steps=10)
    data = " ".join(part.digest for part in load([pictures], 2, least=32))
    state = State.begin(Recipe(**(TINY | {"steps": 10})))
    state.resume(tmp_path / "last.safetensors", data)
    assert state.step == 10
    for parameter in state.model.parameters():
        assert state.optimiser.state[parameter]["exp_avg"].stride() == parameter.stride()


def test_another_recipe_does_not_go_on(pictures, tmp_path):
    run(pictures, tmp_path, steps=10)
    with pytest.raises(InputError, match="another recipe"):
        run(pictures, tmp_path, steps=20)


def test_other_pictures_or_a_damaged_state_do_not_go_on(pictures, tmp_path):
    run(pictures, tmp_path / "run", steps=10)
    other = tmp_path / "other"
    other.mkdir()
    for file in images.find(pictures)[:4]:
        (other / file.name).write_bytes(file.read_bytes())
    with pytest.raises(InputError, match="another data"):
        run(other, tmp_path / "run", steps=10)
    last = tmp_path / "run" / "last.safetensors"
    for data in (last.read_bytes()[:500], (tmp_path / "run" / "best.safetensors").read_bytes(), b""):
        last.write_bytes(data)
        with pytest.raises(InputError, match="no state of a run"):
            run(pictures, tmp_path / "run", steps=10)


def test_a_state_that_lacks_a_tensor_or_began_elsewhere_does_not_go_on(pictures, tmp_path):
    run(pictures, tmp_path, steps=10)
    last = tmp_path / "last.safetensors"
    whole = last.read_bytes()
    with safetensors.safe_open(last, "pt") as file:
        header, tensors = file.metadata(), {key: file.get_tensor(key) for key in file.keys()}
    for key in ("model.chain.steps.1.to_low.convs.0.weight", "averaged.n_averaged"):
        last.write_bytes(safetensors.torch.save({k: v for k, v in tensors.items() if k != key}, header))
        with pytest.raises(InputError, match="no state of a run"):
            run(pictures, tmp_path, steps=10)
    last.write_bytes(whole)
    with pytest.raises(InputError, match="another start"):
        list(train(Recipe(**(TINY | {"steps": 10})), [pictures], tmp_path, start=str(tmp_path / "best.safetensors")))


@pytest.mark.parametrize(
    "config", [{"blocks": [0]}, {"growth": -4}, {"depth": 0}, {"latents": -1}, {"scale": 4}, {"breadth": 1}]
)
def test_networks_that_cannot_be_are_refused(config):
    with pytest.raises(UsageError):
        Recipe(**(TINY | {"config": TINY["config"] | config})).build()


@pytest.mark.parametrize("loss", [{}, {"restored": 1.0}])
def test_losses_that_the_model_has_not_are_refused(loss):
    with pytest.raises(
        UsageError, match="loss: expected some of restore, luma, chroma, guide, guide_chroma, guide_grey, range, latent"
    ):
        Recipe(**(TINY | {"loss": loss})).build()


def test_a_model_without_parameters_is_refused():
    with pytest.raises(UsageError, match="bicubic has nothing to learn"):
        Recipe(**(TINY | {"model": "bicubic", "config": {"scale": 2}})).build()


@pytest.mark.parametrize("minutes", [0, -3, math.nan])
def test_no_time_is_refused(pictures, tmp_path, minutes):
    with pytest.raises(UsageError, match="more than 0 minutes"):
        list(train(Recipe(**TINY), [pictures], tmp_path, minutes=minutes))


@pytest.mark.parametrize("name", recipes())
def test_shipped_recipes_build_what_they_say(name):
    recipe = Recipe.read(recipes()[name])
    model = recipe.build()
    side = 4 * (model.scale or 4)
    hr = torch.rand(1, 3, side, side)
    _, terms = model.loss_terms(hr, resample(hr, (4, 4)))
    assert recipe.loss.keys() <= terms.keys()
    assert f"x{model.scale}" in name or model.scale is None
    if name.endswith("-small"):
        assert model.parameter_count <= {2: 500_000, 4: 1_000_000, None: 1_000_000}[model.scale]


def test_the_learning_rate_follows_its_schedule():
    cosine = Recipe(**(TINY | {"warmup": 10, "lr": 1.0}))
    assert [round(cosine.rate(step, step / 30), 2) for step in (0, 9, 15, 30)] == [0.1, 0.79, 0.5, 0.0]
    halving = Recipe(**(TINY | {"warmup": 0, "lr": 1.0, "schedule": "halving", "milestones": [10, 20]}))
    assert [halving.rate(step, step / 30) for step in (0, 9, 10, 20, 29)] == [1, 1, 0.5, 0.25, 0.25]


def test_sums_and_means_differ_by_the_samples_of_a_crop(pictures, tmp_path):
    """Adam does not see the difference, but for its epsilon; clipping does."""
    mean, summed = (run(pictures, tmp_path / kind, reduction=kind, clip=1e9, steps=10)[-1] for kind in ("mean", "sum"))
    assert mean.loss == pytest.approx(summed.loss, rel=1e-3)
    assert run(pictures, tmp_path / "clipped", reduction="sum", clip=1e-9, steps=10)[-1].loss != mean.loss


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("model='irm'", "model: expected"),
        ("crop=31", "crop: expected a multiple of 2"),
        ("steps=0", "steps: .* got 0"),
        ("steps='7'", "steps: .*valid integer"),
        ("lr='1e-3'", "lr: .*valid number"),
        ("lr=1e39", "lr: .*less than"),
        ("bfloat16='no'", "bfloat16: .*valid boolean"),
        ("learning_rate=1", "learning_rate: .*not permitted"),
        ("milestones=[5]", "milestones belong"),
        ("betas=[1.5, 0.9]", "betas.0: .*less than 1"),
        ("seed=100000000000000", "seed: "),
        ("loss.restore=nan", "loss.restore: .*finite"),
        ("loss.restore=-1", "loss.restore: "),
        ("config.scale=3", "as many Haar levels"),
        ("config.depth=0", "at least 1"),
        ("optimiser='sgd'", "optimiser: "),
        ("adversary={features=1.0, weight=1.0}", "adversary: expected the model irn, crops of at least 32"),
    ],
)
def test_recipes_that_cannot_be_are_refused_with_file_and_key(tmp_path, change, reason):
    path = tmp_path / "bad.toml"
    path.write_text(SMALL)
    Recipe.read(path)
    with pytest.raises(UsageError, match=rf"bad\.toml: .*{reason}"):
        Recipe.read(path, [change])
    path.write_text(SMALL.replace("steps = 5\n", ""))
    with pytest.raises(UsageError, match=r"bad\.toml: steps: Field required$"):
        Recipe.read(path)


SMALL = 'model = "irn"\nsteps = 5\ncrop = 16\n[config]\nscale = 2\nblocks = [1]\n[loss]\nrestore = 1.0\n'


@pytest.mark.parametrize("text", ["steps = ", "\x00", "a = " + "[" * 5000, "[config"])
def test_what_is_no_toml_is_refused(tmp_path, text):
    (tmp_path / "bad.toml").write_text(text)
    with pytest.raises(UsageError, match=r"bad\.toml: not a recipe"):
        Recipe.read(tmp_path / "bad.toml")
    (tmp_path / "good.toml").write_text(SMALL)
    with pytest.raises(UsageError, match=r"change .*: expected KEY=VALUE"):
        Recipe.read(tmp_path / "good.toml", [text])


@pytest.mark.parametrize("name", [name for name in recipes() if "irn" in name and name.endswith(("paper", "-a", "-b"))])
def test_the_papers_losses_are_the_papers_sums(name):
    """methods: s²·Σ(y - bicubic)² + Σ Charbonnier + Σ z², over a crop; here in means, times the samples of a crop."""
    recipe = Recipe.read(recipes()[name])
    if "plus" in name:
        return
    model = recipe.build()
    assert recipe.reduction == "sum"
    hr = torch.rand(1, 3, 16, 16)
    bicubic = resample(hr, (16 // model.scale, 16 // model.scale))
    lr, up = model(hr)
    restored = model.inverse(quantize(lr))[0]
    expected = model.scale**2 * ((lr - bicubic) ** 2).sum() + ((restored - hr) ** 2 + 1e-6).sqrt().sum()
    if not name.endswith("-a"):
        expected = expected + (up**2).sum()
    model = build(recipe.model, recipe.config | {"up_std": 0.0, "down_std": 0.0})
    _, terms = model.loss_terms(hr, bicubic)
    ours = sum(weight * terms[key] for key, weight in recipe.loss.items()) * hr[0].numel()
    assert ours.item() == pytest.approx(expected.item(), rel=1e-5)


def test_targets_are_crops_of_the_whole_pictures_target(pictures):
    data, _ = load([pictures], 2)
    hr, bicubic = data.batch(16, 32, torch.Generator().manual_seed(1))
    assert hr.shape == (16, 3, 32, 32) and bicubic.shape == (16, 3, 16, 16)
    inner = (slice(None), slice(None), slice(4, -4), slice(4, -4))
    assert torch.allclose(resample(hr, (16, 16))[inner], bicubic[inner], atol=2e-3)
    again, _ = data.batch(16, 32, torch.Generator().manual_seed(1))
    assert torch.equal(hr, again)


def test_turns_stay_aligned(pictures):
    """Flips and transposes of both: the target of a turned crop must still be what bicubic makes of it."""
    data, _ = load([pictures], 2)
    hr, bicubic = data.batch(64, 64, torch.Generator().manual_seed(2))
    error = (resample(hr, (32, 32)) - bicubic)[..., 4:-4, 4:-4].abs().amax(dim=(1, 2, 3))
    assert (error < 2e-3).all()
    corners = {tuple(x[:, 0, 0].tolist()) for x in hr}
    assert len(corners) > 8, "crops as high as the picture can only differ this much by turning"


def test_validation_pictures_are_never_learned_from(pictures):
    names = [Path(f"{n}.png") for n in range(1000)]
    for some in (names, names[:2], names[:50], names[3:5] * 2):
        learn, held = split(some)
        assert held and learn and not set(learn) & set(held)
        assert len(learn) + len(held) == len(some)
    assert 5 < len(split(names)[1]) < 50
    learn, held = load([pictures], 2)
    assert len(learn.hr) == 5 and len(held.hr) == 1


def test_a_folder_given_twice_counts_twice_and_is_held_once(pictures):
    once, twice = load([pictures], 2), load([pictures, pictures], 2)
    assert [len(part.hr) for part in twice] == [2 * len(part.hr) for part in once]


def test_a_missing_folder_is_a_mistake_of_usage(tmp_path):
    with pytest.raises(UsageError, match="none: expected a folder of pictures"):
        load([tmp_path / "none"], 2)


def test_folders_without_enough_pictures_are_named(pictures, tmp_path):
    with pytest.raises(UsageError, match=f"found 0 in .*{tmp_path.name}"):
        load([tmp_path], 2)
    with pytest.raises(UsageError, match="at least 100x100, found 0"):
        load([pictures], 2, least=100)


def test_single_keys_can_be_changed(tmp_path):
    path = tmp_path / "some.toml"
    path.write_text('model = "irn"\nsteps = 5\n[config]\nscale = 2\nblocks = [1]\n[loss]\nrestore = 1.0\n')
    changed = Recipe.read(path, ["steps=7", "config.blocks=[3]", "loss.guide=0.25", "seed=3"])
    assert (changed.steps, changed.seed) == (7, 3)
    assert changed.config == {"scale": 2, "blocks": [3]} and changed.loss == {"restore": 1.0, "guide": 0.25}
