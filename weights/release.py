"""Release a trained network: score it by the protocol, write the scores into its header, and its row in the manifest.

python weights/release.py NAME runs/NAME/best.safetensors --summary "..." PICTURES/Set5 PICTURES/Set14 ...
"""

import argparse
import hashlib
import tomllib
from pathlib import Path

from rescale import weights
from rescale.evaluate import decibels, evaluate, means
from rescale.rescaler import Rescaler

HERE = Path(__file__).parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("file", type=Path)
    parser.add_argument("sets", nargs="*", type=Path)
    parser.add_argument("--summary", required=True)
    args = parser.parse_intermixed_args()

    trained = weights.load(args.file)
    rows = means(row for folder in args.sets for row in evaluate(Rescaler(trained), folder))
    scores = {r.set: f"{r.psnr_y:.2f} dB / {r.ssim_y:.4f}, LR {decibels(r.lr_psnr_y)}" for r in rows}
    facts = {key: trained.header[key] for key in ("recipe", "steps", "data")}
    target = HERE / f"{args.name}.safetensors"
    weights.save(target, trained.model, **facts, scores=trained.header["scores"] | scores)
    data = target.read_bytes()
    row = {
        "file": target.name,
        "sha256": hashlib.sha256(data).hexdigest(),
        "size_bytes": len(data),
        "model": trained.header["model"],
        "scale": trained.model.scale,
        "parameters": trained.model.parameter_count,
        "summary": args.summary,
        "scores": scores,
    }
    table = tomllib.loads((HERE / "manifest.toml").read_text()) | {args.name: row}
    (HERE / "manifest.toml").write_text("\n".join(section(name, table[name]) for name in sorted(table)))
    print(section(args.name, row))


def section(name: str, row: dict[str, object]) -> str:
    plain = [f"{key} = {literal(value)}" for key, value in row.items() if key != "scores"]
    scores = [f"{key} = {literal(value)}" for key, value in row["scores"].items()]
    return "\n".join([f"[{name}]", *plain, f"[{name}.scores]", *scores, ""])


def literal(value: object) -> str:
    return str(value) if isinstance(value, int) else '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'


if __name__ == "__main__":
    main()
