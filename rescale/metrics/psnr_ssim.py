"""PSNR and SSIM: tensors in, one number per image out; the caller chooses the channels to measure on."""

import torch
import torch.nn.functional as F
from torch import Tensor


def psnr(a: Tensor, b: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of (N, C, H, W) in [0, 1], peak 1, in dB; infinite where both are equal.

    Returns: (N,) float64.
    """
    return decibels(_mean((a.double() - b.double()).square()))


def decibels(mse: Tensor | float, peak: float = 1.0) -> Tensor:
    """Convert mean squared errors to PSNR in dB, float64; infinite for an error of 0.

    Args:
        mse: mean squared error, of any shape, in squared units of the samples.
        peak: highest value that a sample can have.
    """
    return -10 * torch.log10(torch.as_tensor(mse, dtype=torch.float64) / peak**2)


def gain_db(before: Tensor, after: Tensor) -> float:
    """Return by how many dB the PSNR rises where an error falls from `before` to `after`, both above 0."""
    return float(10 * torch.log10(before / after))


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """Structural similarity of (N, C, H, W) in [0, 1], mean over channels and over the valid region.

    An 11x11 Gaussian window of sigma 1.5, K = (0.01, 0.03); an image narrower than the window gets the
    largest odd window that fits.

    Ours by decision: kornia's takes one window for both axes, so that an image narrower than 11 along one axis alone
    scores otherwise, by up to some thousandths; where 11 fits, both agree to 1e-14.

    Returns: (N,) float64.
    Source: Wang et al., "Image quality assessment: from error visibility to structural similarity", 2004.
    """
    a, b = a.double(), b.double()
    mean_a, mean_b = _blur(a), _blur(b)
    var_a = _blur(a * a) - mean_a**2
    var_b = _blur(b * b) - mean_b**2
    cov = _blur(a * b) - mean_a * mean_b
    c1, c2 = 0.01**2, 0.03**2
    likeness = (2 * mean_a * mean_b + c1) * (2 * cov + c2)
    return _mean(likeness / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2)))


def _mean(x: Tensor) -> Tensor:
    """Average (N, C, H, W) -> (N,), row by row: one sum over all is split among threads, and its last digit with it."""
    return x.contiguous().mean(dim=3).mean(dim=2).mean(dim=1)


def _blur(x: Tensor) -> Tensor:
    """Blur with a Gaussian window, valid region only, each axis on its own."""
    channels, (height, width) = x.shape[1], x.shape[-2:]
    rows = _window(height).to(x).expand(channels, 1, -1)
    columns = _window(width).to(x).expand(channels, 1, -1)
    x = F.conv2d(x, rows[..., None], groups=channels)
    return F.conv2d(x, columns[..., None, :], groups=channels)


def _window(length: int) -> Tensor:
    size = min(11, length - 1 + length % 2)
    offset = torch.arange(size, dtype=torch.float64) - size // 2
    weight = torch.exp(-(offset**2) / (2 * 1.5**2))
    return weight / weight.sum()
