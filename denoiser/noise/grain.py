"""Kinds that change every pixel a little: noise of light, of sensors and of their electronics."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from denoiser.noise.base import Random, Range, parameter


@dataclass(frozen=True)
class Gaussian:
    """Additive white Gaussian noise: y = x + sigma / 255 * n, n ~ N(0, 1)."""

    name: ClassVar[str] = "gaussian"
    sigma: Range = parameter(Range(25, 25), "standard deviation, in 1/255 of full range")

    def apply(self, x: Any, random: Random) -> Any:
        return x + random.normal(tuple(x.shape)) * (self.sigma.draw(x.shape[0], random) / 255)


@dataclass(frozen=True)
class GaussianBlind:
    """White Gaussian noise of unknown strength: sigma ~ Exponential(mean), drawn for each picture.

    y = x + sigma / 255 * n, n ~ N(0, 1). The default mean, 0.15 of full range, is that of the classic experiment on
    blind denoising with a convolutional autoencoder on BSDS.
    """

    name: ClassVar[str] = "gaussian-blind"
    mean: Range = parameter(Range(38.25, 38.25), "mean of the standard deviations, in 1/255 of full range")

    def apply(self, x: Any, random: Random) -> Any:
        sigma = self.mean.draw(x.shape[0], random) * _exponential((x.shape[0], 1, 1, 1), random)
        return x + random.normal(tuple(x.shape)) * (sigma / 255)


@dataclass(frozen=True)
class Poisson:
    """Photon noise: y = k / peak, k ~ Poisson(peak * x). Its variance is x / peak.

    Negative values of x, which float pictures may have, count as 0.
    """

    name: ClassVar[str] = "poisson"
    peak: Range = parameter(Range(100, 100, logarithmic=True), "photons per pixel at full range", 1e-3, 1e9)

    def apply(self, x: Any, random: Random) -> Any:
        peak = self.peak.draw(x.shape[0], random)
        return random.poisson(x.clip(0) * peak) / peak


@dataclass(frozen=True)
class PoissonGaussian:
    """Signal-dependent noise of a sensor, in the Gaussian approximation of the Poisson part.

    y = x + sqrt(gain * x + (read / 255)^2) * n, n ~ N(0, 1) (Foi et al. 2008, "Practical
    Poissonian-Gaussian noise modeling and fitting for single-image raw-data", eq. 4).
    """

    name: ClassVar[str] = "poisson-gaussian"
    gain: Range = parameter(
        Range(0.01, 0.01, logarithmic=True), "variance per unit of signal: 1 / (photons at full range)"
    )
    read: Range = parameter(Range(4, 4), "standard deviation of the signal-independent part, in 1/255 of full range")

    def apply(self, x: Any, random: Random) -> Any:
        count = x.shape[0]
        gain, read = self.gain.draw(count, random), self.read.draw(count, random)
        return x + random.normal(tuple(x.shape)) * (gain * x.clip(0) + (read / 255) ** 2) ** 0.5


@dataclass(frozen=True)
class Speckle:
    """Multiplicative noise of coherent light, as in radar and ultrasound: y = x + x * sqrt(variance) * n, n ~ N(0, 1).

    The default variance is that of MATLAB's ``imnoise``.
    """

    name: ClassVar[str] = "speckle"
    variance: Range = parameter(Range(0.05, 0.05), "variance of the factor, relative to the signal")

    def apply(self, x: Any, random: Random) -> Any:
        return x + x * (random.normal(tuple(x.shape)) * self.variance.draw(x.shape[0], random) ** 0.5)


@dataclass(frozen=True)
class Correlated:
    """Gaussian noise with spatial correlation, as resizing, demosaicing and denoising cameras leave it.

    y = x + sigma / 255 * (g * n), n ~ N(0, 1): white noise filtered by a Gaussian kernel g of standard deviation
    ``length`` that is scaled to keep the variance. The correlation at a distance of d pixels is
    exp(-d^2 / (4 length^2)) from a length of about one pixel on, and less for shorter ones. Channels are independent.
    """

    name: ClassVar[str] = "correlated"
    sigma: Range = parameter(Range(25, 25), "standard deviation, in 1/255 of full range")
    length: Range = parameter(Range(1.5, 1.5), "standard deviation of the kernel, in pixels", 0.2, 64)

    def apply(self, x: Any, random: Random) -> Any:
        count, height, width, channels = tuple(x.shape)
        radius = math.ceil(3 * self.length.high)
        length, sigma = self.length.draw(count, random), self.sigma.draw(count, random)
        noise = random.normal((count, height + 2 * radius, width + 2 * radius, channels))
        taps = [math.e ** (-0.5 * (offset / length) ** 2) for offset in range(-radius, radius + 1)]
        scale = sum(tap**2 for tap in taps) ** -0.5
        rows: Any = sum(noise[:, i : i + height] * (tap * scale) for i, tap in enumerate(taps))
        both: Any = sum(rows[:, :, i : i + width] * (tap * scale) for i, tap in enumerate(taps))
        return x + both * (sigma / 255)


@dataclass(frozen=True)
class Banding:
    """Offsets of whole rows and columns, from the amplifiers of a sensor: y = x + rows / 255 * r + columns / 255 * c.

    r ~ N(0, 1) is drawn for each row, c ~ N(0, 1) for each column; all channels share them.
    """

    name: ClassVar[str] = "banding"
    rows: Range = parameter(Range(5, 5), "standard deviation of the rows' offsets, in 1/255 of full range")
    columns: Range = parameter(Range(2, 2), "standard deviation of the columns' offsets, in 1/255 of full range")

    def apply(self, x: Any, random: Random) -> Any:
        count, height, width, _ = tuple(x.shape)
        rows = random.normal((count, height, 1, 1)) * (self.rows.draw(count, random) / 255)
        columns = random.normal((count, 1, width, 1)) * (self.columns.draw(count, random) / 255)
        return x + rows + columns


def _exponential(shape: tuple[int, ...], random: Random) -> Any:
    """Exponential numbers of mean 1, as half of the sum of two squared normal ones: no logarithm to spell twice."""
    return (random.normal(shape) ** 2 + random.normal(shape) ** 2) / 2
