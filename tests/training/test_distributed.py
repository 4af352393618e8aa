"""Several processes that learn as one: real ones, which torchrun starts, over gloo."""

import csv
import os
import subprocess
import sys

import pytest
import safetensors.torch
import torch
from conftest import PHOTO

from rescale.errors import UsageError
from rescale.io import images
from rescale.io.images import Picture
from rescale.training.distributed import ProcessGroup

RECIPE = """
model = "irn"
steps = 50
batch = 4
crop = 32
lr = 3e-3
warmup = 5
optimiser = "muon"
validate_every = 1
config = {scale = 2, blocks = [2], growth = 4, depth = 2, gain = 1.0}
loss = {restore = 1.0, guide = 1.0, range = 1.0}
"""


@pytest.fixture
def folder(tmp_path):
    photo = images.read(PHOTO)
    (tmp_path / "pictures").mkdir()
    for index in range(4):
        images.write(tmp_path / "pictures" / f"{index}.png", Picture(photo.pixels[:64, 80 * index : 80 * index + 64]))
    (tmp_path / "tiny.toml").write_text(RECIPE)
    return tmp_path


def learn(folder, processes: int, *options: str) -> subprocess.CompletedProcess:
    """`rescale train`, alone or under torchrun."""
    team = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"] if processes > 1 else []
    words = ["-m", "rescale", "train", "tiny.toml", "-d", "pictures", "-o", f"by{processes}", *options]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *team, *words], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def losses(folder, processes: int) -> list[float]:
    rows = csv.DictReader((folder / f"by{processes}" / "log.csv").read_text().splitlines())
    return [float(row["loss"]) for row in rows]


@pytest.mark.slow
def test_two_processes_learn_what_one_learns(folder):
    for processes in (1, 2):
        done = learn(folder, processes)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("step ") == 50, "the lead alone reports"
    one, two = losses(folder, 1), losses(folder, 2)
    assert len(one) == len(two) == len(set(one)) == 50
    apart = [abs(a - b) for a, b in zip(one, two, strict=True)]
    assert max(apart[:12]) < 1e-6 and max(apart) < 1e-3, "but for the order of sums, which grows from step to step"
    ends = [safetensors.torch.load_file(folder / f"by{n}" / "last.safetensors") for n in (1, 2)]
    assert all(torch.allclose(ends[0][key], ends[1][key], atol=1e-2) for key in ends[0])


@pytest.mark.slow
def test_a_batch_that_cannot_be_shared_is_one_sentence(folder):
    done = learn(folder, 2, "--set", "batch=3")
    assert done.returncode and "error: batch: expected a multiple of the 2 processes, got 3" in done.stderr


def test_shares_make_up_the_batch():
    batch = list(range(12))
    for size in (1, 2, 3, 4):
        assert [x for rank in range(size) for x in batch[ProcessGroup(rank, size).share(12)]] == batch
    with pytest.raises(UsageError, match="multiple of the 5"):
        ProcessGroup(0, 5).share(12)
