"""Exact float32 on CUDA, and changes of basis and size there without a wait."""

import threading

import pytest
import torch
from ledger import CUDA, Ledger, fake_cuda, to_fake

from rescale import ops
from rescale.device import full_float32
from rescale.models.iarn import _code
from rescale.models.layers import DCT, BicubicUpsample, Haar
from rescale.ops.oversample import OversampledGrid
from rescale.ops.resample import phased, resample


def settings() -> tuple[str, str, str]:
    backends = torch.backends
    return tuple(part.fp32_precision for part in (backends.cudnn.conv, backends.cudnn.rnn, backends.cuda.matmul))


def test_products_of_float32_are_exact_inside_and_as_before_outside():
    before = settings()
    assert before[0] == "tf32"  # PyTorch's own default, which is why this is here
    with full_float32():
        assert settings() == ("ieee",) * 3
        with full_float32():
            pass
        assert settings() == ("ieee",) * 3
        assert not torch.backends.cudnn.allow_tf32  # the older name may still be asked for
    assert settings() == before
    with pytest.raises(KeyError), full_float32():
        raise KeyError
    assert settings() == before


def test_threads_share_the_settings_until_the_last_one_leaves():
    before, inside, leave = settings(), threading.Event(), threading.Event()

    def other() -> None:
        with full_float32():
            inside.set()
            leave.wait()

    thread = threading.Thread(target=other)
    thread.start()
    inside.wait()
    with full_float32():
        pass
    assert settings() == ("ieee",) * 3
    leave.set()
    thread.join()
    assert settings() == before


def test_a_cpu_keeps_its_settings():
    before = settings()
    with ops.full_precision(torch.zeros(1)):
        assert settings() == before


@pytest.mark.parametrize(
    "function",
    [
        Haar(3), DCT(3, 4), BicubicUpsample(2), lambda x: resample(x, (20, 90)),
        lambda x: phased(x, 96, -2, before=0.0, after=0.25),
    ],
)  # fmt: skip
def test_changes_of_basis_and_size_are_exact_on_cuda(function):
    seen, x = [], torch.rand(1, 3, 48, 64)
    function(x)  # tables are made for real

    class Watch(Ledger):
        def _book(self, name, ins, outs, *, waits):
            seen.extend([settings()] * (name in ("conv2d", "convolution", "mm", "bmm", "matmul")))

    with fake_cuda() as mode:
        function = to_fake(function, mode) if isinstance(function, torch.nn.Module) else function
        with Watch():
            function(torch.empty(x.shape, device=CUDA))
    assert seen
    assert set(seen) == {("ieee",) * 3}


def test_tables_are_copied_to_a_device_once_and_nothing_waits():
    grids, x = OversampledGrid((300, 400), (150, 170)), torch.rand(1, 3, 300, 400)

    def there_and_back(x):
        y = grids.interpolate(x, grids.all_small)
        return ops.from_ycbcr(ops.to_ycbcr(grids.reconstruct(y, grids.all_full))), _code(grids, x)

    there_and_back(x)
    with fake_cuda(), torch.inference_mode():
        x = torch.empty(x.shape, device=CUDA)
        with Ledger() as first:
            there_and_back(x)
        with Ledger() as second:
            there_and_back(x)
    assert first.up
    assert not (second.up or second.down or second.waits or second.on_host), second


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_offsets_of_ycbcr_are_the_same_numbers(dtype):
    zero = torch.zeros(1, 3, 1, 1, dtype=dtype)
    assert torch.equal(ops.to_ycbcr(zero).flatten(), zero.new_tensor([16.0, 128.0, 128.0]) / 255)
