"""Measures of how close two images are: PSNR, SSIM; LPIPS in `lpips`."""

from rescale.metrics.psnr_ssim import decibels, gain_db, psnr, ssim

__all__ = ["decibels", "gain_db", "psnr", "ssim"]
