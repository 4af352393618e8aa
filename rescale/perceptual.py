"""LPIPS by the package of that name: how different two pictures look to a network that was taught by people."""

import contextlib
import warnings
from collections.abc import Callable, Iterator
from typing import Literal

import torch
from torch import Tensor

from rescale.errors import EnvironmentFault

Trunk = Literal["alex", "vgg"]


def lpips(trunk: Trunk, *, device: str | torch.device = "cpu") -> Callable[[Tensor, Tensor], Tensor]:
    """The distance, ready to use: two batches (N, 3, H, W) of RGB in [0, 1] -> (N,), 0 for equal pictures.

    The linear layers come with the package. The trunk, learned on ImageNet, is fetched once into torch's hub folder
    (`TORCH_HOME`), with a progress bar; a file that already lies there is taken as it is.

    Args:
        trunk: "alex", which the authors advise for comparing, or "vgg".
        device: where to run.
    Raises: EnvironmentFault where the package is missing, or the trunk and the network to fetch it.
    Source: Zhang et al., "The unreasonable effectiveness of deep features as a perceptual metric", 2018.
    """
    network = _load(trunk).to(device)

    def distance(a: Tensor, b: Tensor) -> Tensor:
        with torch.inference_mode():
            return network(a.to(device), b.to(device), normalize=True).flatten().cpu()

    return distance


def _load(trunk: Trunk) -> torch.nn.Module:
    with _patience():
        try:
            import lpips as package
        except ImportError as error:
            raise EnvironmentFault("LPIPS needs two more packages: pip install 'rescale[lpips]'") from error
        try:
            return package.LPIPS(net=trunk, verbose=False)
        except OSError as error:  # urllib's are among them
            raise EnvironmentFault(f"LPIPS ({trunk}) could not fetch its trunk into {_folder()}: {error}") from error
        except Exception as error:  # whatever reading a damaged file of weights leads to
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise EnvironmentFault(f"LPIPS ({trunk}) has a damaged trunk in {_folder()}: {reason}") from error


def _folder() -> str:
    return f"{torch.hub.get_dir()}/checkpoints"


@contextlib.contextmanager
def _patience() -> Iterator[None]:
    """The package is of 2021: it warns of words that torchvision has since replaced."""
    _operators()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _operators() -> None:
    """A torchvision built for another build of torch lacks its own operators and will not even be imported.

    LPIPS needs none of them, so those that the import asks for are declared, and stay without a body.
    """
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        for name in ("nms", "qnms"):
            with contextlib.suppress(RuntimeError):  # this one is there
                torch.library.define(f"torchvision::{name}", "(Tensor boxes, Tensor scores, float limit) -> Tensor")
    except ImportError:
        pass
