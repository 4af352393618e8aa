"""Scales and sizes in the notation of a user: `2.7`, `x4`, `1.5x2.5`, `50%`, `800x600`, `800x`, `x600`."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, Literal, Self

from rescale.errors import UsageError

Size = tuple[int, int]
"""Height and width."""
MAX_SCALE = 4
"""Samples to each LR pixel along an axis, and the largest scale."""
_FORMS = "expected a scale (2.7, x4, 1.5x2.5, 50%) or a size (800x600, 800x, x600; with !, > or <)"
_NUMBER = r"[0-9]{1,9}(?:\.[0-9]{1,9})?|\.[0-9]{1,9}"
_FEW = 16
"""Largest whole numbers that are read as scales: 4x4, x4, 4x; above, they are a size: 800x600, x600, 800x."""


@dataclass(frozen=True)
class Geometry:
    """Scales or a size, as ImageMagick's `-resize` takes them; width before height, as in all that a user types.

    A size keeps the image's proportions and fits into the box, unless `!` asks for exactly that size. `>` leaves
    images alone that fit already, `<` those that do not.
    """

    width: float | None
    height: float | None
    unit: Literal["scale", "pixels"]
    flag: Literal["", "!", ">", "<"] = ""

    @classmethod
    def of(cls, asked: "str | float | Sequence[float] | Geometry") -> Self:
        """Parse words, a scale, or two scales (of the height, of the width). Raises: UsageError."""
        if isinstance(asked, cls):
            return asked
        if isinstance(asked, str):
            return cls._parse(asked.strip())
        pair: Any = (asked, asked) if isinstance(asked, Real) else asked
        if not isinstance(pair, Sequence) or len(pair) != 2 or not all(_is_number(v) for v in pair):
            raise UsageError(f"expected a scale or two (of height and width), got {asked!r}")
        return cls._scales(pair[1], pair[0], repr(asked))

    @classmethod
    def _parse(cls, text: str) -> Self:
        if match := re.fullmatch(rf"({_NUMBER})(%?)", text):
            scale = _inverse(match[1], text) if match[2] else float(match[1])
            return cls._scales(scale, scale, text)
        if scales := _as_printed(text):
            return cls._scales(*scales, text)
        match = re.fullmatch(rf"({_NUMBER})?(%?)[xX×]({_NUMBER})?(%?)([!<>]?)", text)
        if not match or not (match[1] or match[3]):
            raise UsageError(f"{_FORMS}, got {text!r}")
        width, height, flag = match[1], match[3], match[5]
        if match[2] or match[4]:
            if not (width and height and match[4]) or flag:
                raise UsageError(f"{_FORMS}, got {text!r}")
            return cls._scales(_inverse(width, text), _inverse(height, text), text)
        if width and height and not flag and ("." in text or max(float(width), float(height)) <= _FEW):
            return cls._scales(float(width), float(height), text)
        if "." in text or (flag == "!" and not (width and height)):
            raise UsageError(f"{_FORMS}, got {text!r}")
        sides = [int(side) if side else None for side in (width, height)]
        if 0 in sides:
            raise UsageError(f"expected sides of at least one pixel, got {text!r}")
        return cls(sides[0], sides[1], "pixels", flag)  # type: ignore[arg-type]

    @classmethod
    def _scales(cls, width: float, height: float, text: str) -> Self:
        if not all(1 <= scale < 1e9 for scale in (width, height)):
            raise UsageError(f"expected scales of at least 1, by which a small picture is smaller, got {text:.40}")
        return cls(float(width), float(height), "scale")

    @property
    def scales(self) -> tuple[float, float] | None:
        """The scales of height and width, or None where they depend on the image."""
        return (self.height, self.width) if self.unit == "scale" else None  # type: ignore[return-value]

    def small_size(self, full: Size) -> Size:
        """Return the LR (height, width) for an HR size `full`; rounded up by a scale, so that it covers the original.

        Raises: UsageError where that would be larger than the image.
        """
        if self.unit == "scale":
            return _shrunk(full[0], self.height), _shrunk(full[1], self.width)  # type: ignore[arg-type]
        fits = full[1] <= (self.width or math.inf) and full[0] <= (self.height or math.inf)
        if (self.flag == ">" and fits) or (self.flag == "<" and not fits):
            return full
        size = self._box(full)
        if size[0] > full[0] or size[1] > full[1]:
            raise UsageError(
                f"expected a size within the picture's own {full[1]}x{full[0]}, as downscaling makes it smaller, "
                f"got {size[1]}x{size[0]}"
            )
        return size

    def large_size(self, small: Size) -> Size:
        """Return the (height, width) that a picture of size `small` is enlarged to; the opposite of `small_size`.

        Raises: UsageError where that would be smaller than the picture.
        """
        if self.unit == "scale":
            return round(small[0] * self.height), round(small[1] * self.width)  # type: ignore[operator]
        if self.flag == ">":
            raise UsageError(f"expected a size to enlarge to, got {self}> which only makes smaller")
        sides = [limit / side for limit, side in ((self.height, small[0]), (self.width, small[1])) if limit]
        if self.flag == "<" and min(sides) < 1:
            return small
        by = min(sides)
        size = self._box(small) if self.flag == "!" else (round(small[0] * by), round(small[1] * by))
        if size[0] < small[0] or size[1] < small[1]:
            raise UsageError(
                f"expected a size of at least the picture's own {small[1]}x{small[0]}, as upscaling makes it larger, "
                f"got {size[1]}x{size[0]}; downscaling makes it smaller"
            )
        return size

    def _box(self, full: Size) -> Size:
        if self.flag == "!":
            return int(self.height or 0), int(self.width or 0)
        by = max(side / limit for limit, side in ((self.height, full[0]), (self.width, full[1])) if limit)
        return _shrunk(full[0], by), _shrunk(full[1], by)

    def __str__(self) -> str:
        """Format for the names of files: x2.7, x1.5x2.5, 800x600."""
        if self.unit == "scale":
            return f"x{self.width:.6g}" if self.width == self.height else f"x{self.width:.6g}x{self.height:.6g}"
        return f"{self.width or ''}x{self.height or ''}"


def _as_printed(text: str) -> tuple[float, float] | None:
    """Read scales as names of models and results spell them: x4, x2.7, x1.5x2.5; or 4x. No side is as short as that."""
    both = re.fullmatch(rf"[xX×]({_NUMBER})[xX×]({_NUMBER})", text)
    one = re.fullmatch(rf"[xX×]({_NUMBER})|({_NUMBER})[xX×]", text)
    if both:
        return float(both[1]), float(both[2])
    scale = float(one[1] or one[2]) if one else math.inf
    return (scale, scale) if 0 < scale <= _FEW else None


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _inverse(percent: str, text: str) -> float:
    if not float(percent):
        raise UsageError(f"expected more than 0%, got {text!r}")
    return 100 / float(percent)


def _shrunk(length: int, scale: float) -> int:
    """Divide a length by a scale, rounded up, with tolerance for the rounding of the scale itself."""
    return max(math.ceil(length / scale - 1e-6), 1)


def enlargement(text: str) -> "float | Geometry":
    """Parse what to enlarge by or to: 2, x2.5 or 2x as a number; 1.5x2, 1920x, x1080, 1920x1080! as a geometry."""
    asked = Geometry.of(text)
    if "%" in text:
        raise UsageError(f"expected a scale to enlarge by, such as 2, or a size, such as 1920x, got {text!r}")
    return asked.scales[0] if asked.scales and asked.scales[0] == asked.scales[1] else asked


Scale = float | Sequence[float] | str | Geometry
"""2.7, or (1.5, 2.5) of height and width, or words, see `Geometry`."""


@dataclass(frozen=True)
class Sizes:
    """The sizes that a model serves; every method raises UsageError for others."""

    name: str
    """Name of the model, for error messages."""
    scale: int | None
    """The model's own scale; None if it serves all from 1 to 4."""

    def check(self, scale: Scale) -> Geometry:
        """Return the requested scale in one form, if it can be served for some image."""
        geometry = Geometry.of(scale)
        if geometry.scales and self.scale and geometry.scales != (self.scale, self.scale):
            raise UsageError(f"{self.name} works at x{self.scale}, got {geometry}", hint="other models serve others")
        if geometry.scales and not self.scale and max(geometry.scales) > MAX_SCALE:
            raise UsageError(
                f"{self.name} serves scales up to {MAX_SCALE} along each axis, got {geometry}; beyond, a restored "
                "picture would be mostly invention"
            )
        return geometry

    def small(self, full: Size, scale: Scale | None = None, size: Size | None = None) -> Size:
        """Return the LR size for an HR size `full`, by a scale, a size, or the model's own scale."""
        if scale is None and size is None and self.scale is None:
            raise UsageError(f"{self.name} serves every scale from 1 to {MAX_SCALE}, and needs to be given one")
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
        """Return the HR size for an LR size `small`."""
        if size is not None:
            if not self.fit(checked(size), small):
                at = f"x{self.scale}" if self.scale else f"scales from 1 to {MAX_SCALE}"
                raise UsageError(f"{by(small)} is no small picture of {by(size)} at {at}")
            if scale is not None and self.small(size, scale) != small:
                raise UsageError(f"expected a scale or a size, got {scale!r} and {by(size)}, which do not agree")
            return checked(size)
        if scale is None and self.scale is None:
            raise UsageError(
                f"{self.name} serves every scale from 1 to {MAX_SCALE}, and needs to be given a size or a scale"
            )
        scales = self.check(scale if scale is not None else float(self.scale or 0)).scales
        if scales is None:
            raise UsageError(f"expected a scale to enlarge by, got {scale!r}")
        return round(small[0] * scales[0]), round(small[1] * scales[1])

    def fit(self, full: Size, small: Size) -> bool:
        """Tell whether the model downscales from the HR size to the LR size."""
        if self.scale:
            return self._own(full) == small
        return all(near <= far <= MAX_SCALE * near for near, far in zip(small, full, strict=True))

    def _own(self, full: Size) -> Size:
        """Return the LR size by the model's own scale, rounded up, so that the LR image covers the original."""
        assert self.scale
        return -(-full[0] // self.scale), -(-full[1] // self.scale)

    def _served(self, full: Size, small: Size) -> Size:
        try:
            check_scales(full, small)
        except UsageError as error:
            raise UsageError(f"{self.name} serves scales from 1 to {MAX_SCALE} along each axis; {error}") from error
        return small


def check_scales(full: Size, small: Size) -> None:
    """Check a pair of sizes. Raises: UsageError unless LR is 1 to 1/MAX_SCALE of HR along each axis."""
    if not all(0 < near <= far <= MAX_SCALE * near for far, near in zip(full, small, strict=True)):
        raise UsageError(
            f"expected a small picture of 1 to 1/{MAX_SCALE} the width and height, got {by(small)} for {by(full)}"
        )


def checked(size: Size) -> Size:
    """Check a size that a caller gave, and return it. Raises: UsageError where it is none."""
    if not isinstance(size, tuple | list) or len(size) != 2 or not all(isinstance(n, Integral) and n > 0 for n in size):
        raise UsageError(f"expected a size of (height, width) in whole pixels, got {size!r}")
    return int(size[0]), int(size[1])


def by(size: Size) -> str:
    """Format a size for a user, width first."""
    return f"{size[1]}x{size[0]}"
