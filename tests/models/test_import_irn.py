"""Published checkpoints of IRN: their names, and a forward written from the equations."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from rescale.errors import InputError
from rescale.models import import_irn
from rescale.models.irn import IRN, IRNConfig

HAAR = [[[1, 1], [1, 1]], [[1, -1], [1, -1]], [[1, 1], [-1, -1]], [[1, -1], [-1, 1]]]


def checkpoint(levels: int, blocks: int, growth: int = 32) -> dict[str, torch.Tensor]:
    """Names and shapes as in the official code, random numbers."""
    generator = torch.Generator().manual_seed(levels)
    tensors, channels, index = {}, 3, 0
    for _ in range(levels):
        tensors[f"operations.{index}.haar_weights"] = torch.tensor(HAAR).float()[:, None].repeat(channels, 1, 1, 1)
        channels, index = channels * 4, index + 1
        for _ in range(blocks):
            for net, (wide, out) in {"F": (channels - 3, 3), "G": (3, channels - 3), "H": (3, channels - 3)}.items():
                for conv in range(1, 6):
                    shape = (growth if conv < 5 else out, wide + growth * (conv - 1), 3, 3)
                    name = f"operations.{index}.{net}.conv{conv}"
                    tensors[f"{name}.weight"] = 0.02 * torch.randn(shape, generator=generator)
                    tensors[f"{name}.bias"] = 0.02 * torch.randn(shape[0], generator=generator)
            index += 1
    return tensors


def read(path: Path) -> IRN:
    return import_irn.network(path.read_bytes(), path.name)


def dense(t, name, x):
    features = [x]
    for conv in range(1, 6):
        y = F.conv2d(torch.cat(features, 1), t[f"{name}.conv{conv}.weight"], t[f"{name}.conv{conv}.bias"], padding=1)
        features.append(F.leaky_relu(y, 0.2))
    return y


def count(t):
    return 1 + max(int(name.split(".")[1]) for name in t)


def forward(t, x):
    """Equations 5 to 7 of the paper in the layout of the released code, sub-band after sub-band."""
    for i in range(count(t)):
        if f"operations.{i}.haar_weights" in t:
            n, c, h, w = x.shape
            x = F.conv2d(x, t[f"operations.{i}.haar_weights"] / 4, stride=2, groups=c)
            x = x.reshape(n, c, 4, h // 2, w // 2).transpose(1, 2).reshape(n, 4 * c, h // 2, w // 2)
            continue
        low, detail = x[:, :3], x[:, 3:]
        low = low + dense(t, f"operations.{i}.F", detail)
        s = 2 * torch.sigmoid(dense(t, f"operations.{i}.H", low)) - 1
        x = torch.cat([low, detail * s.exp() + dense(t, f"operations.{i}.G", low)], 1)
    return x


def inverse(t, x):
    for i in reversed(range(count(t))):
        if f"operations.{i}.haar_weights" in t:
            n, c, h, w = x.shape
            x = x.reshape(n, 4, c // 4, h, w).transpose(1, 2).reshape(n, c, h, w)
            x = F.conv_transpose2d(x, t[f"operations.{i}.haar_weights"], stride=2, groups=c // 4)
            continue
        low, detail = x[:, :3], x[:, 3:]
        s = 2 * torch.sigmoid(dense(t, f"operations.{i}.H", low)) - 1
        detail = (detail - dense(t, f"operations.{i}.G", low)) / s.exp()
        x = torch.cat([low - dense(t, f"operations.{i}.F", detail), detail], 1)
    return x


@pytest.mark.parametrize("levels, blocks, parameters", [(1, 8, 1_667_952), (2, 8, 4_355_136), (3, 1, None)])
def test_the_same_output_as_the_official_network(tmp_path, levels, blocks, parameters):
    theirs = checkpoint(levels, blocks)
    torch.save(theirs, tmp_path / "IRN.pth")
    model = read(tmp_path / "IRN.pth")
    assert model.scale == 2**levels and parameters in (None, model.parameter_count)
    x = torch.rand(2, 3, 32, 48)
    with torch.inference_mode():
        expected = forward(theirs, x)
        lr, up = model(x)
        assert (expected[:, :3] - torch.nn.functional.interpolate(x, lr.shape[-2:], mode="area")).abs().max() > 0.01
        assert (torch.cat([lr, up], 1) - expected).abs().max() < 1e-5
        bands = torch.cat([lr, torch.randn_like(up) * 0.1], 1)
        assert (model.inverse(lr, bands[:, 3:])[0] - inverse(theirs, bands)).abs().max() < 1e-5


def test_names_of_a_parallel_run_are_known(tmp_path):
    torch.save({f"module.{k}": v for k, v in checkpoint(1, 2, growth=4).items()}, tmp_path / "IRN.pth")
    model = read(tmp_path / "IRN.pth")
    assert model.config == IRNConfig(2, (2,), growth=4) and isinstance(model, IRN)


@pytest.mark.parametrize(
    "change, reason",
    [
        (lambda t: t.pop("operations.2.G.conv3.bias"), "operations.2.G.conv3.bias"),
        (lambda t: t.update({"operations.1.F.conv9.weight": torch.ones(1)}), "conv"),
        (lambda t: t.update({"operations.1.F.conv1.weight": torch.tensor(1.0)}), "conv1.weight of .. instead of"),
        (lambda t: t.update({"operations.1.F.conv1.bias": torch.ones(9)}), "conv1.weight of .*instead of"),
        (lambda t: t["operations.1.F.conv1.bias"].fill_(torch.nan), "conv1.bias, which holds NaN"),
        (lambda t: t.update(checkpoint(4, 1, growth=1)), "its steps are"),
        (lambda t: t.update({"extra": torch.ones(1)}), "extra, which our network has not"),
        (lambda t: t["operations.0.haar_weights"].mul_(2), "not those of Haar"),
        (lambda t: t.update({"operations.1.H.conv5.bias": torch.ones(7)}), "conv5.bias of .7,. instead of .9,."),
        (lambda t: t.clear(), "none"),
    ],
)
def test_other_networks_are_refused_with_the_reason(tmp_path, change, reason):
    tensors = checkpoint(1, 2, growth=4)
    change(tensors)
    torch.save(tensors, tmp_path / "other.pth")
    with pytest.raises(InputError, match=f"other.pth: expected .*{reason}"):
        read(tmp_path / "other.pth")
