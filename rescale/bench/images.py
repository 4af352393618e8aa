"""Image speed as a ratio: contender and named baseline take turns in one run, so that a busy machine slows both."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from rescale.bench.runtimes import rivals
from rescale.bench.timing import Race, Work, limiting, limits, processor, race, raced, timed
from rescale.device import keep_memory, usable_device
from rescale.geometry import MAX_SCALE, Size
from rescale.inference.optimize import compute_dtype, optimize_for_inference
from rescale.inference.refine import RefineBudget
from rescale.inference.rescaler import load
from rescale.io.images import Picture
from rescale.models import RescalingModel, build, weights, zoo
from rescale.ops import quantize, size_of
from rescale.ops.resample import resample
from rescale.training.recipe import Recipe, recipes
from rescale.training.state import State
from rescale.training.train import Loss


def training(recipe: Recipe, *, turns: int = 5, device: str = "cpu") -> Race:
    """Time training steps as the recipe has them, without a discriminator, against contiguous float32."""
    recipe = recipe.model_copy(update={"adversary": None})
    plain = recipe.model_copy(update={"bfloat16": False})
    precision = "bfloat16 convolutions" if recipe.bfloat16 else "float32"
    contender = f"{precision}, channels_last", _stepping(recipe, torch.channels_last, device)
    return race(contender, ("float32, contiguous", _stepping(plain, torch.contiguous_format, device)), turns=turns)


def refining(model: str, *, steps: int = 20, side: int = 512, turns: int = 3, device: str = "cpu") -> Race:
    """Time refining an LR image by `steps` steps, in round trips (downscale and upscale)."""
    rescaler = load(model, device=usable_device(device))
    pixels = torch.randint(0, 256, (side, side, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    picture = Picture(pixels.numpy())
    size = rescaler.sizes.small(picture.size, rescaler.scale or 2.5)

    def there_and_back() -> None:
        rescaler.upscale_picture(rescaler.downscale_picture(picture, size), size=picture.size)

    def refine() -> None:
        rescaler.downscale_picture(picture, size, refine=RefineBudget(steps))

    return race(("down and up", there_and_back), (f"down, refined by {steps} steps", refine), turns=turns)


@dataclass(frozen=True)
class Speed:
    """Speed of a network optimized for inference, against plain PyTorch and against the machine's limits."""

    model: str
    processor: str
    parameters: int
    size: Size
    """Height and width of the image."""
    down: Race | None
    """None of a network of super-resolution, whose way down is bicubic."""
    up: Race
    rivals: list[Race]
    """Upscaling, against other programs with the same network, where they are installed."""
    total: float
    """Speed-up of downscaling and upscaling together, where there are both."""
    gflops: float
    """Billions of operations a second of the optimized network."""
    limit_gflops: float
    """Billions of operations a second of a large matrix product in the network's compute type."""
    limit_convolution: float
    """The same of a convolution of 64 to 64 channels."""
    limit_gbytes: float
    """Billions of bytes a second that a large copy reads and writes."""
    share: float
    """Share of the speed that those limits allow: to make all products, and to read and write both images; the median
    over turns in which network and limits run one after the other."""
    levels: float
    """Largest difference of any sample of the restored images, in levels of 255."""


def rescaling(name: str, *, full: Size = (512, 512), turns: int = 3, device: str = "cpu") -> Speed:
    """Time downscaling and upscaling: the optimized network against plain contiguous float32 PyTorch, in turns.

    Args:
        name: a model id or a weight file; or a recipe, whose network then gets random weights.
        full: height and width of the HR image, which is smooth noise.
        turns: number of times that all are measured.
        device: where to run.

    Against plain PyTorch, both allocate as PyTorch does; against other programs, which keep their memory, so do we.
    """
    where = usable_device(device)
    model = _network(name).to(where).requires_grad_(False).eval()
    fast = optimize_for_inference(model)
    hr, size = _clouds(model, full, where)
    full = size_of(hr)
    with torch.inference_mode():
        lr = quantize(model.downscale(hr, size))
        works = {"engine, up": lambda: fast.upscale(lr, full), "plain, up": lambda: model.upscale(lr, full)}
        if not model.super_resolves:
            works |= {
                "engine, down": lambda: fast.downscale(hr, size), "plain, down": lambda: model.downscale(hr, size),
            }  # fmt: skip
        times = timed(works | limiting(compute_dtype("auto", where), where), turns)
        plain = model.upscale(lr, full).clamp(0, 1)
        keep_memory()  # as the command line does, and other programs
        others = _against(model, works["engine, up"], lr, plain, turns)
        apart = _levels(fast.upscale(lr, full).clamp(0, 1), plain)
        with FlopCounterMode(display=False) as counted:
            for way in (name for name in works if name.startswith("plain")):
                works[way]()
    ways = [way for way in ("down", "up") if f"engine, {way}" in works]
    races = {way: raced(f"engine, {way}", f"plain, {way}", times) for way in ways}
    seconds = [sum(turn) for turn in zip(*(times[f"engine, {way}"] for way in ways), strict=True)]
    gflop, moved = counted.get_total_flops() / 1e9, len(ways) * (hr.nbytes + lr.nbytes) / 1e9
    found = limits(times, where)
    shares = [
        max(gflop / most, moved / copied) / s
        for most, copied, s in zip(found.operations, found.copied, seconds, strict=True)
    ]
    total = sum(race.baseline_s for race in races.values()) / sum(race.contender_s for race in races.values())
    middle = statistics.median
    return Speed(
        name, processor(), model.parameter_count, full, races.get("down"), races["up"], others, total,
        gflop / middle(seconds), middle(found.product), middle(found.convolution), middle(found.copied),
        middle(shares), apart,
    )  # fmt: skip


def _clouds(model: RescalingModel, full: Size, where: torch.device) -> tuple[Tensor, Size]:
    """Return smooth noise (1, 3, H, W), and the size of its LR image."""
    scale = model.scale or 2.5
    size = round(full[0] / scale), round(full[1] / scale)
    full = (size[0] * model.scale, size[1] * model.scale) if model.scale else full
    clouds = torch.rand(1, 3, full[0] // 8 + 1, full[1] // 8 + 1, generator=torch.Generator().manual_seed(1))
    return resample(clouds, full).clamp(0, 1).to(where), size


def _against(model: RescalingModel, ours: Work, lr: Tensor, plain: Tensor, turns: int) -> list[Race]:
    """Race other programs with the same network; each title says by how much its result is off."""
    is_known = lr.device.type == "cpu" and not any(side % model.cell for side in size_of(lr))
    found = rivals(model) if is_known else {}
    titles = {title: f"{title}, up, {_levels(run(lr), plain):.1f} levels off" for title, run in found.items()}
    return [race(("engine, up", ours), (titles[key], partial(run, lr)), turns=turns) for key, run in found.items()]


def _levels(a: Tensor, b: Tensor) -> float:
    return (a - b).abs().max().item() * 255


def _network(name: str) -> RescalingModel:
    if name not in recipes() or name in zoo.manifest():
        return weights.load(name).model
    torch.manual_seed(1)
    recipe = Recipe.read(recipes()[name])
    model = build(recipe.model, recipe.config)
    for parameter in model.parameters():
        parameter.data += 0.01 * torch.randn_like(parameter)  # the last convolutions begin at zero
    return model


def _stepping(recipe: Recipe, layout: torch.memory_format, device: str) -> Callable[[], None]:
    usable_device(device)
    state = State.begin(recipe, device, layout=layout)
    learner = Loss(state.model, recipe, layout=layout)
    small = recipe.crop // (state.model.scale or MAX_SCALE)
    hr = torch.rand(recipe.batch, 3, recipe.crop, recipe.crop, device=device)
    bicubic = torch.rand(recipe.batch, 3, small, small, device=device)
    return lambda: state.descend(learner(hr, bicubic)[1])
