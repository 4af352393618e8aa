"""A rescaler amid what programs do: other threads and processes, settings of torch, gradients."""

import copy
import multiprocessing
import os
import pickle
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from conftest import PHOTO
from PIL import Image

import rescale
from rescale.errors import UsageError

MODELS = {"irn-x2-small": None, "iarn-small": 2.5, "bicubic": 1.5, "espcn-x2": None}


@contextmanager
def default_dtype():
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@contextmanager
def default_device():
    torch.set_default_device("meta")
    try:
        yield
    finally:
        torch.set_default_device(None)


SETTINGS = {
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "default device": default_device,
    "default dtype": default_dtype,
    "device as a context": lambda: torch.device("meta"),
    "inference mode": torch.inference_mode,
    "no gradients": torch.no_grad,
}


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return np.asarray(Image.open(PHOTO).convert("RGB").crop((60, 50, 109, 87)))


def there_and_back(rescaler: rescale.Rescaler, image: np.ndarray, refine: int | None = None) -> list[np.ndarray]:
    """Small and large, from levels and from floats."""
    scale, size = MODELS[rescaler.name], image.shape[:2]
    x = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8).reshape(image.shape).permute(2, 0, 1)
    made = []
    for given in (image, x.to(torch.float32) / 255):
        small = rescaler.downscale(given, scale=scale, refine=refine)
        made += [small, rescaler.upscale(small, size=size)]
    return [np.asarray(part) for part in made]


def assert_same(a: list[np.ndarray], b: list[np.ndarray]) -> None:
    for one, other in zip(a, b, strict=True):
        assert one.dtype == other.dtype and np.array_equal(one, other)


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("name", MODELS)
def test_no_setting_of_torch_changes_a_byte(name, setting, image):
    refine = None if name == "bicubic" else 2
    rescaler = rescale.load(name, device="cpu")
    expected = there_and_back(rescaler, image, refine)
    with SETTINGS[setting]():
        loaded_here = rescale.load(name, device="cpu")
        assert_same(there_and_back(rescaler, image, refine), expected)
        assert_same(there_and_back(loaded_here, image, refine), expected)
    assert_same(there_and_back(loaded_here, image, refine), expected)


def test_a_tensor_of_inference_mode_is_refined_too(image):
    rescaler = rescale.load("irn-x2-small", device="cpu")
    x = torch.from_numpy(image.copy()).permute(2, 0, 1) / 255
    with torch.inference_mode():
        small = rescaler.downscale(x.clone(), refine=2)
    assert torch.equal(small, rescaler.downscale(x, refine="2"))


def test_the_settings_are_the_callers_again_afterwards(image):
    rescaler = rescale.load("irn-x2-small", device="cpu")
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad(), torch.device("meta"):
        rescaler.downscale(image)
        assert torch.is_autocast_enabled("cpu") and not torch.is_grad_enabled() and torch.empty(1).is_meta


# ------------------------------------------------------------------------------------------- copies and processes


def test_it_says_what_it_is():
    rescaler = rescale.load("irn-x2-small", device="cpu", precision="float32")
    assert repr(rescaler) == "Rescaler('irn-x2-small', device='cpu', precision='float32')"


@pytest.mark.parametrize("copied", [lambda r: pickle.loads(pickle.dumps(r)), copy.copy, copy.deepcopy])
@pytest.mark.parametrize("name", MODELS)
def test_copies_make_the_same(name, copied, image):
    rescaler = rescale.load(name, device="cpu", precision="float32")
    other = copied(rescaler)
    assert repr(other) == repr(rescaler) and other.digest == rescaler.digest
    assert other.model is not rescaler.model
    assert_same(there_and_back(other, image), there_and_back(rescaler, image))


def test_another_device():
    rescaler = rescale.load("irn-x2-small", device="cpu")
    assert rescaler.to("cpu") is rescaler
    moved = rescaler.to("meta")  # the one device beside the CPU that every machine has
    assert moved.device.type == next(moved.model.parameters()).device.type == "meta" and rescaler.device.type == "cpu"
    with pytest.raises(UsageError, match="expected a device that this machine has"):
        rescaler.to("cuda:77")


def test_a_spawned_process_makes_the_same(image):
    rescaler = rescale.load("irn-x2-small", device="cpu", precision="float32")
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        there = pool.submit(there_and_back, rescaler, image).result()
    assert_same(there, there_and_back(rescaler, image))


def test_threads_make_the_same(image):
    rescaler = rescale.load("irn-x2-small", device="cpu")
    expected = there_and_back(rescaler, image, 2)
    with ThreadPoolExecutor(4) as pool:
        for made in pool.map(lambda _: there_and_back(rescaler, image, 2), range(8)):
            assert_same(made, expected)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a fork is no way to start a process")
def test_a_forked_process_says_what_to_do_and_then_does_it(image):
    rescaler = rescale.load("irn-x2-small", device="cpu")
    torch.set_num_threads(2)
    expected, (reads, writes) = rescaler.downscale(image), os.pipe()
    if (child := os.fork()) == 0:
        try:
            rescaler.downscale(image)
        except UsageError as error:
            os.write(writes, str(error).encode() + b"\n")
        torch.set_num_threads(1)
        os.write(writes, str(np.array_equal(rescaler.downscale(image), expected)).encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writes)
    with os.fdopen(reads) as said:
        refused, done = said.read().splitlines()
    assert "torch.set_num_threads(1)" in refused and done == "True"


# ------------------------------------------------------------------------------------------- gradients


def test_no_gradient_is_lost_in_silence(image):
    rescaler = rescale.load("irn-x2-small", device="cpu")
    x = (torch.from_numpy(image.copy()).permute(2, 0, 1) / 255).requires_grad_()
    with pytest.raises(UsageError, match=r"rescaler.model.downscale.*rescale.quantize.*rescaler.model.upscale"):
        rescaler.downscale(x)
    with pytest.raises(UsageError, match=r"rescaler.model.requires_grad_\(True\)"):
        rescaler.upscale(x)
    with torch.no_grad():
        assert not rescaler.upscale(rescaler.downscale(x, refine=1)).requires_grad
    assert torch.equal(rescaler.downscale(x.detach()), rescaler.to("cpu").downscale(x.detach()))
