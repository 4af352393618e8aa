"""Videos of strangers: whatever is done to their bytes, frames come or one of our errors, and soon."""

from pathlib import Path

import numpy as np
import pytest
from filming import film
from hostile import IS_THOROUGH, Calls, watched
from test_containers import CONTAINERS, made
from test_fuzz_pictures import WAYS
from waiting import no_hang

import rescale
from rescale.errors import RescaleError

FOREIGN = [name for name in CONTAINERS if name[0] == "a"]
KINDS = {"a.mp4": "libx264", "b.mkv": "libx264", "c.webm": "libvpx-vp9", "d.mkv": "ffv1"}
TRIALS = 2_000 if IS_THOROUGH else 60
"""Of all kinds together."""
MOST_CALLS = 50_000
"""For one file; an undamaged one takes a fourth of that."""


@pytest.mark.parametrize("name", KINDS)
def test_damaged_videos_are_read_or_raise_one_of_ours(name, tmp_path):
    sound = None if name == "d.mkv" else [0.0]
    files = {n: film(tmp_path / n, list(range(6)), codec=c, sound=sound).read_bytes() for n, c in KINDS.items()}
    assert len(list(rescale.frames(tmp_path / name, scale=2, device="cpu"))) == 6  # and all is imported that will be
    assert read_mutations(name, files, tmp_path, TRIALS // len(KINDS))


@pytest.mark.parametrize("name", FOREIGN)
def test_damaged_videos_of_other_containers_are_as_harmless(name, tmp_path):
    names = [name, FOREIGN[FOREIGN.index(name) - 1]]
    files = {n: made(tmp_path / n, CONTAINERS[n][0], sound=CONTAINERS[n][1]).read_bytes() for n in names}
    assert len(list(rescale.frames(tmp_path / name, scale=2, device="cpu"))) == 10
    read_mutations(name, files, tmp_path, 10 * TRIALS // 60)


def read_mutations(name: str, files: dict[str, bytes], folder: Path, trials: int) -> int:
    """Read mutations of a file, crossed with others. Returns: how many gave frames."""
    rng, read = np.random.default_rng(sorted(files).index(name)), 0
    for trial in range(trials):
        other = files[sorted(files)[int(rng.integers(len(files)))]]
        path = folder / name
        path.write_bytes(WAYS[trial % len(WAYS)](files[name], other, rng))
        try:
            with no_hang(), watched() as seen, Calls() as calls:
                read += len(list(rescale.frames(path, scale=2, device="cpu"))) > 0
        except RescaleError as error:
            assert "\n" not in str(error) and len(str(error)) < 500
        assert calls.count < MOST_CALLS and not seen.others
        assert all(opened == str(path) or opened.endswith(".safetensors") for opened in seen.opened), seen.opened
    return read
