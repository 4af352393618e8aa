"""Memory that runs out: smaller tiles and the same picture, or one clear error; by real limits on real processes."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hostile import IS_THOROUGH

from rescale import device
from rescale.device import free_memory, is_out_of_memory, tile_sides
from rescale.io import images
from rescale.models import zoo

CPU = torch.device("cpu")
BODY = """
import hashlib, re, resource, sys
import numpy as np, torch
import rescale
from pathlib import Path
torch.set_num_threads(1)
model = rescale.load("irn-x2-small", device="cpu", precision="float32")
small = np.random.default_rng(1).integers(0, 256, (600, 600, 3), dtype=np.uint8)
model.upscale(small[:8, :8])
room = int(sys.argv[1])
if room:
    size = int(re.search(r"VmSize:\\s*(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024
    resource.setrlimit(resource.RLIMIT_AS, (size + room, size + room))
sides = []
network = model.runner.fast.upscale_tiles
model.runner.fast.upscale_tiles = lambda size, full, side: (sides.append(side), network(size, full, side))[1]
try:
    print(hashlib.sha256(model.upscale(small).tobytes()).hexdigest(), *sides)
except rescale.errors.MachineError as error:
    print("fault:", error)
"""
linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits the memory of a process this way")


def restored(room: int) -> str:
    """What a process says that may take no more than so many bytes; 0 for all there are."""
    done = subprocess.run([sys.executable, "-c", BODY, str(room)], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@linux
def test_a_picture_too_large_for_memory_is_made_in_smaller_tiles():
    """What a tile takes is the processor's affair: less room is given until the whole does not fit."""
    digest, *sides = restored(0).split()
    assert sides == ["2048"]
    for room in (400, 320, 260, 210, 170, 140, 115):
        same, *sides = restored(room * 2**20).split()
        if same == "fault:":
            continue
        assert same == digest and sides == ["2048", "1024", "512", "256"][: len(sides)]
        if len(sides) > 1:
            return
    pytest.fail("expected a room in which smaller tiles fit, got all or none")


@linux
def test_without_memory_for_the_smallest_tile_there_is_one_sentence():
    assert restored(6 * 2**20) == ("fault: not enough memory, even in tiles of 256 pixels a side")


def test_tiles_are_as_large_as_is_likely_to_fit():
    room = free_memory(CPU)
    assert list(tile_sides(CPU, 1)) == [2048, 1024, 512, 256]
    assert list(tile_sides(CPU, room)) == [256]
    assert list(tile_sides(CPU, 0.4 * room / 1024**2)) == [1024, 512, 256]


def test_a_gpu_takes_the_whole_picture_where_it_has_room(monkeypatch):
    monkeypatch.setattr(device, "free_memory", lambda _: 8e9)
    size, gpu = (2160, 3840), torch.device("cuda")
    assert list(tile_sides(gpu, 400, size)) == [3840, 2048, 1024, 512, 256]
    assert list(tile_sides(gpu, 600, size)) == [2048, 1024, 512, 256]
    assert list(tile_sides(gpu, 1, (20_000, 20_000))) == [2048, 1024, 512, 256]  # some features have 2^31 elements
    assert list(tile_sides(gpu, 400, (300, 200))) == [300, 256]
    assert list(tile_sides(gpu, 400, (20, 30))) == [256]
    assert list(tile_sides(CPU, 1, size)) == [2048, 1024, 512, 256]


def test_a_container_counts_by_what_it_was_granted(monkeypatch, tmp_path):
    monkeypatch.setattr(device, "_CGROUP", tmp_path)
    assert free_memory(CPU) > 3000
    (tmp_path / "memory.max").write_text("5000\n")
    (tmp_path / "memory.current").write_text("2000\n")
    assert free_memory(CPU) == 3000
    (tmp_path / "memory.max").write_text("max\n")
    assert free_memory(CPU) > 3000


def test_only_what_speaks_of_memory_is_taken_for_it():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**62 // 4)
    assert is_out_of_memory(caught.value)
    assert is_out_of_memory(MemoryError()) and is_out_of_memory(torch.OutOfMemoryError())
    assert not is_out_of_memory(RuntimeError("shape mismatch"))


@linux
@pytest.mark.parametrize("name", [name for name in zoo.manifest() if not name.startswith("espcn-x3")])
def test_networks_need_no_more_memory_than_they_say(name):
    body = """
import resource, sys, torch
from rescale.models import weights
from rescale.inference.optimize import optimize_for_inference
from rescale.ops.tiling import upscale_tiles
model = optimize_for_inference(weights.load(sys.argv[1]).model, "float32")
by, side, peak = model.scale or 2, 768, lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
lr = torch.rand(1, 3, side // by, side // by)
with torch.inference_mode():
    model.upscale(lr[..., :32, :32], (32 * by, 32 * by))
    before = peak()
    model.upscale(lr, (side, side))
    print((peak() - before) / side**2, model.bytes_per_pixel)
"""
    done = subprocess.run([sys.executable, "-c", body, name], capture_output=True, text=True, check=True)
    needed, said = map(float, done.stdout.split())
    assert needed <= said


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told so; elsewhere nothing happens")
def test_memory_is_kept():
    """Tensors that come and go need no fresh pages."""

    def fresh_pages(first: str) -> int:
        body = f"""
import resource, torch
from rescale import device
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
{first}
for _ in range(20): torch.ones(2**24)
before = faults()
for _ in range(20): torch.ones(2**24)
print(faults() - before)"""
        return int(subprocess.run([sys.executable, "-c", body], capture_output=True, check=True).stdout)

    assert fresh_pages("device.keep_memory()") < fresh_pages("") / 3


BIG = """
import sys
import numpy as np
from pathlib import Path
from rescale.io.images import Picture, write
side = int(sys.argv[1])
y, x = np.mgrid[:1000, :1000].astype(np.float32)
tile = np.stack([127 + 60 * np.sin(x / (37 + c)) * np.cos(y / (53 - c)) + (x * y) % 11 for c in range(3)], axis=-1)
big = np.tile(tile.astype(np.uint8), (side // 1000 + 1, side // 1000 + 1, 1))[:side, :side]
write(Path("big.png"), Picture(np.ascontiguousarray(big)))
"""
GO = "from rescale.cli import main; main()"


def peak_mb(*words: str, cwd: Path) -> float:
    """Of a process of its own."""
    with subprocess.Popen([sys.executable, *words], cwd=cwd, stdout=subprocess.PIPE) as running:
        _, status, used = os.wait4(running.pid, 0)
        running.returncode = os.waitstatus_to_exitcode(status)
    assert running.returncode == 0
    return used.ru_maxrss / 1024


@pytest.mark.skipif(platform.system() != "Linux", reason="ru_maxrss in KB is Linux's")
def test_a_hundred_megapixels_go_down_and_up_in_two_and_a_half_gigabytes(tmp_path):
    """One without RESCALE_THOROUGH."""
    side = 10_000 if IS_THOROUGH else 1_000
    peak_mb("-c", BIG, str(side), cwd=tmp_path)
    words = {"down": ("big.png", "-o", "small.png"), "up": ("small.png", "-o", "back.png")}
    for verb, files in words.items():
        peak = peak_mb("-c", GO, verb, *files, "-m", "irn-x2-small", "--threads", "2", cwd=tmp_path)
        sys.stdout.write(f"peak of {verb}: {peak:.0f} MB\n")
        assert peak < 2500, verb
    assert images.read(tmp_path / "back.png").size == (side, side)
