"""PSNR against scikit-image."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio

from denoiser.metrics import psnr


@pytest.mark.parametrize(("dtype", "data_range"), [(np.uint8, 255), (np.uint16, 65535), (np.float32, 1.0)])
def test_psnr_equals_scikit_image(dtype: Any, data_range: float) -> None:
    generator = np.random.default_rng(0)
    a, b = ((generator.random((17, 23, 3)) * data_range).astype(dtype) for _ in range(2))
    expected = peak_signal_noise_ratio(a, b, data_range=data_range)
    assert psnr(a, b, data_range) == pytest.approx(expected, abs=1e-6)


def test_equal_pictures_and_unequal_shapes() -> None:
    a = np.zeros((4, 4), np.uint8)
    assert psnr(a, a, 255) == math.inf
    with pytest.raises(ValueError, match="shapes differ"):
        psnr(a, np.zeros((4, 5), np.uint8), 255)
