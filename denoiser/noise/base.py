"""What kinds of noise are made of: random numbers for NumPy and torch alike, parameters, the protocol.

``apply`` of a kind uses only operations that both libraries spell alike; random numbers come from a
:class:`Random` that the caller passes, so the same class serves files (NumPy) and training batches
(torch, on any device). Pictures are (N, H, W, C) in [0, 1].
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray


class Random(Protocol):
    """Source of random numbers shaped for a batch of pictures, and of arrays of its library."""

    def normal(self, shape: tuple[int, ...]) -> Any:
        """Standard normal numbers."""
        ...

    def uniform(self, shape: tuple[int, ...]) -> Any:
        """Uniform numbers in [0, 1)."""
        ...

    def poisson(self, mean: Any) -> Any:
        """Poisson numbers, float32, one for each element of ``mean``."""
        ...

    def where(self, chosen: Any, value: Any, x: Any) -> Any:
        """``value`` where ``chosen`` holds, else ``x``; they broadcast, and the result has the type of ``x``."""
        ...

    def array(self, values: NDArray[Any]) -> Any:
        """The values as an array of the same library, on the same device."""
        ...

    def zeros(self, shape: tuple[int, ...]) -> Any:
        """Zeros, float32, that may be written to."""
        ...

    def power(self, x: Any, exponent: Any) -> Any:
        """``x`` of at least 0 to the power of a positive exponent, to a few units in the last place of float32."""
        ...


MANY = 1e15
"""Means of Poisson numbers above which they are drawn as normal ones: NumPy counts in 64 bits, and nobody can tell."""


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

    def poisson(self, mean: Any) -> Any:
        large = mean > MANY
        if not large.any():
            return self.generator.poisson(mean).astype(np.float32)
        counts = self.generator.poisson(np.where(large, 0, mean)).astype(np.float32)
        spread = np.sqrt(mean, dtype=np.float32) * self.generator.standard_normal(mean.shape, np.float32)
        return np.where(large, mean + spread, counts)

    def where(self, chosen: Any, value: Any, x: Any) -> Any:
        return np.where(chosen, np.asarray(value, dtype=x.dtype), x)

    def array(self, values: NDArray[Any]) -> Any:
        return values

    def zeros(self, shape: tuple[int, ...]) -> Any:
        return np.zeros(shape, dtype=np.float32)

    def power(self, x: Any, exponent: Any) -> Any:
        return x**exponent


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

    def __str__(self) -> str:
        return f"{self.low:g}" if self.low == self.high else f"{self.low:g}-{self.high:g}"


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

        Returns
        -------
        ndarray or Tensor
            As x; neither clipped nor rounded unless the kind says so.
        """
        ...


def parameter(
    default: Range | int | str, meaning: str, least: float = 0.0, most: float = math.inf, words: Sequence[str] = ()
) -> Any:
    """A field of a noise kind, with what the grammar needs to read it and ``--list`` to explain it.

    Parameters
    ----------
    default : Range, int or str
        Its type says what is read: a number or a range, a whole number, one of ``words``.
    meaning : str
        With its unit.
    least, most : float
        Limits of numbers.
    words : sequence of str
        Choices of a word.
    """
    return field(default=default, metadata={"meaning": meaning, "least": least, "most": most, "words": tuple(words)})


def whole(value: Any) -> Any:
    """The nearest whole numbers, halves upwards, as the library's floats; ``//`` is spelled alike in both."""
    return (value + 0.5) // 1


def extended(planes: Any, top: int, left: int, room: Any) -> Any:
    """Planes (N, C, H, W) written into a larger ``room`` at a row and column, their edges repeated to fill it."""
    height, width = tuple(planes.shape)[2:]
    bottom, right = top + height, left + width
    room[:, :, top:bottom, left:right] = planes
    room[:, :, top:bottom, :left] = room[:, :, top:bottom, left : left + 1]
    room[:, :, top:bottom, right:] = room[:, :, top:bottom, right - 1 : right]
    room[:, :, :top] = room[:, :, top : top + 1]
    room[:, :, bottom:] = room[:, :, bottom - 1 : bottom]
    return room
