"""Measures of likeness between a restored picture and the truth. The data range is always given."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray


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
    error = mse(truth, estimate)
    return math.inf if error == 0 else 10 * math.log10(data_range**2 / error)
