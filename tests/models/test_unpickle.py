"""Checkpoints are read without being run."""

import io
import os
import pickle
import sys
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from torch import nn
from waiting import no_hang

from rescale.errors import InputError
from rescale.models import unpickle


def load(path: Path) -> dict[str, torch.Tensor]:
    return unpickle.parse(path.read_bytes(), path.name)


DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32]


@pytest.fixture(params=[True, False], ids=["zipped", "legacy"])
def save(request, tmp_path):
    """Write anything as PyTorch does, in the newer or the older way."""

    def write(content: object):
        path = tmp_path / "some.pth"
        torch.save(content, path, _use_new_zipfile_serialization=request.param)
        return path

    return write


def test_tensors_come_back(save):
    content = OrderedDict((str(dtype), (torch.randn(2, 3, 4) * 50).to(dtype)) for dtype in DTYPES)
    content["turned"] = torch.randn(5, 7).T
    content["part"] = torch.arange(100.0)[10:40:3]
    content["parameter"] = nn.Parameter(torch.randn(3))
    read = load(save(content))
    assert list(read) == list(content)
    for name, tensor in content.items():
        assert read[name].dtype == tensor.dtype and torch.equal(read[name], tensor)


def test_the_state_of_a_layer_and_shared_storages_come_back(save):
    layer = nn.Conv2d(3, 4, 3)
    state = layer.state_dict()
    state["again"] = state["weight"]
    read = load(save(state))
    assert all(torch.equal(read[name], tensor) for name, tensor in state.items())


def test_the_tensors_of_a_training_programs_checkpoint_are_found(save):
    """Beside them lie counts, text, and another network's tensors, of which the averaged ones are wanted."""
    wanted, other = (OrderedDict(weight=torch.randn(3, 2), count=torch.tensor(n)) for n in (1, 2))
    moments = {
        "state": {0: {"step": 5, "exp_avg": torch.randn(7).double()}},
        "param_groups": [{"lr": 1e-4, "p": (0, 1)}],
    }
    facts = {"iter": 5000, "best": 31.5, "name": "net", "optimizer": moments, "scheduler": None, "done": True}
    for content in (
        {"params": other, "params_ema": wanted, **facts}, {"state_dict": wanted, **facts}, {"anything": wanted},
        {"model": {"params": wanted}}, wanted,
    ):  # fmt: skip
        read = unpickle.parse(save(content).read_bytes(), "some.pth", nested=True)
        assert list(read) == ["weight", "count"] and all(torch.equal(read[key], wanted[key]) for key in read)
    for content in (facts, {"params": {"a": 1}}, {"params": [wanted]}, {}.fromkeys("ab", wanted), 7):
        with pytest.raises(InputError, match="expected a dictionary of tensors, got"):
            unpickle.parse(save(content).read_bytes(), "some.pth", nested=True)


def test_a_checkpoint_that_holds_itself_is_refused():
    itself = b"\x80\x02}q\x00X\x06\x00\x00\x00paramsh\x00s."
    with no_hang(), pytest.raises(InputError, match="expected a dictionary of tensors, got dict under 'params'"):
        unpickle.parse(packed(itself), "circle.pth", nested=True)


class Evil:
    def __init__(self, canary: str) -> None:
        self.canary = canary

    def __reduce__(self):
        return os.mkdir, (self.canary,)


@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: {"a": x}, lambda x: {"a": torch.ones(2), "b": [x]}])
def test_code_in_a_checkpoint_is_named_and_never_run(save, tmp_path, wrap):
    canary = tmp_path / "canary"
    path = save(wrap(Evil(str(canary))))
    asked = []
    sys.addaudithook(lambda event, _: asked.append(event) if event == "pickle.find_class" else None)
    with pytest.raises(InputError, match=r"some\.pth: .*a call of (posix|nt)\.mkdir"):
        unpickle.parse(path.read_bytes(), path.name)
    assert not canary.exists() and not asked


@pytest.mark.parametrize("content", [torch.ones(2), {"a": 1}, {"a": {"b": torch.ones(2)}}, {1: torch.ones(2)}, []])
def test_anything_but_a_dictionary_of_tensors_is_refused(save, content):
    with pytest.raises(InputError, match="expected a dictionary of tensors, got"):
        load(save(content))


def test_every_truncation_and_many_mutations_raise_one_error(save):
    path = save({"weight": torch.randn(4, 3), "bias": torch.randn(4)})
    whole = path.read_bytes()
    for index in range(len(whole)):
        path.write_bytes(whole[:index])
        if index % 7 == 0:
            with pytest.raises(InputError):
                unpickle.parse(path.read_bytes(), path.name)
        path.write_bytes(whole[:index] + bytes([whole[index] ^ (1 + index % 255)]) + whole[index + 1 :])
        try:
            read = unpickle.parse(path.read_bytes(), path.name)
        except InputError:
            continue
        assert all(isinstance(tensor, torch.Tensor) for tensor in read.values())


def test_a_view_beyond_its_storage_is_refused(tmp_path):
    path = tmp_path / "far.pth"
    torch.save({"a": torch.arange(6.0)}, path)
    data = path.read_bytes()
    assert data.count(b"K\x06\x85") == 1, "the size, as a tuple of one"
    path.write_bytes(_with_sums(data.replace(b"K\x06\x85", b"K\xff\x85")))
    with pytest.raises(InputError, match="damaged"):
        unpickle.parse(path.read_bytes(), path.name)


def packed(program: bytes, storage: bytes = b"1234") -> bytes:
    """An archive as PyTorch writes it, around any pickle."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("x/data.pkl", program)
        archive.writestr("x/data/0", storage)
    return out.getvalue()


@pytest.mark.parametrize(
    "program",
    [
        b"\x80\x02})" + b"\x85" * 1_000_000 + b"K\x01s.",
        b"\x80\x02}" + b")" + b"".join(b"q\x00h\x00h\x00\x86" for _ in range(60)) + b"K\x01s.",
        b"\x80\x02)" + b"".join(b"q\x00h\x00h\x00\x86" for _ in range(60)) + b"Q.",
    ],
    ids=["deep key", "wide key", "wide storage"],
)
def test_keys_that_would_never_be_hashed_are_refused_at_once(program):
    with no_hang(), pytest.raises(InputError) as caught:
        unpickle.parse(packed(program), "bomb.pth")
    assert len(str(caught.value)) < 200


def test_a_tensor_larger_than_the_file_is_refused():
    """One number, repeated with a stride of zero until memory is full; and a storage that is named again and again."""
    stored = b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000tQ"
    huge = b"\x80\x02}X\x01\x00\x00\x00a" + stored + b"K\x00J\x00\xca\x9a\x3bK\x64\x86K\x00K\x00\x86tRs."
    with pytest.raises(InputError, match="damaged"):
        unpickle.parse(packed(huge), "huge.pth")
    one = stored + b"K\x00J\x40\x42\x0f\x00\x85K\x01\x85tR"
    many = b"\x80\x02}(" + b"".join(b"X\x02\x00\x00\x00%02d" % n + one for n in range(40)) + b"u."
    with pytest.raises(InputError, match="damaged"):
        unpickle.parse(packed(many, bytes(4_000_000)), "many.pth")


def test_a_compressed_archive_is_refused(tmp_path):
    path = tmp_path / "bomb.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/data.pkl", pickle.dumps({}, protocol=2))
    with pytest.raises(InputError, match="damaged"):
        unpickle.parse(path.read_bytes(), path.name)


def _with_sums(data: bytes) -> bytes:
    """The same archive with the checksums of what it holds now."""
    source = zipfile.ZipFile(io.BytesIO(data))
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as target:
        for entry in source.infolist():
            entry_file = source.open(entry)
            entry_file._expected_crc = None
            target.writestr(entry.filename, entry_file.read())
    return out.getvalue()
