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
from rescale.errors import RefusedError, UsageError
from rescale.executors.base import Result, failed
from rescale.geometry import Geometry
from rescale.inference import files
from rescale.inference.cache import load_cached
from rescale.inference.options import RescaleOptions
from rescale.inference.refine import RefineBudget, Report
from rescale.inference.verify import Verification
from rescale.io import storage
from rescale.io.formats import SUFFIXES, is_video
from rescale.io.object_store import Place, Url
from rescale.models import weights
from rescale.version import __version__
from rescale.video.options import EncodeOptions, ProgressCallback

FileFunction = Callable[[Any, Any], Result]


@dataclass(frozen=True)
class FileJob:
    """One file of a plan, with its entry in the journal, if any."""

    source: Place
    target: Place
    line: Entry | None = None

    @property
    def is_video(self) -> bool:
        """Whether it is one by the name of its source, or of its target."""
        return is_video(self.source) or self.target.suffix.lower() in SUFFIXES


@dataclass(frozen=True)
class RescaleTask:
    """A verb and its options; picklable, with the same result in any process."""

    verb: Literal["down", "up"]
    model: str | None = None
    scale: Geometry | float | None = None
    refine: RefineBudget | None = None
    options: RescaleOptions = RescaleOptions()
    """For pictures; for all, whether and what is replaced."""
    video: EncodeOptions = EncodeOptions()

    @property
    def device(self) -> str | None:
        """Device to run on, as workers are told."""
        return None if self.options.device is None else str(self.options.device)

    @property
    def fingerprint(self) -> str:
        """Digest of all that decides the bytes, beside source and weights; keys and values stay: journals hold it."""
        picture, video, own = asdict(self.options), asdict(self.video), asdict(self)
        chosen = {key: own[key] for key in ("verb", "model", "scale", "refine")}
        chosen |= {"device": self.device, **{key: picture[key] for key in ("quality", "force", "max_pixels")}}
        chosen |= {"background": self.options.background} if self.options.background is not None else {}
        chosen |= {"aim": picture["aim"]} if self.options.aim is not None else {}
        chosen |= {"min_psnr": self.options.min_psnr} if self.options.min_psnr is not None else {}
        chosen |= {"denoise": self.options.denoise} if self.options.denoise is not None else {}
        chosen |= {} if self.options.keep_metadata else {"keep_metadata": False}
        chosen |= {"deinterlace": True} if self.video.deinterlace else {}
        chosen |= {"crf": video["quality"], **{key: video[key] for key in ("codec", "preset", "allow_truncated")}}
        return hashlib.sha256(json.dumps([__version__, chosen], sort_keys=True).encode()).hexdigest()

    def check(self, job: FileJob) -> None:
        """Check one job. Raises: RescaleError where the target cannot or must not be made."""
        planning.check(job.source, job.target, overwrite=self.options.overwrite or self.options.resume)

    def idempotent(self) -> Self:
        """Return a copy that skips targets which already hold the same result."""
        return replace(self, options=replace(self.options, resume=True))

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
                return as_row((moving if job.is_video else still)(job.source, job.target))
            except Exception as error:
                return failed(job.source, error)

        return done

    def _still(self, report: Report | None) -> FileFunction:
        options = replace(self.options, report=report)
        if self.verb == "up":
            return lambda source, target: vars(
                files.upscale_file(source, target, model=self.model, scale=self.scale, options=options)
            )
        assert self.model, "the command line has chosen one by the scale"
        rescaler = load_cached(self.model, options.device)
        return lambda source, target: vars(
            files.downscale_file(rescaler, source, target, scale=self.scale, refine=self.refine, options=options)
        )

    def _moving(self, tell: ProgressCallback | None) -> FileFunction:
        options = replace(self.video, tell=tell) if tell else self.video

        def work(source: Path, target: Path) -> Result:
            from rescale.video.files import downscale_video, upscale_video

            digest = storage.sha256(source) if self.options.resume and source.is_file() else ""
            if self.verb == "down":
                assert self.model, "the command line has chosen one by the scale"
                done = downscale_video(self.model, source, target, scale=self.scale, options=options)
            else:
                done = upscale_video(source, target, model=self.model, scale=self._factor(), options=options)
            return {**vars(done), "source_sha256": digest, "target_sha256": storage.sha256(target) if digest else ""}

        return work

    def _factor(self) -> float | None:
        """Return the scale to enlarge a video by. Raises: UsageError for a size, or two scales."""
        if isinstance(self.scale, Geometry):
            raise UsageError(f"expected one scale to enlarge a video by, such as 2, got {self.scale}")
        return self.scale

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
        fits = has_weights and line.options == self.fingerprint and line.source_sha256 == storage.sha256(source)
        if not fits and not self.options.overwrite:
            raise RefusedError(
                f"{target} was made of another {source.name}, or with other options or weights",
                hint="pass overwrite=True to make it anew",
            )
        return fits


def as_row(facts: Result) -> Result:
    """Return the fields of a result as JSON has them; a verification only where there was one."""
    plain = {key: str(value) if isinstance(value, Path | Url) else value for key, value in facts.items()}
    verified = plain.pop("verified", None)
    return plain | ({"verified": asdict(verified)} if isinstance(verified, Verification) else {})
