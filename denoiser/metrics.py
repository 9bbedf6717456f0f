"""Measures of likeness between a restored picture and the truth. The data range is always given."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

SSIM_WINDOW = 11
"""Pixels: the smallest side of a picture that has an SSIM."""

CONFIDENCE = 0.95


def mse(truth: NDArray[Any], estimate: NDArray[Any]) -> float:
    """Mean squared error over all pixels and channels, in float64."""
    if truth.shape != estimate.shape:
        raise ValueError(f"shapes differ: {truth.shape} and {estimate.shape}")
    difference = truth.astype(np.float64) - estimate.astype(np.float64)
    return float(np.mean(difference * difference))


def psnr(truth: NDArray[Any], estimate: NDArray[Any], data_range: float) -> float:
    """Peak signal-to-noise ratio in dB; infinite for equal pictures.

    Parameters
    ----------
    truth, estimate : ndarray
        Same shape, any dtype.
    data_range : float
        Distance of the largest from the smallest possible value: 255 for 8 bit.
    """
    return psnr_of_mse(mse(truth, estimate) / data_range**2)


def psnr_of_mse(error: float) -> float:
    """PSNR in dB of a mean squared error in units of the data range squared; infinite for 0."""
    return math.inf if error == 0 else -10 * math.log10(error)


def ssim(truth: NDArray[Any], estimate: NDArray[Any], data_range: float) -> float:
    """Structural similarity of Wang et al. 2004, as scikit-image computes it, mean over pixels and channels.

    Gaussian window with a standard deviation of 1.5 pixels cut at 11 x 11, K1 = 0.01, K2 = 0.03, population covariance,
    pixels nearer to the border than 5 left out: what ``structural_similarity`` gives with ``gaussian_weights=True,
    sigma=1.5, use_sample_covariance=False``.

    Parameters
    ----------
    truth, estimate : ndarray
        (H, W, C), any dtype; both sides at least :data:`SSIM_WINDOW` pixels. Computed in float64.
    data_range : float

    Returns
    -------
    float
        1 for equal pictures.

    Raises
    ------
    ValueError
        If the shapes differ or the pictures are smaller than the window.
    """
    from skimage.metrics import structural_similarity

    if truth.shape != estimate.shape:
        raise ValueError(f"shapes differ: {truth.shape} and {estimate.shape}")
    if min(truth.shape[:2]) < SSIM_WINDOW:
        raise ValueError(f"SSIM needs {SSIM_WINDOW} x {SSIM_WINDOW} pixels, not {truth.shape[0]} x {truth.shape[1]}")
    value = structural_similarity(
        truth.astype(np.float64),
        estimate.astype(np.float64),
        data_range=data_range,
        channel_axis=2,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )
    return float(value)


@dataclass(frozen=True)
class Mean:
    """A mean over pictures and how sure it is.

    Attributes
    ----------
    mean : float
    low, high : float or None
        The 95% interval: Student's t with n - 1 degrees of freedom. None for fewer than two values.
    count : int
    """

    mean: float
    low: float | None
    high: float | None
    count: int


def mean_of(values: Sequence[float]) -> Mean | None:
    """Mean and 95% t-interval of finite values; None where there are none."""
    if not values:
        return None
    count, centre = len(values), math.fsum(values) / len(values)
    if count < 2:
        return Mean(centre, None, None, count)
    from scipy.special import stdtrit

    error = float(np.std(values, ddof=1)) / math.sqrt(count)
    half = float(stdtrit(count - 1, (1 + CONFIDENCE) / 2)) * error
    return Mean(centre, centre - half, centre + half, count)
