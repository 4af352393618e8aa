"""Weight files of strangers: nothing in them runs, nothing makes the process large or slow, all are refused by name."""

import hashlib
import json
import os
import pickle
import struct
import zipfile
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import psutil
import pytest
import safetensors.torch
import torch
from hostile import Calls, Memory, watched
from waiting import no_hang

from rescale.errors import InputError, RecordError, RescaleError, WeightsError
from rescale.models import IRN, IRNConfig, import_irn, weights
from rescale.video.embedded.bundle import NetworkBundle

with suppress(ImportError):
    import spandrel  # noqa: F401  # which is imported once, and is no part of refusing
MOST_CALLS = 200_000
"""To refuse a file; one of ten thousand tensors takes a third of that, each other one a thirtieth."""
CONFIG = {"scale": 2, "blocks": [1], "growth": 4, "depth": 2}
SAID = {"format": 1, "model": "irn", "config": CONFIG}


def sound() -> dict[str, torch.Tensor]:
    return {key: value.contiguous() for key, value in IRN(IRNConfig(2, (1,), 4, 2)).state_dict().items()}


def file_of(header: bytes, body: bytes = b"") -> bytes:
    return struct.pack("<Q", len(header)) + header + body


def described(tensors: dict, body: bytes = b"", **changes) -> bytes:
    return file_of(json.dumps({"__metadata__": {"rescale": json.dumps(SAID | changes)}, **tensors}).encode(), body)


def changed(**tensors: torch.Tensor | None) -> bytes:
    made = sound() | {key.replace("__", "."): value for key, value in tensors.items()}
    kept = {key: value for key, value in made.items() if value is not None}
    return safetensors.torch.save(kept, {"rescale": json.dumps(SAID)})


def flat(start: int, end: int, **facts) -> dict:
    return {"dtype": "F32", "shape": [(end - start) // 4], "data_offsets": [start, end]} | facts


def strange(tensors: dict[str, torch.Tensor]) -> bytes:
    """A file that says nothing of itself."""
    return safetensors.torch.save(tensors)


def compact_of(width: int, last: int) -> dict[str, torch.Tensor]:
    """Tensors of a network of Real-ESRGAN's compact kind, all but the large ones."""
    first = {"body.0.weight": torch.ones(width, 3, 3, 3), "body.0.bias": torch.ones(width)}
    ends = {f"body.{last}.weight": torch.ones(12, 4, 3, 3), f"body.{last}.bias": torch.ones(12)}
    return first | {"body.1.weight": torch.ones(width)} | ends


BIAS = "chain__steps__1__to_low__convs__0__bias"
HOSTILE = {
    "header of 100 MB": lambda: file_of(b'{"__metadata__":{"rescale":"' + b"x" * 100_000_000 + b'"}}'),
    "nested header of 100 MB": lambda: file_of(b"[" * 100_000_000),
    "a million tensors": lambda: file_of(
        b"{%s}" % b",".join(b'"%d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}' % n for n in range(1_000_000))
    ),
    "ten thousand tensors": lambda: described({f"{n}": flat(4 * n, 4 * n + 4) for n in range(10_000)}, bytes(40_000)),
    "ten thousand tensors of a stranger": lambda: strange({f"{n}": torch.zeros(1) for n in range(10_000)}),
    "a stranger that is wide": lambda: strange(compact_of(10_000, 6)),
    "a stranger that is deep": lambda: strange(compact_of(4, 10**8)),
    "a stranger of NaN": lambda: strange({"body.0.weight": torch.full((4, 3, 3, 3), torch.nan)}),
    "nested header": lambda: file_of(b'{"a":' * 100_000),
    "nested description": lambda: safetensors.torch.save(sound(), {"rescale": "[" * 500_000}),
    "overlapping": lambda: described({"a": flat(0, 64), "b": flat(32, 96)}, bytes(96)),
    "hole": lambda: described({"a": flat(0, 32), "b": flat(64, 96)}, bytes(96)),
    "beyond the end": lambda: described({"a": flat(0, 2**40)}, bytes(96)),
    "backwards": lambda: described({"a": flat(0, 4, data_offsets=[64, 0])}, bytes(64)),
    "negative": lambda: described({"a": flat(0, 4, data_offsets=[-4, 0])}, bytes(64)),
    "shape of 2^62": lambda: described({"a": flat(0, 4, shape=[2**31, 2**31])}, bytes(4)),
    "unknown dtype": lambda: described({"a": flat(0, 4, dtype="PICKLE")}, bytes(4)),
    "the same key twice": lambda: file_of(b'{"a":%s,"a":%s}' % ((json.dumps(flat(0, 4)).encode(),) * 2), bytes(4)),
    "no dimensions": lambda: changed(**{BIAS: torch.tensor(1.0)}),
    "whole numbers": lambda: changed(**{BIAS: torch.zeros(4, dtype=torch.int64)}),
    "half precision": lambda: changed(**{BIAS: torch.zeros(4, dtype=torch.float16)}),
    "complex": lambda: changed(**{BIAS: torch.zeros(4, dtype=torch.complex64)}),
    "another shape": lambda: changed(**{BIAS: torch.zeros(2, 2)}),
    "a key too few": lambda: changed(**{BIAS: None}),
    "a key too many": lambda: changed(more=torch.zeros(4)),
    "NaN": lambda: changed(**{BIAS: torch.full((4,), torch.nan)}),
    "infinity": lambda: changed(**{BIAS: torch.full((4,), -torch.inf)}),
    "a description of another kind": lambda: safetensors.torch.save(sound(), {"rescale": "[]"}),
    "no description": lambda: safetensors.torch.save(sound(), {"rescale": "null"}),
    "wide": lambda: described({"a": flat(0, 4)}, bytes(4), config=CONFIG | {"growth": 100_000}),
    "deep": lambda: described({"a": flat(0, 4)}, bytes(4), config=CONFIG | {"depth": 10**9}),
    "endless blocks": lambda: described({"a": flat(0, 4)}, bytes(4), config=CONFIG | {"blocks": [10**12]}),
    "many scales": lambda: described({"a": flat(0, 4)}, bytes(4), config=CONFIG | {"blocks": [1] * 10_000}),
    "as large as allowed": lambda: described(
        {"a": flat(0, 4)}, bytes(4), config={"scale": 8, "blocks": [64] * 3, "growth": 256, "depth": 16}
    ),
    "wide layers": lambda: described(
        {"a": flat(0, 4)}, bytes(4), model="espcn", config={"scale": 2, "widths": [512, 512], "kernels": [9, 9, 9]}
    ),
    "another model": lambda: described({"a": flat(0, 4)}, bytes(4), model="../../irn"),
    "a model of another kind": lambda: described({"a": flat(0, 4)}, bytes(4), model=["irn"]),
    "a config of another kind": lambda: described({"a": flat(0, 4)}, bytes(4), config=7),
}  # fmt: skip


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_weights_are_refused_soon_and_in_little_memory(kind, tmp_path):
    path = tmp_path / "hostile.safetensors"
    path.write_bytes(HOSTILE[kind]())
    before = psutil.Process().memory_info().rss
    with no_hang(), Calls() as calls, Memory() as memory, pytest.raises(WeightsError, match=r"hostile\.saf") as caught:
        weights.load(path)
    assert calls.count < MOST_CALLS and memory.most < path.stat().st_size + 20e6
    assert psutil.Process().memory_info().rss - before < 200e6
    assert len(str(caught.value)) < 300 and "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", [kind for kind in HOSTILE if kind.startswith(("header", "nested", "a million"))])
def test_networks_in_a_video_are_as_bounded(kind):
    data = HOSTILE[kind]()
    digest = hashlib.sha256(data).hexdigest()
    with no_hang(), Calls() as calls, Memory() as memory, pytest.raises(RecordError, match="networks in it are dam"):
        NetworkBundle.unpack(data, digest)
    assert calls.count < MOST_CALLS and memory.most < 20e6


# ------------------------------------------------------------------------------------------- pickles


class Runs:
    """What makes a folder wherever it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = str(canary)

    def __reduce__(self):
        return os.mkdir, (self.canary,)


class Built:
    def __init__(self, canary: Path) -> None:
        self.inner = Runs(canary)


def assembled(template: str, canary: Path) -> bytes:
    """A pickle program in which CANARY stands for a folder's name."""
    return template.replace("CANARY", str(canary)).encode()


def zipped(inner: bytes, name: str = "x/data.pkl", **more: bytes) -> bytes:
    out = BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(name, inner)
        for other, data in more.items():
            archive.writestr(other.replace("__", "/"), data)
    return out.getvalue()


def saved_by_torch(content: object, *, new: bool) -> bytes:
    out = BytesIO()
    torch.save(content, out, _use_new_zipfile_serialization=new)
    return out.getvalue()


PICKLES = {
    **{f"protocol {n}": (lambda c, n=n: pickle.dumps(Runs(c), protocol=n)) for n in range(6)},
    "an instance": lambda c: pickle.dumps(Built(c)),
    "INST": lambda c: assembled("(S'CANARY'\niposix\nmkdir\n.", c),
    "OBJ": lambda c: assembled("(cposix\nmkdir\nS'CANARY'\no.", c),
    "exec": lambda c: assembled("cbuiltins\nexec\n(S'import os; os.mkdir(\"CANARY\")'\ntR.", c),
    "behind a sound one": lambda c: pickle.dumps({}) + pickle.dumps(Runs(c)),
    "torch.save": lambda c: saved_by_torch({"a": Runs(c)}, new=True),
    "torch.save of old": lambda c: saved_by_torch({"a": Runs(c)}, new=False),
    "among tensors": lambda c: saved_by_torch(sound() | {"b": Runs(c)}, new=True),
    "as a key's value, of old": lambda c: saved_by_torch(sound() | {"b": [Runs(c)]}, new=False),
    "an archive": lambda c: zipped(pickle.dumps(Runs(c), protocol=2)),
    "an archive of scripts": lambda c: zipped(
        pickle.dumps({}, protocol=2), x__constants_pkl=pickle.dumps(Runs(c)), x__code=b"import os"
    ),
    "an archive that climbs": lambda c: zipped(pickle.dumps(Runs(c), protocol=2), "../../x/data.pkl"),
    "behind safetensors": lambda c: safetensors.torch.save(sound()) + zipped(pickle.dumps(Runs(c), protocol=2)),
    "in the header of safetensors": lambda c: safetensors.torch.save(
        sound(), {"rescale": pickle.dumps(Runs(c), protocol=0).decode("latin-1")}
    ),
}  # fmt: skip


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".ckpt", ".bin", ".pkl", ".zip", ".safetensors"])
def test_no_pickle_ever_runs(suffix, tmp_path):
    """Twenty of them, through both doors for weights; what a machine that ran them would leave is never there."""
    assert len(PICKLES) == 20
    for number, make in enumerate(PICKLES.values()):
        canary, path = tmp_path / f"canary{number}", tmp_path / f"evil{number}{suffix}"
        path.write_bytes(make(canary))
        with watched() as seen:
            with pytest.raises(RescaleError):
                weights.load(path)
            with pytest.raises(InputError, match=path.name):
                import_irn.import_checkpoint(path, tmp_path / "taken.safetensors")
        assert not canary.exists() and not (tmp_path / "taken.safetensors").exists()
        assert seen.opened <= {str(path)} and not seen.others


def test_the_pickles_would_run_elsewhere(tmp_path):
    """Or the test above could not fail."""
    for name in [f"protocol {n}" for n in range(6)] + ["INST", "OBJ", "exec"]:
        canary = tmp_path / name.replace(" ", "")
        program = PICKLES[name](canary)
        pickle.loads(program)
        assert canary.is_dir(), name
