"""How much of what the network changed is taken: over all, of luminance and chrominance, and of fine detail.

The change (output minus input of the network) of a colour picture is taken apart into a gray part, which is its
luminance in all three channels, and the rest, whose luminance is zero::

    luminance(change) = 0.299 R + 0.587 G + 0.114 B             (BT.601, which is what JPEG calls Y)
    change = gray + colour,   gray = luminance in each channel,   colour = change - gray
    taken  = strength * (luma * (gray - detail * fine(gray)) + chroma * colour)

``fine`` is what a binomial filter of 5 x 5 pixels (Burt and Adelson 1983) takes away: grain, and texture of a few
pixels. One channel alone is luminance and nothing else, so ``chroma`` has no effect on gray pictures, nor on pictures
of two, four or more colours, whose channels are denoised one by one.
"""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from denoiser.errors import UsageError

LUMINANCE = (0.299, 0.587, 0.114)
"""Weights of red, green and blue (ITU-R BT.601)."""

BINOMIAL = (1 / 16, 4 / 16, 6 / 16)
"""One half of the filter, from its end to its centre."""

REACH = len(BINOMIAL) - 1
"""Rows and columns on each side that decide about a pixel's detail."""

_CHUNK = 1 << 16
"""Values worked on at a time: few enough to stay in a core's cache."""


@dataclass(frozen=True)
class Controls:
    """Strengths from 0 to 1.

    Parameters
    ----------
    strength : float
        Of everything: 1 is the network's result, 0 the input.
    luma : float
        Of what changes the luminance; 0 leaves it as it was.
    chroma : float
        Of what changes the colours alone; 0 leaves them as they were.
    detail : float
        Share of the fine part of the luminance's change that is given back; 0 gives back nothing.

    Raises
    ------
    UsageError
        If one lies outside.
    """

    strength: float = 1.0
    luma: float = 1.0
    chroma: float = 1.0
    detail: float = 0.0

    def __post_init__(self) -> None:
        for name in ("strength", "luma", "chroma", "detail"):
            value = getattr(self, name)
            if not isinstance(value, Real) or not 0 <= float(value) <= 1:
                raise UsageError(f"{name} must lie between 0 and 1, not {value!r}")

    @property
    def overall(self) -> float:
        """The strength with which changes are taken that have passed :meth:`apply`; 0 where the input comes back."""
        return 0.0 if self.luma == self.chroma == 0 else self.strength

    @property
    def plain(self) -> bool:
        """Whether :meth:`apply` has nothing to do."""
        return self.overall == 0 or (self.luma == self.chroma == 1 and self.detail == 0)

    @property
    def reach(self) -> int:
        """Rows above and below a band that decide about it."""
        return REACH if self.luma * self.detail > 0 and self.overall > 0 else 0

    def apply(
        self, values: NDArray[np.float32], planes: NDArray[Any], scale: float, above: int = 0, below: int = 0
    ) -> NDArray[np.float32]:
        """Take luminance, chrominance and detail as asked for; the strength over all is left to others.

        A pixel's result depends on the ``reach`` rows and columns around it alone, so that a band that brings these
        rows along equals the same rows of the whole page, bit for bit.

        Parameters
        ----------
        values : ndarray
            float32 (above + H + below, W, C), what the network made. Is changed.
        planes : ndarray
            The same shape; ``planes * scale`` is what the network saw.
        above, below : int
            First and last rows that are there to be looked at: ``reach`` of them wherever the page goes on.

        Returns
        -------
        ndarray
            (H, W, C), a part of ``values``. Bit for bit what it was where the controls are neutral.
        """
        kept = values[above : len(values) - below]
        if self.plain:
            return kept
        height, reach = len(values), self.reach
        step = max(1, _CHUNK // max(1, values[0].size))
        around: NDArray[np.float32] | None = None
        for start in range(0, height, step):
            count = min(step, height - start)
            ahead = slice(start, start + count + reach)  # not changed yet; the rows above are, their gray was kept
            change = values[ahead] - np.multiply(planes[ahead], np.float32(scale), dtype=np.float32)
            gray = _luminance(change)
            if reach:
                around = _with_rows_around(gray, count, None if around is None else around[-2 * REACH : -REACH])
            with np.errstate(invalid="ignore"):  # infinities become NaN, which the check of the output finds
                values[start : start + count] += self._correction(change[:count], gray[:count], around)
        return kept

    def _correction(
        self, change: NDArray[np.float32], gray: NDArray[np.float32], around: NDArray[np.float32] | None
    ) -> NDArray[np.float32]:
        """What must be added to the network's values, (h, W, C); ``around`` is ``gray`` with the rows around it."""
        if gray.shape != change.shape:
            correction = gray * np.float32(self.luma - self.chroma) + change * np.float32(self.chroma - 1)
        else:
            correction = gray * np.float32(self.luma - 1)
        if around is not None:
            correction -= np.float32(self.luma * self.detail) * (gray - _blurred(around))
        return correction


def _luminance(change: NDArray[np.float32]) -> NDArray[np.float32]:
    """(H, W, 1) of colour; all channels as they are, (H, W, C), of anything else."""
    if change.shape[2] != 3:
        return change
    # In this order, without a matrix product: the last digit must not depend on the number of rows.
    red, green, blue = (change[:, :, i : i + 1] * np.float32(LUMINANCE[i]) for i in range(3))
    return np.asarray(red + green + blue)


def _with_rows_around(gray: NDArray[np.float32], count: int, above: NDArray[np.float32] | None) -> NDArray[np.float32]:
    """``count`` rows with REACH rows on each side; the outermost row is repeated where the page ends."""
    first = gray[:1].repeat(REACH, axis=0) if above is None else above
    missing = count + REACH - len(gray)
    return np.concatenate([first, gray, gray[-1:].repeat(missing, axis=0)])


def _blurred(around: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows without the REACH outermost ones, blurred; columns are continued by repeating the outermost."""
    rows = _weighted([around[i : len(around) - 2 * REACH + i] for i in range(2 * REACH + 1)])
    wide = np.pad(rows, ((0, 0), (REACH, REACH), (0, 0)), mode="edge")
    return _weighted([wide[:, i : wide.shape[1] - 2 * REACH + i] for i in range(2 * REACH + 1)])


def _weighted(shifted: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    result = shifted[REACH] * np.float32(BINOMIAL[REACH])
    for i in range(REACH):
        result += (shifted[i] + shifted[-1 - i]) * np.float32(BINOMIAL[i])
    return result
