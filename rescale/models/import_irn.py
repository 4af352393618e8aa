"""Import IRN's published checkpoints as our network: the same numbers under our names."""

import hashlib
import itertools
import re
from pathlib import Path

import torch
from torch import Tensor

from rescale.errors import InputError, RefusedError, UsageError
from rescale.io.storage import read_bytes
from rescale.models import unpickle, weights
from rescale.models.irn import IRN, IRNConfig

_MOST_BYTES = 2**30
# ours <- theirs: F is the sub-network of the low band, H makes the scale and G the shift of the detail.
_NETS = {"to_low": "F", "to_detail.0": "H", "to_detail.1": "G"}


def import_checkpoint(path: Path, target: Path, *, overwrite: bool = False) -> IRN:
    """Write the network of a `.pth` file as weights of ours, whose header names the file and its digest.

    Args:
        path: a checkpoint of the IRN repository: x2, x4 or x8.
        target: a .safetensors file.
        overwrite: replace an existing one.
    Raises: InputError where the file is no checkpoint, or one of another network (x3, colour, compression);
        UsageError and RefusedError for a target that cannot or must not be written.
    """
    if target.suffix != ".safetensors":
        raise UsageError(f"expected a .safetensors file to write, got {target}")
    if target.exists() and not overwrite:
        raise RefusedError(f"{target} exists", hint="pass overwrite=True to replace it")
    data = read_bytes(path, max_bytes=_MOST_BYTES)
    model = network(data, path.name)
    weights.save(target, model, origin={"name": path.name, "sha256": hashlib.sha256(data).hexdigest()}, scores={})
    return model


def network(data: bytes, name: str) -> IRN:
    """Build the network of a checkpoint; its shape is read off the tensors.

    Names and layout: pkuxmq/Invertible-Image-Rescaling, `Inv_arch.py` and `Subnet_constructor.py`.

    Raises: InputError where it is no checkpoint, or one of another network.
    """
    tensors = {key.removeprefix("module."): tensor.float() for key, tensor in unpickle.parse(data, name).items()}
    try:
        return translate(tensors)
    except (LookupError, RuntimeError, ValueError, TypeError) as error:
        reason = str(error).splitlines()[-1].strip().strip("\"'")
        raise InputError(f"{name}: expected an IRN of Haar levels and couplings; at odds: {reason}") from error


def translate(theirs: dict[str, Tensor]) -> IRN:
    """Convert a state dictionary with the official names to our network; every tensor must find its place."""
    config = _config(theirs)
    with torch.device("meta"):  # shapes first: only what fits is given memory
        shapes = {name: tensor.shape for name, tensor in IRN(config).state_dict().items()}
    ours = {name: theirs.pop(_their_name(name)) for name in shapes}
    for index in [0, *itertools.accumulate(level.before + 1 for level in config.levels)][:-1]:
        _check_haar(theirs.pop(f"operations.{index}.haar_weights"))
    if theirs:
        raise KeyError(f"{next(iter(theirs))}, which our network has not")
    for name, tensor in ours.items():
        if tensor.shape != shapes[name]:
            raise ValueError(f"{_their_name(name)} of {tuple(tensor.shape)} instead of {tuple(shapes[name])}")
        if not tensor.isfinite().all():
            raise ValueError(f"{_their_name(name)}, which holds NaN or infinity")
    model = IRN(config)
    model.load_state_dict(ours)
    return model.eval()


def _config(theirs: dict[str, Tensor]) -> IRNConfig:
    """Return the number of blocks after each Haar, and their width."""
    kinds = {int(key.split(".")[1]): key.endswith("haar_weights") for key in theirs if key.startswith("operations.")}
    word = "".join("h" if kinds[index] else "b" for index in range(len(kinds)))
    if not re.fullmatch("(hb{1,64}){1,3}", word):
        raise ValueError(f"its steps are {word[:80] or 'none'}")
    blocks = tuple(len(run) for run in word.split("h")[1:])
    depth = len({key.split(".")[3] for key in theirs if key.startswith("operations.1.F.")})
    growth = theirs["operations.1.F.conv1.bias"].numel()
    return IRNConfig(2 ** len(blocks), blocks, growth, depth)


def _their_name(ours: str) -> str:
    """Translate a name: chain.steps.3.to_detail.1.convs.0.weight -> operations.3.G.conv1.weight."""
    match = re.fullmatch(r"chain\.steps\.(\d+)\.(.+)\.convs\.(\d+)\.(weight|bias)", ours)
    assert match
    step, net, conv, kind = match.groups()
    return f"operations.{step}.{_NETS[net]}.conv{int(conv) + 1}.{kind}"


def _check_haar(weights: Tensor) -> None:
    """Check that the checkpoint's stored Haar kernels equal our constants."""
    signs = torch.tensor([[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]], dtype=torch.float32)
    if not torch.equal(weights.reshape(-1, 4), signs.repeat(len(weights) // 4, 1)):
        raise ValueError("haar_weights, which are not those of Haar")
