"""Noise that replaces values: which values it replaced, so that what was put there can be scored by itself."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from numpy.typing import NDArray

from denoiser.noise import Noise, NumpyRandom, parse, parts
from denoiser.noise.defects import Blocks, HotPixels, Mask, SaltPepper, Stripes

REPLACING = (SaltPepper, HotPixels, Stripes, Blocks, Mask)
"""Kinds that replace some values, wherever they lie in whatever picture, by others that know nothing of it."""

PROBES = (0.2, 0.7)
"""Values of two constant pictures: where they come out equal, the value that was there is gone."""


def makes_holes(spec: str) -> bool:
    """Whether a specification has a kind that replaces values."""
    return any(isinstance(kind, REPLACING) for kind in parts(parse(spec)))


def apply(noise: Noise, clean: NDArray[np.float32], seed: list[int]) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
    """Corrupt one picture and say which values were replaced.

    Each kind that replaces values is also applied, with the same random numbers, to two constant pictures: where the
    two results are equal, nothing is left of what was there. Values that happen to equal their replacement count, too.

    Parameters
    ----------
    noise : Noise
    clean : ndarray
        (H, W, C), in units of the full range.
    seed : list of int
        Of the random numbers.

    Returns
    -------
    noisy : ndarray
        (H, W, C), exactly ``noise`` applied to ``clean``.
    hole : ndarray or None
        (H, W, C), True where the value was replaced; None where no kind replaces any.
    """
    generator = np.random.default_rng(seed)
    x: Any = clean[None]
    hole: NDArray[np.bool_] | None = None
    for kind in parts(noise):
        if isinstance(kind, REPLACING):
            low, high = (
                kind.apply(np.full_like(x, value), NumpyRandom(copy.deepcopy(generator)))[0] for value in PROBES
            )
            hole = (low == high) if hole is None else hole | (low == high)
        x = kind.apply(x, NumpyRandom(generator))
    return np.asarray(x)[0], hole
