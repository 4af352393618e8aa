"""Overfit small networks to one video: patch sampling, training steps, evaluation, and a state to resume from."""

import copy
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call

from rescale.errors import InputError, RescaleError
from rescale.metrics import gain_db
from rescale.models import LumaSR
from rescale.ops.pixels import mirrored_indices
from rescale.stdo.dataset import FramePairs
from rescale.training import checkpoint
from rescale.training.muon import Muon
from rescale.video.embedded.bundle import NetworkBundle, as_half_precision
from rescale.video.embedded.partition import SIDE, Partition, by_difficulty, by_network, by_patch, by_time
from rescale.video.embedded.quantization import Start
from rescale.video.luma_upscaler import LumaUpscaler

By = Literal["difficulty", "time", "network"]
LR = 2e-3
EMPHASIS = 0.0
"""Preference for hard patches: they are drawn in proportion to this power of their error."""
_BATCH = 16
_WARMUP = 200
_MEASURED = 48
"""Frames on which the networks are compared with the best ones so far."""
_MEASURES = 12
_SETTLED = 0.6
"""Share of the training after which no patch changes its network."""
_ROUNDED = 0.3
"""Share of the training after which parameters are rounded in the loop, as they travel."""
_SAVED_EVERY_S = 60.0
_SEED = 20230308
_KIND = "lesson"


@dataclass(frozen=True)
class Progress:
    """Progress of a training run."""

    step: int
    steps: int
    """Total of steps; an estimate where a time is given."""
    gain_db: float
    """Gain in dB over the generic network so far, on some frames."""
    elapsed_s: float


@dataclass
class OverfitTrainer:
    """Networks in training, one step of one network at a time.

    Args:
        pairs: training frames.
        generic: network to start from.
        partition: the patches of each network.
        error: (frames, rows, columns), squared error of the generic network in each patch.
        steps: total of all networks.
        emphasis: see `EMPHASIS`.
        seconds: time for all steps, however many it allows, instead of their number.
        start: the generic network, where the networks travel as steps from it.
    Source: STDO (2303.08331): a network for each class of patches, or one for all (JSTO) that sees hard patches more
        often. The schedule and the sampling of the latter are not published: ours.
    """

    pairs: FramePairs
    generic: LumaSR
    partition: Partition
    error: Tensor
    steps: int
    emphasis: float = EMPHASIS
    is_learned: bool = False
    """Reassign patches, now and then, to the network that by then restores them best."""
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    begun: list[LumaSR] | None = None
    """Networks to start from instead of the generic one, one for each part."""
    seconds: float | None = None
    start: Start | None = None
    step: int = 0
    elapsed_s: float = 0.0

    def __post_init__(self) -> None:
        self.count = count = self.partition.parts
        self.networks = [self._fresh(network) for network in self.begun or [self.generic] * count]
        self.optimisers = [Muon(network.parameters(), LR) for network in self.networks]
        self._seen = sorted({int(k * len(self.pairs) / _MEASURED) for k in range(_MEASURED)})
        self._times = [self.pairs.times_ms[k] for k in self._seen]
        self._generic_missed = errors(self.generic, self.pairs, self._seen)
        self._divide(self.partition)
        if self.begun:
            self.measure()

    def _divide(self, partition: Partition) -> None:
        """Begin to train on a partition; the generic network is then the best one so far."""
        self.partition = partition
        choices = torch.stack([partition.at(t) for t in self.pairs.times_ms])
        weight = self.error.clamp_min(1e-3).double() ** self.emphasis
        self._chances = [(weight * (choices == k)).flatten().cumsum(0) for k in range(self.count)]
        self.best = [copy.deepcopy(self.generic).eval().requires_grad_(False) for _ in range(self.count)]
        self.missed = self._by_part([self._generic_missed] * self.count)
        """Squared error of the best network of each part, on the measured frames."""

    def _by_part(self, missed: list[Tensor]) -> Tensor:
        """Sum each network's error, (frames, rows, columns), over its own patches: (parts,)."""
        choices = torch.stack([self.partition.at(t) for t in self._times])
        return torch.stack([(error * (choices == k)).sum() for k, error in enumerate(missed)])

    def _fresh(self, like: LumaSR) -> LumaSR:
        network = copy.deepcopy(like).train().requires_grad_(True)
        return cast(LumaSR, network.to(self.device, memory_format=torch.channels_last))  # type: ignore[call-overload]

    @property
    def gain_db(self) -> float:
        """Gain in dB of the best networks over the generic one."""
        return gain_db(*(missed.sum().double().clamp_min(1e-9) for missed in (self._generic_missed, self.missed)))

    @property
    def progress(self) -> float:
        """Share of the training that is done, of its time or of its steps."""
        return self.elapsed_s / self.seconds if self.seconds else self.step / self.steps

    @property
    def _measures(self) -> int:
        """Number of measurements that are due by now."""
        return int(self.progress * _MEASURES + 1e-9)

    def learn(self, state: Path, tell: Callable[[Progress], None]) -> NetworkBundle:
        """Run all remaining steps; the state is saved at intervals.

        Returns: the best network for each part, in the precision in which it travels, and the partition.
        """
        saved, began = time.monotonic(), time.monotonic() - self.elapsed_s
        while self.progress < 1:
            due = self._measures
            self.descend()
            self.elapsed_s = time.monotonic() - began
            is_due = self._measures > due or self.progress >= 1
            if is_due:
                self.measure(may_divide=self.is_learned and self.progress < _SETTLED)
            if is_due or time.monotonic() - saved > _SAVED_EVERY_S:
                self.save(state)
                saved = time.monotonic()
            steps = round(self.step / min(self.progress, 1)) if self.seconds else self.steps
            tell(Progress(self.step, steps, self.gain_db, self.elapsed_s))
        return self._bundle()

    def _bundle(self) -> NetworkBundle:
        """Bundle the networks in use; those that nothing bettered are one, run on whole frames where it is alone."""
        is_generic = [all(map(torch.equal, _values(n), _values(self.generic))) for n in self.best]
        first = is_generic.index(True) if any(is_generic) else 0
        number = torch.tensor([first if same else k for k, same in enumerate(is_generic)], dtype=torch.uint8)
        choice = number[self.partition.choice.long()]
        used = choice.unique()
        networks = [self.best[k].cpu() for k in used.tolist()]
        partition = replace(self.partition, choice=torch.searchsorted(used, choice).to(torch.uint8))
        return NetworkBundle(networks, partition, self.start)

    def descend(self) -> None:
        """Take one step of one network."""
        k = self._turn()
        network, optimiser = self.networks[k], self.optimisers[k]
        small, large = self._draw(k)
        halo, scale = self.generic.halo, self.pairs.scale
        made = self._run(network, small)[..., halo * scale : -halo * scale, halo * scale : -halo * scale]
        loss = (made - large).square().mean()
        for group in optimiser.param_groups:
            group["lr"] = LR * _schedule(self.step / len(self.networks), self.progress)
        optimiser.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        if not norm.isfinite():
            raise RescaleError(f"the gradient is {norm.item()} at step {self.step}")
        optimiser.step()
        self.step += 1

    def _run(self, network: LumaSR, small: Tensor) -> Tensor:
        if self.start is None or self.progress < _ROUNDED:
            return cast(Tensor, network(small))
        return cast(Tensor, functional_call(network, self.start.straight_through(network), (small,)))

    def _turn(self) -> int:
        """Pick the network whose turn it is; a network without a patch is left out."""
        served = [k for k, chances in enumerate(self._chances) if chances[-1] > 0]
        return served[self.step % len(served)]

    def _draw(self, k: int) -> tuple[Tensor, Tensor]:
        """Draw a batch for network k, as networks take it: (N, 1, side + 2·halo, ...) and (N, 1, scale·side, ...)."""
        chances = self._chances[k]
        generator = torch.Generator().manual_seed(_SEED + self.step)
        points = torch.rand(_BATCH, generator=generator, dtype=torch.double) * chances[-1]
        frames, rows, columns = torch.unravel_index(
            torch.searchsorted(chances, points, right=True).clamp_max(len(chances) - 1), self.error.shape
        )
        side, scale, halo = self.partition.side, self.pairs.scale, self.generic.halo
        places = list(zip(frames.tolist(), rows.tolist(), columns.tolist(), strict=True))
        small = [_window(self.pairs.lr[f], r * side, c * side, side, halo) for f, r, c in places]
        by = side * scale
        large = [_window(self.pairs.hr[f], r * by, c * by, by, 0) for f, r, c in places]
        return self._as_batch(small), self._as_batch(large)

    def _as_batch(self, windows: list[Tensor]) -> Tensor:
        batch = torch.stack(windows)[:, None].to(self.device, memory_format=torch.channels_last)
        return self.pairs.levels.to_unit(batch.float())

    def measure(self, *, may_divide: bool = False) -> None:
        """Keep, part by part, the better of the current network and the best so far."""
        rounded = self.start.quantized if self.start else as_half_precision
        now = [rounded(network).to(self.device) for network in self.networks]
        each = [errors(network, self.pairs, self._seen) for network in now]
        if may_divide and self.count > 1:
            self._divide(by_network(torch.stack(each), self._times, self.partition.side))
        missed = self._by_part(each)
        for k in range(len(now)):
            if missed[k] < self.missed[k]:
                self.best[k], self.missed[k] = now[k], missed[k]

    def save(self, path: Path) -> None:
        """Save all that the next step depends on; the opposite of `resume`."""
        facts = {"step": self.step, "steps": self.steps, "elapsed_s": self.elapsed_s}
        own = {"missed": self.missed, "choice": self.partition.choice}
        checkpoint.save(path, _KIND, facts, self._modules(), self._optimisers(), **own)

    def resume(self, path: Path) -> None:
        """Resume from a saved state, if there is one. Raises: InputError where it is damaged."""
        if not path.exists():
            return
        try:
            self._take(*checkpoint.load(path, _KIND))
        except checkpoint.DAMAGE as error:
            raise InputError(f"{path} is no state of a lesson, or a damaged one; remove it") from error

    def _take(self, facts: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        self._divide(replace(self.partition, choice=tensors["choice"]))
        self.missed = tensors["missed"]
        checkpoint.restore(tensors, self._modules(), self._optimisers())
        self.step, self.steps, self.elapsed_s = facts["step"], facts["steps"], facts["elapsed_s"]

    def _modules(self) -> dict[str, nn.Module]:
        own = {f"network{k}": network for k, network in enumerate(self.networks)}
        return {**own, **{f"best{k}": network for k, network in enumerate(self.best)}}

    def _optimisers(self) -> dict[str, torch.optim.Optimizer]:
        return {f"moments{k}": optimiser for k, optimiser in enumerate(self.optimisers)}


def prepared(pairs: FramePairs, generic: LumaSR, parts: int, by: By) -> tuple[Partition, Tensor]:
    """Make an initial partition, and measure how hard each patch is for a generic network."""
    error = errors(generic, pairs, range(len(pairs)))
    divide = by_difficulty if by == "difficulty" else by_time
    return divide(error, pairs.times_ms, parts), error


def errors(network: LumaSR, pairs: FramePairs, frames: Iterable[int], side: int = SIDE) -> Tensor:
    """Squared error of luma in levels, summed over each patch: (frames, rows, columns)."""
    enlarge = LumaUpscaler(network, pairs.levels)
    return torch.stack([by_patch(_missed(enlarge, pairs, k), side * pairs.scale) for k in frames])


def _missed(enlarge: LumaUpscaler, pairs: FramePairs, k: int) -> Tensor:
    """Squared error of a frame's luma, in levels: (H, W)."""
    large = pairs.large(k)
    device = next(enlarge.buffers()).device
    made = enlarge(pairs.small(k).to(device))[: large.shape[0], : large.shape[1]].cpu()
    return (made.float() - large.float()).square()


def _window(plane: Any, top: int, left: int, side: int, halo: int) -> Tensor:
    """Cut out a patch with its halo; beyond the edges, mirror images."""
    rows, columns = (
        mirrored_indices(length, halo, max(at + side - length, 0) + halo, torch.device("cpu"))[
            at : at + side + 2 * halo
        ].numpy()
        for at, length in ((top, plane.shape[0]), (left, plane.shape[1]))
    )
    return torch.from_numpy(plane[rows[:, None], columns[None]].astype("int32"))


def _schedule(step: float, progress: float) -> float:
    """Learning-rate schedule: warm-up, then half a cosine."""
    return min(1.0, (step + 1) / _WARMUP) * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))


def _values(network: LumaSR) -> list[Tensor]:
    return [value.cpu() for value in network.state_dict().values()]
