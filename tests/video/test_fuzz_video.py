"""Videos of strangers: whatever is done to their bytes, frames come or one of our errors, and soon."""

import numpy as np
import pytest
from filming import film
from hostile import IS_THOROUGH, Calls, watched
from test_fuzz_pictures import WAYS
from waiting import no_hang

import rescale
from rescale.errors import RescaleError

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
    rng, read = np.random.default_rng(list(KINDS).index(name)), 0
    for trial in range(TRIALS // len(KINDS)):
        other = files[list(KINDS)[int(rng.integers(len(KINDS)))]]
        path = tmp_path / name
        path.write_bytes(WAYS[trial % len(WAYS)](files[name], other, rng))
        try:
            with no_hang(), watched() as seen, Calls() as calls:
                read += len(list(rescale.frames(path, scale=2, device="cpu"))) > 0
        except RescaleError as error:
            assert "\n" not in str(error) and len(str(error)) < 500
        assert calls.count < MOST_CALLS and not seen.others
        assert all(opened == str(path) or opened.endswith(".safetensors") for opened in seen.opened), seen.opened
    assert read
