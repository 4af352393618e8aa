"""Export of super-resolving networks to ONNX and torch.export: each file is loaded again and compared."""

import importlib.util
import io
import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.export import Dim

from rescale.errors import MachineError, RescaleError, UsageError
from rescale.io.storage import publish
from rescale.models import ESPCN, IRN, RescalingModel

TOLERANCE = 1e-3
"""Largest difference of a sample in [0, 1] between another runtime and the model, on noise; a quarter of a level."""
_EXAMPLE, _CHECKED = (2, 3, 24, 32), (1, 3, 37, 53)
_KINDS = {".onnx": ("onnx", "onnxscript", "onnxruntime"), ".pt2": ()}


def export(model: RescalingModel, target: Path, *, overwrite: bool = False) -> float:
    """Export the upscaling half: lr (N, 3, h, w) in [0, 1] -> hr (N, 3, scale·h, scale·w) in [0, 1].

    Sides from 3 up; where a model works on cells of pixels (espcn-x2-rt), multiples of a cell.

    Args:
        model: an ESPCN or an IRN, on the CPU.
        target: .onnx, or .pt2 for torch.export.
        overwrite: replace an existing file.
    Returns: the largest difference of a sample between the written file and the model, on noise of another size.
    Raises: UsageError for another model or suffix; MachineError where a package is missing; RescaleError if the
        written file differs by more than `TOLERANCE`, and nothing is left then.
    """
    if not isinstance(model, ESPCN | IRN):
        raise UsageError("expected a model of one scale with a network, such as espcn-x2 or irn-x4-small, to export")
    if target.suffix not in _KINDS:
        raise UsageError(f"expected a target that ends in .onnx or .pt2, got {target}")
    missing = [name for name in _KINDS[target.suffix] if not importlib.util.find_spec(name)]
    if missing:
        raise MachineError(f"{target.suffix[1:]} needs {', '.join(missing)}: pip install 'rescale[export]'")
    up = _Up(model).eval()
    data = _quietly(_to_onnx if target.suffix == ".onnx" else _to_pt2, up)
    batch, channels, *sides = _CHECKED
    sides = [side // model.cell * model.cell for side in sides]
    x = torch.rand(batch, channels, *sides, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        apart = (_run(data, target.suffix, x) - up(x)).abs().max().item()
    if not apart <= TOLERANCE:
        raise RescaleError(f"{target}: what was exported differs by {apart:.2g} from the model; nothing was written")
    publish(target, data, overwrite=overwrite)
    return apart


class _Up(nn.Module):
    """The upscaling half of a model, clamped, as an exporter expects it."""

    def __init__(self, model: RescalingModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, lr: Tensor) -> Tensor:
        return self.model.upscale(lr).clamp(0, 1)


def _captured(up: "_Up") -> torch.export.ExportedProgram:
    cell = up.model.cell
    least = -(-3 // cell)
    sides = {0: Dim("batch", min=1)} | {k: cell * Dim(name, min=least) for k, name in ((2, "height"), (3, "width"))}
    return torch.export.export(up, (torch.rand(_EXAMPLE),), dynamic_shapes={"lr": sides})


def _to_pt2(up: _Up) -> bytes:
    out = io.BytesIO()
    torch.export.save(_captured(up), out)
    return out.getvalue()


def _to_onnx(up: _Up) -> bytes:
    program = torch.onnx.export(_captured(up), input_names=["lr"], output_names=["hr"], dynamo=True, verbose=False)
    assert program is not None
    return cast(bytes, program.model_proto.SerializeToString())


def _with_onnxruntime(data: bytes) -> Callable[[Tensor], Tensor]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    return lambda x: torch.from_numpy(session.run(None, {"lr": x.numpy()})[0])


def _run(data: bytes, suffix: str, x: Tensor) -> Tensor:
    """Run the exported bytes on an image."""
    if suffix == ".pt2":
        return cast(Tensor, torch.export.load(io.BytesIO(data)).module()(x))
    return _with_onnxruntime(data)(x)


def _quietly(work: Callable[[_Up], bytes], up: _Up) -> bytes:
    """Run an exporter with its own log messages and warnings silenced."""
    loggers: list[Any] = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir", "torch.export")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return work(up)
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
