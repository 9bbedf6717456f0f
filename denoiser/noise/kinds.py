"""Kinds of noise, each a small frozen class with one definition for NumPy and for torch.

``apply`` uses only operations that both libraries spell alike; random numbers come from a
:class:`Random` that the caller passes, so the same class serves files (NumPy) and training batches
(torch, on any device). Pictures are (N, H, W, C) in [0, 1]; nothing is clipped or rounded here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np


class Random(Protocol):
    """Source of random numbers shaped for a batch of pictures."""

    def normal(self, shape: tuple[int, ...]) -> Any:
        """Standard normal numbers."""
        ...

    def uniform(self, shape: tuple[int, ...]) -> Any:
        """Uniform numbers in [0, 1)."""
        ...


class NumpyRandom:
    """A :class:`Random` of NumPy arrays (float32).

    Parameters
    ----------
    generator : numpy.random.Generator
    """

    def __init__(self, generator: np.random.Generator) -> None:
        self.generator = generator

    def normal(self, shape: tuple[int, ...]) -> Any:
        return self.generator.standard_normal(shape, dtype=np.float32)

    def uniform(self, shape: tuple[int, ...]) -> Any:
        return self.generator.random(shape, dtype=np.float32)


@dataclass(frozen=True)
class Range:
    """A parameter of a noise kind: one value, or an interval from which each picture draws its own.

    Attributes
    ----------
    low, high : float
        Equal for a fixed value.
    logarithmic : bool
        Draw the logarithm uniformly; for gains, which span decades. Needs low > 0.
    """

    low: float
    high: float
    logarithmic: bool = False

    def draw(self, count: int, random: Random) -> Any:
        """One value per picture, (count, 1, 1, 1); a plain number when the range is one value."""
        if self.low == self.high:
            return self.low
        u = random.uniform((count, 1, 1, 1))
        if self.logarithmic:
            return self.low * (self.high / self.low) ** u
        return self.low + (self.high - self.low) * u


class Noise(Protocol):
    """A kind of corruption with its parameters."""

    name: ClassVar[str]

    def apply(self, x: Any, random: Random) -> Any:
        """Corrupt pictures.

        Parameters
        ----------
        x : ndarray or Tensor
            (N, H, W, C), float32 in [0, 1].
        random : Random
            Of the same library and device as x.
        """
        ...


@dataclass(frozen=True)
class Gaussian:
    """Additive white Gaussian noise: y = x + sigma / 255 * n, n ~ N(0, 1).

    Attributes
    ----------
    sigma : Range
        Standard deviation in units of 1/255 of full range.
    """

    name: ClassVar[str] = "gaussian"
    sigma: Range = Range(25, 25)

    def apply(self, x: Any, random: Random) -> Any:
        return x + random.normal(tuple(x.shape)) * (self.sigma.draw(x.shape[0], random) / 255)


@dataclass(frozen=True)
class PoissonGaussian:
    """Signal-dependent noise of a sensor, in the Gaussian approximation of the Poisson part.

    y = x + sqrt(gain * x + (read / 255)^2) * n, n ~ N(0, 1) (Foi et al. 2008, "Practical
    Poissonian-Gaussian noise modeling and fitting for single-image raw-data", eq. 4).

    Attributes
    ----------
    gain : Range
        Variance per unit of signal: 1 / (photons at full range).
    read : Range
        Standard deviation of the signal-independent part, in units of 1/255 of full range.
    """

    name: ClassVar[str] = "poisson-gaussian"
    gain: Range = Range(0.01, 0.01, logarithmic=True)
    read: Range = Range(4, 4)

    def apply(self, x: Any, random: Random) -> Any:
        count = x.shape[0]
        gain, read = self.gain.draw(count, random), self.read.draw(count, random)
        return x + random.normal(tuple(x.shape)) * (gain * x.clip(0) + (read / 255) ** 2) ** 0.5


KINDS: dict[str, type[Gaussian] | type[PoissonGaussian]] = {kind.name: kind for kind in (Gaussian, PoissonGaussian)}
"""Name in a noise specification -> class."""
