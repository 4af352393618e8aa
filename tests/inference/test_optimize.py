"""The engine: the same results as the plain network, whoever asks and however often."""

import itertools
import math

import numpy as np
import pytest
import torch
from conftest import PHOTO, shake
from hypothesis import given
from hypothesis import strategies as st

import rescale
from rescale.errors import RescaleError, UsageError
from rescale.inference import files
from rescale.inference.gpu import GPUCoupling
from rescale.inference.optimize import FastConv, FastCoupling, FastDense, optimize_for_inference
from rescale.io import images
from rescale.metrics import psnr
from rescale.models import zoo
from rescale.models.layers import Coupling, Dense
from rescale.ops import luma, quantize

SHIPPED = [(name, entry.scale) for name, entry in zoo.manifest().items() if entry.scale] + [
    ("iarn-small", scale) for scale in (1.3, 2, 2.3, 4)
]


def photo(height: int = 192, width: int = 240) -> np.ndarray:
    return images.read(PHOTO).pixels[:height, :width]


@pytest.mark.parametrize("engine", [FastCoupling, GPUCoupling])
@given(
    low=st.integers(1, 9),
    detail=st.integers(1, 20),
    growth=st.integers(1, 17),
    depth=st.integers(1, 6),
    shared=st.booleans(),
    code=st.sampled_from([0, 3]),
    kind=st.sampled_from([{"padding": "zeros"}, {"padding": "replicate"}, {"padding": "replicate", "flat": True}]),
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
)
def test_a_fast_coupling_is_the_plain_one(engine, low, detail, growth, depth, shared, code, kind, size):
    if depth == 1:
        code = 0  # there is no hidden convolution whose bias could move
    how = {"growth": growth, "depth": depth, "gain": 1.0, "shared": shared, "code": code} | kind
    plain = shake(Coupling((low, detail), **how)).eval()
    fast = engine(plain, torch.float32)
    x, said = torch.rand(2, low + detail, *size), torch.rand(code) if code else None
    with torch.inference_mode():
        y = plain(x, said)
        assert torch.allclose(fast(x, said), y, atol=1e-4, rtol=1e-4)
        assert torch.allclose(fast.inverse(y, said), x, atol=1e-3, rtol=1e-3)


FLAT = [name for name, entry in zoo.manifest().items() if entry.model == "irn"]
"""Networks that keep images of one colour by construction."""
COLOURS = [
    (255, 255, 255), (0, 0, 0), (255, 0, 255), (0, 255, 0), (255, 0, 0), (0, 0, 255), (128, 128, 128), (254, 254, 254),
    (1, 1, 1), (200, 30, 90), (255, 255, 0),
]  # fmt: skip


@pytest.mark.parametrize("name", FLAT)
@pytest.mark.parametrize("precision", ["auto", "float32", "bfloat16", "float16"])
def test_an_image_of_one_colour_comes_back_in_any_precision(name, precision):
    """But for a level where sums are rounded; kernels that no longer summed to zero made 251 of white."""
    off = 0 if precision == "float32" else 1
    model = rescale.load(name, device="cpu", precision=precision)
    for colour in COLOURS:
        for side in (1, 2, 5, 16, 47):
            page = np.broadcast_to(np.array(colour, np.uint8), (side, side, 3)).copy()
            small = model.downscale(page)
            large = model.upscale(small)[:side, :side]
            assert np.abs(small.astype(int) - page[0, 0]).max() <= off, (colour, side)
            assert np.abs(large.astype(int) - page).max() <= off, (colour, side)


@pytest.mark.parametrize("out", [3, 9])
def test_what_is_wanted_exactly_is_more_exact_than_bfloat16(out):
    """By results so far from zero that their own rounding counts most."""
    plain = shake(Dense(6, out, growth=16, depth=4, gain=1.0)).eval()
    plain.convs[-1].bias.data.fill_(9.0)
    x = torch.rand(1, 6, 20, 24)
    with torch.inference_mode():
        wanted = plain(x)
        rough, exact = (
            (FastDense(plain, torch.bfloat16, exact=exact)(x) - wanted).abs().mean() for exact in (False, True)
        )
    assert exact < rough / 2


def test_the_network_itself_stays_as_it_is():
    model = rescale.load("irn-x2-small", device="cpu").model
    before = {key: value.clone() for key, value in model.state_dict().items()}
    assert optimize_for_inference(model) is not model
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert any(isinstance(module, Coupling) for module in model.modules())


def test_other_precisions_are_refused():
    with pytest.raises(UsageError, match="auto, float32, float16, bfloat16, got 'float8'"):
        rescale.load("irn-x2-small", device="cpu", precision="float8")


@pytest.mark.parametrize(("name", "scale"), SHIPPED)
def test_bfloat16_costs_a_restored_picture_almost_nothing(name, scale):
    """Declared by `bfloat16_from`; where float32 is taken instead, there is nothing to lose."""
    hr = torch.from_numpy(photo().copy()).permute(2, 0, 1)[None].float() / 255
    wide, narrow = (rescale.load(name, device="cpu", precision=p) for p in ("float32", "bfloat16"))
    given = {} if wide.scale else {"scale": scale}

    def restored(model):
        made = quantize(model.upscale(model.downscale(hr, **given), size=tuple(hr.shape[-2:])))
        return psnr(luma(made), luma(hr)).item()

    assert restored(narrow) > restored(wide) - (0.04 if name.startswith("espcn") else 0.02)


@pytest.mark.parametrize("name", ["irn-x2-small", "irn-x4-small", "iarn-small", "espcn-x3"])
def test_the_same_bytes_for_any_number_of_threads_and_any_neighbours(name):
    model, given = rescale.load(name, device="cpu"), {"scale": 2.7} if name == "iarn-small" else {}
    image, other = (np.ascontiguousarray(p) for p in (photo(96, 120), photo(192, 240)[96:, 120:]))
    first = None
    threads = torch.get_num_threads()
    try:
        for count in (1, 2, 1, 2, 2):
            torch.set_num_threads(count)
            small = model.downscale(image, **given)
            made = small, model.upscale(small, size=image.shape[:2])
            first = first or made
            assert all((a == b).all() for a, b in zip(made, first, strict=True))
    finally:
        torch.set_num_threads(threads)
    batch = torch.from_numpy(np.stack([other, image])).permute(0, 3, 1, 2).float() / 255
    alone, together = model.downscale(batch[1:], **given), model.downscale(batch, **given)
    assert torch.equal(alone[0], together[1])


@pytest.mark.parametrize(
    ("name", "poison"),
    [
        *itertools.product(["irn-x2-small", "irn-x4-small", "iarn-small"], [math.nan, math.inf]),
        ("espcn-x2", math.nan),  # its tanh makes one of infinity
    ],
)
def test_poisoned_numbers_are_noticed_wherever_they_come_up(name, poison, tmp_path):
    """The bar: seeded places, in any convolution. What does not reach the result, as the last detail, does no harm."""
    model, draw = rescale.load(name, device="cpu"), torch.Generator().manual_seed(5)
    stages = [module for module in model.runner.fast.modules() if isinstance(module, FastDense | FastConv)]
    files.downscale_file(model, PHOTO, tmp_path / "clean.png", scale=2.7 if name == "iarn-small" else None)
    image, clean = photo(48, 64), images.read(tmp_path / "clean.png").pixels
    noticed = 0

    def spoil(_module, _inputs, made):
        made[tuple(int(torch.randint(side, (1,), generator=draw)) for side in made.shape)] = poison

    for _ in range(6):
        handle = stages[torch.randint(len(stages), (1,), generator=draw)].register_forward_hook(spoil)
        target = tmp_path / "small.png"
        try:
            if name == "espcn-x2":
                model.upscale(image)
            else:
                files.downscale_file(model, PHOTO, target, scale=2.7 if name == "iarn-small" else None)
        except RescaleError as error:
            assert "not finite" in str(error) and not target.exists()
            noticed += 1
        else:
            assert (images.read(target).pixels == clean).all()
            target.unlink()
        finally:
            handle.remove()
    assert noticed >= 4


def test_what_overflows_float16_is_made_in_float32():
    model, image = rescale.load("irn-x4-small", device="cpu", precision="float16"), photo(48, 64)
    expected = rescale.load("irn-x4-small", device="cpu", precision="float32").downscale(image)
    close = model.downscale(image)
    assert np.abs(close.astype(int) - expected).max() <= 1
    for module in model.runner.fast.modules():
        if isinstance(module, FastDense):
            module.register_forward_hook(lambda _module, _inputs, made: made.fill_(math.inf))
    assert (model.downscale(image) == expected).all()


@pytest.mark.parametrize(("name", "scale"), SHIPPED)
def test_float16_costs_next_to_nothing(name, scale):
    image = photo(96, 96)

    def restored(precision: str) -> float:
        model = rescale.load(name, device="cpu", precision=precision)
        large = model.upscale(model.downscale(image, scale=scale), size=image.shape[:2])
        x, y = (luma(torch.from_numpy(p.copy()).permute(2, 0, 1)[None] / 255) for p in (image, large))
        return psnr(y, x).item()

    assert restored("float16") > restored("float32") - 0.02
