"""Weight files that describe themselves: safetensors with a header that rebuilds the network; and those of others.

`weights/manifest.toml` is the one place that names the shipped files and their digests. A digest is taken of
the very bytes that are then parsed, before any tensor is built; a pickle is never run.
"""

import dataclasses
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from rescale.device import isolated
from rescale.errors import RefusedError, RescaleError, UsageError, WeightsError
from rescale.io.storage import publish, read_bytes
from rescale.models import MODELS, Bicubic, BicubicConfig, RescalingModel, build, foreign, hub, unpickle, zoo

_KEY = "rescale"
_SUFFIXES = (".safetensors", ".pth")
_LICENCE = ("license", "licence", "modelspec.license")
"""Keys under which files of others state their licence, in small letters."""
_MOST_BYTES = 2**30
_MOST_HEADER_BYTES = 2**20


@dataclass(frozen=True)
class Weights:
    """A network with its file's header."""

    name: str
    sha256: str
    model: RescalingModel
    header: dict[str, Any]
    """model, config, and from training: recipe, steps, data (digest), scores; of a foreign network its licence."""

    @property
    def notes(self) -> tuple[str, ...]:
        """Facts that its user should know: where a file of another author is from, and its licence where it says so."""
        notes = []
        if origin := self.header.get("hub"):
            notes += [f"{self.name} is revision {origin['revision']} of {origin['id']}, SHA-256 {self.sha256}"]
        if licence := self.header.get("licence"):
            notes += [f"the licence of {self.name} is {licence}"]
        return tuple(notes)

    def facts(self) -> dict[str, Any]:
        """Describe the network, as `rescale models` shows a file."""
        config = self.model.config
        ours = {
            "purpose": "SR" if self.model.super_resolves else "Rescaling",
            "architecture": self.header.get("model"),
        }
        theirs = dataclasses.asdict(config) if isinstance(config, foreign.ForeignConfig) else {}
        known = {"name": self.name, "scale": self.model.scale, "channels": 3, "tags": (), "tiling": "supported"}
        return {
            **known, **(theirs or ours), "parameters": self.model.parameter_count,
            "licence": self.header.get("licence"), "sha256": self.sha256,
        }  # fmt: skip


@isolated()
def load(name: str | Path) -> Weights:
    """Load a network by its id in the manifest, from a safetensors file that this package wrote, or a community model.

    Safetensors without a header of ours, and `.pth` files, are such models and need spandrel; see `foreign`. Either may
    lie on the Hugging Face Hub (hf:owner/name), see `hub`.

    Raises: UsageError for an unknown id; WeightsError where the bytes are not the manifest's or no network is known for
        them; InputError for a `.pth` file that holds more than tensors; RefusedError for TorchScript; MachineError
        where spandrel is missing, or the Hub.
    """
    if zoo.BICUBIC.fullmatch(str(name)):
        return _bicubic(str(name))
    entry = zoo.manifest().get(str(name))
    origin = hub.fetch(str(name)) if str(name).startswith(hub.PREFIX) else None
    path = zoo.weights_folder() / entry.file if entry else origin.path if origin else Path(name)
    if not entry and path.suffix.lower() not in _SUFFIXES:
        raise _unknown(str(name))
    data = read_bytes(path, max_bytes=_MOST_BYTES)
    sha256 = hashlib.sha256(data).hexdigest()
    if entry and sha256 != entry.sha256:
        raise WeightsError(f"{path.name}: expected SHA-256 {entry.sha256[:16]}…, got {sha256[:16]}…; reinstall rescale")
    header, model = _read(data, path)
    if origin:
        header = {"licence": origin.licence} | _known(header) | {"hub": {"id": str(name), "revision": origin.revision}}
        return Weights(origin.name, sha256, model, header)
    return Weights(str(name) if entry else path.stem, sha256, model, header)


def digest(name: str | Path) -> str | None:
    """Return the SHA-256 of the weights that `load` would take, as they are now; None if it would refuse them.

    Nothing is fetched: of the Hub's models, what is in the cache counts.
    """
    if zoo.BICUBIC.fullmatch(str(name)):
        return _bicubic(str(name)).sha256
    entry = zoo.manifest().get(str(name))
    try:
        path = hub.cached(str(name)).path if str(name).startswith(hub.PREFIX) else Path(name)
        return entry.sha256 if entry else hashlib.sha256(read_bytes(path, max_bytes=_MOST_BYTES)).hexdigest()
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
    name = next((key for key, cls in MODELS.items() if type(model) is cls), None)
    if name is None:
        raise UsageError(f"expected a network of rescale to write, got {type(model).__name__}")
    header = {"format": 1, "model": name, "config": dataclasses.asdict(model.config), **facts}
    tensors = {key: tensor.detach().contiguous() for key, tensor in model.state_dict().items()}
    publish(path, safetensors.torch.save(tensors, {_KEY: json.dumps(header)}), overwrite=True)


def header_text(data: bytes, key: str) -> str:
    """Return the entry of a safetensors file's header under a key. Raises: KeyError, or an error of `header_texts`."""
    return header_texts(data)[key]


def header_texts(data: bytes) -> dict[str, str]:
    """Return what a safetensors file's header says beside the tensors.

    Raises: ValueError, TypeError or RecursionError where it is damaged, or longer than headers are: read by Python,
        each byte of it may take ten of memory.
    """
    length = int.from_bytes(data[:8], "little")
    if length > _MOST_HEADER_BYTES:
        raise ValueError("a header of endless length")
    said = dict(json.loads(data[8 : 8 + length]).get("__metadata__", {}))
    if not all(isinstance(text, str) for text in said.values()):
        raise TypeError("no text")
    return said


def _bicubic(name: str) -> Weights:
    """Build the bicubic baseline, which needs no file."""
    scale = int(name[-1]) if name[-1].isdigit() else None
    return Weights(name, hashlib.sha256(name.encode()).hexdigest(), Bicubic(BicubicConfig(scale)), {})


def _unknown(name: str) -> RescaleError:
    if name.lower().endswith(".pt"):
        return RefusedError(f"{name}: expected .safetensors or .pth, as TorchScript's .pt holds a program to run")
    known = ", ".join(zoo.manifest())
    return UsageError(f"expected a model id ({known}), a .safetensors or a .pth file, got {name!r}")


def _read(data: bytes, path: Path) -> tuple[dict[str, Any], RescalingModel]:
    """Return the header of a file of ours or of another author, and its network."""
    if path.suffix.lower() == ".pth":
        return _foreign({}, unpickle.parse(data, path.name, nested=True), path.name)
    try:
        said = header_texts(data)
        header = json.loads(said[_KEY]) if _KEY in said else None
        tensors = safetensors.torch.load(data)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, safetensors.SafetensorError) as error:
        raise WeightsError(
            f"{path.name}: expected a safetensors file, written by rescale or of another network, got something else"
        ) from error
    return _parse(header, tensors, path.name) if _KEY in said else _foreign(said, tensors, path.name)


def _foreign(
    said: dict[str, str], tensors: dict[str, torch.Tensor], name: str
) -> tuple[dict[str, Any], RescalingModel]:
    """Return what a foreign network's file says of itself, and the network."""
    _check_finite(tensors, name)
    model = foreign.network(tensors, name, partial(_no_larger_than, dict(tensors)))
    licences = [text[:200] for key, text in said.items() if key.lower() in _LICENCE]
    return {"model": model.config.architecture, "licence": licences[0] if licences else None}, model


def _known(header: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in header.items() if value is not None}


def _parse(header: Any, tensors: dict[str, torch.Tensor], name: str) -> tuple[dict[str, Any], RescalingModel]:
    """Return the header and the network that it describes, holding the file's tensors; strict in every respect."""
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
    _check_finite(tensors, name)
    return header, model.eval()


def _check_finite(tensors: dict[str, torch.Tensor], name: str) -> None:
    if not all(torch.isfinite(tensor).all() for tensor in tensors.values()):
        raise WeightsError(f"{name}: expected finite numbers, got NaN or infinity")


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
            raise ValueError("the network would be larger than its tensors")

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
