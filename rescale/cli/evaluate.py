"""`evaluate`: score models by the papers' protocol."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rescale.cli.console import tell_notes
from rescale.cli.options import Json, Machine, Overwrite, spread, use_machine
from rescale.cli.selection import Folders, Models, Scales, collected, contenders_of, pictures_of, turns_of
from rescale.errors import InputError, MachineError, UsageError

if TYPE_CHECKING:
    from rescale.evaluation.protocol import Scores
    from rescale.executors.base import Result
    from rescale.inference.rescaler import Rescaler


@dataclass(frozen=True)
class Sheet:
    """Output options: which scores are shown, and where."""

    each: Annotated[bool, typer.Option("--each", help="Every image's own row as well.")] = False
    paper: Annotated[bool, typer.Option("--paper", help="The papers' table, with published rows among ours.")] = False
    plot: Annotated[Path | None, typer.Option(help="PNG to draw PSNR over the scales into.", show_default=False)] = None
    grid: Annotated[
        Path | None, typer.Option("--grid", help="Image file to write details side by side to.", show_default=False)
    ] = None
    overwrite: Overwrite = False
    as_csv: Annotated[bool, typer.Option("--csv", help="CSV on stdout.")] = False
    as_json: Json = False

    def check(self, found: dict[Path, list[Path]]) -> None:
        """Refuse, before any work, plots that could not be drawn at the end."""
        from rescale.evaluation import plots
        from rescale.io import formats
        from rescale.io.targets import check_target

        if self.plot and formats.format_of(self.plot) != "PNG":
            raise UsageError(f"expected a PNG to draw into, got {self.plot}")
        if self.plot and self.plot == self.grid:
            raise UsageError(f"expected two files for --grid and --plot, got {self.grid} twice")
        if self.plot and not plots.has_matplotlib():
            raise MachineError("--plot needs matplotlib: pip install 'rescale[train]'")
        for target in filter(None, (self.grid, self.plot)):
            formats.format_of(target)
            for file in (file for files in found.values() for file in files):
                check_target(file, target, overwrite=self.overwrite)

    def text(self, rows: "list[Scores]", said: str, rescalers: "dict[str, Rescaler]") -> str:
        """Format the table as requested."""
        from rescale.evaluation.protocol import means
        from rescale.evaluation.published import markdown as paper_markdown
        from rescale.evaluation.published import measured
        from rescale.evaluation.tables import markdown, records, table

        shown = (rows if self.each else []) + means(rows)
        if self.as_json:
            return json.dumps({"protocol": said, "rows": records(shown)})
        if self.as_csv:
            return table(shown)
        if not self.paper:
            return f"{markdown(shown)}\n\n{said}"
        sizes = {name: rescaler.model.parameter_count for name, rescaler in rescalers.items()}
        return f"{paper_markdown(measured(means(rows), sizes))}\n\n{said}"

    def draw(self, rows: "list[Scores]", answers: "list[Result]") -> None:
        """Draw the requested plots, if there is anything to draw."""
        from rescale.evaluation import plots
        from rescale.evaluation.crops import Grid
        from rescale.evaluation.protocol import means
        from rescale.io import images

        details = Grid()
        for facts in answers:
            for cells in facts["details"]:
                details.add(facts["source"], cells)
        if self.grid and details.rows:
            images.write(self.grid, details.picture(), overwrite=self.overwrite)
        if self.plot and rows:
            plots.draw_scales(means(rows), self.plot, overwrite=self.overwrite)


@spread
def evaluate(
    folders: Folders,
    model: Models = None,
    scale: Scales = None,
    round_luma: Annotated[bool, typer.Option("--round-luma", help="As the older bicubic rows of the papers.")] = False,
    lpips: Annotated[
        list[str] | None, typer.Option("--lpips", help="alex or vgg; may be repeated.", show_default=False)
    ] = None,
    refine: Annotated[
        list[str] | None,
        typer.Option(
            help="Also refined: 20 (steps), 30s, +1.0dB; 'hr 20', 'hr lr 20', '20, fidelity 0'. May be repeated.",
            show_default=False,
        ),
    ] = None,
    saved_as: Annotated[
        list[str] | None,
        typer.Option(
            help="Also with the LR image saved by a lossy codec: jpeg:75, webp:80, avif:60. May be repeated.",
            show_default=False,
        ),
    ] = None,
    *,
    machine: Machine,
    sheet: Sheet,
) -> None:
    """Score models on folders of images by the papers' protocol."""
    from rescale.evaluation.crops import MOST
    from rescale.evaluation.protocol import protocol
    from rescale.evaluation.task import EvaluationJob, EvaluationTask
    from rescale.inference.refine import RefineBudget
    from rescale.io.budget import Lossy

    use_machine(machine.threads)
    contenders = contenders_of(model, scale or [], machine.device)
    rescalers = {contender.rescaler.name: contender.rescaler for contender in contenders}
    for rescaler in rescalers.values():
        tell_notes(rescaler)
    distances = _distances(lpips or [], contenders[0].rescaler.device)
    found = pictures_of(folders)
    sheet.check(found)
    shown = [file for files in found.values() for file in files][: MOST if sheet.grid else 0]
    questions = [
        EvaluationJob(number, file, set_name, asked, rescaler.name, geometry, is_shown=file in shown)
        for number, ((asked, rescaler, geometry), file, set_name) in enumerate(turns_of(contenders, folders, found))
    ]
    efforts, codecs = (None, *map(RefineBudget.of, refine or [])), (None, *map(Lossy.parse, saved_as or []))
    exam = EvaluationTask(round_luma, tuple(distances), efforts, machine.device, codecs)
    engine = machine.executor_for(len(questions), rescalers=rescalers, distances=distances)
    answers, failures = collected(engine(questions, exam), len(questions))
    rows = [row for facts in answers for row in facts["rows"]]
    typer.echo(sheet.text(rows, protocol(round_luma=round_luma), rescalers))
    sheet.draw(rows, answers)
    if failures:
        raise typer.Exit(InputError.exit_code)


def _distances(trunks: list[str], device: object) -> dict[Any, Any]:
    """Load LPIPS where available; otherwise a note says why, and the other columns still come."""
    from rescale.metrics.lpips import lpips

    distances = {}
    for trunk in trunks:
        if trunk not in ("alex", "vgg"):
            raise UsageError(f"expected --lpips alex or vgg, got {trunk}")
        try:
            distances[trunk] = lpips(trunk, device=device)  # type: ignore[arg-type]
        except MachineError as error:
            typer.echo(f"note: {error}", err=True)
    return distances
