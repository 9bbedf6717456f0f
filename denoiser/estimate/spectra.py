"""The spectra of a picture's blocks, by which a network is chosen: four figures of each DCT coefficient.

No figure means much alone. White noise has the power of all coefficients in its flat blocks, a camera's falls towards
the fine ones and is another in colour, JPEG leaves coefficients without anything; and what the other blocks hold tells
how much of this is texture.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from denoiser.estimate.blocks import Blocks

FIGURES = ("flat", "mean", "spread", "still")
"""Of each coefficient: logarithm of its mean square in flat blocks; mean and standard deviation of the logarithm of its
square in all usable blocks; share of the blocks in which it is hardly there. Squares are in units of the full range."""
STILL = 0.25 / 255
"""Its square is added to squares before their logarithm: less than what rounding to 8 bit makes."""
NOTHING = 0.5 / 255
"""Below this a coefficient is hardly there."""
_YCC = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
"""Luma and chroma of JFIF: JPEG rounds the coefficients of these."""


def spectra_of(
    cut: Sequence[Blocks], usable: NDArray[np.intp], chosen: NDArray[np.intp], bright: float = 1.0
) -> NDArray[np.float32]:
    """The figures of a picture.

    Parameters
    ----------
    cut : sequence of Blocks
        One for each channel.
    usable : ndarray
        Which blocks are looked at: frames and what is saturated are no part of the picture.
    chosen : ndarray
        Which blocks are flat.
    bright : float
        What counts as full range.

    Returns
    -------
    ndarray
        (3, 4, 64), of luma and chroma; (1, 4, 64), of the first channel, where channels are equal or not three.
    """
    planes = [each.coefficients if bright == 1 else each.coefficients / np.float32(bright) for each in cut]
    if len(cut) != 3 or all(np.array_equal(planes[0], plane) for plane in planes[1:]):
        return _figures(planes[0], usable, chosen)[None]
    red, green, blue = planes
    ycc = (np.float32(r) * red + np.float32(g) * green + np.float32(b) * blue for r, g, b in _YCC)
    return np.stack([_figures(plane, usable, chosen) for plane in ycc])


def _figures(plane: NDArray[np.float32], usable: NDArray[np.intp], chosen: NDArray[np.intp]) -> NDArray[np.float32]:
    """Coefficients (N, 64) -> (4, 64)."""
    squares = plane * plane
    flat = np.log(squares[chosen].mean(axis=0) + np.float32(STILL**2))
    squares = squares[usable]
    logarithms = np.log(squares + np.float32(STILL**2))
    mean = logarithms.mean(axis=0)
    logarithms -= mean
    spread = np.sqrt((logarithms * logarithms).mean(axis=0))
    still = (squares < NOTHING**2).mean(axis=0, dtype=np.float32)
    return np.stack([flat, mean, spread, still])
