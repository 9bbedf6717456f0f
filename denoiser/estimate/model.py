"""Noise whose variance grows with the light, seen through the clipping of a file, and its fit to measurements.

Before clipping the variance is gain * x + read^2 at signal x, all in units of the full range (Foi et al. 2008,
"Practical Poissonian-Gaussian noise modeling and fitting for single-image raw-data"). Where noise reaches black or
white a file holds less of it: the moments of a clipped normal variable tell how much.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

ROUNDS = 12
STEADY = 1e-3
"""Clipping is undone and the line fitted in turn, until what is left of the noise changes less than this."""
FAR = 4.0
"""Deviations between a level and black or white at which noise loses nothing worth undoing (less than 0.1%)."""
LEAST_LEFT = 0.3
"""Share of its deviation that clipping may leave of noise; what is clipped more counts as clipped so much."""
FREEDOM = 28
"""Coefficients by which a block tells the variance."""
DOUBT = 0.05
"""Share of a variance by which it may be wrong however many blocks tell it: faint texture."""
CLEARLY = 9.0
"""How much better, in squared standard errors, a sloping line must fit than a level one."""
VERY_CLEARLY = 60.0
"""The same for a line of noise that falls with the light or starts below 0: texture in the dark looks like it."""
_NEAR = np.geomspace(1e-12, 1e-2, 101)
_SIGNAL = np.unique(np.concatenate([np.linspace(-0.5, 1.5, 201), -_NEAR, _NEAR, 1 - _NEAR, 1 + _NEAR]))
"""Signals for which the moments are computed: dense near the limits, for faint noise of many bits ends there."""


@dataclass(frozen=True)
class Line:
    """Variance against signal.

    Attributes
    ----------
    gain : float
        Variance per unit of signal, as of the noise kind ``poisson-gaussian``.
    read : float
        Standard deviation of the part that does not depend on the signal, in units of the full range.
    """

    gain: float
    read: float


def clipped_moments(
    mean: NDArray[np.float64], deviation: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation of normal numbers after clipping to [0, 1]."""
    from scipy.special import ndtr

    low, high = -mean / deviation, (1 - mean) / deviation
    inside, above = ndtr(high) - ndtr(low), ndtr(-high)
    at_low, at_high = (np.exp(-(edge**2) / 2) / np.sqrt(2 * np.pi) for edge in (low, high))
    first = mean * inside + deviation * (at_low - at_high) + above
    second = (mean**2 + deviation**2) * inside + 2 * mean * deviation * (at_low - at_high)
    second += deviation**2 * (low * at_low - high * at_high) + above
    return first, np.sqrt(np.maximum(second - first**2, 0))


def fit(
    means: Sequence[float], variances: Sequence[float], weights: Sequence[float], clips: bool
) -> tuple[Line, float]:
    """The line through measured variances, by weighted least squares with neither parameter below zero.

    Parameters
    ----------
    means, variances : sequence of float
        Of flat parts of the file, after clipping, in units of the full range. At least one; variances above zero.
    weights : sequence of float
        How much each counts: the number of blocks that it is the mean of.
    clips : bool
        Whether the file clips at 0 and 1.

    Returns
    -------
    line : Line
    variance : float
        Mean over the levels: by the line or, where noise clearly falls with the light or grows faster, by another one.
    """
    seen_mean, seen = np.asarray(means, np.float64), np.sqrt(np.asarray(variances, np.float64))
    counts = np.sqrt(np.asarray(weights, np.float64))
    mean, left = seen_mean.clip(0), np.ones_like(seen)
    # Where no level comes near a limit, there is nothing to undo, and most of the time to save.
    clips = clips and bool(np.any((seen_mean < FAR * seen) | (seen_mean > 1 - FAR * seen)))
    for _ in range(ROUNDS if clips else 1):
        deviation = seen / left
        gain, square = _straight(mean.clip(0), deviation**2, counts * left)
        if clips:
            line = np.sqrt(np.maximum(gain * _SIGNAL.clip(0, 1) + square, 1e-20))
            there, after = clipped_moments(_SIGNAL, line)
            mean = np.interp(seen_mean, there, _SIGNAL).clip(0, 1)
            before, left = left, np.interp(seen_mean, there, after / line).clip(LEAST_LEFT)
            if np.abs(left - before).max() < STEADY:
                break
    return Line(gain, float(np.sqrt(square))), _mean(mean.clip(0), deviation**2, counts * left)


@dataclass(frozen=True, eq=False)
class _Free:
    """The line that fits best, wherever it begins and however it slopes; ``counts`` are roots of numbers."""

    signal: NDArray[np.float64]
    variance: NDArray[np.float64]
    error: NDArray[np.float64]
    weight: NDArray[np.float64]
    middle: float
    level: float
    slope: float

    @classmethod
    def of(cls, signal: NDArray[np.float64], variance: NDArray[np.float64], counts: NDArray[np.float64]) -> _Free:
        error = variance * np.sqrt(2 / (FREEDOM * np.maximum(counts, 1e-6) ** 2) + DOUBT**2)
        weight = 1 / error**2
        weight /= weight.sum()
        middle, level = float(weight @ signal), float(weight @ variance)
        spread = float(weight @ (signal - middle) ** 2)
        slope = float(weight @ ((signal - middle) * variance)) / spread if spread > 0 else 0.0
        return cls(signal, variance, error, weight, middle, level, slope)

    @property
    def height(self) -> float:
        """At signal 0."""
        return self.level - self.slope * self.middle

    def better(self, slope: float, height: float) -> float:
        """By how much, in squared standard errors, a line fits better than a level one."""
        flat, sloping = (
            float(np.sum(((self.variance - line) / self.error) ** 2))
            for line in (self.level, slope * self.signal + height)
        )
        return flat - sloping


def _straight(
    signal: NDArray[np.float64], variance: NDArray[np.float64], counts: NDArray[np.float64]
) -> tuple[float, float]:
    """Slope and height at 0 of the line; slope 0 unless one fits clearly better."""
    free = _Free.of(signal, variance, counts)
    gain, square = free.slope, free.height
    if square < 0:  # through 0 then, as the signal is not below it
        gain, square = float(free.weight @ (signal * variance)) / float(free.weight @ signal**2), 0.0
    return (gain, square) if gain > 0 and free.better(gain, square) >= CLEARLY else (0.0, free.level)


def _mean(signal: NDArray[np.float64], variance: NDArray[np.float64], counts: NDArray[np.float64]) -> float:
    """The mean of variances at these signals, by a line that fits clearly better than a level one, whatever it is."""
    free = _Free.of(signal, variance, counts)
    usual = free.slope > 0 and free.height >= 0
    if free.better(free.slope, free.height) < (CLEARLY if usual else VERY_CLEARLY):
        return free.level
    return float(np.maximum(free.slope * signal + free.height, variance.min()).mean())
