"""The spectra of a picture, and the rule that weighs them."""

from __future__ import annotations

import json

import numpy as np
import pytest
from numpy.typing import NDArray

from denoiser.estimate import Estimate, estimate, few
from denoiser.estimate.blocks import TOP
from denoiser.estimate.rule import FAR, PATH, Rule, rules
from denoiser.estimate.sample import LEAST, PIXELS, SHARE
from denoiser.estimate.spectra import FIGURES
from denoiser.noise import NumpyRandom, parse

FLAT = np.full((256, 256, 3), 0.5, np.float32)


def spectra(noise: str, clean: NDArray[np.float32] = FLAT) -> dict[str, NDArray[np.float32]]:
    """Figure -> (planes, 64), of a noisy 8-bit picture."""
    values = parse(noise).apply(clean[None], NumpyRandom(np.random.default_rng(3)))[0]
    found = estimate([np.asarray(np.rint(values.clip(0, 1) * 255) / 255, np.float32)], clips=True, step=1 / 255).spectra
    assert found is not None and found.dtype == np.float32
    return {name: found[:, index] for index, name in enumerate(FIGURES)}


@pytest.mark.parametrize("sigma", [16, 40])
def test_spectra_of_white_noise(sigma: int) -> None:
    found = spectra(f"gaussian:{sigma}")
    # Power of luma and chroma where the channels' noise is independent: sums of the squares of their weights.
    power = [0.447, 0.388, 0.431]
    expected = np.log(np.multiply(power, (sigma / 255) ** 2))
    assert found["flat"][:, TOP].mean(axis=1) == pytest.approx(expected, abs=0.1)
    # The logarithm of a squared normal number has mean -1.27 and deviation pi / sqrt(2).
    assert found["mean"][:, 1:].mean(axis=1) == pytest.approx(expected - 1.27, abs=0.15)
    assert found["spread"][:, 1:].mean() == pytest.approx(np.pi / 2**0.5, abs=0.25)


def test_spectra_of_other_noise() -> None:
    white, coarse = spectra("gaussian:10"), spectra("correlated:sigma=10,length=0.7")
    assert np.all(coarse["flat"][:, 1] > white["flat"][:, 1]) and np.all(
        coarse["flat"][:, -1] < white["flat"][:, -1] - 2
    )
    coded = spectra("gaussian:10+jpeg:60")
    assert np.all(coded["still"][1:, -1] > 0.9) and np.all(white["still"] < 0.1)


def test_texture_spreads_what_noise_has_everywhere_alike() -> None:
    half = FLAT.copy()
    half[:, 128:] += np.random.default_rng(2).normal(0, 0.1, (256, 128, 3)).astype(np.float32)
    textured, plain = (spectra("gaussian:2", clean)["spread"][:, TOP].mean(axis=1) for clean in (half, FLAT))
    assert np.all(textured > plain + 0.7)


def test_channels_that_are_no_colour_have_the_spectra_of_the_first() -> None:
    for channels in (1, 2, 5):
        assert spectra("gaussian:10", FLAT[:, :, :1].repeat(channels, axis=2))["flat"].shape == (1, 64)


def test_a_figure_counts_no_further_than_its_limit() -> None:
    rule = Rule(0.5, np.full(256, 1.0), np.full(256, 2.0), np.zeros((2, 256)))
    rule.weight[:, 2 * 64 + 5] = 3.0
    values = np.ones((1, 4, 64), np.float32)
    for value, expected in ((1, 0), (3, 3), (-1, -3), (1e6, 3 * FAR), (-1e6, -3 * FAR)):
        values[0, 2, 5] = value
        assert rule.score(Estimate((), spectra=values)) == pytest.approx(0.5 + expected)


@pytest.mark.parametrize(("sigma", "share"), [(0.3, 0.0), (1.5, 0.5), (6, 1.0)])
def test_noise_decides_which_sum_counts(sigma: float, share: float) -> None:
    values = np.full((3, 4, 64), 2 * np.log(sigma / 255), np.float32)
    rule = Rule(0.0, np.zeros(769), np.ones(769), np.zeros((2, 769)))
    rule.weight[:, -1] = -2, 2  # of what colours share
    score = rule.score(Estimate((), shared=-0.5, spectra=values))
    assert score == pytest.approx(2 * share - 1, abs=0.01)


def test_the_fitted_rules_weigh_what_there_is() -> None:
    document = json.loads(PATH.read_text(encoding="utf-8"))
    for name, planes in (("colour", 3), ("gray", 1)):
        rule = rules()[name]
        count = planes * len(FIGURES) * 64 + (name == "colour")
        assert rule.centre.shape == rule.scale.shape == (count,) and rule.weight.shape == (2, count)
        assert rule.scale.min() > 0 and np.abs(rule.weight).max(axis=1).min() > 0
        assert rule.to_json() == document["rules"][name]


def test_few_pixels_are_a_share_within_limits() -> None:
    assert few(100, 100) == LEAST
    assert few(2000, 2000) == 4_000_000 // SHARE
    assert few(10_000, 10_000) == PIXELS
