"""LPIPS by the package of that name: a perceptual distance, learned from human judgements."""

import contextlib
import importlib.util
import math
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from rescale.errors import MachineError

_LEAST = 32
Trunk = Literal["alex", "vgg"]
_FILES = {"alex": "alexnet", "vgg": "vgg16"}
"""Names of the trunks' files in torchvision."""


def lpips(trunk: Trunk, *, device: str | torch.device = "cpu") -> Callable[[Tensor, Tensor], Tensor]:
    """Load the distance: two batches (N, 3, H, W) of RGB in [0, 1] -> (N,), 0 for equal images.

    Not a number for sides under 32 pixels, of which the trunks see nothing.

    The linear layers come with the package. The trunk, learned on ImageNet, is fetched once into torch's hub folder
    (`TORCH_HOME`), with a progress bar; a file that already lies there is taken as it is.

    Args:
        trunk: "alex", which the authors advise for comparing, or "vgg".
        device: device to run on.
    Raises: MachineError where the package is missing, or the trunk and the network to fetch it.
    Source: Zhang et al., "The unreasonable effectiveness of deep features as a perceptual metric", 2018.
    """
    network = _load(trunk).to(device)

    def distance(a: Tensor, b: Tensor) -> Tensor:
        if min(a.shape[-2:]) < _LEAST:
            return torch.full((len(a),), math.nan)
        with torch.inference_mode():
            return network(a.to(device), b.to(device), normalize=True).flatten().cpu()

    return distance


def vgg19_features(device: str | torch.device = "cpu") -> Callable[[Tensor], Tensor]:
    """Load VGG-19's fifth block, before the last activation: (N, 3, H, W) in [0, 1] -> (N, 512, h, w).

    The weights, learned on ImageNet, are torchvision's and are fetched as those of `lpips` are.

    Raises: MachineError where torchvision is missing, or the weights and the network to fetch them.
    """
    with _patience(), _fetching("VGG-19"):
        import torchvision

        trunk = torchvision.models.vgg19(weights="IMAGENET1K_V1")
    layers = trunk.features[:35].to(device).eval().requires_grad_(False)
    mean, std = (torch.tensor(v, device=device)[:, None, None] for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    return lambda x: layers((x - mean) / std)


def is_at_hand(trunk: Trunk) -> bool:
    """Tell whether the package is installed and the trunk need not be fetched."""
    kept = any(Path(_folder()).glob(f"{_FILES[trunk]}-*.pth"))
    return kept and all(importlib.util.find_spec(name) for name in ("lpips", "torchvision"))


def _load(trunk: Trunk) -> torch.nn.Module:
    with _patience(), _fetching(f"LPIPS ({trunk})"):
        import lpips as package

        return package.LPIPS(net=trunk, verbose=False)


@contextlib.contextmanager
def _fetching(what: str) -> Iterator[None]:
    """Turn every failure to fetch a trunk into a MachineError of one sentence."""
    try:
        with contextlib.redirect_stdout(sys.stderr):  # where torch says that it downloads
            yield
    except ImportError as error:
        raise MachineError(f"{what} needs two more packages: pip install 'rescale[lpips]'") from error
    except OSError as error:  # urllib's are among them
        raise MachineError(f"{what} could not fetch its trunk into {_folder()}: {error}") from error
    except Exception as error:  # whatever reading a damaged file of weights leads to
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise MachineError(f"{what} has a damaged trunk in {_folder()}: {reason}") from error


def _folder() -> str:
    return f"{torch.hub.get_dir()}/checkpoints"


@contextlib.contextmanager
def _patience() -> Iterator[None]:
    """Silence the package's deprecation warnings: it is of 2021 and uses names that torchvision has since replaced."""
    _operators()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _operators() -> None:
    """Declare the operators that torchvision lacks if built for another build of torch, and cannot be imported without.

    LPIPS calls none of them, so those that the import asks for stay without a body.
    """
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        for name in ("nms", "qnms"):
            with contextlib.suppress(RuntimeError):  # this one is there
                torch.library.define(f"torchvision::{name}", "(Tensor boxes, Tensor scores, float limit) -> Tensor")
    except ImportError:
        pass
