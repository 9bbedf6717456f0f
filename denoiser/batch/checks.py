"""The check that every output passes before it gets its name.

The bounds catch broken arithmetic and broken weights, not matters of taste: each is far beyond what a
working network does to a picture, and free of units, so that it holds for every bit depth. Figures are
gathered band by band, over the colour channels alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from denoiser.images.image import Pixels

DRIFT_STD = 2.0
DRIFT_RANGE = 0.02
"""The mean may move by so many standard deviations of the input plus this share of the largest value. Noise that was
clipped at black moves it by up to 0.7 standard deviations, filling dropped pixels by up to 2."""
CLIPPED_GROWTH = 4.0
CLIPPED_SHARE = 0.25
"""The share of clipped values may grow this many times plus this share: half of the noise on a black sky is
clipped, all of it is black without the noise."""
FLAT_STD = {"integer": 0.15, "float": 1e-3}
"""An output of one single value is wrong if the input's standard deviation was above this share of the range. A
noisy flat field may well come out flat in integers, whose steps hide the rest, and noise of a fifth of the range
on black, which is clipped to a deviation of 0.12, as pure black."""

LARGE = 1e15
"""Sums of the squares of larger values may be more than single precision holds."""

CHUNK = 1 << 17
"""Values looked at together: few enough to stay in a core's cache."""


@dataclass
class Moments:
    """Sums over values, from which mean, deviation and extremes follow.

    Sums are taken about ``shift``, the mean of the first rows, so that a small deviation on a large mean
    survives single precision.
    """

    count: int = 0
    shift: float = 0.0
    total: float = 0.0
    squares: float = 0.0
    low: float = math.inf
    high: float = -math.inf

    def add(self, values: NDArray[Any]) -> tuple[float, float]:
        """Add values; returns the least and the greatest of them."""
        if values.size == 0:
            return math.inf, -math.inf
        if self.count == 0:
            self.shift = float(values.mean(dtype=np.float64))
        low, high = float(values.min()), float(values.max())
        dtype = np.promote_types(values.dtype, np.float32 if max(-low, high) < LARGE else np.float64)
        shifted = np.subtract(values, self.shift, dtype=dtype).ravel()
        self.count += values.size
        self.total += float(shifted.sum())  # numpy adds in pairs, which loses next to nothing
        self.squares += float(np.dot(shifted, shifted))
        self.low, self.high = min(self.low, low), max(self.high, high)
        return low, high

    @property
    def mean(self) -> float:
        return self.shift + self.total / self.count if self.count else 0.0

    @property
    def std(self) -> float:
        if self.count == 0:
            return 0.0
        return math.sqrt(max(self.squares / self.count - (self.total / self.count) ** 2, 0.0))


@dataclass
class Checks:
    """Gathers the figures of one file.

    Parameters
    ----------
    limits : tuple of float or None
        Least and greatest value of the container; None for floats.
    """

    limits: tuple[float, float] | None
    before: Moments = field(default_factory=Moments)
    after: Moments = field(default_factory=Moments)
    clipped_before: int = 0
    clipped_after: int = 0
    finite: bool = True

    @classmethod
    def of(cls, dtype: np.dtype[Any]) -> Checks:
        if dtype.kind == "f":
            return cls(None)
        if dtype.kind == "b":
            return cls((0, 1))
        info = np.iinfo(dtype)
        return cls((info.min, info.max))

    def add(
        self, before: Pixels, after: Pixels, values: NDArray[np.float32], missing: NDArray[np.bool_] | None = None
    ) -> None:
        """One band.

        Parameters
        ----------
        before, after : array
            (h, W, C) colour part as stored, of the input and of the output.
        values : array
            (h, W, C) what the network returned. Its inputs were finite, so all of it must be.
        missing : array or None
            (h, W, C) True where pixels are NaN, infinite or no-data; they do not count.
        """
        step = max(1, CHUNK // max(1, values[0].size))
        for top in range(0, len(values), step):
            rows = slice(top, top + step)
            # A sum is finite, or too large for its type, unless one of the values is not finite.
            with np.errstate(over="ignore", invalid="ignore"):
                finite = np.isfinite(values[rows].sum()) or np.isfinite(values[rows]).all()
            if not self.finite or not finite:
                self.finite = False
                return
            there = slice(None) if missing is None else ~missing[rows]
            self._add(before[rows][there], after[rows][there])

    def _add(self, before: Pixels, after: Pixels) -> None:
        self.clipped_before += self._clipped(before, *self.before.add(before))
        self.clipped_after += self._clipped(after, *self.after.add(after))

    def _clipped(self, pixels: Pixels, low: float, high: float) -> int:
        """How many of these pixels, which lie between ``low`` and ``high``, are at the limits."""
        if self.limits is None:
            return 0
        ends = [end for end, reached in zip(self.limits, (low, high), strict=True) if reached == end]
        return sum(int(np.count_nonzero(pixels == end)) for end in ends)

    def problem(self) -> str:
        """What is wrong with the output; empty when nothing is."""
        if not self.finite:
            return "the network returned values that are not numbers"
        spread, drift = self._range(), abs(self.after.mean - self.before.mean)
        # A container of 32 bits says nothing about the size of values in it.
        largest = min(spread, max(abs(self.before.low), abs(self.before.high))) if self.before.count else 0.0
        if not math.isfinite(drift) or drift > DRIFT_STD * self.before.std + DRIFT_RANGE * largest:
            return f"its mean moved from {self.before.mean:.6g} to {self.after.mean:.6g}"
        shares = self._clipped_shares()
        if shares[1] > CLIPPED_GROWTH * shares[0] + CLIPPED_SHARE:
            return f"the share of clipped values grew from {shares[0]:.1%} to {shares[1]:.1%}"
        flat = FLAT_STD["float" if self.limits is None else "integer"]
        if self.before.count and self.after.low == self.after.high and self.before.std > flat * spread:
            return f"it is one single value, {self.after.low:.6g}, though the input is not"
        return ""

    def figures(self) -> dict[str, Any]:
        """The figures, for the report, in the file's units."""
        shares = self._clipped_shares()
        return {
            "finite": self.finite,
            "mean_before": _plain(self.before.mean),
            "mean_after": _plain(self.after.mean),
            "std_before": _plain(self.before.std),
            "std_after": _plain(self.after.std),
            "clipped_before": shares[0],
            "clipped_after": shares[1],
        }

    def _range(self) -> float:
        if self.limits is not None:
            return self.limits[1] - self.limits[0]
        return max(abs(self.before.low), abs(self.before.high)) if self.before.count else 0.0

    def _clipped_shares(self) -> tuple[float, float]:
        count = max(self.before.count, 1)
        return self.clipped_before / count, self.clipped_after / count


def _plain(value: float) -> float | None:
    """JSON knows no NaN and no infinity."""
    return float(f"{value:.9g}") if math.isfinite(value) else None
