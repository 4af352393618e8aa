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
    """By test set, in float32: PSNR in dB / SSIM on Y of restored pictures, PSNR on RGB; then PSNR of the LR against
    bicubic, on Y and on RGB."""
    scale: int | None = None
    """None where it serves every scale from 1 to 4."""
    golden: tuple[float, float] | None = None
    """What `golden.trial` found: PSNR in dB of its small picture and of its restored one."""


def weights_folder() -> Path:
    """Where the shipped weights lie: inside the installed package, or beside it in a checkout."""
    package = Path(str(resources.files("rescale")))
    packed = package / "weights"
    return packed if packed.is_dir() else package.parent / "weights"


@lru_cache(maxsize=1)
def manifest() -> dict[str, ManifestEntry]:
    """The shipped weights by model id."""
    rows = tomllib.loads((weights_folder() / "manifest.toml").read_text(encoding="utf-8"))
    return TypeAdapter(dict[str, ManifestEntry]).validate_python(rows)


def downscaling_model(scale: Geometry) -> str:
    """The model for pictures made small by a scale: one that has just this as its own, else one that serves all."""
    made = {(entry.scale, entry.scale): name for name, entry in manifest().items() if entry.model == "irn"}
    return made.get(scale.scales, "iarn-small")  # type: ignore[arg-type]


def super_resolution_model(scale: float | None) -> str:
    """The model for super-resolution by a factor."""
    shipped = manifest().items()
    made = {e.scale or 0: name for name, e in shipped if name == f"espcn-x{e.scale}"}
    if scale is None or scale not in made:
        known = ", ".join(map(str, sorted(made))) or "a model that comes with the package (there is none)"
        raise UsageError(f"expected a super-resolution scale of {known}, got {scale:g}")
    return made[int(scale)]


def is_known(model: str) -> bool:
    """Whether a record may name it: never a file, wherever that lies."""
    return model in manifest() or re.fullmatch(r"bicubic(-x[2-9])?", model) is not None


def overfitting_model(scale: int) -> str:
    """What the networks of a video begin as: the larger of those that enlarge in real time."""
    larger = f"espcn-x{scale}-mid"
    return larger if larger in manifest() else video_model(scale)


def video_model(scale: float | None) -> str:
    """The model that enlarges video by a factor in real time."""
    made = {e.scale: name for name, e in manifest().items() if e.model == "espcn" and name.endswith("-rt")}
    if scale not in made:
        known = ", ".join(str(known) for known in sorted(filter(None, made)))
        raise UsageError(
            f"expected a scale of {known}, or a small video that says how it was made; got {scale or 'none'}"
        )
    return made[int(scale)]  # type: ignore[arg-type]
