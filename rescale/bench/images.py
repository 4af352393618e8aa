"""Image speed as a ratio: contender and named baseline take turns in one run, so that a busy machine slows both."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from rescale.bench.runtimes import rivals
from rescale.bench.timing import Race, copy_gbytes, matmul_gflops, race
from rescale.device import keep_memory, usable_device
from rescale.geometry import MAX_SCALE, Size
from rescale.inference.optimize import compute_dtype, optimize_for_inference
from rescale.inference.refine import RefineBudget
from rescale.inference.rescaler import load
from rescale.io.images import Picture
from rescale.models import RescalingModel, build, weights, zoo
from rescale.ops import quantize
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
    parameters: int
    size: Size
    """Height and width of the image."""
    down: Race
    up: Race
    rivals: list[Race]
    """Upscaling, against other programs with the same network, where they are installed."""
    total: float
    """Speed-up of downscaling and upscaling together."""
    gflops: float
    """Billions of operations a second, downscaling and upscaling together."""
    limit_gflops: float
    """Billions of operations a second of a large matrix product in the network's compute dtype."""
    limit_gbytes: float
    """Billions of bytes a second that a large copy reads and writes."""
    share: float
    """Share of the speed that those limits allow: to make all products, and to read and write both images."""
    levels: float
    """Largest difference of any sample of the restored images, in levels of 255."""


def rescaling(name: str, *, full: Size = (512, 512), turns: int = 3, device: str = "cpu") -> Speed:
    """Time downscaling and upscaling: the optimized network against plain contiguous float32 PyTorch, in turns.

    Args:
        name: a model id or a weight file; or a recipe, whose network then gets random weights.
        full: height and width of the HR image, which is smooth noise.
        turns: number of times that both are measured.
        device: where to run.

    Against plain PyTorch, both allocate as PyTorch does; against other programs, which keep their memory, so do we.
    """
    where = usable_device(device)
    model = _network(name).to(where).requires_grad_(False).eval()
    fast = optimize_for_inference(model)
    scale = model.scale or 2.5
    size = round(full[0] / scale), round(full[1] / scale)
    full = (size[0] * model.scale, size[1] * model.scale) if model.scale else full
    clouds = torch.rand(1, 3, full[0] // 8 + 1, full[1] // 8 + 1, generator=torch.Generator().manual_seed(1))
    hr = resample(clouds, full).clamp(0, 1).to(where)
    with torch.inference_mode():
        lr = quantize(model.downscale(hr, size))
        down = race(
            ("engine, down", lambda: fast.downscale(hr, size)), ("plain, down", lambda: model.downscale(hr, size)),
            turns=turns,
        )  # fmt: skip
        up = race(
            ("engine, up", lambda: fast.upscale(lr, full)), ("plain, up", lambda: model.upscale(lr, full)), turns=turns
        )
        plain = model.upscale(lr, full).clamp(0, 1)
        is_known = where.type == "cpu" and not any(side % model.cell for side in size)
        keep_memory()  # as the command line does, and other programs
        others = [
            race(
                ("engine, up", lambda: fast.upscale(lr, full)),
                (f"{title}, up, {_levels(run(lr), plain):.1f} levels off", partial(run, lr)),
                turns=turns,
            )
            for title, run in (rivals(model) if is_known else {}).items()
        ]
        with FlopCounterMode(display=False) as counted:
            model.downscale(hr, size), model.upscale(lr, full)
        apart = _levels(fast.upscale(lr, full).clamp(0, 1), plain)
    seconds = down.contender_s + up.contender_s
    gflop, moved = counted.get_total_flops() / 1e9, 2 * (hr.nbytes + lr.nbytes) / 1e9
    limit, copied = matmul_gflops(compute_dtype("auto", where), where), copy_gbytes(where)
    total = (down.baseline_s + up.baseline_s) / seconds
    share = max(gflop / limit, moved / copied) / seconds
    return Speed(
        name, model.parameter_count, full, down, up, others, total, gflop / seconds, limit, copied, share, apart
    )


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
