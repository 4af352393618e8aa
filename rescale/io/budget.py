"""Lossy formats within a number of bytes: what the same bytes of an ordinary codec would hold."""

from collections.abc import Callable

from rescale.io.encode import encode
from rescale.io.formats import FORMATS
from rescale.io.picture import Picture, to_8_bits

CODECS = {str(row): row for row in FORMATS.values() if row.takes_quality}
"""The lossy formats, by the name shown."""


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
