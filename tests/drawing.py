"""Ten pictures that are no photographs: text, charts, screenshots, pixel art, line art.

`python tests/drawing.py FOLDER` writes them, for `rescale evaluate FOLDER -m sr-x2 -m bicubic-x2`.
"""

import math
import random
import sys
from collections.abc import Callable
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

WIDTH, HEIGHT = 384, 288
INK = [(31, 119, 180), (255, 127, 14), (44, 160, 44), (214, 39, 40), (148, 103, 189)]
WORDS = "the quick brown fox over lazy dog while numbers 3.1416 and 42% stay readable".split()  # noqa: SIM905


Draw = ImageDraw.ImageDraw
Chance = random.Random


def _lines(draw: Draw, chance: Chance, box: tuple[int, int, int, int], size: int, ink: object) -> None:
    left, top, right, bottom = box
    font = ImageFont.load_default(size)
    for y in range(top, bottom, int(1.4 * size)):
        draw.text((left, y), " ".join(chance.choices(WORDS, k=(right - left) // (4 * size))), fill=ink, font=font)


def page(draw: Draw, chance: Chance) -> None:
    _lines(draw, chance, (20, 15, 364, 280), 13, "black")


def headings(draw: Draw, chance: Chance) -> None:
    _lines(draw, chance, (20, 15, 364, 100), 28, (20, 20, 90))
    _lines(draw, chance, (20, 120, 364, 280), 10, (60, 60, 60))


def code(draw: Draw, chance: Chance) -> None:
    draw.rectangle((0, 0, WIDTH, HEIGHT), fill=(30, 30, 30))
    font = ImageFont.load_default(12)
    for row in range(17):
        x = 12 + 16 * chance.randrange(4)
        for _ in range(chance.randint(2, 6)):
            word = chance.choice(WORDS)
            draw.text(
                (x, 6 + 16 * row),
                word,
                fill=chance.choice([(86, 156, 214), (206, 145, 120), (212, 212, 212)]),
                font=font,
            )
            x += 9 * len(word) + 8


def bars(draw: Draw, chance: Chance) -> None:
    draw.line((40, 20, 40, 250, 370, 250), fill="black")
    for k in range(10):
        draw.rectangle((52 + 31 * k, chance.randint(30, 230), 74 + 31 * k, 249), fill=INK[k % 5])
        draw.text((55 + 31 * k, 256), str(2015 + k)[2:], fill="black", font=ImageFont.load_default(11))


def curves(draw: Draw, chance: Chance) -> None:
    for k in range(11):
        draw.line((40, 20 + 23 * k, 370, 20 + 23 * k), fill=(220, 220, 220))
    for k, ink in enumerate(INK):
        phase, waves = chance.uniform(0, 6), chance.uniform(0.01, 0.04)
        points = [(x, 135 + (30 + 15 * k) * math.sin(phase + waves * x)) for x in range(40, 371, 3)]
        draw.line(points, fill=ink, width=1 + k % 3)


def pie(draw: Draw, chance: Chance) -> None:
    start = 0.0
    for ink in INK:
        end = start + chance.uniform(40, 80)
        draw.pieslice((80, 30, 300, 250), start, end, fill=ink, outline="white")
        start = end
    _lines(draw, chance, (310, 40, 384, 240), 11, "black")


def sprites(draw: Draw, chance: Chance) -> None:
    """Draw pixel art: mirrored figures of 12 x 12, each of their pixels a square of four."""
    draw.rectangle((0, 0, WIDTH, HEIGHT), fill=(24, 24, 48))
    for top in range(0, HEIGHT, 48):
        for left in range(0, WIDTH, 48):
            ink = [chance.choice(INK), (255, 255, 255), None, None]
            for y in range(1, 11):
                for x in range(1, 6):
                    colour = chance.choice(ink)
                    for column in (x, 11 - x) if colour else ():
                        at = left + 4 * column, top + 4 * y
                        draw.rectangle((*at, at[0] + 3, at[1] + 3), fill=colour)


def window(draw: Draw, chance: Chance) -> None:
    draw.rectangle((0, 0, WIDTH, HEIGHT), fill=(240, 240, 240))
    draw.rectangle((0, 0, WIDTH, 26), fill=(0, 95, 184))
    draw.text((10, 6), "Settings", fill="white", font=ImageFont.load_default(13))
    for k in range(6):
        draw.rounded_rectangle((20, 45 + 38 * k, 364, 75 + 38 * k), 6, fill="white", outline=(200, 200, 200))
        draw.text(
            (32, 53 + 38 * k), " ".join(chance.choices(WORDS, k=4)), fill=(30, 30, 30), font=ImageFont.load_default(11)
        )
        draw.ellipse((330, 52 + 38 * k, 346, 68 + 38 * k), fill=chance.choice([(0, 120, 212), (180, 180, 180)]))


def drawing(draw: Draw, chance: Chance) -> None:
    for _ in range(60):
        x, y, r = chance.randint(0, WIDTH), chance.randint(0, HEIGHT), chance.randint(5, 60)
        start = chance.randint(0, 360)
        draw.arc(
            (x - r, y - r, x + r, y + r),
            start,
            start + chance.randint(60, 300),
            fill="black",
            width=chance.choice([1, 2]),
        )


def codes(draw: Draw, chance: Chance) -> None:
    for y in range(0, 192, 6):
        for x in range(0, 192, 6):
            if chance.random() < 0.5:
                draw.rectangle((12 + x, 48 + y, 17 + x, 53 + y), fill="black")
    x = 220
    while x < 370:
        wide = chance.choice([2, 2, 4, 6])
        draw.rectangle((x, 60, x + wide - 1, 230), fill="black")
        x += wide + chance.choice([2, 4])


DRAWN: list[Callable[[Draw, Chance], None]] = [
    page, headings, code, bars, curves, pie, sprites, window, drawing, codes,
]  # fmt: skip


def drawn(draw: Callable[[Draw, Chance], None]) -> Image.Image:
    """Draw one of the ten, the same each time."""
    image = Image.new("RGB", (WIDTH, HEIGHT), "white")
    draw(ImageDraw.Draw(image), random.Random(draw.__name__))
    return image


if __name__ == "__main__":
    for kind in DRAWN:
        drawn(kind).save(Path(sys.argv[1]) / f"{kind.__name__}.png")
