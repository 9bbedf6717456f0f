"""What tells a camera's noise from white noise: a few named figures of a picture, for a rule to weigh.

Powers are natural logarithms of mean squares of DCT coefficients, in units of the full range; ratios are differences
of such logarithms. "Fine" are the highest frequencies (:data:`blocks.TOP`), "middle" those below
(:data:`blocks.MIDDLE`). Noise is looked at in the flat blocks that :func:`blocks.levels_of` chose, texture in all.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from denoiser.estimate import blocks as dct
from denoiser.estimate.blocks import Blocks

STILL = (0.25 / 255) ** 2
"""Added to every power: less than what rounding to 8 bit makes, so that empty blocks have a logarithm."""
TEXTURED, QUIET = 0.9, 0.01
"""Quantiles of the blocks that stand for texture, and for what noise leaves nowhere smaller."""
OF_WHITE = {"fineness": 0.0, "rolloff": 1.0, "colourfulness": math.log(3), "shared_middle": 0.0, "shared_fine": 0.0}
"""Traits of white noise; luma, the mean of three channels, has a third of their power."""
SPREAD = {"fineness": 0.35, "rolloff": 0.3, "colourfulness": 0.5, "shared_middle": 0.3, "shared_fine": 0.3}
"""Distance from these that faint texture may put between white noise and them."""
NEAR = 0.3
"""Added to the squared distance from white noise before its logarithm: nearer is all alike."""
_BANDS = np.stack([dct.MIDDLE / dct.MIDDLE.sum(), dct.TOP / dct.TOP.sum()], axis=1).astype(np.float32)  # (64, 2)


def traits_of(
    cut: Sequence[Blocks], chosen: NDArray[np.intp], rolloffs: Sequence[float], grid: float
) -> dict[str, float]:
    """The traits of a picture in colour; or, where channels are equal or not three, those of its first.

    Parameters
    ----------
    cut : sequence of Blocks
        One for each channel.
    chosen : ndarray
        Which blocks are flat.
    rolloffs : sequence of float
        Of each channel, as :attr:`ChannelNoise.rolloff`.
    grid : float
        Strength of JPEG's grid.
    """
    gray = len(cut) != 3 or all(np.array_equal(cut[0].coefficients, each.coefficients) for each in cut[1:])
    found = _of_gray(cut[0].coefficients, chosen) if gray else _of_colour([each.coefficients for each in cut], chosen)
    found |= {"rolloff": min(rolloffs), "grid": grid}
    # A sum of traits cannot say that one of them is enough to be something else than white noise, whatever its sign.
    return found | {"otherness": math.log(NEAR + sum(deviations(found).values()))}


def _of_gray(plane: NDArray[np.float32], chosen: NDArray[np.intp]) -> dict[str, float]:
    flat = plane[chosen]
    return _of_planes([plane], [flat]) | {"sparseness": _sparseness(flat)}


def _of_colour(planes: Sequence[NDArray[np.float32]], chosen: NDArray[np.intp]) -> dict[str, float]:
    red, green, blue = flat = [plane[chosen] for plane in planes]
    luma = (red + green + blue) / np.float32(3)
    colours, flat_colours = _colours(planes), _colours(flat)
    return _of_planes(colours, flat_colours) | {
        "colourfulness": _power(flat_colours, dct.TOP) - _power([luma], dct.TOP),
        "shared_middle": _correlation(red[:, dct.MIDDLE], green[:, dct.MIDDLE]),
        "shared_fine": _correlation(red[:, dct.TOP], green[:, dct.TOP]),
        "sparseness": _sparseness(luma),
    }


def _colours(planes: Sequence[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
    """Two differences of colours, scaled so that noise which is independent in the channels has the power of one."""
    red, green, blue = planes
    return [(red - green) / np.float32(np.sqrt(2)), (blue - green) / np.float32(np.sqrt(2))]


def deviations(found: Mapping[str, float]) -> dict[str, float]:
    """How far each trait is from that of white noise, squared, in units of :data:`SPREAD`."""
    return {name: ((found[name] - white) / SPREAD[name]) ** 2 for name, white in OF_WHITE.items() if name in found}


def _of_planes(planes: Sequence[NDArray[np.float32]], flat: Sequence[NDArray[np.float32]]) -> dict[str, float]:
    """Level and fineness of the noise and of the texture, in the mean over planes (N, 64): colours, or gray.

    The noise is that of the flat blocks, the texture that of all.
    """
    level = _power(flat, dct.MIDDLE)
    squares = sum((plane * plane for plane in planes[1:]), planes[0] * planes[0])
    bands = dct.product(squares, _BANDS / np.float32(len(planes)))  # (N, 2): middle, fine
    quiet, textured = np.log(np.quantile(bands, [QUIET, TEXTURED], axis=0) + STILL)
    return {
        "level": level,
        "fineness": _power(flat, dct.TOP) - level,
        "texture": float(textured[0] - quiet[0]),
        "texture_fineness": float(textured[1] - textured[0]),
    }


def _power(planes: Sequence[NDArray[np.float32]], band: NDArray[np.bool_]) -> float:
    return float(np.log(np.mean([np.mean(plane[:, band] ** 2, dtype=np.float64) for plane in planes]) + STILL))


def _sparseness(coefficients: NDArray[np.float32]) -> float:
    """Logarithm of the kurtosis of the fine coefficients: 1.1 for white noise, more where JPEG made most of them 0."""
    squares = coefficients[:, dct.TOP].astype(np.float64) ** 2
    mean = float(squares.mean())
    return float(np.log(np.mean(squares**2) / mean**2)) if mean > 0 else 0.0


def _correlation(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    energy = float(np.sqrt((a * a).sum(dtype=np.float64) * (b * b).sum(dtype=np.float64)))
    return float((a * b).sum(dtype=np.float64)) / energy if energy > 0 else 0.0
