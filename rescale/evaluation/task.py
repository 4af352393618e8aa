"""Evaluation as jobs and a task, so that another process can compute the same numbers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path
from typing import Self

from rescale.device import usable_device
from rescale.evaluation.crops import details
from rescale.evaluation.protocol import Distance, round_trip, score
from rescale.executors.base import Result, failed
from rescale.geometry import Geometry
from rescale.inference.refine import RefineBudget
from rescale.inference.rescaler import Rescaler, load
from rescale.io import images
from rescale.io.budget import Lossy
from rescale.metrics import lpips
from rescale.metrics.lpips import Trunk


@dataclass(frozen=True)
class EvaluationJob:
    """One image for one model at one scale."""

    number: int
    """Position among all jobs."""
    source: Path
    set: str
    model: str
    """Model id, or a weight file."""
    name: str
    """Name of the model in the table."""
    scale: Geometry
    is_shown: bool = False
    """True if its details are wanted for a `Grid`."""

    @property
    def target(self) -> None:
        """None, as no file is written."""


@dataclass(frozen=True)
class EvaluationTask:
    """The evaluation `Task`: options as of `round_trip` and `score`."""

    round_luma: bool = False
    trunks: tuple[Trunk, ...] = ()
    """Trunks of LPIPS."""
    efforts: tuple[RefineBudget | None, ...] = (None,)
    """Budgets to refine by, a row of scores for each."""
    device: str | None = None
    codecs: tuple[Lossy | None, ...] = (None,)
    """Lossy formats that the LR image is saved in, a row of scores for each."""

    def start(
        self, rescalers: Mapping[str, Rescaler] | None = None, distances: Mapping[str, Distance] | None = None
    ) -> Callable[[EvaluationJob], Result]:
        """Return a function that does one job: its rows of `Scores` and their details, or its failure.

        Args:
            rescalers: loaded models, by their names in the table.
            distances: loaded distances by trunk.
        """

        @cache
        def asked(model: str, name: str) -> Rescaler:
            rescaler = (rescalers or {}).get(name) or load(model, device=self.device)
            rescaler.name = name
            return rescaler

        @cache
        def measures() -> Mapping[str, Distance]:
            return distances or {trunk: lpips.lpips(trunk, device=usable_device(self.device)) for trunk in self.trunks}

        def answered(question: EvaluationJob) -> Result:
            source, name = question.source, question.source.stem
            facts: Result = {"number": question.number, "source": str(source), "rows": [], "details": []}
            try:
                picture, rescaler = images.read(source), asked(question.model, question.name)
                for effort, codec in product(self.efforts, self.codecs):
                    trial = round_trip(rescaler, picture, name, question.scale, refine=effort, saved_as=codec)
                    if question.is_shown:
                        facts["details"].append(details(name, picture, trial))
                    facts["rows"].append(score(trial, question.set, name, round_luma=self.round_luma, lpips=measures()))
            except Exception as error:
                facts |= failed(source, error)
            return facts

        return answered

    def check(self, question: EvaluationJob) -> None:
        """Do nothing, as no objection to reading is known."""

    def idempotent(self) -> Self:
        """Return itself: a job may be done twice."""
        return self
