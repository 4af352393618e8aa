"""Release a trained network: score it by the protocol, write the scores into its file and the manifest."""

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from rescale.evaluation.protocol import Scores, evaluate, means
from rescale.evaluation.tables import psnr_text
from rescale.inference import selftest
from rescale.inference.rescaler import Rescaler, load
from rescale.io.storage import publish
from rescale.models import weights, zoo
from rescale.models.zoo import ManifestEntry
from rescale.training.train import VALIDATED


def release(name: str, file: Path, sets: Sequence[Path], summary: str) -> ManifestEntry:
    """Add a network to the manifest, or replace the one of that name.

    Args:
        name: model id.
        file: the best network of `rescale train`.
        sets: folders of test images; scoring is the last thing that happens, and nothing is chosen by it.
        summary: a few words for `rescale models`.
    """
    trained = weights.load(file)
    trained = dataclasses.replace(trained, model=trained.model.folded())
    scores = _scores(Rescaler(trained, precision="float32"), sets)
    target = zoo.weights_folder() / f"{name}.safetensors"
    facts = {key: trained.header[key] for key in ("recipe", "steps", "data", "origin") if key in trained.header}
    weights.save(target, trained.model, **facts, scores=trained.header["scores"] | scores)
    data = target.read_bytes()
    entry = ManifestEntry(
        file=target.name,
        sha256=hashlib.sha256(data).hexdigest(),
        size_bytes=len(data),
        model=trained.header["model"],
        parameters=trained.model.parameter_count,
        summary=summary,
        scores=scores,
        scale=trained.model.scale,
        golden=_golden(target),
    )
    _write(zoo.manifest() | {name: entry})
    return entry


def take_golden_figures_anew() -> None:
    """Measure every shipped model again on the test image, after a deliberate change of it or of downscaling."""
    found = {name: _golden(zoo.weights_folder() / entry.file) for name, entry in zoo.manifest().items()}
    _write({name: dataclasses.replace(entry, golden=found[name]) for name, entry in zoo.manifest().items()})


def take_scores_anew(sets: Sequence[Path]) -> None:
    """Score every shipped model again on folders of test images, after a deliberate change of the protocol."""
    rows = zoo.manifest()
    found = {name: _scores(load(name, device="cpu", precision="float32"), sets) for name in rows}
    _write({name: dataclasses.replace(entry, scores=found[name]) for name, entry in rows.items()})


def _scores(rescaler: Rescaler, sets: Sequence[Path]) -> dict[str, str]:
    """Score in float32, the same on every processor; bfloat16, if available, can cost 0.02 dB (ESPCN: 0.04)."""
    scales = [rescaler.scale] if rescaler.scale else list(VALIDATED)
    rows = means(row for folder in sets for scale in scales for row in evaluate(rescaler, folder, scale=scale))
    return {row.set if rescaler.scale else f"{row.set} {row.scale}": _score(row) for row in rows}


def _score(row: Scores) -> str:
    lr = f"LR {psnr_text(row.lr_psnr_y)}, RGB {psnr_text(row.lr_psnr_rgb)}"
    return f"{row.psnr_y:.2f} / {row.ssim_y:.4f}, RGB {row.psnr_rgb:.2f}; {lr}"


def _golden(file: Path) -> tuple[float, float]:
    return selftest.trial(load(file, device="cpu", precision="float32")).figures


def _write(rows: dict[str, ManifestEntry]) -> None:
    text = "\n".join(_section(key, rows[key]) for key in sorted(rows))
    publish(zoo.weights_folder() / "manifest.toml", text.encode(), overwrite=True)
    zoo.manifest.cache_clear()


def _section(name: str, entry: ManifestEntry) -> str:
    """Format one row as TOML; JSON's strings and integers are TOML's."""
    row = dataclasses.asdict(entry)
    scores = row.pop("scores")
    title = json.dumps(name)
    return "\n".join([f"[{title}]", *_lines(row), f"[{title}.scores]", *_lines(scores), ""])


def _lines(row: dict[str, object]) -> list[str]:
    return [f"{json.dumps(key)} = {json.dumps(value)}" for key, value in row.items() if value is not None]
