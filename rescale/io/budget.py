"""Lossy formats: what is left of an image at a quality, and what holds as many bytes."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from rescale.errors import UsageError
from rescale.io.decode import decode
from rescale.io.encode import encode
from rescale.io.formats import FORMATS
from rescale.io.picture import Picture, to_8_bits


@dataclass(frozen=True)
class Lossy:
    """A lossy format with a quality, such as JPEG at 75."""

    format: str
    """As Pillow calls it."""
    quality: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse jpeg:75, webp:80 or avif:60. Raises: UsageError."""
        match = re.fullmatch(r"(\w+):(\d{1,3})", text.strip())
        known = {"jpg": "JPEG", **{row.name.lower(): row.name for row in CODECS.values()}}
        if not match or match[1].lower() not in known or not 1 <= int(match[2]) <= 100:
            raise UsageError(f"expected a lossy format and its quality, such as jpeg:75, got {text!r}")
        return cls(known[match[1].lower()], int(match[2]))

    def __str__(self) -> str:
        return f"{self.format.lower()}:{self.quality}"

    def saved(self, picture: Picture) -> tuple[Picture, int]:
        """Save an image, and return it as it is read again, and its bytes; of the same channels as before."""
        data, _ = encode(self.format, Picture(to_8_bits(picture.pixels)), quality=self.quality)
        pixels = decode(data, str(self)).pixels
        if picture.is_grey and pixels.shape[2] == 3:
            pixels = pixels.mean(axis=2, keepdims=True).round().astype(pixels.dtype)
        return Picture(pixels), len(data)


CODECS = {str(row): row for row in FORMATS.values() if row.takes_quality}
"""The lossy formats, by the name shown."""


def codecs_for(picture: Picture) -> list[str]:
    """List those of `CODECS` that hold sides as long as an image's."""
    return [name for name, row in CODECS.items() if not row.max_side or max(picture.size) <= row.max_side]


def encoded(name: str, picture: Picture, quality: int) -> bytes:
    """Encode the colours only, in 8 bits, which all of these formats hold."""
    return encode(CODECS[name].name, Picture(to_8_bits(picture.pixels)), quality=quality)[0]


def largest(encode: Callable[[int], bytes], budget: int) -> bytes:
    """Find the largest file within a number of bytes, by quality from 1 to 100; the smallest file if none fits."""
    low, high, best = 1, 100, encode(1)
    while low < high and len(best) <= budget:
        middle = (low + high + 1) // 2
        data = encode(middle)
        if len(data) <= budget:
            low, best = middle, data
        else:
            high = middle - 1
    return best
