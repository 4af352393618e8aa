"""Drawn training images: flat colours, shapes, gradients and text, of which photographs hold too little."""

import random
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from rescale.ops import from_bytes, full_range_luma, to_bytes

SIDE = 256
"""Pixels of a drawn image, each way."""
_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,:;!?()+-=/%"

Color = tuple[int, int, int]


def blend(pictures: Sequence[Tensor], share: float, seed: int) -> list[Tensor]:
    """Return images to add to others and make up `share` of all pixels: half drawn, a quarter each grey and flat.

    Args:
        pictures: (3, H, W) uint8; the grey images are copies of these.
        share: from 0 to under 1.
        seed: the same draws the same.
    """
    missing = share / (1 - share) * sum(x[0].numel() for x in pictures)
    chance, made, total = random.Random(seed), list[Tensor](), 0  # noqa: S311
    while total < missing:
        kind = chance.random()
        made.append(_grey(chance.choice(pictures)) if kind < 0.25 else _flat(chance) if kind < 0.5 else _drawn(chance))
        total += made[-1][0].numel()
    return made


def _grey(x: Tensor) -> Tensor:
    return to_bytes(full_range_luma(from_bytes(x)[None]).expand(-1, 3, -1, -1))[0]


def _flat(chance: random.Random) -> Tensor:
    """Draw one colour, or a field of large squares of some."""
    side = chance.choice([16, 48, SIDE, SIDE])
    count = -(-SIDE // side)
    colors = torch.tensor([_color(chance) for _ in range(count**2)], dtype=torch.uint8).T.reshape(3, count, count)
    return colors.repeat_interleave(side, 1).repeat_interleave(side, 2)[:, :SIDE, :SIDE].contiguous()


def _drawn(chance: random.Random) -> Tensor:
    is_grey = chance.random() < 0.3
    image = _gradient(chance) if chance.random() < 0.25 else Image.new("RGB", (SIDE, SIDE), _paper(chance))
    draw = ImageDraw.Draw(image)
    if chance.random() < 0.6:
        _write(draw, chance)
    else:
        for _ in range(chance.randint(3, 20)):
            _shape(draw, chance)
    x = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()
    return _grey(x) if is_grey else x


def _color(chance: random.Random) -> Color:
    """Draw a colour, half of all channels at an end of the range."""
    r, g, b = (chance.choice([0, 255]) if chance.random() < 0.5 else chance.randint(0, 255) for _ in range(3))
    return r, g, b


def _paper(chance: random.Random) -> Color:
    return chance.choice([(255, 255, 255), (255, 255, 255), (0, 0, 0), _color(chance)])


def _gradient(chance: random.Random) -> Image.Image:
    start, end = np.array(_color(chance)), np.array(_color(chance))
    ramp = np.linspace(0, 1, SIDE)[:, None, None] * (end - start) + start
    image = Image.fromarray(np.broadcast_to(ramp, (SIDE, SIDE, 3)).round().astype(np.uint8))
    return image.rotate(90 * chance.randrange(4))


def _write(draw: ImageDraw.ImageDraw, chance: random.Random) -> None:
    """Draw lines of text of one size, the last ones cut off by the edge."""
    size = chance.choice([9, 11, 13, 16, 20, 28, 40])
    font, ink = ImageFont.load_default(size), chance.choice([(0, 0, 0), (255, 255, 255), _color(chance)])
    for top in range(chance.randint(-size, size), SIDE, int(1.3 * size)):
        line = " ".join(_words(chance, count=300 // size))
        draw.text((chance.randint(-5, 15), top), line, fill=ink, font=font)


def _words(chance: random.Random, count: int) -> Iterator[str]:
    for _ in range(count):
        yield "".join(chance.choices(_LETTERS, k=chance.randint(1, 9)))


def _shape(draw: ImageDraw.ImageDraw, chance: random.Random) -> None:
    points = sorted([chance.randint(-20, SIDE + 20) for _ in range(2)]) + sorted(
        [chance.randint(-20, SIDE + 20) for _ in range(2)]
    )
    left, right, top, bottom = points
    kind, color, width = chance.randrange(4), _color(chance), chance.randint(1, 6)
    if kind == 0:
        draw.rectangle((left, top, right, bottom), fill=color)
    elif kind == 1:
        draw.ellipse((left, top, right, bottom), fill=color)
    elif kind == 2:
        draw.line((left, chance.randint(0, SIDE), right, chance.randint(0, SIDE)), fill=color, width=width)
    else:
        draw.polygon([(chance.randint(0, SIDE), chance.randint(0, SIDE)) for _ in range(3)], fill=color)
