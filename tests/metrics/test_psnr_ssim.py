"""PSNR and SSIM against hand-computed values and scikit-image."""

import math

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from rescale.metrics import decibels, gain_db, psnr, ssim


def test_psnr_by_hand():
    a, b = torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4)
    b[0, 0, 0, 0] = 0.5
    assert psnr(a, b).item() == pytest.approx(10 * math.log10(1 / (0.25 / 16)))


def test_decibels_of_an_error_and_of_a_gain():
    assert decibels(1.0, 255).item() == pytest.approx(48.1308036)
    assert decibels(torch.tensor([0.01, 1.0, 0.0])).tolist() == pytest.approx([20, 0, math.inf])
    before, after = torch.tensor(0.3, dtype=torch.double), torch.tensor(0.2, dtype=torch.double)
    assert gain_db(before, after) == pytest.approx((decibels(after) - decibels(before)).item())


def test_psnr_of_equal_pictures_is_infinite():
    assert psnr(torch.ones(2, 3, 4, 4), torch.ones(2, 3, 4, 4)).tolist() == [math.inf, math.inf]


@pytest.mark.parametrize("channels", [1, 3])
def test_ssim_agrees_with_scikit_image(noise, channels):
    a = noise(40, 53, channels).astype(float) / 255
    b = np.clip(a + 0.1 * np.random.default_rng(1).standard_normal(a.shape), 0, 1)
    _, full = structural_similarity(
        a, b, channel_axis=2, data_range=1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, full=True
    )
    expected = full[5:-5, 5:-5].mean()  # the papers average over the valid region only
    ours = ssim(*(torch.from_numpy(x).permute(2, 0, 1)[None] for x in (a, b)))
    assert ours.item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("size", [(1, 1), (3, 50), (10, 10), (11, 11)])
def test_ssim_takes_any_size(size):
    x = torch.rand(2, 3, *size)
    assert torch.allclose(ssim(x, x), torch.ones(2, dtype=torch.float64))


def test_symmetric_and_one_number_a_picture():
    a, b = torch.rand(3, 3, 20, 20), torch.rand(3, 3, 20, 20)
    for metric in (psnr, ssim):
        assert metric(a, b).shape == (3,)
        assert torch.allclose(metric(a, b), metric(b, a))
        assert torch.allclose(metric(a, b)[1:2], metric(a[1:2], b[1:2]))


def test_no_digit_depends_on_threads():
    a, b = (torch.rand(1, 3, 517, 389, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2))
    found = set()
    for count in (1, 2, 3, 4):
        torch.set_num_threads(count)
        found.add((psnr(a, b).item(), ssim(a, b).item(), ssim(a[:, :1], b[:, :1]).item()))
    assert len(found) == 1


@pytest.mark.parametrize("size", [(11, 11), (12, 40), (64, 33)])
def test_ssim_is_kornias_where_its_window_fits(size):
    from kornia.metrics import ssim as ssim_map

    generator = torch.Generator().manual_seed(4)
    a = torch.rand(2, 3, *size, generator=generator, dtype=torch.float64)
    b = (a + 0.1 * torch.randn(a.shape, generator=generator, dtype=torch.float64)).clamp(0, 1)
    theirs = ssim_map(a, b, window_size=11, padding="valid").mean(dim=(1, 2, 3))
    assert torch.allclose(ssim(a, b), theirs, atol=1e-9)
