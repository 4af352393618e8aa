"""The perceptual half of IRN+: the critic's shape as published, and a run with VGG's architecture on random weights."""

import csv
import warnings

import pytest
import safetensors.torch
import torch
from conftest import PHOTO
from torch.nn.functional import avg_pool2d

from rescale.errors import MachineError
from rescale.io import images
from rescale.io.images import Picture
from rescale.metrics import lpips
from rescale.training.adversarial import AdversarialLoss, Discriminator
from rescale.training.recipe import Recipe, recipes
from rescale.training.train import train


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """Where torch's hub looks: VGG-19 with random weights, as the learned ones are not at hand."""
    lpips._operators()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torchvision.models import vgg19
    home = tmp_path_factory.mktemp("torch")
    folder = home / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    torch.manual_seed(4)
    torch.save(vgg19(weights=None).state_dict(), folder / "vgg19-dcbb9e9d.pth")
    return home


@pytest.fixture
def pictures(tmp_path):
    photo = images.read(PHOTO)
    folder = tmp_path / "pictures"
    folder.mkdir()
    for index in range(3):
        images.write(folder / f"{index}.png", Picture(photo.pixels[:64, 80 * index : 80 * index + 64]))
    return folder


PLUS = {
    "model": "irn",
    "reduction": "sum",
    "config": {"scale": 4, "blocks": [1, 1], "growth": 4, "depth": 2},
    "loss": {"restore": 0.01, "guide": 1.0},
    "adversary": {"features": 0.01, "weight": 1.0, "alone": 2},
    "steps": 6,
    "batch": 2,
    "crop": 32,
    "validate_every": 2,
    "ema": 0.0,
}


def test_the_critic_is_the_published_one():
    critic = Discriminator(144)
    assert critic(torch.rand(2, 3, 144, 144)).shape == (2, 1)
    convolutions = [p.numel() for n, p in critic.named_parameters() if n.startswith("body") and p.ndim == 4]
    assert len(convolutions) == 10
    assert sum(p.numel() for p in critic.head.parameters()) == 512 * 4 * 4 * 100 + 100 + 100 + 1


def test_features_are_those_before_the_last_activation(hub, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(hub))
    features = lpips.vgg19_features()
    x = torch.rand(1, 3, 64, 64)
    made = features(x)
    assert made.shape == (1, 512, 4, 4) and (made < 0).any()


def test_the_critic_learns_to_tell_and_the_terms_pull_back():
    torch.manual_seed(1)
    adversary = AdversarialLoss(32, 3e-4, "cpu", features=lambda x: x)
    losses = []
    for _ in range(16):
        hr = torch.rand(8, 3, 32, 32)
        blurred = avg_pool2d(hr, 3, 1, 1).requires_grad_()
        losses.append(adversary.learn(blurred.detach(), hr))
    assert sum(losses[8:]) < sum(losses[:8])
    terms = adversary.loss_terms(blurred, hr)
    assert terms["adversary"] > adversary.loss_terms(hr, hr)["adversary"], "originals fool it more easily"
    sum(terms.values()).backward()
    assert blurred.grad.abs().sum() > 0
    assert all(p.grad is None or p.requires_grad for p in adversary.critic.parameters())


def test_a_run_of_irn_plus(hub, monkeypatch, pictures, tmp_path):
    """First the critic alone, then both; a resumed run ends where a whole one ends."""
    monkeypatch.setenv("TORCH_HOME", str(hub))
    reports = list(train(Recipe(**PLUS), [pictures], tmp_path / "whole"))
    assert [report.step for report in reports] == [2, 4, 6]
    rows = list(csv.DictReader((tmp_path / "whole" / "log.csv").read_text().splitlines()))
    untrained, later = float(rows[0]["hr_db"]), float(rows[2]["hr_db"])
    assert later != untrained
    stopped = train(Recipe(**PLUS), [pictures], tmp_path / "parts")
    next(stopped)
    stopped.close()
    list(train(Recipe(**PLUS), [pictures], tmp_path / "parts"))
    ends = [safetensors.torch.load_file(tmp_path / name / "last.safetensors") for name in ("whole", "parts")]
    assert any(key.startswith("critic.") for key in ends[0]) and ends[0].keys() == ends[1].keys()
    assert all(torch.equal(ends[0][key], ends[1][key]) for key in ends[0])


def test_the_shipped_recipe_is_the_papers():
    recipe = Recipe.read(recipes()["irn-x4-plus-paper"])
    assert recipe.adversary.alone == 5000 and recipe.build().parameter_count == 4_355_136


def test_offline_is_one_sentence(tmp_path, monkeypatch, pictures):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for name in ("http_proxy", "https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with pytest.raises(MachineError, match="VGG-19 could not fetch its trunk into"):
        list(train(Recipe(**PLUS), [pictures], tmp_path / "run"))
