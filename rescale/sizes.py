"""Which sizes go with which: of a picture and of its small one, for a model of one scale or of many."""

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral

from rescale.cells import MOST, Grids
from rescale.errors import UsageError
from rescale.geometry import Geometry, Size

Scale = float | Sequence[float] | str | Geometry
"""2.7, or (1.5, 2.5) of height and width, or the words of `rescale down --scale`."""


@dataclass(frozen=True)
class Sizes:
    """What a model serves; every method raises UsageError for what it does not."""

    name: str
    """Of the model, for the errors."""
    scale: int | None
    """Its own; None if it serves all from 1 to 4."""

    def check(self, scale: Scale) -> Geometry:
        """What was asked for, in one form, if it can be served for some picture."""
        geometry = Geometry.of(scale)
        if geometry.scales and self.scale and geometry.scales != (self.scale, self.scale):
            raise UsageError(f"{self.name} works at x{self.scale}, got {geometry}; `rescale models` lists the others")
        if geometry.scales and not self.scale and max(geometry.scales) > MOST:
            raise UsageError(
                f"{self.name} serves scales up to {MOST} along each axis, got {geometry}; beyond, a restored picture "
                "would be mostly invention"
            )
        return geometry

    def small(self, full: Size, scale: Scale | None = None, size: Size | None = None) -> Size:
        """Of the small picture of one of `full`, by a scale, a size, or the model's own scale."""
        if scale is None and size is None and self.scale is None:
            raise UsageError(f"{self.name} serves every scale from 1 to {MOST}, and needs to be given one")
        if scale is None:
            made = self._own(full) if self.scale or size is None else checked(size)
        else:
            made = self.check(scale).small_size(full)
        if size is not None and checked(size) != made:
            asked = f"size {by(size)}" if scale is None else f"size {by(size)} as well as {scale!r}"
            raise UsageError(f"{self.name} makes {by(made)} of this picture, got {asked}")
        if self.scale and made != self._own(full):
            raise UsageError(f"{self.name} makes {by(self._own(full))} of {by(full)}, got {by(made)}")
        return made if self.scale else self._served(full, made)

    def full(self, small: Size, scale: Scale | None = None, size: Size | None = None) -> Size:
        """Of the large picture of one of `small`."""
        if size is not None:
            if not self.fit(checked(size), small):
                at = f"x{self.scale}" if self.scale else f"scales from 1 to {MOST}"
                raise UsageError(f"{by(small)} is no small picture of {by(size)} at {at}")
            if scale is not None and self.small(size, scale) != small:
                raise UsageError(f"expected a scale or a size, got {scale!r} and {by(size)}, which do not agree")
            return checked(size)
        if scale is None and self.scale is None:
            raise UsageError(
                f"{self.name} serves every scale from 1 to {MOST}, and needs to be given a size or a scale"
            )
        scales = self.check(scale if scale is not None else float(self.scale or 0)).scales
        if scales is None:
            raise UsageError(f"expected a scale to enlarge by, got {scale!r}")
        return round(small[0] * scales[0]), round(small[1] * scales[1])

    def fit(self, full: Size, small: Size) -> bool:
        """Whether the model makes so small a picture of one so large."""
        if self.scale:
            return self._own(full) == small
        return all(near <= far <= MOST * near for near, far in zip(small, full, strict=True))

    def _own(self, full: Size) -> Size:
        """Rounded up, so that the small picture covers the original."""
        assert self.scale
        return -(-full[0] // self.scale), -(-full[1] // self.scale)

    def _served(self, full: Size, small: Size) -> Size:
        try:
            return Grids(full, small).size
        except UsageError as error:
            raise UsageError(f"{self.name} serves scales from 1 to {MOST} along each axis; {error}") from error


def checked(size: Size) -> Size:
    """A size that a caller gave. Raises: UsageError for what is none."""
    if not isinstance(size, tuple | list) or len(size) != 2 or not all(isinstance(n, Integral) and n > 0 for n in size):
        raise UsageError(f"expected a size of (height, width) in whole pixels, got {size!r}")
    return int(size[0]), int(size[1])


def by(size: Size) -> str:
    """As a user says it, width first."""
    return f"{size[1]}x{size[0]}"
