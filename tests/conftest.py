"""What several test files need: a real photograph, the shared pictures, and weights that are shaken."""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import waiting
from hypothesis import HealthCheck, settings
from torch import nn

from rescale import cli

settings.register_profile(
    "house", deadline=None, max_examples=25, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("house")

ROOT = Path(__file__).parent.parent
PHOTO = ROOT / "demo" / "photo.png"
SHARED = Path(os.environ.get("RESCALE_SHARED", ROOT.parent / "shared"))


def pytest_configure() -> None:
    """The one moment at which stderr is known and not yet pytest's."""
    waiting.told_to = os.dup(2)


def shared(path: str) -> Path:
    """A folder of the shared test material, or a skip that says what is missing."""
    found = SHARED / path
    if not found.exists():
        pytest.skip(f"{path} is not at hand; set RESCALE_SHARED to the folder that holds it")
    return found


def shake(module: nn.Module, amount: float = 0.05) -> nn.Module:
    """Random weights all over: untrained, our networks are the identity and hide a broken inverse."""
    generator = torch.Generator().manual_seed(7)
    for parameter in module.parameters():
        parameter.data += amount * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
    return module


@pytest.fixture
def noise() -> Callable[..., np.ndarray]:
    """Make arrays of random levels: noise(height, width, channels) -> uint8."""
    rng = np.random.default_rng(3)

    def make(*shape: int, dtype: type = np.uint8) -> np.ndarray:
        return rng.integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)

    return make


@pytest.fixture
def call(monkeypatch, capsys):
    """Run the real entry point in this process: call("down", "photo.png") -> exit code, stdout, stderr."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}  # `main` replaces them

    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["rescale", *map(str, words)])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        return caught.value.code or 0, said.out, said.err

    yield run
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Small tensors on one core: quicker, and the same everywhere."""
    torch.set_num_threads(1)
