"""The networks, by the name that a weight file gives them."""

from rescale.models.base import Rescaling
from rescale.models.bicubic import Bicubic, BicubicConfig
from rescale.models.espcn import ESPCN, ESPCNConfig
from rescale.models.irn import IRN, IRNConfig

MODELS: dict[str, type[Rescaling]] = {"bicubic": Bicubic, "espcn": ESPCN, "irn": IRN}

__all__ = ["ESPCN", "IRN", "MODELS", "Bicubic", "BicubicConfig", "ESPCNConfig", "IRNConfig", "Rescaling"]
