"""Speed as a ratio: a contender and its named baseline take turns in one run, so that a busy machine slows both."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from rescale.cells import MOST
from rescale.collaborate import Effort
from rescale.images import Picture
from rescale.ops import usable
from rescale.recipe import Recipe
from rescale.rescaler import load
from rescale.state import State
from rescale.train import Loss


@dataclass(frozen=True)
class Race:
    """How many times faster the contender was, turn by turn."""

    contender: str
    baseline: str
    contender_s: float
    baseline_s: float
    ratio: float
    """Median over the turns, as are the seconds."""
    least: float
    most: float


def race(
    contender: tuple[str, Callable[[], object]], baseline: tuple[str, Callable[[], object]], *, turns: int = 5
) -> Race:
    """Let both run in turns, after one turn each that does not count."""
    for _, work in (contender, baseline):
        work()
    times = [(_seconds(contender[1]), _seconds(baseline[1])) for _ in range(turns)]
    ratios = [slow / fast for fast, slow in times]
    fast, slow = (statistics.median(column) for column in zip(*times, strict=True))
    return Race(contender[0], baseline[0], fast, slow, statistics.median(ratios), min(ratios), max(ratios))


def training(recipe: Recipe, *, turns: int = 5, device: str = "cpu") -> Race:
    """Steps of training as the recipe has them, without a critic, against the same network in contiguous float32."""
    recipe = recipe.model_copy(update={"adversary": None})
    plain = recipe.model_copy(update={"bfloat16": False})
    precision = "bfloat16 convolutions" if recipe.bfloat16 else "float32"
    contender = f"{precision}, channels_last", _stepping(recipe, torch.channels_last, device)
    return race(contender, ("float32, contiguous", _stepping(plain, torch.contiguous_format, device)), turns=turns)


def refining(model: str, *, steps: int = 20, side: int = 512, turns: int = 3, device: str = "cpu") -> Race:
    """A picture down and up, against its small one refined by so many steps: what that costs in round trips."""
    rescaler = load(model, device=usable(device))
    pixels = torch.randint(0, 256, (side, side, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    picture = Picture(pixels.numpy())
    size = rescaler.sizes.small(picture.size, rescaler.scale or 2.5)

    def there_and_back() -> None:
        rescaler.upscale_picture(rescaler.downscale_picture(picture, size), size=picture.size)

    def refine() -> None:
        rescaler.downscale_picture(picture, size, refine=Effort(steps))

    return race(("down and up", there_and_back), (f"down, refined by {steps} steps", refine), turns=turns)


def _stepping(recipe: Recipe, layout: torch.memory_format, device: str) -> Callable[[], None]:
    usable(device)
    state = State.begin(recipe, device, layout=layout)
    learner = Loss(state.model, recipe, layout=layout)
    small = recipe.crop // (state.model.scale or MOST)
    hr = torch.rand(recipe.batch, 3, recipe.crop, recipe.crop, device=device)
    bicubic = torch.rand(recipe.batch, 3, small, small, device=device)
    return lambda: state.descend(learner(hr, bicubic)[1])


def _seconds(work: Callable[[], object]) -> float:
    _wait()
    began = time.perf_counter()
    work()
    _wait()
    return time.perf_counter() - began


def _wait() -> None:
    """The clock is read when the device is done, not when it was asked."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
