"""LPIPS against the plain package, with a seeded trunk where torch's hub looks, and known values of the real one."""

import warnings

import pytest
import torch
from conftest import shared

from rescale.errors import MachineError
from rescale.metrics import lpips as distances

distances._operators()
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import lpips
    from torchvision.models import alexnet, vgg16

TRUNKS = {"alex": (alexnet, "alexnet-owt-7be5be79.pth"), "vgg": (vgg16, "vgg16-397923af.pth")}


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """A hub folder with trunks of random weights: they wire the same, though they judge nothing."""
    home = tmp_path_factory.mktemp("torch")
    folder = home / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    for make, name in TRUNKS.values():
        torch.manual_seed(4)
        torch.save(make(weights=None).state_dict(), folder / name)
    return home


@pytest.mark.parametrize("trunk", TRUNKS)
def test_agrees_with_the_plain_package(hub, monkeypatch, trunk):
    monkeypatch.setenv("TORCH_HOME", str(hub))
    ours = distances.lpips(trunk)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain = lpips.LPIPS(net=trunk, verbose=False)
    for seed in range(20):
        torch.manual_seed(seed)
        a = torch.rand(1, 3, 48, 64)
        b = (a + 0.1 * torch.randn_like(a)).clamp(0, 1)
        expected = plain(2 * a - 1, 2 * b - 1).item()
        assert expected > 0
        assert ours(a, b).item() == pytest.approx(expected, abs=1e-6)
    assert ours(a, a).tolist() == [0]
    assert ours(a[..., :31, :], b[..., :31, :]).isnan().all(), "of so little the trunks see nothing"
    assert ours(a.expand(2, -1, -1, -1), b.expand(2, -1, -1, -1)).shape == (2,)


def test_the_real_trunk_gives_known_values(monkeypatch):
    """The trunk that gave these gives 0.722 and 0.138 for the examples of LPIPS's own repository, as stated there."""
    monkeypatch.setenv("TORCH_HOME", str(shared("data/torch_home")))
    distance = distances.lpips("alex")
    y, x = torch.meshgrid(torch.arange(96.0), torch.arange(128.0), indexing="ij")
    image = torch.stack([(1 + (x / 5 + y / 9).sin()) / 2, (1 + (x * y / 300).cos()) / 2, (x // 8 + y // 8) % 2])[None]
    assert distance(image, image.roll(3, -1)).item() == pytest.approx(0.14739, abs=2e-4)
    assert distance(image, 1 - image).item() == pytest.approx(0.24032, abs=2e-4)


def test_offline_is_one_sentence(tmp_path, monkeypatch):
    """No trunk and no network: a proxy on a closed port of this machine stands for being offline."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for name in ("http_proxy", "https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with pytest.raises(MachineError, match="could not fetch its trunk into"):
        distances.lpips("alex")


def test_a_damaged_trunk_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    (folder / TRUNKS["alex"][1]).write_bytes(b"no weights")
    with pytest.raises(MachineError, match="damaged trunk"):
        distances.lpips("alex")
