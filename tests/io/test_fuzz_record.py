"""Records of strangers, in whole small pictures: restoring is refused typed or does what it may, and nothing else."""

import json
import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hostile import IS_THOROUGH, Calls, watched
from waiting import no_hang

from rescale.errors import RescaleError
from rescale.inference import files
from rescale.inference.cache import load_cached
from rescale.inference.options import RescaleOptions
from rescale.inference.rescaler import load
from rescale.io import images, record
from rescale.io.images import Picture
from rescale.models import zoo

CASES = 20_000 if IS_THOROUGH else 1_500
MOST_CALLS = 100_000
"""To restore or refuse a file; one of ten megabytes takes half of that, each other one a tenth."""
MODELS = ["bicubic-x2", "espcn-x2", "irn-x2-small", "bicubic-x4"]
NUMBERS = [0, -1, 1, 2, 3, 5, 2**31, 2**31 + 1, 2**63, 10**9, 10**40, 1.5, 1e9, 1e308, float("nan"), float("inf"), -0.0]
WORDS = [
    *MODELS, "../../x", "/etc/passwd", "\\\\host\\share", "C:\\x", "http://127.0.0.1:9/x",
    "https://example.com/x", "file:///etc/passwd", "s3://bucket/x", "a\0b", "\0", "", " ", ".", "..", "-rf", "~/x",
    "$HOME", "%s%n", "{0}", "a" * 64,
    "a" * 65, "é" * 40, "\ud800", "\x1b[2J", "__class__", "weights.safetensors", "bicubic-x0", "irn-x2-small\n",
    "None", "0" * 16, "f" * 64, "x" * 5000, "<script>", "'; drop", "\uff41",
]  # fmt: skip
KEYS = [
    "version",
    "model",
    "weights",
    "size",
    "small",
    "refined",
    "depth",
    "grey",
    "alpha",
    "pixels",
    "__proto__",
    "networks",
]


def value(rng: random.Random, depth: int = 0) -> object:
    kind = rng.randrange(9 if depth < 3 else 6)
    if kind < 2:
        return rng.choice(NUMBERS)
    if kind < 5:
        return rng.choice(WORDS)
    if kind == 5:
        return rng.choice([None, True, False])
    if kind == 6:
        return {rng.choice(WORDS): value(rng, depth + 1) for _ in range(rng.randrange(3))}
    return [value(rng, depth + 1) for _ in range(rng.randrange(4))]


def text(rng: random.Random, truth: dict) -> str:
    """Near the truth, so that it gets past the first check, or far from it."""
    kind = rng.random()
    if kind < 0.6:
        changed = truth | {key: value(rng) for key in rng.sample(KEYS, rng.choice([0, 1, 1, 1, 2, 3]))}
        for key in rng.sample(sorted(truth), rng.choice([0, 0, 0, 1])):
            changed.pop(key)
        return json.dumps(changed)
    if kind < 0.75:  # sizes above all
        sides = [rng.choice([n for n in NUMBERS if isinstance(n, int)] + [9, 10, 11, 12, 18, 20, 24]) for _ in range(4)]
        more = {"small": sides[2:]} if kind < 0.7 else {}
        return json.dumps(truth | {"size": sides[:2], "model": rng.choice(MODELS)} | more)
    if kind < 0.85:
        said = json.dumps(truth)
        return (
            said[:-1] + "".join(f", {json.dumps(key)}: {json.dumps(value(rng))}" for key in rng.sample(KEYS, 2)) + "}"
        )
    if kind < 0.95:
        said = list(json.dumps(truth))
        for _ in range(rng.randrange(1, 4)):
            said[rng.randrange(len(said))] = rng.choice('{}[]",:\0 0123456789eE+-.aZé\U0001f600')
        return "".join(said)
    return rng.choice(
        ["", "[" * 4000, '{"a":' * 700 + "1" + "}" * 700, "NaN", "1" * 5000, '"' + "x" * 5000, "\ufeff{}"]
    )


def planted(said: str, small: Picture, format: str) -> bytes:
    """A picture file with this record, as a stranger would write it; the text may be no text at all."""
    safe = said.encode("utf-8", "replace").decode()
    if format == "PNG":
        picture = replace(small, text=((record.KEY, safe),))
    else:
        good = record.Record(version=1, model="a", weights="0" * 16, size=(1, 1), pixels="0" * 16)
        picture = record.embed(small, good, format)
        quoted = safe.replace("&", "&#38;").replace('"', "&#34;").replace("<", "&#60;").encode()
        before, _, after = picture.xmp.partition(b'rescale:record="')
        picture = replace(picture, xmp=before + b'rescale:record="' + quoted + b'"' + after.partition(b'"')[2])
    return images.encode(format, picture)[0]


def outcome(source: Path, target: Path, how: dict) -> str:
    try:
        options = RescaleOptions(force=how.get("force", False), device="cpu")
        done = files.upscale_file(source, target, model=how.get("model"), overwrite=True, options=options)
    except RescaleError as error:
        assert len(str(error)) < 1000
        return type(error).__name__
    assert max(done.size) <= 4 * 12
    return "restored"


def test_no_record_opens_anything_takes_long_or_raises_anything_else(tmp_path):
    rng, found, many = random.Random(11), Counter(), []
    original = Picture(np.random.default_rng(5).integers(0, 256, (20, 24, 3), dtype=np.uint8))
    truths = []
    for model in MODELS:
        rescaler = load_cached(model, "cpu") if model in zoo.manifest() else load(model, device="cpu")
        small = rescaler.downscale_picture(original)
        rescaler.upscale_picture(small)
        truths.append((small, json.loads(rescaler.describe(small, original).model_dump_json())))
    allowed = {str(zoo.weights_folder() / entry.file) for entry in zoo.manifest().values()}
    for trial in range(CASES):
        small, truth = truths[trial % len(truths)]
        format = rng.choice(["PNG"] * 5 + ["TIFF", "WEBP", "JPEG"])
        source, target = tmp_path / f"small.{format.lower()}", tmp_path / "large.png"
        said = text(rng, truth) if trial % 200 else '{"model": "' + "x" * 10_000_000 + '"}' * (trial % 400 > 0)
        data = planted(said, small, "PNG" if len(said) > 10**6 else format)
        source.write_bytes(data)
        how = rng.choice([{}, {}, {}, {"force": True}, {"model": "bicubic-x2", "force": True}, {"model": "bicubic-x2"}])
        with no_hang(), watched() as seen, Calls() as calls:
            result = outcome(source, target, how)
        strange = {name for name in seen.opened - allowed - {str(source)} if not is_ours(name, tmp_path, result)}
        assert not strange and not seen.others, (said[:300], how)
        many += [(calls.count, said[:100])] * (calls.count > MOST_CALLS)
        found[result] += 1
    assert not many
    assert found["restored"] > CASES / 100 and found["RecordError"] > CASES / 2, found


def is_ours(name: str, folder: Path, result: str) -> bool:
    """The temporary file of a result, if there is one, and how much memory there is to make it in."""
    is_temporary = Path(name).parent == folder and name.endswith(".tmp")
    return result == "restored" and (is_temporary or name.startswith(("/proc/meminfo", "/sys/fs/cgroup/")))


@pytest.mark.parametrize("name", ["../../x", "/etc/passwd", "http://127.0.0.1:9/x", "irn-x2-small.safetensors", "a\0b"])
def test_a_record_names_no_file_and_no_address(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small = Picture(np.zeros((10, 12, 3), np.uint8))
    said = {"version": 1, "model": name, "weights": "0" * 16, "size": [20, 24], "pixels": record.digest(small)}
    (tmp_path / "s.png").write_bytes(planted(json.dumps(said), small, "PNG"))
    with watched() as seen:
        assert outcome(Path("s.png"), Path("l.png"), {"force": True}) == "RecordError"
    assert seen.opened == {"s.png"} and not seen.others
