"""Video on a GPU that is not there: what crosses to it and back, and that nothing waits or is done on the host."""

from fractions import Fraction
from unittest import mock

import pytest
import torch
from ledger import CUDA, Ledger, fake_cuda, for_gpu, to_fake

from rescale.errors import RescaleError
from rescale.inference.rescaler import Rescaler
from rescale.models import weights
from rescale.video import delivery, transforms
from rescale.video.io.colour import Colours, Levels, from_rgb, to_rgb
from rescale.video.io.frames import Frame, StreamInfo
from rescale.video.luma_upscaler import LumaUpscaler


def facts_of(size: tuple[int, int], *, depth: int = 8, fields: str = "") -> StreamInfo:
    layout = "yuv420p" if depth == 8 else f"yuv420p{depth}le"
    colours = Colours(Levels(depth), 1, (2, 2), "left")
    facts = StreamInfo(size, layout, colours, Fraction(1, 1000), Fraction(25), Fraction(1), (1, 1, 1, 1), None)
    return facts if not fields else transforms.replace(facts, fields=fields)


def planes_of(size: tuple[int, int], depth: int = 8) -> list[torch.Tensor]:
    dtype, half = torch.uint8 if depth == 8 else torch.int32, (size[0] // 2, size[1] // 2)
    return [torch.randint(0, 2**depth, s, dtype=dtype) for s in (size, half, half)]


def on_fake_cuda(name: str, facts: StreamInfo):
    """The transform of a network that lies on a GPU, once its tables are made."""
    rescaler = Rescaler(weights.load(name), device="cpu", precision="float16")
    made: list[LumaUpscaler] = []

    def upscaler(model, levels):
        made.append(LumaUpscaler(model, levels, "float16"))
        return made[-1]

    with mock.patch.object(transforms, "LumaUpscaler", upscaler):
        work, _ = transforms.super_resolve(rescaler, facts)
    height, width = facts.size
    transforms._chroma(planes_of((height // 2 if facts.fields else height, width))[1:],
                       (height if facts.fields else height * 2, width * 2), facts.colours)  # fmt: skip
    return rescaler, work, made


@pytest.mark.parametrize(("depth", "fields"), [(8, ""), (10, ""), (8, "tff")])
def test_a_frame_crosses_once_each_way_and_nothing_waits(depth, fields):
    size = (1080, 1920) if not fields else (1088, 1920)
    facts = facts_of(size, depth=depth, fields=fields)
    rescaler, work, networks = on_fake_cuda("espcn-x2-rt", facts)
    planes = planes_of(size, depth)
    with fake_cuda() as mode:
        for network in networks:
            to_fake(network, mode)
        rescaler.device = CUDA
        with Ledger():
            work(Frame(planes, 0))
        with Ledger() as said:
            arrival = delivery.send(work(Frame(planes, 0)), 0)
    assert len(said.up) == (3 if not fields else 6), said
    assert len(said.down) == 1, said
    assert not said.waits, said
    assert all("device.py" in where for where in said.on_host), said  # the copies into pinned memory
    assert [tuple(plane.shape) for plane in arrival.planes] == [(2 * h, 2 * w) for h, w in (p.shape for p in planes)]


@pytest.mark.parametrize("verb", ["downscale", "restore"])
def test_frames_of_an_irn_become_rgb_and_planes_on_the_device(verb):
    """Whether a frame is finite is asked for once; nothing else waits, and only its bytes cross."""
    large, small = facts_of((1080, 1920)), facts_of((540, 960))
    rescaler = Rescaler(weights.load("irn-x2-small"), device="cpu", precision="float32")
    runner = rescaler.runner
    runner.fast = for_gpu(rescaler.model, torch.float16)
    if verb == "downscale":
        (work, _), planes = transforms.downscale(rescaler, large, (540, 960)), planes_of((1080, 1920))
        to_rgb(planes, large.colours)
    else:
        (work, _), planes = transforms.restore(rescaler, small, large), planes_of((540, 960))
        from_rgb(torch.rand(3, 1080, 1920), large.colours)
        to_rgb(planes, small.colours)
    rescaler.device = runner.device = CUDA
    runner.dtype = torch.float16
    with fake_cuda() as mode, mock.patch("rescale.device.free_memory", lambda _: 60e9):
        to_fake(runner.fast, mode)
        with Ledger():
            work(Frame(planes, 0))
        with Ledger() as said:
            arrival = delivery.send(work(Frame(planes, 0)), 0)
    assert (len(said.up), len(said.down), sum(said.waits.values())) == (3, 1, 1), str(said)
    assert all("device.py" in where for where in said.on_host), str(said)
    assert len(arrival.planes) == 3


def arrivals_of(counts: list[int], order: list[str], flag: torch.Tensor | None = None):
    for pts in counts:
        order.append(f"sent {pts}")
        yield delivery.Arrival([torch.zeros(1)], pts, lambda pts=pts: order.append(f"waited {pts}"), flag)


def test_frames_from_a_gpu_are_waited_for_when_the_next_are_under_way():
    order: list[str] = []
    seen = [arrival.pts for arrival in delivery.landed(arrivals_of(list(range(6)), order), lambda _: None)]
    assert seen == list(range(6))
    assert order.index("waited 0") > order.index("sent 3")
    assert [said for said in order if said.startswith("waited")] == [f"waited {pts}" for pts in range(6)]


def test_frames_of_a_cpu_are_passed_on_at_once():
    order: list[int] = []
    here = (order.append(pts) or delivery.send([torch.zeros(1)], pts) for pts in range(3))
    for arrival in delivery.landed(here, lambda _: None):
        assert order == list(range(arrival.pts + 1))


def test_a_frame_that_is_not_finite_is_never_passed_on():
    arrivals = arrivals_of([0, 1], [], torch.tensor(0, dtype=torch.uint8))
    with pytest.raises(RescaleError, match="not finite"):
        next(delivery.landed(arrivals, lambda _: None))
    with pytest.raises(RescaleError, match="not finite"):
        delivery.checked([torch.zeros(1)], [torch.tensor(True), torch.tensor(False)])
