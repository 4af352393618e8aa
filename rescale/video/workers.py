"""What becomes of one frame: larger or smaller planes, by luma alone or by all colours."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from rescale.errors import UsageError
from rescale.geometry import Size
from rescale.models import ESPCN
from rescale.rescaler import Rescaler
from rescale.video.colour import Colours, Levels, from_rgb, resized_chroma, to_rgb
from rescale.video.frames import Facts
from rescale.video.luma import LumaEnlarger

Work = Callable[[list[Tensor]], list[Tensor]]


def enlarger(rescaler: Rescaler, facts: Facts) -> tuple[Work, Facts]:
    """Super-resolution: luma by the network, chroma by bicubic where it sits; RGB plane by plane.

    Returns: the work, and what its results are.
    """
    model = rescaler.model
    if not isinstance(model, ESPCN) or not model.config.residual:
        raise UsageError(f"expected a model that enlarges ordinary video, such as espcn-x2-rt, got {rescaler.name}")
    scale, colours = model.config.scale, facts.colours
    network = LumaEnlarger(model, colours.levels)
    size = facts.size[0] * scale, facts.size[1] * scale

    def work(planes: list[Tensor]) -> list[Tensor]:
        if colours.matrix == 0:
            return [network(plane.to(rescaler.device)) for plane in planes]
        luma, *chroma = planes
        return [network(luma.to(rescaler.device)), *_chroma(chroma, size, colours)]

    return work, replace(facts, size=size)


def shrinker(rescaler: Rescaler, facts: Facts, size: Size) -> tuple[Work, Facts]:
    """Small frames that restore themselves: RGB, of the same depth."""
    colours = replace(facts.colours, matrix=0, chroma=(1, 1), levels=Levels(facts.colours.levels.depth, is_full=True))
    way = rescaler.runner.down(facts.size, size)

    def work(planes: list[Tensor]) -> list[Tensor]:
        rgb = to_rgb(planes, facts.colours).clamp(0, 1)
        return _as_levels(from_rgb(rescaler.runner.run(rgb[None], way)[0], colours), colours.levels)

    layout = "gbrp" if colours.levels.depth == 8 else f"gbrp{colours.levels.depth}le"
    tags = (2, *facts.tags[1:3], 0)
    # HDR's brightness travels in the record, as the lossless codec has no place for it.
    return work, replace(facts, size=size, colours=colours, layout=layout, tags=tags, side_data={})


def restorer(rescaler: Rescaler, facts: Facts, original: Facts) -> tuple[Work, Facts]:
    """The opposite of `shrinker`: frames of the original's size, layout and colours."""
    way = rescaler.runner.up(facts.size, original.size)

    def work(planes: list[Tensor]) -> list[Tensor]:
        rgb = to_rgb(planes, facts.colours)
        made = from_rgb(rescaler.runner.run(rgb[None], way)[0], original.colours)
        return _as_levels(made[:1] if original.layout.startswith("gray") else made, original.colours.levels)

    made = replace(original, time_base=facts.time_base, rate=facts.rate, display_matrix=facts.display_matrix)
    return work, replace(made, aspect=facts.aspect, notes=facts.notes)


@torch.inference_mode()
def _chroma(planes: list[Tensor], luma: Size, colours: Colours) -> list[Tensor]:
    if not planes:
        return []
    tall, wide = colours.chroma
    large = resized_chroma(torch.stack(planes).float(), (-(-luma[0] // tall), -(-luma[1] // wide)), colours)
    return list(large.round_().clamp_(0, colours.levels.top).to(planes[0].dtype))


def _as_levels(planes: list[Tensor], levels: Levels) -> list[Tensor]:
    return [plane.to(torch.uint8 if levels.depth == 8 else torch.int32) for plane in planes]
