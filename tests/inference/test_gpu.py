"""Coupling blocks as a GPU is to run them: the same results as the plain ones, in any precision, and what they move."""

import copy
import math
from unittest import mock

import pytest
import torch
from conftest import PHOTO, shake
from ledger import CUDA, Ledger, fake_cuda, for_gpu, to_fake

from rescale.inference import optimize
from rescale.inference.gpu import GPUCoupling
from rescale.inference.tiled import TiledRunner
from rescale.io import images
from rescale.metrics import psnr
from rescale.models import weights, zoo
from rescale.models.layers import Coupling
from rescale.ops import luma, quantize

KINDS = [{"padding": "zeros"}, {"padding": "replicate"}, {"padding": "replicate", "flat": True}]
INVERTIBLE = [name for name, entry in zoo.manifest().items() if entry.model in ("irn", "iarn")]


@pytest.mark.parametrize("kind", KINDS)
def test_it_has_the_gradient_of_the_plain_one(kind):
    plain = shake(Coupling((3, 9), growth=8, depth=3, gain=1.0, shared=True, **kind)).eval().requires_grad_(False)
    found = []
    for block in (plain, GPUCoupling(plain, torch.float32)):
        x = torch.linspace(0, 1, 12 * 42).reshape(1, 12, 6, 7).requires_grad_(True)
        block.inverse(block(x).square()).square().sum().backward()
        found.append(x.grad)
    assert torch.allclose(*found, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("name", INVERTIBLE)
def test_float16_costs_a_restored_picture_next_to_nothing(name):
    hr = torch.from_numpy(images.read(PHOTO).pixels[:96, :96].copy()).permute(2, 0, 1)[None].float() / 255
    size = None if weights.load(name).model.scale else (41, 41)

    def restored(dtype: torch.dtype) -> float:
        model = for_gpu(weights.load(name).model, dtype)
        with torch.inference_mode():
            large = model.upscale(quantize(model.downscale(hr, size)), (96, 96))
        return psnr(luma(quantize(large)), luma(hr)).item()

    plain = weights.load(name).model.eval()
    with torch.inference_mode():
        large = plain.upscale(quantize(plain.downscale(hr, size)), (96, 96))
    wanted = psnr(luma(quantize(large)), luma(hr)).item()
    assert restored(torch.float32) > wanted - 0.003
    assert restored(torch.float16) > wanted - 0.02


@pytest.mark.parametrize("name", [name for name in INVERTIBLE if zoo.manifest()[name].model == "irn"])
def test_an_image_of_one_colour_comes_back_in_float16(name):
    model = for_gpu(weights.load(name).model, torch.float16)
    for colour in ((255, 255, 255), (0, 0, 0), (255, 0, 255), (200, 30, 90), (1, 1, 1)):
        page = torch.tensor(colour)[None, :, None, None].expand(1, 3, 16, 16) / 255
        with torch.inference_mode():
            large = quantize(model.upscale(quantize(model.downscale(page))))
        assert (large - page).abs().max() <= 1.01 / 255, colour


def test_what_overflows_is_not_hidden():
    block = GPUCoupling(shake(Coupling((3, 9), growth=8, depth=3, gain=1.0)).eval(), torch.float16)
    x = torch.rand(1, 12, 6, 6)
    with torch.inference_mode():
        assert torch.isfinite(block.inverse(x)).all()
        block.to_detail[0].last[0] = math.inf  # of the scale, of which a tanh makes one
        assert not torch.isfinite(block.inverse(x)).all()


@pytest.mark.parametrize(("name", "most_gb"), [("irn-x4-small", 31), ("irn-x2-small", 22)])
def test_restoring_4k_moves_little_and_waits_for_nothing(name, most_gb):
    model = for_gpu(weights.load(name).model, torch.float16)
    with fake_cuda() as mode, torch.inference_mode():
        to_fake(model, mode)
        with Ledger() as said:
            model.upscale(torch.empty(1, 3, 2160 // model.scale, 3840 // model.scale, device=CUDA))
    assert not (said.waits or said.up or said.down or said.on_host), said
    assert said.traffic_gb < most_gb, str(said)


@pytest.mark.parametrize("verb", ["down", "up"])
def test_a_picture_crosses_once_each_way_as_bytes_in_one_tile(verb):
    runner = TiledRunner(weights.load("irn-x4-small").model.eval().requires_grad_(False), torch.device("cpu"), "auto")
    way = runner.down((2160, 3840), (540, 960)) if verb == "down" else runner.up((540, 960), (2160, 3840))
    runner.fast, runner.device, runner.dtype = for_gpu(copy.deepcopy(runner.model), torch.float16), CUDA, torch.float16
    picture = torch.zeros(1, 3, *way.source, dtype=torch.uint8)
    with fake_cuda() as mode, mock.patch("rescale.device.free_memory", lambda _: 60e9):
        to_fake(runner.fast, mode)
        with Ledger() as said:
            result = runner.run(picture, way, top=255)
    assert (tuple(result.shape), result.dtype, result.device.type) == ((1, 3, *way.size), torch.uint8, "cpu")
    assert len(said.up) == len(said.down) == 1, str(said)
    assert sum(said.waits.values()) == 1, str(said)  # whether all was finite
    assert sum(said.on_host.values()) < 7 * result.numel() + 2 * picture.numel(), str(said)  # pinned, kept, cropped


def test_networks_move_with_their_weights():
    """All of them are parameters or buffers, so that `.to` takes them along."""
    for name in ("irn-x2-small", "espcn-x2-rt"):
        fast = optimize.optimize_for_inference(weights.load(name).model, "float16")
        fast = for_gpu(weights.load(name).model, torch.float16) if name.startswith("irn") else fast
        for module in fast.modules():
            loose = [key for key, value in vars(module).items() if isinstance(value, torch.Tensor)]
            assert not loose, (type(module), loose)
