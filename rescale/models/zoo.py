"""The shipped weights: their manifest, and which of them serves which task by default."""

import re
import tomllib
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path

from pydantic import TypeAdapter

from rescale.errors import UsageError
from rescale.geometry import Geometry

DEFAULT_MODEL = "irn-x4-small"
"""The model where neither a scale nor a record asks for another."""
ANY_SCALE_MODEL = "iarn-small"
"""The default model for scales that no shipped model has as its own."""
BICUBIC = re.compile("bicubic(-x[2-9])?")
"""Ids of the models without weights."""


@dataclass(frozen=True)
class ManifestEntry:
    """A row of the manifest."""

    file: str
    sha256: str
    size_bytes: int
    model: str
    parameters: int
    summary: str
    scores: dict[str, str]
    """Scores by test set, in float32: PSNR in dB / SSIM on Y of restored images, PSNR on RGB; then PSNR of the LR image
    against bicubic, on Y and on RGB."""
    scale: int | None = None
    """HR side / LR side; None where the model serves every scale from 1 to 4."""
    golden: tuple[float, float] | None = None
    """Figures of `selftest.trial`: PSNR in dB of its LR image and of its restored one."""


def weights_folder() -> Path:
    """Return the folder of the shipped weights: inside the installed package, or beside it in a checkout."""
    package = Path(str(resources.files("rescale")))
    packed = package / "weights"
    return packed if packed.is_dir() else package.parent / "weights"


@lru_cache(maxsize=1)
def manifest() -> dict[str, ManifestEntry]:
    """Return the shipped weights by model id."""
    rows = tomllib.loads((weights_folder() / "manifest.toml").read_text(encoding="utf-8"))
    return TypeAdapter(dict[str, ManifestEntry]).validate_python(rows)


def downscaling_model(scale: Geometry) -> str:
    """Return the default model for downscaling by a scale: one with this scale as its own, else one that serves all."""
    shipped = manifest().items()
    made = {(entry.scale, entry.scale): name for name, entry in shipped if name == f"irn-x{entry.scale}-small"}
    return made.get(scale.scales, ANY_SCALE_MODEL)  # type: ignore[arg-type]


def super_resolution_model(scale: float, *, is_photo: bool = False) -> str:
    """Return the default model for super-resolution by a factor: the one of that scale, or of the next larger.

    Args:
        scale: the larger one of both axes.
        is_photo: choose the one for pictures that a lossy codec has touched, where there is one.
    Raises: UsageError above the largest.
    """
    kinds = ["sr-x{}-photo"] * is_photo + ["sr-x{}", "espcn-x{}"]
    made = sorted({entry.scale for entry in manifest().values() if entry.scale})
    for kind in kinds:
        for name in (kind.format(own) for own in made if own >= scale):
            if name in manifest():
                return name
    raise UsageError(f"expected a super-resolution scale of at most {max(made)}, got {scale:g}")


def is_known(model: str) -> bool:
    """Tell whether a record may name the model: an id, never a file, wherever that lies."""
    return model in manifest() or BICUBIC.fullmatch(model) is not None


def stem(model: str) -> str:
    """Return the name of a model in file names: its id, or the stem of its file, or of its repository on the Hub."""
    last = re.split("[/:\\\\]", model)[-1]
    return re.sub(r"\.(safetensors|pth)$", "", last, flags=re.IGNORECASE)


def overfitting_model(scale: int) -> str:
    """Return the model that a video's networks are initialised from: the larger of those that run in real time."""
    larger = f"espcn-x{scale}-mid"
    return larger if larger in manifest() else video_model(scale)


def video_model(scale: float | None) -> str:
    """Return the model that super-resolves video by a factor in real time."""
    made = {e.scale: name for name, e in manifest().items() if e.model == "espcn" and name.endswith("-rt")}
    if scale not in made:
        known = ", ".join(str(known) for known in sorted(filter(None, made)))
        raise UsageError(
            f"expected a scale of {known}, or a small video that says how it was made; got {scale or 'none'}"
        )
    return made[int(scale)]  # type: ignore[arg-type]
