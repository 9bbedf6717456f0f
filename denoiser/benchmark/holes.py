"""Noise that replaces values: which values it replaced, so that what was put there can be scored by itself."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from denoiser.errors import UsageError
from denoiser.images import Page
from denoiser.images.image import Pixels
from denoiser.images.pixels import ValueRange, split
from denoiser.noise import Noise, NumpyRandom, parse, parts
from denoiser.noise.defects import Blocks, HotPixels, Mask, SaltPepper, Stripes
from denoiser.noise.sidecar import Made, file_generator

Marks = NDArray[np.bool_]

REPLACING = (SaltPepper, HotPixels, Stripes, Blocks, Mask)
"""Kinds that replace some values, wherever they lie in whatever picture, by others that know nothing of it."""

SAME = 2 / 255
"""Mean difference up to which noise that was made again is that of a file, which may have been compressed."""

PROBES = (0.2, 0.7)
"""Values of two constant pictures: where they come out equal, the value that was there is gone."""


def makes_holes(spec: str) -> bool:
    """Whether a specification has a kind that replaces values; one that nobody can read has none."""
    try:
        return any(isinstance(kind, REPLACING) for kind in parts(parse(spec)))
    except UsageError:
        return False


def of_file(made: Made, clean: Pixels, noisy: Pixels, page: Page, index: int, values: ValueRange) -> Marks | None:
    """Which values of a noisy file were replaced, by making its noise again.

    Parameters
    ----------
    made : Made
        What ``denoiser corrupt`` did to the file.
    clean, noisy : ndarray
        (H, W, C) as stored: whole pages, without alpha.
    page : Page
        Of the clean file, its number and its range.
    index : int
    values : ValueRange

    Returns
    -------
    ndarray or None
        (H, W, C), True where the value was replaced; None where the noise replaces none, or is not that of the file.
    """
    if not makes_holes(made.noise) or clean.shape != noisy.shape:
        return None
    _, note = split(clean, replace(page, channels=clean.shape[2], alpha=False), values)
    again, hole = apply(parse(made.noise), note.network_values(), file_generator(made.seed, made.source, index))
    found = (noisy.astype(np.float64) - values.black) / values.span
    same = np.abs(again.clip(0, 1) - found.clip(0, 1)).mean() < SAME
    return hole if same else None


def apply(
    noise: Noise, clean: NDArray[np.float32], generator: np.random.Generator
) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
    """Corrupt one picture and say which values were replaced.

    Each kind that replaces values is also applied, with the same random numbers, to two constant pictures: where the
    two results are equal, nothing is left of what was there. Values that happen to equal their replacement count, too.

    Parameters
    ----------
    noise : Noise
    clean : ndarray
        (H, W, C), in units of the full range.
    generator : numpy.random.Generator

    Returns
    -------
    noisy : ndarray
        (H, W, C), exactly ``noise`` applied to ``clean``.
    hole : ndarray or None
        (H, W, C), True where the value was replaced; None where no kind replaces any.
    """
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
