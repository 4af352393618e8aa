"""The networks, by the name that a weight file gives them."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields
from typing import Any

from pydantic import TypeAdapter, ValidationError

from rescale.errors import UsageError, first_problem
from rescale.models.base import RescalingModel
from rescale.models.bicubic import Bicubic, BicubicConfig
from rescale.models.espcn import ESPCN, ESPCNConfig
from rescale.models.iarn import IARN, IARNConfig
from rescale.models.irn import IRN, IRNConfig
from rescale.models.luma_sr import LumaSR
from rescale.models.sr import SR, SRConfig
from rescale.models.wdsr import WDSR, WDSRConfig

MODELS: dict[str, type[RescalingModel]] = {
    "bicubic": Bicubic, "espcn": ESPCN, "iarn": IARN, "irn": IRN, "sr": SR, "wdsr": WDSR,
}  # fmt: skip

__all__ = [
    "ESPCN",
    "IARN",
    "IRN",
    "MODELS",
    "SR",
    "WDSR",
    "Bicubic",
    "BicubicConfig",
    "ESPCNConfig",
    "IARNConfig",
    "IRNConfig",
    "LumaSR",
    "RescalingModel",
    "SRConfig",
    "WDSRConfig",
    "beyond",
    "build",
]
_MOST = {
    "scale": 16, "blocks": 64, "growth": 256, "depth": 16, "widths": 512, "kernels": 9, "channels": 256, "widen": 16,
    "cell": 8, "latents": 64,
}  # fmt: skip
"""Upper limits, so that no weight file names a network that takes for ever to build; published ones are far below."""


def build(name: str, config: Mapping[str, object]) -> RescalingModel:
    """Build an untrained network from a recipe's or a weight file's config. Raises: UsageError that names the key."""
    if name not in MODELS:
        raise UsageError(f"model: expected one of {', '.join(sorted(MODELS))}, got {name!r}")
    cls = MODELS[name]
    known = [field.name for field in fields(cls.Config)]
    for key in config:
        if key not in known:
            raise UsageError(f"config: expected some of {', '.join(known)}, got {key!r}")
    try:
        made: Any = TypeAdapter(cls.Config).validate_python(config)
        own = {key: value for key, value in asdict(made).items() if value is not None}
        for key, value, most in beyond(own, _MOST):
            raise UsageError(f"config.{key}: expected at most {most}, got {str(value)[:80]}")
        return cls(made)
    except ValidationError as error:
        key, problem = first_problem(error)
        raise UsageError(f"config.{key}: {problem['msg']}, got {problem['input']!r}") from error


def beyond(config: Mapping[str, object], limits: Mapping[str, int]) -> Iterator[tuple[str, object, int]]:
    """Yield key, value and limit of what is more than some numbers up to their limit, or is no number."""
    for key in (key for key in limits if key in config):
        numbers = list(_flat(config[key]))
        if len(numbers) > 16 or any(type(number) is not int or number > limits[key] for number in numbers):
            yield key, config[key], limits[key]


def _flat(value: object) -> Iterator[object]:
    """Yield the numbers of a value, which may hold sequences of sequences."""
    if not isinstance(value, tuple | list):
        yield value
        return
    for part in value:
        yield from _flat(part)
