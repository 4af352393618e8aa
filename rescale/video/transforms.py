"""Per-frame transforms: super-resolve, downscale or restore the planes of a frame."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from rescale.device import upload
from rescale.errors import UsageError
from rescale.geometry import Size
from rescale.inference.rescaler import Rescaler
from rescale.models import LumaSR
from rescale.models.foreign import Foreign
from rescale.ops.resample import resample
from rescale.video.delivery import checked, flags_of
from rescale.video.embedded.patchwise import PatchwiseUpscaler
from rescale.video.io.colour import Colours, Levels, from_rgb, resized_chroma, tags_as_meant, to_rgb
from rescale.video.io.fields import fields_of, woven
from rescale.video.io.frames import Frame, StreamInfo
from rescale.video.io.planes import under
from rescale.video.io.times import rounded
from rescale.video.known import FrameFinder
from rescale.video.luma_upscaler import LumaUpscaler

FrameTransform = Callable[[Frame], list[Tensor]]
_RIPPLE, _FEW = 3, 1e-3
"""Levels of 8 bits by which lossy codecs overshoot black and white, and share of samples that may lie further out."""


def super_resolve(rescaler: Rescaler, facts: StreamInfo) -> tuple[FrameTransform, StreamInfo]:
    """Super-resolve: luma by the network, chroma by bicubic with its siting kept; RGB plane by plane, and so is alpha.

    Returns: the transform, and the properties of its results.
    """
    model = rescaler.model
    if facts.fields and facts.size[0] % (2 * facts.colours.chroma[0]) == 0:
        return _by_fields(rescaler, facts)
    if isinstance(model, Foreign):
        return _by_colours(rescaler, facts, model.scale)
    if not isinstance(model, LumaSR) or not model.is_residual:
        raise UsageError(f"expected a model that enlarges ordinary video, such as espcn-x2-rt, got {rescaler.name}")
    scale, colours = model.config.scale, facts.colours
    network = LumaUpscaler(model, colours.levels)
    clear = LumaUpscaler(model, replace(colours.levels, is_full=True)) if facts.has_alpha else network
    size = facts.size[0] * scale, facts.size[1] * scale

    def work(frame: Frame) -> list[Tensor]:
        planes = frame.planes if frame.alpha is None else under(frame.planes, frame.alpha)
        planes = [upload(plane, rescaler.device) for plane in planes]
        count = len(planes) if colours.matrix == 0 else 1
        large = [network.enlarge(plane) for plane in planes[:count]]
        alpha = [] if frame.alpha is None else [clear.enlarge(upload(frame.alpha, rescaler.device))]
        made = [*(plane for plane, _ in large), *_chroma(planes[count:], size, colours), *(plane for plane, _ in alpha)]
        return checked(made, [flag for _, flag in large + alpha])

    return work, _resized(facts, size)


def _by_colours(rescaler: Rescaler, facts: StreamInfo, scale: int) -> tuple[FrameTransform, StreamInfo]:
    """Super-resolve or restore red, green and blue, as networks do that are not of luma; alpha by itself."""
    size, colours = (facts.size[0] * scale, facts.size[1] * scale), facts.colours
    way = rescaler.runner.up(facts.size, size)
    clear = replace(colours, levels=replace(colours.levels, is_full=True), matrix=0)

    def work(frame: Frame) -> list[Tensor]:
        planes = frame.planes if frame.alpha is None else under(frame.planes, frame.alpha)
        rgb = to_rgb([upload(plane, rescaler.device) for plane in planes], colours).clamp(0, 1)
        made = from_rgb(rescaler.runner.run_there(rgb[None], way)[0], colours)
        made = made[: len(planes)]
        if frame.alpha is not None:
            alpha = (upload(frame.alpha, rescaler.device) / colours.levels.top)[None, None]
            made += from_rgb(rescaler.runner.run_there(alpha, way, is_grey=True)[0].expand(3, -1, -1), clear)[:1]
        return _as_levels(made, colours.levels)

    return work, _resized(facts, size)


def _by_fields(rescaler: Rescaler, facts: StreamInfo) -> tuple[FrameTransform, StreamInfo]:
    """Super-resolve each field of interlaced frames by itself, as the lines of the two are of different moments."""
    height, width = facts.size
    work, made = super_resolve(rescaler, replace(facts, size=(height // 2, width), fields=""))

    def both(frame: Frame) -> list[Tensor]:
        alphas = [None, None] if frame.alpha is None else [frame.alpha[0::2], frame.alpha[1::2]]
        halves = zip(fields_of(frame.planes), alphas, strict=True)
        top, bottom = (work(Frame(planes, frame.pts, alpha=alpha)) for planes, alpha in halves)
        return checked(woven(top, bottom), flags_of(top, bottom))

    return both, _resized(facts, (made.size[0] * 2, made.size[1]))


@dataclass
class BeyondRange:
    """Count of frames with luma well below black or above white, which studio range has room for and RGB has not.

    Args:
        colours: of the frames.
    """

    colours: Colours
    frames: int = 0

    def watched(self, work: FrameTransform) -> FrameTransform:
        """Return a transform that counts the frames it is given."""

        def counted(frame: Frame) -> list[Tensor]:
            self.frames += self._is_beyond(frame.planes[0])
            return work(frame)

        return work if self.colours.levels.is_full or self.colours.matrix == 0 else counted

    @property
    def notes(self) -> tuple[str, ...]:
        """Note on what was met so far."""
        return (f"{self.frames} frames hold levels below black or above white, which RGB cuts",) * bool(self.frames)

    def _is_beyond(self, luma: Tensor) -> bool:
        """Tell whether more samples lie out of range than the ripples of a codec would take there."""
        times = 2 ** (self.colours.levels.depth - 8)
        is_out = (luma < (16 - _RIPPLE) * times) | (luma > (235 + _RIPPLE) * times)
        return int(is_out.sum()) > _FEW * luma.numel()


def downscale(rescaler: Rescaler, facts: StreamInfo, size: Size) -> tuple[FrameTransform, StreamInfo]:
    """Downscale to frames that can be restored: RGB, of the same depth."""
    colours = replace(facts.colours, matrix=0, chroma=(1, 1), levels=Levels(facts.colours.levels.depth, is_full=True))
    way = rescaler.runner.down(facts.size, size)

    def work(frame: Frame) -> list[Tensor]:
        rgb = to_rgb([upload(plane, rescaler.device) for plane in frame.planes], facts.colours).clamp(0, 1)
        return _as_levels(from_rgb(rescaler.runner.run_there(rgb[None], way)[0], colours), colours.levels)

    layout = "gbrp" if colours.levels.depth == 8 else f"gbrp{colours.levels.depth}le"
    tags = (2, *facts.tags[1:3], 0)
    # HDR's brightness travels in the record, as the lossless codec has no place for it.
    made = replace(facts, size=size, colours=colours, layout=layout, tags=tags, side_data={})
    return work, replace(made, has_alpha=False, is_transparent=False, fields="")


def restore(rescaler: Rescaler, facts: StreamInfo, original: StreamInfo) -> tuple[FrameTransform, StreamInfo]:
    """Restore frames of the original's size, layout and colours: the opposite of `downscale`."""
    way = rescaler.runner.up(facts.size, original.size)

    def work(frame: Frame) -> list[Tensor]:
        rgb = to_rgb([upload(plane, rescaler.device) for plane in frame.planes], facts.colours)
        made = from_rgb(rescaler.runner.run_there(rgb[None], way)[0], original.colours)
        return _as_levels(made[:1] if original.layout.startswith("gray") else made, original.colours.levels)

    made = replace(original, time_base=facts.time_base, rate=facts.rate, display_matrix=facts.display_matrix)
    return work, replace(made, aspect=facts.aspect, notes=facts.notes)


def bicubic_downscale(facts: StreamInfo, scale: int) -> tuple[FrameTransform, StreamInfo]:
    """Downscale by bicubic to even sides, which any encoder takes; the last lines are repeated where needed."""
    colours = facts.colours
    if colours.matrix == 0:
        raise UsageError("expected a video of luma and chroma, got RGB")
    size = small_size(facts.size, scale)

    def work(frame: Frame) -> list[Tensor]:
        luma, *chroma = frame.planes
        made = [resample(repeated(luma, (size[0] * scale, size[1] * scale))[None].float(), size)]
        if chroma:
            tall, wide = colours.chroma
            full = size[0] * scale // tall, size[1] * scale // wide
            stacked = torch.stack([repeated(plane, full) for plane in chroma]).float()
            made += list(resized_chroma(stacked, (size[0] // tall, size[1] // wide), colours).split(1))
        return _as_levels([colours.levels.rounded(plane[0]) for plane in made], colours.levels)

    return work, replace(_resized(facts, size), has_alpha=False, is_transparent=False, fields="")


def _resized(facts: StreamInfo, size: Size) -> StreamInfo:
    """Properties of a video whose frames change their size only: its colours stay what players took them for."""
    is_rgb = facts.colours.matrix == 0
    return replace(facts, size=size, tags=facts.tags if is_rgb else tags_as_meant(facts.size, facts.tags))


def small_size(size: Size, scale: int) -> Size:
    """Height and width of the frames that `bicubic_downscale` makes."""
    height, width = (-(-side // (2 * scale)) * 2 for side in size)
    return height, width


def patchwise_restore(
    finder: FrameFinder, facts: StreamInfo, original: StreamInfo, origin: int, device: torch.device
) -> tuple[FrameTransform, StreamInfo]:
    """Restore by the networks embedded in the video: the opposite of `bicubic_downscale`.

    Args:
        finder: the networks, and which of them a frame is for.
        facts: stream information of the LR video.
        original: properties of the restored video.
        origin: time of the first frame, in ticks.
        device: where to run.
    """
    scale, colours = finder.bundles[0].scale, facts.colours
    own = [PatchwiseUpscaler([n.to(device) for n in b.networks], b.partition, colours.levels) for b in finder.bundles]
    generic = LumaUpscaler(copy.deepcopy(finder.generic).to(device), colours.levels)
    size = facts.size[0] * scale, facts.size[1] * scale

    sizes = _sizes(original)

    def work(frame: Frame) -> list[Tensor]:
        luma, *chroma = (upload(plane, device) for plane in frame.planes)
        found = finder.find(frame, time_ms(frame, facts, origin))
        if found is None:
            first, flag = generic.enlarge(luma)
            flags = [flag]
        else:
            first, flags = own[found[0]].enlarge(luma, found[1])
        large = [first, *_chroma(chroma, size, colours)]
        return checked([plane[:height, :width] for plane, (height, width) in zip(large, sizes, strict=False)], flags)

    made = replace(original, time_base=facts.time_base, rate=facts.rate, display_matrix=facts.display_matrix)
    return work, replace(made, aspect=facts.aspect, notes=facts.notes)


def time_ms(frame: Frame, facts: StreamInfo, origin: int) -> int:
    """Time since the first frame, in milliseconds, as a Matroska file counts them."""
    return rounded(frame.pts, facts.time_base) - rounded(origin, facts.time_base)


def _sizes(facts: StreamInfo) -> list[Size]:
    """Height and width of each plane."""
    if facts.layout.startswith("gray"):
        return [facts.size]
    (height, width), (tall, wide) = facts.size, facts.colours.chroma
    return [facts.size, *[(-(-height // tall), -(-width // wide))] * 2]


def repeated(plane: Tensor, size: Size) -> Tensor:
    """Extend (h, w) to `size` by repeating the last line and column."""
    rows, columns = (torch.arange(to).clamp_max(now - 1) for to, now in zip(size, plane.shape, strict=True))
    return plane[rows][:, columns]


@torch.inference_mode()
def _chroma(planes: list[Tensor], luma: Size, colours: Colours) -> list[Tensor]:
    if not planes:
        return []
    tall, wide = colours.chroma
    large = resized_chroma(torch.stack(planes).float(), (-(-luma[0] // tall), -(-luma[1] // wide)), colours)
    return list(large.round_().clamp_(0, colours.levels.top).to(planes[0].dtype))


def _as_levels(planes: list[Tensor], levels: Levels) -> list[Tensor]:
    return [plane.to(torch.uint8 if levels.depth == 8 else torch.int32) for plane in planes]
