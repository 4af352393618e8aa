"""A CUDA device that is not there, and a ledger of what would be launched, moved and waited for on it.

`FakeTensorMode` takes device="cuda" without a GPU, and refuses operators whose tensors lie on two devices. `Ledger`
above it counts: an operator reads its inputs and writes its outputs once, a convolution copies what is not contiguous,
and a copy between host and device waits unless it is `non_blocking`.
"""

import collections
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from rescale.inference.gpu import GPUCoupling
from rescale.models.layers import Coupling
from rescale.ops import resample
from rescale.ops.oversample import interpolation_matrix, reconstruction_matrix

CUDA = torch.device("cuda")
_VIEWS = """view _unsafe_view reshape permute transpose t slice select split split_with_sizes expand unsqueeze squeeze
detach alias as_strided chunk unbind narrow unfold lift_fresh empty empty_like empty_strided new_empty new_empty_strided
diagonal device layout size stride is_floating_point movedim mT numpy_T unflatten flatten expand_as view_as"""
FREE = set(_VIEWS.split())
"""Operators that launch nothing."""
COPIES = {"_to_copy", "copy_", "to"}
SAME = {"_to_copy", "to", "contiguous"}
"""Operators that may return what they were given."""
WRITES = {"copy_", "fill_", "zero_"}
"""Operators that do not read what they write to; nor do those with an `out`."""
ASKS = {"_local_scalar_dense", "is_nonzero", "item", "equal"}
"""Operators whose result the host needs, so that it waits."""


@contextmanager
def fake_cuda() -> Iterator[FakeTensorMode]:
    """Compute on fake tensors; what was kept of them is forgotten at the end."""
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    try:
        with mode:
            torch.empty(2, 2, device=CUDA)[:1].to(torch.float16)
            torch.empty(1, pin_memory=True)
    except (RuntimeError, AssertionError) as error:
        pytest.skip(f"this build of PyTorch fakes no CUDA device: {error}")
    try:
        with mode, mock.patch("torch.cuda.Event"), mock.patch("torch.cuda.current_stream"):
            yield mode
    finally:
        for kept in (resample._bands, interpolation_matrix, reconstruction_matrix):
            kept.cache_clear()


def for_gpu(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """The network that a GPU would be given, on the CPU."""
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if isinstance(child, Coupling):
                setattr(parent, name, GPUCoupling(child, dtype))
    return model.eval().requires_grad_(False)


def to_fake(thing: Any, mode: FakeTensorMode) -> Any:
    """Move the parameters and buffers of a module to the device that is not there, in place, as `.to` would."""
    for module in thing.modules():
        for own in (module._parameters, module._buffers):
            own.update({name: _faked(x, mode) for name, x in own.items() if x is not None})
    return thing


def _faked(x: Tensor, mode: FakeTensorMode) -> Tensor:
    with mode:
        made = torch.empty_strided(x.shape, x.stride(), dtype=x.dtype, device=CUDA)
    return nn.Parameter(made, x.requires_grad) if isinstance(x, nn.Parameter) else made


class Ledger(TorchDispatchMode):
    """Counts of what a path does on a fake CUDA device; a convolution's bias is not seen."""

    def __init__(self) -> None:
        super().__init__()
        self.kernels, self.bytes, self.waits, self.on_host = (collections.Counter[str]() for _ in range(4))
        self.up: list[str] = []
        """Places of copies to the device."""
        self.down: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name, kwargs = func._schema.name.split("::")[1], kwargs or {}
        ins = tensors_in((args, kwargs))
        if name in ASKS and any(isinstance(x, FakeTensor) for x in ins):
            self.waits.update([f"{name} {place()}"] if ins[0].is_cuda else [])
            return 1.0 if name == "_local_scalar_dense" and ins[0].dtype != torch.bool else True  # all is finite
        out = func(*args, **kwargs)
        outs = tensors_in(out)
        if name in FREE or (name in SAME and any(o is i for o in outs for i in ins)):
            return out
        if "out" in kwargs or name in WRITES:
            ins = [x for x in ins if not any(x is o for o in outs)]
        waits = not (kwargs.get("non_blocking") or (name == "copy_" and args[2:3] == (True,)))
        self._book(name, ins, outs, waits=waits)
        return out

    def _book(self, name: str, ins: list[Tensor], outs: list[Tensor], *, waits: bool) -> None:
        kinds = {x.device.type for x in ins + outs}
        if name in COPIES and len(kinds) == 2:
            (self.up if outs[0].is_cuda else self.down).append(place())
            if waits:
                self.waits[f"copy {place()}"] += 1
        elif "cuda" in kinds:
            self.kernels[name] += 1
            self.bytes[name] += bytes_of([x for x in ins + outs if x.is_cuda])
            if "conv" in name and not is_dense(ins[0]):
                self.bytes[name] += 2 * bytes_of(ins[:1])
        else:
            self.on_host[f"{name} {place()}"] += bytes_of(ins + outs)

    @property
    def traffic_gb(self) -> float:
        """Bytes read and written in the device's memory."""
        return sum(self.bytes.values()) / 1e9

    def __str__(self) -> str:
        most = ", ".join(
            f"{count} {name} {self.bytes[name] / 1e9:.2f} GB" for name, count in self.kernels.most_common(8)
        )
        moved = f"{sum(self.kernels.values())} kernels, {self.traffic_gb:.2f} GB: {most}"
        return f"{moved}; waits {dict(self.waits)}; up {self.up}; down {self.down}; on the host {dict(self.on_host)}"


def tensors_in(tree: object) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def bytes_of(tensors: list[Tensor]) -> int:
    return sum(x.numel() * x.element_size() for x in tensors)


def is_dense(x: Tensor) -> bool:
    return x.is_contiguous() or x.is_contiguous(memory_format=torch.channels_last)


def place() -> str:
    """The line of the package that called an operator."""
    for frame in reversed(traceback.extract_stack()):
        if "/rescale/" in frame.filename and "site-packages" not in frame.filename:
            return f"{frame.filename.rsplit('/rescale/', 1)[1]}:{frame.lineno}"
    return "?"
