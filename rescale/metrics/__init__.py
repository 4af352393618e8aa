"""Measures of how close two images are: PSNR, SSIM; LPIPS in `lpips`."""

from rescale.metrics.psnr_ssim import psnr, ssim

__all__ = ["psnr", "ssim"]
