"""Weight files that describe themselves: safetensors with a header that rebuilds the network.

`weights/manifest.toml` is the one place that names the shipped files and their digests. A digest is taken of
the very bytes that are then parsed, before any tensor is built; a pickle is never opened.
"""

import dataclasses
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from rescale.device import isolated
from rescale.errors import RescaleError, UsageError, WeightsError
from rescale.io.storage import publish, read_bytes
from rescale.models import MODELS, Bicubic, BicubicConfig, RescalingModel, build, zoo

_KEY = "rescale"
_MOST_BYTES = 2**30
_MOST_HEADER_BYTES = 2**20


@dataclass(frozen=True)
class Weights:
    """A network with its file's header."""

    name: str
    sha256: str
    model: RescalingModel
    header: dict[str, Any]
    """model, config, and from training: recipe, steps, data (digest), scores."""


@isolated()
def load(name: str | Path) -> Weights:
    """Load a network by its id in the manifest, or from a safetensors file that this package wrote.

    Raises: UsageError for an unknown id; WeightsError where the bytes are not the manifest's or not ours.
    """
    if zoo.BICUBIC.fullmatch(str(name)):
        return _bicubic(str(name))
    entry = zoo.manifest().get(str(name))
    path = zoo.weights_folder() / entry.file if entry else Path(name)
    if not entry and path.suffix != ".safetensors":
        known = ", ".join(zoo.manifest())
        raise UsageError(f"expected a model id ({known}) or a .safetensors file, got {str(name)!r}")
    data = read_bytes(path, max_bytes=_MOST_BYTES)
    sha256 = hashlib.sha256(data).hexdigest()
    if entry and sha256 != entry.sha256:
        raise WeightsError(f"{path.name}: expected SHA-256 {entry.sha256[:16]}…, got {sha256[:16]}…; reinstall rescale")
    header, model = _parse(data, path.name)
    return Weights(str(name) if entry else path.stem, sha256, model, header)


def digest(name: str | Path) -> str | None:
    """Return the SHA-256 of the weights that `load` would take, as they are now; None if it would refuse them."""
    if zoo.BICUBIC.fullmatch(str(name)):
        return _bicubic(str(name)).sha256
    entry = zoo.manifest().get(str(name))
    try:
        return entry.sha256 if entry else hashlib.sha256(read_bytes(Path(name), max_bytes=_MOST_BYTES)).hexdigest()
    except RescaleError:
        return None


def mixed(first: Weights, second: Weights, share: float) -> Weights:
    """Return a network between two of one shape: `share` of the second's weights, the rest of the first's.

    Source of the idea: deep network interpolation (1811.10515), section 3.
    """
    if first.model.config != second.model.config:
        raise UsageError(f"expected networks of one shape, got {first.name} and {second.name}")
    own, other = first.model.state_dict(), second.model.state_dict()
    first.model.load_state_dict({key: own[key].lerp(other[key], share) for key in own})
    name = f"{second.name} at {share:g}"
    return Weights(
        name, hashlib.sha256(f"{first.sha256}{second.sha256}{share!r}".encode()).hexdigest(), first.model, {}
    )


def save(path: Path, model: RescalingModel, **facts: object) -> None:
    """Write a network and the facts about it; the inverse of `load`. Never leaves half a file."""
    name = next(key for key, cls in MODELS.items() if type(model) is cls)
    header = {"format": 1, "model": name, "config": dataclasses.asdict(model.config), **facts}
    tensors = {key: tensor.detach().contiguous() for key, tensor in model.state_dict().items()}
    publish(path, safetensors.torch.save(tensors, {_KEY: json.dumps(header)}), overwrite=True)


def header_text(data: bytes, key: str) -> str:
    """Return the entry of a safetensors file's header under a key.

    Raises: ValueError, KeyError, TypeError or RecursionError where it says nothing, or is longer than headers are:
        read by Python, each byte of it may take ten of memory.
    """
    length = int.from_bytes(data[:8], "little")
    if length > _MOST_HEADER_BYTES:
        raise ValueError("a header of endless length")
    said = json.loads(data[8 : 8 + length])["__metadata__"][key]
    if not isinstance(said, str):
        raise TypeError("no text")
    return said


def _bicubic(name: str) -> Weights:
    """Build the bicubic baseline, which needs no file."""
    scale = int(name[-1]) if name[-1].isdigit() else None
    return Weights(name, hashlib.sha256(name.encode()).hexdigest(), Bicubic(BicubicConfig(scale)), {})


def _parse(data: bytes, name: str) -> tuple[dict[str, Any], RescalingModel]:
    """Return the header and the network that it describes, holding the file's tensors; strict in every respect."""
    try:
        header = json.loads(header_text(data, _KEY))
        tensors = safetensors.torch.load(data)
    except (ValueError, KeyError, TypeError, RecursionError, safetensors.SafetensorError) as error:
        raise WeightsError(f"{name}: expected a safetensors file written by rescale, got something else") from error
    try:
        if header["format"] != 1:
            raise WeightsError(f"{name}: expected weight format 1, got {header['format']}; update rescale")
        with _no_larger_than(tensors):
            model = build(header["model"], header["config"]).float()
        _check_fit(model, tensors)
        model.load_state_dict(tensors)
    except (KeyError, ValueError, TypeError, RuntimeError, RescaleError) as error:
        reason = str(error).splitlines()[0][:200] if str(error) else "nothing more is known"
        raise WeightsError(f"{name}: its header and its tensors do not fit: {reason}") from error
    if not all(torch.isfinite(tensor).all() for tensor in model.state_dict().values()):
        raise WeightsError(f"{name}: expected finite numbers, got NaN or infinity")
    return header, model.eval()


@contextmanager
def _no_larger_than(tensors: dict[str, torch.Tensor]) -> Iterator[None]:
    """Limit memory. Raises: ValueError where a network built meanwhile takes more memory than its file allows.

    That is twice what the file holds, as a layer may be made anew before the network is done.
    """
    left, owner = 2 * sum(tensor.numel() for tensor in tensors.values()), threading.get_ident()

    def count(_module: nn.Module, _name: str, parameter: nn.Parameter | None) -> None:
        nonlocal left
        left -= parameter.numel() if parameter is not None and threading.get_ident() == owner else 0
        if left < 0:
            raise ValueError("the header speaks of a larger network")

    counting = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        counting.remove()


def _check_fit(model: RescalingModel, tensors: dict[str, torch.Tensor]) -> None:
    """Check the tensors. Raises: ValueError for a tensor too many, too few, or of another shape or type."""
    wanted = model.state_dict()
    for key in wanted.keys() ^ tensors.keys():
        raise ValueError(f"{key[:80]} is {'missing' if key in wanted else 'not known'}")
    for key, tensor in tensors.items():
        if (tensor.shape, tensor.dtype) != (wanted[key].shape, wanted[key].dtype):
            raise ValueError(f"{key} is {tensor.dtype} {tuple(tensor.shape)}, not {tuple(wanted[key].shape)}")
