"""Frames for a player that is told size and rate alone: upright, in the matrix, range and siting that it assumes."""

from collections.abc import Callable, Collection
from dataclasses import replace

from torch import Tensor

from rescale.video.io.colour import Colours, Siting, guessed_matrix, offsets, recoloured
from rescale.video.io.frames import StreamInfo
from rescale.video.io.layouts import LAYOUTS, nearest
from rescale.video.io.orientation import Orientation, orientation
from rescale.video.io.relayout import relaid, relay

PlaneTransform = Callable[[list[Tensor]], list[Tensor]]


def for_player(
    facts: StreamInfo, layouts: Collection[str], sitings: Collection[Siting]
) -> tuple[StreamInfo, PlaneTransform]:
    """Bring frames into a form that is shown rightly though it carries neither rotation nor matrix.

    Args:
        facts: properties of the frames.
        layouts: those that the player takes.
        sitings: those of chroma in 4:2:0 of 8 bits that can be told; it is moved to the left for any other.
    Returns: properties of the frames as they are shown, and the transform of their planes.
    """
    turn = orientation(facts.display_matrix)
    laid, _ = relaid(facts, nearest(facts.layout, _turnable(layouts, turn)))
    size = turn.turned_size(laid.size)
    before = laid.colours
    after = _assumed(before, size, laid.layout, sitings)
    sits = turn.turned_offsets(offsets(before), laid.size, before.chroma)

    def work(planes: list[Tensor]) -> list[Tensor]:
        upright = [turn.turned(plane) for plane in relay(planes, facts, laid)]
        return recoloured(upright, before, after, sits)

    aspect = 1 / facts.aspect if turn.is_transposed else facts.aspect
    fields = "" if turn.is_transposed else facts.fields
    return replace(laid, size=size, colours=after, aspect=aspect, fields=fields, display_matrix=None), work


def _turnable(layouts: Collection[str], turn: Orientation) -> list[str]:
    """List the layouts that stay what they are when turned: with as much chroma down as across for a quarter turn."""
    return [layout for layout in layouts if not turn.is_transposed or len(set(LAYOUTS[layout][0])) == 1]


def _assumed(colours: Colours, size: tuple[int, int], layout: str, sitings: Collection[Siting]) -> Colours:
    """Return the colours that a player takes such frames for; in studio range, as ffplay takes BT.601 for the full."""
    is_told = layout == "yuv420p" and colours.siting in sitings
    levels = replace(colours.levels, is_full=False)
    return replace(colours, levels=levels, matrix=guessed_matrix(size), siting=colours.siting if is_told else "left")
