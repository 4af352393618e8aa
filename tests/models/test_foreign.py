"""Community models: the same numbers as spandrel's, through every door; and what is refused, in a sentence."""

import copy
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from communal import SMALL, random
from conftest import PHOTO
from PIL import Image
from test_fuzz_weights import PICKLES
from torch import nn

import rescale
from rescale.errors import InputError, MachineError, RefusedError, RescaleError, UsageError, WeightsError
from rescale.models import foreign, weights

spandrel = pytest.importorskip("spandrel", reason="the extra models is not installed")


def saved(network: nn.Module, path: Path, nest: str = "", **said: str) -> Path:
    """Write a network's tensors as its author would: .safetensors, or .pth with or without a name around them."""
    tensors = {key: tensor.contiguous() for key, tensor in network.state_dict().items()}
    if path.suffix == ".safetensors":
        path.write_bytes(safetensors.torch.save(tensors, said))
    else:
        torch.save({nest: tensors, "iter": 5000, "best": 31.5, "net": None} if nest else network.state_dict(), path)
    return path


@pytest.fixture
def compact(tmp_path) -> Path:
    return saved(random("Compact"), tmp_path / "2x-compact.safetensors", license="CC-BY-NC-SA-4.0")


def photo(height: int, width: int) -> torch.Tensor:
    with Image.open(PHOTO) as image:
        pixels = np.array(image.convert("RGB").crop((0, 0, width, height)))
    return torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255


@pytest.mark.parametrize("name", SMALL)
def test_ten_architectures_make_what_spandrel_makes(name, tmp_path):
    network, x = random(name), photo(37, 50)
    plain = spandrel.ModelLoader("cpu").load_from_state_dict(dict(network.state_dict()))
    expected = plain(x)
    paths = [saved(network, tmp_path / "a.safetensors"), saved(network, tmp_path / "a.pth")]
    for path in [*paths, saved(network, tmp_path / "b.pth", nest="params_ema")]:
        loaded = rescale.load(path, precision="float32")
        made = loaded.upscale(x)
        assert made.shape[-1] == 50 * loaded.scale and (made - expected).abs().max() < 1e-5, path.name
    facts = weights.load(paths[0]).facts()
    assert (facts["architecture"], facts["scale"], facts["purpose"]) == (name, plain.scale, "SR")


def test_the_callers_image_stays_as_it_is(tmp_path):
    """RCAN multiplies its input in place."""
    from spandrel.architectures.RCAN import RCAN

    torch.manual_seed(1)
    network, x = RCAN(n_resgroups=1, n_resblocks=1, n_feats=16, reduction=4, scale=2), photo(20, 24)
    loaded, before = rescale.load(saved(network, tmp_path / "a.pth"), precision="float32"), x.clone()
    first, again = loaded.model.upscale(x), loaded.model.upscale(x)
    assert torch.equal(x, before) and torch.equal(first, again)


TILED = 256
"""Side of a tile in HR pixels, the least that is ever tried."""


@pytest.mark.parametrize("name", ["Compact", "SPAN", "SAFMN", "SwinIR"])
def test_tiles_show_no_seams_where_the_reach_is_short(name, tmp_path, monkeypatch):
    x = photo(200, 170)
    loaded = rescale.load(saved(random(name), tmp_path / "a.safetensors"), precision="float32")
    whole = loaded.upscale(x)
    monkeypatch.setattr("rescale.inference.tiled.tile_sides", lambda *_: iter([TILED]))
    calls = []
    loaded.model.network.register_forward_hook(lambda *_: calls.append(1))
    loaded = copy.copy(loaded)  # with tiles of its own
    in_tiles = loaded.upscale(x)
    apart = (in_tiles - whole).abs() * 255
    assert len(calls) > 1 and (apart <= 1).float().mean() >= 0.999, apart.max()


def test_a_network_of_one_channel_takes_colours_one_by_one(tmp_path):
    from spandrel.architectures.Compact import Compact

    torch.manual_seed(1)
    network, x = Compact(num_in_ch=1, num_out_ch=1, num_feat=8, num_conv=2, upscale=2), photo(20, 30)
    made = rescale.load(saved(network, tmp_path / "grey.pth"), precision="float32").upscale(x)
    assert torch.allclose(made[:, 1:2], network(x[:, 1:2]).clamp(0, 1), atol=1e-5)


def test_restoration_keeps_the_size_and_makes_nothing_small(tmp_path):
    from spandrel.architectures.DnCNN import DnCNN

    torch.manual_seed(1)
    network, x = DnCNN(in_nc=3, out_nc=3, nc=8, nb=4), photo(20, 30)
    loaded = rescale.load(saved(network, tmp_path / "1x-denoise.pth"), precision="float32")
    made = loaded.upscale(x)
    assert made.shape == x.shape and not torch.equal(made, x)
    with pytest.raises(UsageError, match="makes images smaller, got DnCNN at scale 1"):
        loaded.downscale(x)


def test_downscaling_is_bicubic_as_of_our_networks_for_super_resolution(compact):
    x = photo(40, 32)
    small = rescale.load(compact).downscale(x)
    assert torch.equal(small, rescale.load("bicubic-x2").downscale(x))


def test_copies_and_pickles_make_the_same(compact):
    loaded, x = rescale.load(compact, precision="float32"), photo(20, 24)
    expected = loaded.upscale(x)
    for other in (copy.deepcopy(loaded), pickle.loads(pickle.dumps(loaded))):
        assert torch.equal(other.upscale(x), expected)
        assert all(a is not b for a, b in zip(other.model.parameters(), loaded.model.parameters(), strict=True))


def test_gradients_pass_so_that_an_image_can_be_refined_for_a_stranger(compact):
    loaded, x = rescale.load(compact, precision="float32"), photo(48, 48)
    plain, better = (loaded.upscale(loaded.downscale(x, refine=steps)) for steps in (None, 3))
    assert (better - x).square().mean() < (plain - x).square().mean()


# ---------------------------------------------------------------------------------------------- half precision


def test_half_precision_is_taken_where_asked_for_and_supported(compact, tmp_path):
    x, exact = photo(20, 24), rescale.load(compact, precision="float32")
    for kind in ("float16", "bfloat16"):
        half = rescale.load(compact, precision=kind)
        assert kind in repr(half)
        assert 0 < (half.upscale(x) - exact.upscale(x)).abs().max() < 0.05
    with pytest.raises(UsageError, match="SAFMN does not work in float16"):
        rescale.load(saved(random("SAFMN"), tmp_path / "s.safetensors"), precision="float16")
    assert "float32" in repr(rescale.load(compact, device="cpu"))  # whatever the processor multiplies best


def test_an_overflow_in_half_precision_is_made_again_in_float32(tmp_path):
    network = random("Compact")
    network.body[-1].weight.data *= 1e6
    network.body[-1].bias.data += 1e5  # infinity in float16, which a clamp would turn into white
    path, x = saved(network, tmp_path / "a.safetensors"), photo(20, 24)
    exact = rescale.load(path, precision="float32").upscale(x)
    assert torch.equal(rescale.load(path, precision="float16").upscale(x), exact)
    network.body[-1].bias.data += 3e38
    network.body[-1].weight.data *= 2e33
    with pytest.raises(RescaleError, match="not finite"):
        rescale.load(saved(network, path)).upscale(x)


# ------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".PTH"])
def test_no_hostile_pickle_runs_and_each_is_one_sentence(suffix, tmp_path):
    """Through the reader that takes checkpoints of training programs."""
    for number, make in enumerate(PICKLES.values()):
        canary, path = tmp_path / f"canary{number}", tmp_path / f"evil{number}{suffix}"
        path.write_bytes(make(canary))
        with pytest.raises(RescaleError, match=path.name) as caught:
            weights.load(path)
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 300 and not canary.exists()
    assert number == 19


def test_torchscript_is_refused(tmp_path):
    path = tmp_path / "net.pt"
    path.write_bytes(b"PK")
    with pytest.raises(
        RefusedError, match=r"net\.pt: expected \.safetensors or \.pth, as TorchScript's \.pt holds a pro"
    ):
        weights.load(path)


def test_truncated_and_foreign_tensors_are_one_sentence(compact, tmp_path):
    whole = compact.read_bytes()
    for length in (0, 7, 100, len(whole) // 2, len(whole) - 1):
        compact.write_bytes(whole[:length])
        with pytest.raises(WeightsError, match="expected a safetensors file, written by rescale or of another network"):
            weights.load(compact)
    checkpoint = saved(random("Compact"), tmp_path / "a.pth")
    checkpoint.write_bytes(checkpoint.read_bytes()[:-500])
    with pytest.raises(InputError, match="damaged"):
        weights.load(checkpoint)
    for tensors in ({"a.weight": torch.ones(3)}, {}):
        torch.save(tensors, checkpoint)
        with pytest.raises(WeightsError, match="of an architecture that spandrel knows, got neither"):
            weights.load(checkpoint)


def test_tensors_that_do_not_fit_their_architecture_are_one_sentence(tmp_path):
    for name in SMALL:
        tensors = {key: tensor.clone() for key, tensor in random(name).state_dict().items()}
        middle = [key for key in tensors if key.endswith("weight")][len(tensors) // 4]
        for change in (torch.ones(3), torch.full_like(tensors[middle], torch.nan), None):
            bad = tensors | ({middle: change} if change is not None else {"stray": torch.ones(1)})
            path = tmp_path / "odd.safetensors"
            path.write_bytes(safetensors.torch.save({key: value.contiguous() for key, value in bad.items()}))
            with pytest.raises(WeightsError, match=r"odd\.safetensors") as caught:
                weights.load(path)
            assert "\n" not in str(caught.value) and len(str(caught.value)) < 350, name


def test_a_network_larger_than_its_file_is_not_built(tmp_path):
    tensors = random("Compact").state_dict()
    tensors["body.9000.weight"] = (
        tensors.pop("body.8.weight") if "body.8.weight" in tensors else torch.ones(8, 16, 3, 3)
    )
    torch.save(tensors, tmp_path / "deep.pth")
    with pytest.raises(WeightsError, match=r"deep\.pth"):
        weights.load(tmp_path / "deep.pth")


class Stub:
    """A descriptor of any kind."""

    def __init__(self, **changes):
        self.model, self.tags, self.size_requirements = nn.Conv2d(3, 3, 1), [], spandrel.SizeRequirements()
        self.tiling, self.architecture = spandrel.ModelTiling.SUPPORTED, spandrel.MAIN_REGISTRY["GFPGAN"].architecture
        self.purpose, self.scale, self.input_channels, self.output_channels = "SR", 2, 3, 3
        vars(self).update(changes)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"purpose": "FaceSR"}, "got GFPGAN, which is for FaceSR"),
        ({"purpose": "Inpainting"}, "got GFPGAN, which is for Inpainting"),
        ({"tiling": spandrel.ModelTiling.INTERNAL}, "got GFPGAN, which sees the whole image at once"),
        ({"input_channels": 4, "output_channels": 4}, "got GFPGAN of 4 channels in and 4 out"),
        ({"output_channels": 1}, "got GFPGAN of 3 channels in and 1 out"),
        ({"architecture": spandrel.MAIN_REGISTRY["AuraSR"].architecture}, "got AuraSR, which draws at random"),
    ],
)
def test_kinds_that_are_not_served_are_refused_by_name(changes, sentence):
    foreign.Foreign(Stub())
    with pytest.raises(WeightsError, match=sentence):
        foreign.Foreign(Stub(**changes))


def test_an_inpainting_network_is_refused_by_name(tmp_path):
    from spandrel.architectures.LaMa import LaMa

    torch.manual_seed(1)
    with pytest.raises(WeightsError, match="got LaMa, which is for Inpainting"):
        weights.load(saved(LaMa(in_nc=4, out_nc=3), tmp_path / "lama.safetensors"))


def test_without_spandrel_the_extra_is_named(compact, monkeypatch):
    monkeypatch.setitem(sys.modules, "spandrel", None)
    with pytest.raises(MachineError, match=r"for other networks spandrel is missing: pip install 'rescale\[models\]'"):
        weights.load(compact)


def test_a_torchvision_of_another_index_is_named(compact, monkeypatch, tmp_path):
    (tmp_path / "spandrel.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    monkeypatch.delitem(sys.modules, "spandrel")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MachineError, match=r"torchvision does not fit torch here \(operator torchvision::nms does not"):
        weights.load(compact)


def test_our_own_files_need_no_spandrel():
    code = "import sys; from rescale.models import weights; weights.load('espcn-x2'); print('spandrel' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
