"""Picklable task of a batch: what to do with each file, so that every worker writes the same bytes."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal, Self

from rescale.batch import plan as planning
from rescale.batch.journal import Entry
from rescale.errors import RefusedError
from rescale.executors.base import Result, failed
from rescale.geometry import Geometry
from rescale.inference import files
from rescale.inference.refine import RefineBudget, Report
from rescale.io import images, storage
from rescale.io.formats import is_video
from rescale.io.object_store import Place, Url
from rescale.models import weights
from rescale.version import __version__

FileFunction = Callable[[Any, Any], Result]
ProgressCallback = Callable[..., None]
_NOT_BYTES = {"overwrite", "resume", "threads"}
"""Options that change no byte of a result."""


@dataclass(frozen=True)
class FileJob:
    """One file of a plan, with its entry in the journal, if any."""

    source: Place
    target: Place
    line: Entry | None = None


@dataclass(frozen=True)
class RescaleTask:
    """A verb and its options; picklable, with the same result in any process.

    codec, crf, preset and allow_truncated are for video only; threads are those of its decoder and encoder.
    """

    verb: Literal["down", "up"]
    model: str | None = None
    scale: Geometry | float | None = None
    refine: RefineBudget | None = None
    quality: int | None = None
    force: bool = False
    device: str | None = None
    max_pixels: int = images.MAX_PIXELS
    codec: str | None = None
    crf: int | None = None
    preset: str | None = None
    allow_truncated: bool = False
    overwrite: bool = False
    resume: bool = False
    threads: int = 0

    @property
    def options(self) -> str:
        """Fingerprint of all options that decide the bytes, apart from source and weights."""
        chosen = {key: value for key, value in asdict(self).items() if key not in _NOT_BYTES}
        return hashlib.sha256(json.dumps([__version__, chosen], sort_keys=True).encode()).hexdigest()

    def check(self, job: FileJob) -> None:
        """Check one job. Raises: RescaleError where the target cannot or must not be made."""
        planning.check(job.source, job.target, overwrite=self.overwrite or self.resume)

    def idempotent(self) -> Self:
        """Return a copy that skips targets which already hold the same result."""
        return replace(self, resume=True)

    def start(self, report: Report | None = None, tell: ProgressCallback | None = None) -> Callable[[FileJob], Result]:
        """Load the model, and return a function that processes one file and reports errors as rows instead of raising.

        Args:
            report: called with the progress of refining an image.
            tell: called with the progress of a video.
        """
        still, moving = self._still(report), self._moving(tell)
        digest = cache(weights.digest)

        def done(job: FileJob) -> Result:
            try:
                self.check(job)
                if job.line and self._is_done(job.line, job, digest):
                    return job.line.facts(job.source, job.target)
                return _as_json((moving if is_video(job.source) else still)(job.source, job.target))
            except Exception as error:
                return failed(job.source, error)

        return done

    def _still(self, report: Report | None) -> FileFunction:
        how: dict[str, Any] = {key: getattr(self, key) for key in ("quality", "overwrite", "resume", "max_pixels")}
        if self.verb == "up":
            how |= {key: getattr(self, key) for key in ("model", "scale", "device", "force")}
            return lambda source, target: vars(files.upscale_file(source, target, **how))
        assert self.model, "the command line has chosen one by the scale"
        how |= {"scale": self.scale, "refine": self.refine, "report": report}
        rescaler = files.load_cached(self.model, self.device)
        return lambda source, target: vars(files.downscale_file(rescaler, source, target, **how))

    def _moving(self, tell: ProgressCallback | None) -> FileFunction:
        def work(source: Path, target: Path) -> Result:
            from rescale.video.files import downscale_video, upscale_video
            from rescale.video.transcode import EncodeOptions

            how = EncodeOptions(
                self.codec, self.crf, self.preset, self.overwrite, self.allow_truncated, self.max_pixels
            )
            how = EncodeOptions(**{**vars(how), "threads": self.threads, **({"tell": tell} if tell else {})})
            chosen: dict[str, Any] = {"model": self.model, "scale": self.scale, "device": self.device, "how": how}
            digest = storage.sha256(source) if self.resume and source.is_file() else ""
            if self.verb == "down":
                done = downscale_video(source, target, **chosen)
            else:
                done = upscale_video(source, target, force=self.force, **chosen)
            return {**vars(done), "source_sha256": digest, "target_sha256": storage.sha256(target) if digest else ""}

        return work

    def _is_done(self, line: Entry, job: FileJob, digest: Callable[[str], str | None]) -> bool:
        """Tell whether the target already holds the result that would be made now.

        Raises: RefusedError where it was made from another source or with other options, and is not to be replaced.
        """
        source, target = job.source, job.target
        if isinstance(source, Path) and not source.is_file():
            return False
        if not isinstance(target, Path) or not target.is_file() or storage.sha256(target) != line.target_sha256:
            return False
        weights_now = digest(self.model or line.model)
        has_weights = weights_now.startswith(line.weights) if weights_now else self.model is None
        fits = has_weights and line.options == self.options and line.source_sha256 == storage.sha256(source)
        if not fits and not self.overwrite:
            raise RefusedError(
                f"{target} was made of another {source.name}, or with other options or weights",
                hint="pass overwrite=True to make it anew",
            )
        return fits


def _as_json(facts: Result) -> Result:
    return {key: str(value) if isinstance(value, Path | Url) else value for key, value in facts.items()}
