"""How alike two images are, and how much of a 16-pixel grid one shows.

Not kornia's: its SSIM, before kornia 0.9, takes eleven times as long as the one here, for the same
figure, and importing it takes seconds.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import conv2d

PATCH = 16
"""Pixels per patch side: Z-Image's 2 x 2 latent patches of 8 pixels each."""
ODD_HARMONICS = (1, 3, 5, 7)
"""Multiples of 1/16 cycles per pixel below the highest frequency that an 8-pixel grid lacks."""
SMALLEST_FOR_GRID = 4 * PATCH
"""A side must hold four patches, or the peak has no neighbours."""
SSIM_WINDOW, SSIM_SIGMA, SSIM_CONSTANTS = 11, 1.5, (0.01**2, 0.03**2)
"""Side and sigma of SSIM's Gaussian window, in pixels, and its constants for a range of 1, as in
Wang et al. 2004."""
STRIP = 64
"""Rows of SSIM's map that are made at once, so that what it takes stays in the cache."""
LUMA = (0.299, 0.587, 0.114)
"""Rec. 601, for gamma-coded red, green and blue."""


def psnr(image: Tensor, baseline: Tensor) -> float:
    """Peak signal-to-noise ratio in dB for a peak of 1; infinity for equal images.

    Args:
        image, baseline: (height, width, 3) float in 0..1, of one size.
    """
    _require_one_size(image, baseline)
    error = torch.linalg.vector_norm(image - baseline, dtype=torch.float64) ** 2 / image.numel()
    return float(-10 * error.log10())


def ssim(image: Tensor, baseline: Tensor) -> float | None:
    """Mean structural similarity of the three channels: 1 for equal images.

    The window is a Gaussian of 11 x 11 pixels and stays inside the image. None for an image with a
    side under 11 pixels.

    Args:
        image, baseline: (height, width, 3) float in 0..1, of one size.
    """
    _require_one_size(image, baseline)
    if min(image.shape[:2]) < SSIM_WINDOW:
        return None
    planes = [side.float().movedim(-1, 0) for side in (image, baseline)]
    rows = image.shape[0] - SSIM_WINDOW + 1
    total = sum(
        float(_ssim_map(*(plane[:, top : top + STRIP + SSIM_WINDOW - 1] for plane in planes)).sum())
        for top in range(0, rows, STRIP)
    )
    return total / (image.shape[2] * rows * (image.shape[1] - SSIM_WINDOW + 1))


def _ssim_map(x: Tensor, y: Tensor) -> Tensor:
    """SSIM of (channels, height, width) at every place where the window is inside."""
    planes = torch.cat([x, y, x * x + y * y, x * y])
    mean_x, mean_y, squares, product = _windowed(planes).split(len(x))
    low, high = SSIM_CONSTANTS
    of_means, means = mean_x * mean_y, mean_x.square() + mean_y.square()
    covariance, variances = product - of_means, squares - means
    return (2 * of_means + low) * (2 * covariance + high) / ((means + low) * (variances + high))


def _windowed(planes: Tensor) -> Tensor:
    """The Gaussian window's weighted means over ``planes`` (channels, height, width): along the
    rows, then along the columns."""
    offsets = torch.arange(SSIM_WINDOW) - SSIM_WINDOW // 2
    weights = torch.exp(-(offsets**2) / (2 * SSIM_SIGMA**2)).to(planes)
    # Channels last, or the convolution copies its input into blocks of channels.
    means = planes[None].contiguous(memory_format=torch.channels_last)
    for shape in ((1, SSIM_WINDOW), (SSIM_WINDOW, 1)):
        window = (weights / weights.sum()).view(1, 1, *shape).expand(len(planes), 1, *shape)
        means = conv2d(means, window, groups=len(planes))
    return means[0]


def grid_artifact_score(image: Tensor) -> float | None:
    """How far the 16-pixel period stands out of an image: about 1 where there is no such grid.

    Along rows and along columns alike: each line of the luma is cut to a multiple of 16 pixels,
    freed of its mean and multiplied by a periodic Hann window; the squared magnitudes of its
    Fourier transform are averaged over all lines, and the energy of white noise with a std of one
    8-bit level is added, so that the steps of rounding count for little. At 1, 3, 5 and 7 times
    1/16 cycles per pixel the energy is divided by the median energy of the bins within 1/32 cycles
    per pixel on both sides, less the peak's own (the bin itself and one on each side). The score is
    the mean of the eight ratios.

    Odd multiples, because the even ones belong to an 8-pixel grid too. More than the first,
    because edges at patch borders spread over all of them, and the image itself falls off there.
    A pattern whose period is a multiple of 16 pixels counts as well, and so does a gradient of
    exactly one 8-bit level per 16 pixels.

    Args:
        image: (height, width, 3) float in 0..1; at its own size, as a resized grid has another
            period.

    Returns:
        None for an image with a side under 64 pixels, which is too small to tell.
    """
    if min(image.shape[:2]) < SMALLEST_FOR_GRID:
        return None
    luma = image.double() @ torch.tensor(LUMA, dtype=torch.float64, device=image.device)
    return float(torch.cat([_peak_ratios(luma), _peak_ratios(luma.T)]).mean())


def _peak_ratios(lines: Tensor) -> Tensor:
    """The energy of ``lines`` (lines, pixels) at each odd harmonic over its neighbourhood's."""
    patches = lines.shape[1] // PATCH
    lines = lines[:, : patches * PATCH]
    window = torch.hann_window(lines.shape[1], dtype=lines.dtype, device=lines.device)
    centred = lines - lines.mean(1, keepdim=True)
    energy = torch.fft.rfft(centred * window).abs().square().mean(0)
    energy = energy + window.square().sum() / 255**2
    ratios = []
    for peak in (harmonic * patches for harmonic in ODD_HARMONICS):
        reach = patches // 2
        near = torch.cat([energy[peak - reach : peak - 1], energy[peak + 2 : peak + reach + 1]])
        ratios.append(energy[peak] / near.quantile(0.5))
    return torch.stack(ratios)


def _require_one_size(image: Tensor, baseline: Tensor) -> None:
    if image.shape != baseline.shape:
        raise ValueError(
            f"the images are of different size, {tuple(image.shape)} and {tuple(baseline.shape)}: "
            "only images of one size can be compared pixel by pixel"
        )
