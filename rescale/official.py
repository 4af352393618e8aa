"""IRN's published checkpoints -> our network: the same numbers under our names."""

import hashlib
import re
from pathlib import Path

import torch
from torch import Tensor

from rescale import pickles, weights
from rescale.errors import InputError, RefusedError, UsageError
from rescale.images import read_bytes
from rescale.layers import Haar
from rescale.models.irn import IRN, IRNConfig

# ours <- theirs: F is the sub-network of the low band, H makes the scale and G the shift of the detail.
_NETS = {"to_low": "F", "to_detail.0": "H", "to_detail.1": "G"}


def take_over(path: Path, target: Path, *, overwrite: bool = False) -> IRN:
    """Write the network of a `.pth` file as weights of ours, whose header names the file and its digest.

    Raises: InputError as `read`; UsageError and RefusedError for a target that cannot or must not be written.
    """
    if target.suffix != ".safetensors":
        raise UsageError(f"expected a .safetensors file to write, got {target}")
    if target.exists() and not overwrite:
        raise RefusedError(f"{target} exists; pass --overwrite to replace it")
    model = read(path)
    digest = hashlib.sha256(read_bytes(path, max_bytes=pickles.MOST_BYTES)).hexdigest()
    weights.save(target, model, origin={"name": path.name, "sha256": digest}, scores={})
    return model


def read(path: Path) -> IRN:
    """The network of a `.pth` file of the IRN repository: x2, x4 or x8.

    Its shape is read off the tensors. Names and layout: pkuxmq/Invertible-Image-Rescaling, `Inv_arch.py` and
    `Subnet_constructor.py`.

    Raises: InputError where the file is no checkpoint, or one of another network (x3, colour, compression).
    """
    tensors = {name.removeprefix("module."): tensor.float() for name, tensor in pickles.read(path).items()}
    try:
        return translated(tensors)
    except (KeyError, IndexError, RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[-1].strip().strip("\"'")
        raise InputError(f"{path.name}: expected an IRN of Haar levels and couplings; at odds: {reason}") from error


def translated(theirs: dict[str, Tensor]) -> IRN:
    """A state dictionary with the official names -> our network; every tensor must find its place."""
    model = IRN(_config(theirs))
    ours = {name: theirs.pop(_their_name(name)) for name in model.state_dict()}
    for index, step in enumerate(model.chain.steps):
        if isinstance(step, Haar):
            _check_haar(theirs.pop(f"operations.{index}.haar_weights"))
    if theirs:
        raise KeyError(f"{next(iter(theirs))}, which our network has not")
    model.load_state_dict(ours)
    return model.eval()


def _config(theirs: dict[str, Tensor]) -> IRNConfig:
    """How many blocks stand after each Haar, and how wide they are."""
    kinds = {int(key.split(".")[1]): key.endswith("haar_weights") for key in theirs if key.startswith("operations.")}
    word = "".join("h" if kinds[index] else "b" for index in range(len(kinds)))
    if not re.fullmatch("(hb+)+", word):
        raise ValueError(f"its steps are {word or 'none'}")
    blocks = tuple(len(run) for run in word.split("h")[1:])
    depth = len({key.split(".")[3] for key in theirs if key.startswith("operations.1.F.")})
    return IRNConfig(2 ** len(blocks), blocks, len(theirs["operations.1.F.conv1.weight"]), depth)


def _their_name(ours: str) -> str:
    """chain.steps.3.to_detail.1.convs.0.weight -> operations.3.G.conv1.weight"""
    match = re.fullmatch(r"chain\.steps\.(\d+)\.(.+)\.convs\.(\d+)\.(weight|bias)", ours)
    assert match
    step, net, conv, kind = match.groups()
    return f"operations.{step}.{_NETS[net]}.conv{int(conv) + 1}.{kind}"


def _check_haar(weights: Tensor) -> None:
    """Theirs are stored, ours are constants: they must be the same."""
    signs = torch.tensor([[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]], dtype=torch.float32)
    if not torch.equal(weights.reshape(-1, 4), signs.repeat(len(weights) // 4, 1)):
        raise ValueError("haar_weights, which are not those of Haar")
