"""The contract of the networks, on shaken weights, and the sizes that papers publish."""

import pytest
import torch
from conftest import shake

from rescale.errors import UsageError
from rescale.models import (
    ESPCN,
    IRN,
    MODELS,
    SR,
    Bicubic,
    BicubicConfig,
    ESPCNConfig,
    IRNConfig,
    RescalingModel,
    SRConfig,
)
from rescale.ops.resample import resample

SMALL = {"growth": 4, "depth": 3}
NETWORKS = {
    "irn x2": lambda: IRN(IRNConfig(2, (2,), **SMALL)),
    "irn x4": lambda: IRN(IRNConfig(4, (1, 1), **SMALL)),
    "irn x8": lambda: IRN(IRNConfig(8, (1, 1, 1), **SMALL)),
    "irn x2 inner": lambda: IRN(IRNConfig(2, ((1, 1, 1),), padding="replicate", **SMALL)),
    "irn x4 inner": lambda: IRN(IRNConfig(4, ((0, 1, 1), (1, 2, 0)), padding="replicate", **SMALL)),
    "irn x2 flat": lambda: IRN(IRNConfig(2, ((1, 1, 1),), padding="replicate", flat=True, **SMALL)),
    "irn x4 shared": lambda: IRN(IRNConfig(4, (1, 2), shared=True, **SMALL)),
    "dlv-irn x2": lambda: IRN(IRNConfig(2, (2,), latents=2, down_std=1.0, up_std=1.0, **SMALL)),
    "dlv-irn x4 flat": lambda: IRN(
        IRNConfig(4, (1, (0, 1, 0)), latents=1, shared=True, padding="replicate", flat=True, **SMALL)
    ),
    "dlv-irn x4": lambda: IRN(IRNConfig(4, (1, 1), latents=2, **SMALL)),
    "espcn x2": lambda: ESPCN(ESPCNConfig(2)),
    "espcn x3": lambda: ESPCN(ESPCNConfig(3)),
    "espcn x2 residual": lambda: ESPCN(ESPCNConfig(2, residual=True)),
    "sr x2": lambda: SR(SRConfig(2, channels=6, blocks=2, depth=2)),
    "sr x3 branches": lambda: SR(SRConfig(3, channels=4, blocks=1, depth=3, branches=True)),
    "bicubic x3": lambda: Bicubic(BicubicConfig(3)),
}
each_network = pytest.mark.parametrize("make", NETWORKS.values(), ids=NETWORKS.keys())


@pytest.mark.parametrize(
    ("config", "count"),
    [
        (IRNConfig(2, (8,)), 1_667_952),
        (IRNConfig(4, (8, 8)), 4_355_136),
        (IRNConfig(8, (8, 8, 8)), 11_119_248),
        (IRNConfig(2, (8,), latents=2), 1_894_448),
        (IRNConfig(4, (8, 8), latents=2), 5_487_616),
        (ESPCNConfig(2), 21_284),
        (ESPCNConfig(3), 22_729),
        (ESPCNConfig(4), 24_752),
    ],
)
def test_published_sizes(config, count):
    network = next(cls for cls in MODELS.values() if cls.Config is type(config))(config)
    assert network.parameter_count == count


@each_network
def test_contract(make):
    model = shake(make()).eval()
    hr = torch.rand(2, 3, 3 * model.multiple, 2 * model.multiple)
    with torch.inference_mode():
        lr = model.downscale(hr)
        restored = model.upscale(lr)
        assert lr.shape == (2, 3, hr.shape[2] // model.scale, hr.shape[3] // model.scale)
        assert restored.shape == hr.shape
        assert torch.equal(model.downscale(hr), lr) and torch.equal(model.upscale(lr), restored), "deterministic"
        assert torch.allclose(model.downscale(hr[1:]), lr[1:], atol=1e-5), "a batch of two is two batches of one"


@each_network
def test_halo_is_enough(make):
    """A pixel changed beyond the halo changes nothing inside; within it, it does."""
    model = shake(make()).double().eval()
    side = 2 * model.halo + 9
    lr = torch.rand(1, 3, 3, side, dtype=torch.float64)
    middle = slice((model.halo + 4) * model.scale, (model.halo + 5) * model.scale)
    with torch.inference_mode():
        before = model.upscale(lr)[..., middle]
        far, near = lr.clone(), lr.clone()
        far[..., :4] += 0.3
        near[..., model.halo + 3] += 0.3
        assert torch.allclose(model.upscale(far)[..., middle], before, atol=1e-12)
        assert not torch.allclose(model.upscale(near)[..., middle], before, atol=1e-12)


@pytest.mark.parametrize("blocks", [((0, 0, 0),), ((1, -1, 1),), (0,), ((1, 1, 1), 1)])
def test_levels_without_a_block_are_refused(blocks):
    with pytest.raises(UsageError, match="expected"):
        IRNConfig(2, blocks)


@pytest.mark.parametrize("name", [name for name in NETWORKS if "irn" in name])
def test_nothing_is_lost_before_rounding(name):
    model = shake(NETWORKS[name]()).double()
    side = 4 * model.scale
    hr = torch.rand(2, 3, side, side, dtype=torch.float64)
    down = torch.randn(2, model.config.latents, side, side, dtype=torch.float64)
    lr, up = model(hr, down)
    assert not torch.allclose(lr, resample(hr, (4, 4), kernel="box"), atol=1e-3), "shaken weights must matter"
    restored, recovered = model.inverse(lr, up)
    assert torch.allclose(restored, hr, atol=1e-9)
    assert torch.allclose(recovered, down, atol=1e-9)
    assert up.numel() + lr.numel() == hr.numel() + down.numel()


def test_untrained_irn_is_the_box_filter():
    model = IRN(IRNConfig(4, (1, 1), **SMALL))
    hr = torch.rand(1, 3, 16, 16)
    assert torch.allclose(model.downscale(hr), resample(hr, (4, 4), kernel="box"), atol=1e-6)


@each_network
def test_every_parameter_gets_a_gradient(make):
    model = shake(make())
    if model.parameter_count == 0:
        return
    hr = torch.rand(2, 3, 24, 24)
    _, terms = model.loss_terms(hr, resample(hr, (24 // model.scale, 24 // model.scale)))
    assert all(term.ndim == 0 and torch.isfinite(term) for term in terms.values())
    sum(terms.values()).backward()
    assert all(p.grad is not None and p.grad.any() for p in model.parameters())


def test_only_grey_images_pay_for_colours_in_their_lr_image():
    model, grey = shake(IRN(IRNConfig(2, (1,), **SMALL))), torch.rand(2, 1, 8, 8).expand(-1, 3, -1, -1)
    coloured = grey.clone()
    coloured[:, 0, 0, 0] = 1 - coloured[:, 0, 0, 0]
    pay = [model.loss_terms(x, resample(x, (4, 4)))[1]["guide_grey"] for x in (grey, coloured)]
    both = torch.cat([grey, coloured])
    mean = model.loss_terms(both, resample(both, (4, 4)))[1]["guide_grey"]
    assert pay[0] > 0 and pay[1] == 0 and torch.isclose(mean, pay[0] / 2)


def test_espcn_leaves_chroma_to_bicubic_and_keeps_grey_grey():
    model = shake(ESPCN(ESPCNConfig(2)))
    grey = torch.rand(1, 1, 9, 7).expand(1, 3, 9, 7)
    with torch.inference_mode():
        large = model.upscale(grey)
    assert torch.allclose(large[:, 0], large[:, 1], atol=1e-5) and torch.allclose(large[:, 1], large[:, 2], atol=1e-5)


def test_parallel_branches_fold_into_one_kernel():
    model = shake(SR(SRConfig(2, channels=6, blocks=2, depth=2, branches=True))).double().eval()
    folded, lr = model.folded().double(), torch.rand(1, 3, 9, 11, dtype=torch.float64)
    assert folded.parameter_count == SR(SRConfig(2, channels=6, blocks=2, depth=2)).parameter_count
    assert model.parameter_count > 2 * folded.parameter_count and not folded.config.branches
    with torch.inference_mode():
        assert torch.allclose(model.upscale(lr), folded.upscale(lr), atol=1e-6)
        assert not torch.allclose(model.upscale(lr), model.interpolate(lr), atol=1e-3), "shaken weights must matter"


def test_untrained_sr_is_bicubic():
    lr = torch.rand(1, 3, 9, 11)
    made, wanted = (model.upscale(lr) for model in (SR(SRConfig(3, branches=True)), Bicubic(BicubicConfig(3))))
    assert torch.allclose(made, wanted, atol=1e-6)


def test_a_config_that_cannot_be_is_refused():
    with pytest.raises(UsageError, match="Haar levels"):
        IRNConfig(scale=3)


def test_the_contract_is_abstract():
    for method in ("downscale", "upscale"):
        with pytest.raises(NotImplementedError):
            getattr(RescalingModel(), method)(torch.zeros(1))
