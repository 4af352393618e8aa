"""What models are asked about pictures, told so that another process can find the same numbers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Self

from rescale.device import usable_device
from rescale.evaluation.crops import details
from rescale.evaluation.protocol import Distance, score, try_out
from rescale.executors.base import Facts, failure
from rescale.geometry import Geometry
from rescale.inference.refine import Effort
from rescale.inference.rescaler import Rescaler, load
from rescale.io import images
from rescale.metrics import lpips
from rescale.metrics.lpips import Trunk


@dataclass(frozen=True)
class Question:
    """One picture for one model at one scale."""

    number: int
    """Its place among all."""
    source: Path
    set: str
    model: str
    """An id, or a weight file."""
    name: str
    """What the model is called in the table."""
    scale: Geometry
    is_shown: bool = False
    """Whether its details are wanted for a `Grid`."""

    @property
    def target(self) -> None:
        """Nothing is written."""


@dataclass(frozen=True)
class Exam:
    """How models are asked, a `Duty`: choices as of `try_out` and `score`."""

    round_luma: bool = False
    trunks: tuple[Trunk, ...] = ()
    """Of LPIPS."""
    efforts: tuple[Effort | None, ...] = (None,)
    """A row for each."""
    device: str | None = None

    def begun(
        self, rescalers: Mapping[str, Rescaler] | None = None, distances: Mapping[str, Distance] | None = None
    ) -> Callable[[Question], Facts]:
        """Answer one question after the other: its rows of `Scores` and their details, and what failed.

        Args:
            rescalers: those that are loaded, by their names in the table.
            distances: of the trunks, if they are loaded.
        """

        @cache
        def asked(model: str, name: str) -> Rescaler:
            rescaler = (rescalers or {}).get(name) or load(model, device=self.device)
            rescaler.name = name
            return rescaler

        @cache
        def measures() -> Mapping[str, Distance]:
            return distances or {trunk: lpips.lpips(trunk, device=usable_device(self.device)) for trunk in self.trunks}

        def answered(question: Question) -> Facts:
            source, name = question.source, question.source.stem
            facts: Facts = {"number": question.number, "source": str(source), "rows": [], "details": []}
            try:
                picture, rescaler = images.read(source), asked(question.model, question.name)
                for effort in self.efforts:
                    trial = try_out(rescaler, picture, name, question.scale, refine=effort)
                    if question.is_shown:
                        facts["details"].append(details(name, picture, trial))
                    facts["rows"].append(score(trial, question.set, name, round_luma=self.round_luma, lpips=measures()))
            except Exception as error:
                facts |= failure(source, error)
            return facts

        return answered

    def check(self, question: Question) -> None:
        """Nothing is in the way of reading."""

    def repeatable(self) -> Self:
        """Itself: a question may be answered twice."""
        return self
