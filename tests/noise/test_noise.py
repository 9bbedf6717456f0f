"""Noise kinds: statistics against their formulas, NumPy against torch, the grammar, the protocols."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from denoiser.errors import UsageError
from denoiser.metrics import psnr
from denoiser.noise import Gaussian, NumpyRandom, PoissonGaussian, Range, noisy_version, parse, parse_mixture
from denoiser.training.data import TorchRandom


def both(noise: Any, level: float) -> tuple[Any, Any]:
    """The same kind applied to a constant picture by NumPy and by torch."""
    flat = np.full((4, 128, 128, 3), level, dtype=np.float32)
    by_numpy = noise.apply(flat, NumpyRandom(np.random.default_rng(0)))
    by_torch = noise.apply(torch.from_numpy(flat), TorchRandom(torch.Generator().manual_seed(0)))
    return by_numpy, by_torch.numpy()


@pytest.mark.parametrize("level", [0.0, 0.3, 1.0])
@pytest.mark.parametrize(
    ("noise", "variance"),
    [
        (Gaussian(Range(25, 25)), lambda x: (25 / 255) ** 2),
        (PoissonGaussian(Range(0.02, 0.02), Range(4, 4)), lambda x: 0.02 * x + (4 / 255) ** 2),
    ],
)
def test_mean_and_variance_follow_the_formula(noise: Any, variance: Any, level: float) -> None:
    # 196,608 samples: the standard error of the variance is 0.3%, of the mean 0.002 standard deviations.
    for sample in both(noise, level):
        assert sample.dtype == np.float32
        assert sample.var() == pytest.approx(variance(level), rel=0.02)
        assert abs(sample.mean() - level) < 0.02 * variance(level) ** 0.5


def test_each_picture_draws_its_own_level() -> None:
    noise = parse("gaussian:5-50")
    for sample in both(noise, 0.5):
        levels = sample.std(axis=(1, 2, 3)) * 255
        assert len(set(levels.round(1))) == 4
        assert ((levels > 4) & (levels < 51)).all()


def test_logarithmic_range_covers_decades_evenly() -> None:
    gain = Range(1e-4, 1e-2, logarithmic=True)
    drawn = gain.draw(20_000, NumpyRandom(np.random.default_rng(0)))
    assert np.mean(drawn < 1e-3) == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("gaussian", Gaussian()),
        ("gaussian:15", Gaussian(Range(15, 15))),
        ("gaussian:sigma=0-75", Gaussian(Range(0, 75))),
        ("poisson-gaussian:gain=1e-3,read=2.5", PoissonGaussian(Range(1e-3, 1e-3, True), Range(2.5, 2.5))),
    ],
)
def test_grammar(spec: str, expected: Any) -> None:
    assert parse(spec) == expected


@pytest.mark.parametrize(
    ("spec", "hint"),
    [
        ("gausian:25", "did you mean 'gaussian'"),
        ("fog", "poisson-gaussian"),
        ("gaussian:sigma=loud", "a number such as 25"),
        ("gaussian:level=3", "It has sigma"),
        ("gaussian:1,2", "no parameter"),
        ("gaussian:75-0", "above its end"),
        ("poisson-gaussian:gain=0-0.1", "above 0"),
    ],
)
def test_wrong_specs_say_what_is_right(spec: str, hint: str) -> None:
    with pytest.raises(UsageError, match=hint):
        parse(spec)


def test_mixture_weights_sum_to_one() -> None:
    mixture = parse_mixture(["gaussian:25@3", "poisson-gaussian"])
    assert mixture.weights == (0.75, 0.25)
    for wrong in ([], *([f"gaussian@{weight}"] for weight in ("x", "-1", "0", "nan", "inf"))):
        with pytest.raises(UsageError):
            parse_mixture(wrong)


def test_protocols_give_the_psnr_of_theory() -> None:
    clean = np.full((256, 256, 3), 128, dtype=np.uint8)
    noisy = noisy_version(clean, 25, "literature", 0)
    assert psnr(clean, noisy.astype(np.float64) * 255, 255) == pytest.approx(20.17, abs=0.02)
    as_file = noisy_version(clean, 25, "file", 0)
    assert as_file.dtype == np.uint8
    # The same noise, rounded: half a level of 255 at most, where nothing clips.
    assert np.abs(as_file - noisy * 255).max() <= 0.5 + 1e-3
    assert np.array_equal(as_file, noisy_version(clean, 25, "file", 0))
    assert not np.array_equal(as_file, noisy_version(clean, 25, "file", 1))
