"""What all tables of a recipe have in common: keys that are checked, and values that stay."""

from pydantic import BaseModel, ConfigDict


class Table(BaseModel):
    """A table of a recipe: unknown keys, other types and numbers that are not finite are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def check_order(least: float, most: float) -> None:
    """Check the ends of a range. Raises: ValueError, which names both, where the least is above the most."""
    if least > most:
        raise ValueError(f"least must not be above most, got {least:g} and {most:g}")
