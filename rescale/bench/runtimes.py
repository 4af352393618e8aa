"""The same network in other runtimes: ONNX Runtime, OpenCV, OpenVINO."""

import importlib.util
import io
from collections.abc import Callable

import torch
from torch import Tensor

from rescale.models import ESPCN, IRN, SR, RescalingModel
from rescale.models.export import _KINDS, _quietly, _to_onnx, _Up, _with_onnxruntime


def rivals(model: RescalingModel) -> dict[str, Callable[[Tensor], Tensor]]:
    """Load the network in those other runtimes that are installed, each with as many threads as torch."""
    if not isinstance(model, ESPCN | IRN | SR) or any(not importlib.util.find_spec(name) for name in _KINDS[".onnx"]):
        return {}
    data = _quietly(_to_onnx, _Up(model).eval())
    found = {"ONNX Runtime": _with_onnxruntime(data)}
    if importlib.util.find_spec("cv2") and isinstance(model, ESPCN | SR):  # OpenCV 5 cannot make the zeros of an IRN
        found["OpenCV"] = _with_opencv(data)
    if importlib.util.find_spec("openvino"):
        found["OpenVINO"] = _with_openvino(data)
    return found


def _with_opencv(data: bytes) -> Callable[[Tensor], Tensor]:
    import cv2
    import numpy as np

    cv2.setNumThreads(torch.get_num_threads())
    network = cv2.dnn.readNetFromONNX(np.frombuffer(data, np.uint8))

    def run(x: Tensor) -> Tensor:
        network.setInput(x.numpy())
        return torch.from_numpy(network.forward())

    return run


def _with_openvino(data: bytes) -> Callable[[Tensor], Tensor]:
    import openvino

    asked = {"INFERENCE_NUM_THREADS": torch.get_num_threads(), "PERFORMANCE_HINT": "LATENCY"}
    network = openvino.compile_model(openvino.Core().read_model(io.BytesIO(data)), "CPU", asked)
    return lambda x: torch.from_numpy(network(x.numpy())[0])
