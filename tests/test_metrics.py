"""PSNR and SSIM against scikit-image, SSIM against its formula, intervals against a table of Student's t."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from denoiser.metrics import Mean, mean_of, psnr, psnr_of_mse, ssim

DTYPES = [
    (np.uint8, 255),
    (np.uint16, 65535),
    (np.int16, 65535),
    (np.uint32, 2**32 - 1),
    (np.float16, 1.0),
    (np.float32, 1.0),
    (np.float64, 1.0),
]


def pair(dtype: Any, data_range: float) -> tuple[NDArray[Any], NDArray[Any]]:
    """A picture and a noisy one."""
    generator = np.random.default_rng(0)
    a = generator.random((31, 23, 3))
    b = np.clip(a + generator.normal(0, 0.1, a.shape), 0, 1)
    low = np.iinfo(dtype).min if np.dtype(dtype).kind == "i" else 0
    return (a * data_range + low).astype(dtype), (b * data_range + low).astype(dtype)


@pytest.mark.parametrize(("dtype", "data_range"), DTYPES)
def test_psnr_and_ssim_equal_scikit_image(dtype: Any, data_range: float) -> None:
    a, b = pair(dtype, data_range)
    wide = (a.astype(np.float64), b.astype(np.float64))  # scikit-image computes float16 and float32 in float32
    assert psnr(a, b, data_range) == pytest.approx(peak_signal_noise_ratio(*wide, data_range=data_range), abs=1e-6)
    expected = structural_similarity(
        *wide, data_range=data_range, channel_axis=-1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    assert ssim(a, b, data_range) == pytest.approx(expected, abs=1e-6)


def test_ssim_is_the_formula_of_the_paper() -> None:
    """Wang et al. 2004, eq. 13, written down a second time."""
    a, b = (x[:, :, :1].astype(np.float64) for x in pair(np.uint8, 255))

    def blur(x: NDArray[Any]) -> NDArray[Any]:
        return gaussian_filter(x, (1.5, 1.5, 0), truncate=3.5)

    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    mean_a, mean_b = blur(a), blur(b)
    var_a, var_b = blur(a * a) - mean_a**2, blur(b * b) - mean_b**2
    cov = blur(a * b) - mean_a * mean_b
    each = (2 * mean_a * mean_b + c1) * (2 * cov + c2) / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))
    assert ssim(a, b, 255) == pytest.approx(float(each[5:-5, 5:-5].mean()), abs=1e-9)


def test_equal_pictures_and_unequal_shapes() -> None:
    a = np.zeros((12, 12, 1), np.uint8)
    assert psnr(a, a, 255) == math.inf
    assert ssim(a, a, 255) == 1
    for measure in (psnr, ssim):
        with pytest.raises(ValueError, match="shapes differ"):
            measure(a, np.zeros((12, 13, 1), np.uint8), 255)
    with pytest.raises(ValueError, match="11 x 11"):
        ssim(a[:10], a[:10], 255)


def test_psnr_of_mse() -> None:
    assert psnr_of_mse((25 / 255) ** 2) == pytest.approx(20.17, abs=0.01)


def test_mean_and_interval() -> None:
    assert mean_of([]) is None
    assert mean_of([31.5]) == Mean(31.5, None, None, 1)
    found = mean_of([30.0, 31.0, 32.0, 33.0, 34.0])
    assert found is not None and found.low is not None and found.high is not None
    half = 2.776 * math.sqrt(2.5) / math.sqrt(5)  # t of 4 degrees of freedom at 97.5%, by the table
    assert (found.mean, found.low, found.high) == pytest.approx((32, 32 - half, 32 + half), abs=1e-3)
