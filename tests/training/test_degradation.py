"""Degraded LR images: real codecs, the same for the same draw, never another size."""

import pytest
import torch
from conftest import PHOTO
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from rescale.errors import UsageError
from rescale.io import images
from rescale.metrics import psnr
from rescale.training.degradation import DegradeRecipe, coded, degrade
from rescale.training.recipe import Recipe, recipes

EVERYTHING = DegradeRecipe(share=1.0, blurred=1.0, noisy=1.0, coded=1.0)


@pytest.fixture(scope="module")
def photo():
    return images.read(PHOTO).rgb[..., :96, :96].contiguous()


def draws(seed):
    return torch.Generator().manual_seed(seed)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**31))
def test_any_size_stays_itself_and_the_same_draw_is_the_same(height, width, seed):
    lr = torch.rand(2, 3, height, width, generator=draws(1))
    once, again = (degrade(lr, EVERYTHING, draws(seed)) for _ in range(2))
    assert once.shape == lr.shape and torch.equal(once, again) and torch.isfinite(once).all()


def test_the_share_that_stays_clean_stays_to_the_bit(photo):
    lr = photo.expand(40, -1, -1, -1)
    made = degrade(lr, DegradeRecipe(share=0.5), draws(3))
    clean = sum(torch.equal(a, b) for a, b in zip(made, lr, strict=True))
    assert 10 <= clean <= 30
    assert torch.equal(degrade(lr, DegradeRecipe(share=0.0), draws(3)), lr)


@pytest.mark.parametrize("only", ["blurred", "noisy", "coded"])
def test_each_kind_takes_something_away(photo, only):
    recipe = DegradeRecipe(share=1.0, **{**dict.fromkeys(["blurred", "noisy", "coded"], 0.0), only: 1.0})
    assert 15 < psnr(degrade(photo, recipe, draws(5)), photo).item() < 50


def test_a_codec_costs_more_at_a_lower_quality_and_with_halved_chroma(photo):
    costs = [psnr(coded(photo, quality), photo).item() for quality in (95, 75, 30)]
    assert costs == sorted(costs, reverse=True)
    assert psnr(coded(photo, 90, halved=False), photo) > psnr(coded(photo, 90), photo)
    assert psnr(coded(photo, 90, codec="WEBP"), photo) > 25


def test_only_networks_of_super_resolution_are_taught_so():
    degraded = ["degrade.share=0.5"]
    with pytest.raises(UsageError, match="degrade: expected a model of super-resolution, got irn"):
        Recipe.read(recipes()["irn-x2-small"], degraded).build()
    Recipe.read(recipes()["espcn-x2"], degraded).build()


@pytest.mark.parametrize("change", ["degrade.share=2.0", "degrade.least=99", "degrade.most=0", "degrade.salt=1"])
def test_what_cannot_be_is_refused(change):
    with pytest.raises((UsageError, ValidationError), match="degrade"):
        Recipe.read(recipes()["sr-x2-photo"], [change])
