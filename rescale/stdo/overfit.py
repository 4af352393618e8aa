"""STDO: an LR video that any player shows, with the networks that restore it embedded."""

import hashlib
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast, get_args

import torch
from torch import Tensor

from rescale.device import isolated
from rescale.errors import UsageError
from rescale.inference.rescaler import ModelLike, Rescaler, as_rescaler
from rescale.io import storage, targets
from rescale.models import LumaSR
from rescale.models.zoo import overfitting_model
from rescale.stdo.dataset import FramePairs, open_pairs
from rescale.stdo.measure import Closeness, measured
from rescale.stdo.refine import refined_downscale
from rescale.stdo.training import EMPHASIS, By, OverfitTrainer, Progress, prepared
from rescale.video import transforms
from rescale.video.carriage import stream_units
from rescale.video.embedded import postfilter
from rescale.video.embedded.bundle import NetworkBundle
from rescale.video.embedded.frames import FrameTable, key_of
from rescale.video.embedded.partition import Partition, whole
from rescale.video.embedded.quantization import Start
from rescale.video.io.container import format_of, opened
from rescale.video.io.encoders import Encoding, encoding
from rescale.video.io.frames import StreamInfo, VideoReader
from rescale.video.io.mux import Embedded, assemble
from rescale.video.io.segments import Segments
from rescale.video.options import EncodeOptions
from rescale.video.pipeline import Clock
from rescale.video.record import VideoRecord
from rescale.video.transcode import fingerprint, open_reader, transcode

MINUTES, CRF, PRESET = 10.0, 18, "medium"
PARAMETERS = 40_000
"""Parameters of all networks together, by default: 70 kB, which half a minute of video can carry."""
BY: By = "network"
_SMALL = Path("small.mkv")
_SECOND = 1 / 3
"""Share of the minutes or steps for training on refined frames."""


@dataclass(frozen=True)
class OverfitBudget:
    """Training budget and options of an overfit."""

    parts: int | None = None
    """Number of networks, each for its part of the patches; as many as have `PARAMETERS` if not given."""
    minutes: float = MINUTES
    steps: int | None = None
    """Training steps instead of minutes: the same steps always lead to the same networks."""
    emphasis: float = EMPHASIS
    """Preference for hard patches, see `EMPHASIS`."""
    refine: int = 0
    """Steps of gradient descent (HCD) on each LR frame, by the networks of a first training; a second one follows."""
    by: By = BY
    """Patches that share a network: equally hard ones, those of one time, or those that one network restores best."""

    def __post_init__(self) -> None:
        if self.by not in get_args(By):
            raise UsageError(f"expected by to be one of {', '.join(get_args(By))}, got {self.by!r}")
        numbers = (self.parts, self.minutes, self.steps)
        if (self.parts or 1) > 16 or self.refine < 0 or any(number is not None and number <= 0 for number in numbers):
            raise UsageError(f"expected 1 to 16 parts, refine of at least 0, and some minutes or steps, got {self}")


@dataclass(frozen=True)
class OverfitResult:
    """Result of overfitting one video."""

    source: Path
    target: Path
    model: str
    frames: int
    steps: int
    elapsed_s: float
    closeness: Closeness
    stream_bytes: int
    """Bytes of the LR video's packets."""
    networks_bytes: int
    """Bytes of the networks as they travel; in a stream with the record beside them."""
    map_bytes: int
    """Bytes of the patch map, part of `networks_bytes`."""
    notes: tuple[str, ...] = ()


@isolated()
def overfit(
    source: Path | str,
    target: Path | str,
    *,
    model: ModelLike | None = None,
    scale: int = 2,
    budget: OverfitBudget = OverfitBudget(),
    options: EncodeOptions = EncodeOptions(),
    tell: Callable[[Progress], None] = lambda _: None,
) -> OverfitResult:
    """Downscale a video, and overfit small networks to it that travel in the same file.

    The networks train on the frames that a receiver decodes, start from a generic network, and are never worse on
    their part of the video than that. A killed run resumes where it was.

    Args:
        source: as of `upscale_video`, of luma and chroma or of luma.
        target: an MKV, with the networks as an attachment; or an MP4 or MOV, with them in the stream, by H.274, which
            every copy keeps, in a third more bytes.
        model: the generic network, by an id, a weight file or a `Rescaler`; espcn-x2-mid, or espcn-x3-rt and its like
            by default.
        scale: 2, 3 or 4.
        budget: parts, and minutes or steps.
        options: encoding of the LR video, and device; H.264 or H.265, CRF 18, medium.
        tell: called with the progress after each step.
    Raises: InputError, UnsupportedError, UsageError, RefusedError, MachineError.
    Source: STDO (2303.08331).
    """
    source, target = Path(source), Path(target)
    if format_of(target) == "webm":
        raise UsageError(f"expected a target that ends in .mkv, .mp4 or .mov, which hold networks, got {target.name}")
    targets.check_target(source, target, overwrite=options.overwrite)
    generic = _generic(model or overfitting_model(scale), scale, options.device)
    count = max(round(PARAMETERS / generic.model.parameter_count), 1)
    budget = replace(budget, parts=budget.parts or count)
    with opened(source) as container:
        given = open_reader(container, source, options, target)
    work, small = transforms.bicubic_downscale(given.facts, scale)
    plan, notes = _plan(small, options, format_of(target))
    subject = fingerprint(source, generic, plan, options, f"{budget} {torch.get_num_threads()}")
    with closing(Segments(target, subject)) as segments:
        lesson = OverfitRun(source, generic, plan, segments, budget, options)
        parcel = lesson.learned(work, None, tell)
        if budget.refine:
            work = refined_downscale(work, given.facts, given.first.pts, parcel, budget.refine, generic.device)
            with closing(Segments(segments.folder / "refined", subject)) as again:
                lesson = OverfitRun(source, generic, plan, again, budget, options)
                made = lesson.written(target, lesson.learned(work, parcel, tell))
        else:
            made = lesson.written(target, parcel)
        segments.discard()
    return replace(made, notes=(*given.facts.notes, *notes, *made.notes))


def _plan(small: StreamInfo, options: EncodeOptions, container: str) -> tuple[Encoding, list[str]]:
    if options.codec not in (None, "h264", "h265"):
        raise UsageError(f"expected h264 or h265, which all players show, got {options.codec}")
    quality, preset = CRF if options.quality is None else options.quality, options.preset or PRESET
    threads = options.threads
    return encoding(small, small.size, container, codec=options.codec, quality=quality, preset=preset, threads=threads)


def _generic(model: ModelLike, scale: int, device: str | torch.device | None) -> Rescaler:
    found = as_rescaler(model, device)
    if not isinstance(found.model, LumaSR) or not found.model.is_residual or found.scale != scale:
        raise UsageError(
            f"expected a network that enlarges video by {scale}, such as espcn-x{scale}-rt, got {found.name}"
        )
    return found


@dataclass
class OverfitRun:
    """One training run: LR packets, their networks, and the target file."""

    source: Path
    generic: Rescaler
    plan: Encoding
    segments: Segments
    budget: OverfitBudget
    options: EncodeOptions

    def learned(
        self, work: transforms.FrameTransform, begun: NetworkBundle | None, tell: Callable[[Progress], None]
    ) -> NetworkBundle:
        """Encode the LR frames, and train networks that restore them.

        Args:
            work: makes the LR frames.
            begun: networks to start from, with their partition; the generic network if None.
            tell: see `overfit`.
        """
        with opened(self.source) as container:
            given = open_reader(container, self.source, self.options, _SMALL)
            self.given, self.facts = given, given.facts
            transcode(self.segments, given, work, self.plan, Clock(total=given.stream.frames or None), self.options)
        folder, network = self.segments.folder, cast(LumaSR, self.generic.model)
        self.small = folder / _SMALL
        self._assemble(self.small, Embedded(), overwrite=True)
        tolerant, whole_frames = self.options.allow_truncated, self.options.deinterlace
        with open_pairs(
            self.source, self.small, folder, network.config.scale, tolerant=tolerant, deinterlace=whole_frames
        ) as pairs:
            self.lesson = self._begin(pairs, network, begun, folder / "state.safetensors")
            parcel = self.lesson.learn(folder / "state.safetensors", tell)
            self.closeness = measured(pairs, network, parcel)
            if self.closeness.overfitted < self.closeness.generic:  # the frames that were not measured until now
                parcel = NetworkBundle([network], whole(parcel.partition.side), parcel.start)
                self.closeness = measured(pairs, network, parcel)
        return parcel

    def written(self, target: Path, parcel: NetworkBundle) -> OverfitResult:
        """Write the LR video with its networks."""
        data = replace(parcel, frames=_table(self.small, parcel.partition)).pack()
        digest, generic = hashlib.sha256(data).hexdigest(), self.generic
        label = VideoRecord.of(generic.name, generic.digest, self.facts, _first(self.small), digest)
        embedded = self._embedded(target, label.model_dump_json(exclude_none=True), parcel, data)
        notes = self._assemble(target, embedded, overwrite=self.options.overwrite)
        count = sum(frames for _, frames in self.segments.whole)
        stream = sum(len(packet.data) for packet in self.segments.packets())
        return OverfitResult(
            self.source, target, generic.name, count, self.lesson.steps, self.lesson.elapsed_s, self.closeness, stream,
            len(embedded.networks or b"".join(embedded.units)), parcel.map_bytes, (*self.given.notes, *notes),
        )  # fmt: skip

    def _begin(self, pairs: FramePairs, network: LumaSR, begun: NetworkBundle | None, state: Path) -> OverfitTrainer:
        budget, share = self.budget, 1.0 if not self.budget.refine else _SECOND if begun else 1 - _SECOND
        partition, error = prepared(pairs, network, budget.parts or 1, budget.by)
        lesson = OverfitTrainer(
            pairs, network, begun.partition if begun else partition, error, max(round(share * (budget.steps or 1)), 1),
            budget.emphasis, budget.by == "network", self.generic.device, begun.networks if begun else None,
            None if budget.steps else 60 * share * budget.minutes, Start.find(self.generic.digest),
        )  # fmt: skip
        lesson.resume(state)
        return lesson

    def _embedded(self, target: Path, record: str, parcel: NetworkBundle, data: bytes) -> Embedded:
        """Place the networks: attached where the container has attachments, which cost less, else in the stream."""
        if format_of(target) == "matroska":
            return Embedded(record, data)
        filters = postfilter.pack(parcel, data, self.plan.size, self.plan.facts.depth)
        return Embedded(record, units=stream_units(record, filters, self.plan.nal_codec))

    def _assemble(self, target: Path, embedded: Embedded, *, overwrite: bool) -> list[str]:
        with storage.published(target, overwrite=overwrite) as file:
            return assemble(self.given, file, format_of(target), self.plan, self.segments, embedded)


def _table(small: Path, partition: Partition) -> FrameTable:
    """Make the table of an LR video's frames, by which they are known after others have cut or joined it."""
    with opened(small) as container:
        given = VideoReader(container, small)
        origin = given.first.pts
        times = ((frame, transforms.time_ms(frame, given.facts, origin)) for frame in given.frames())
        return FrameTable.of((key_of(frame.planes), partition.slot(time_ms)) for frame, time_ms in times)


def _first(small: Path) -> list[Tensor]:
    with opened(small) as container:
        return VideoReader(container, small).first.planes
