"""Regular fine patterns for clean crops: checks, grids, dots and lines, as of fabric, mesh, halftone and screens.

Photographs hold few of them, and a network that has not seen enough takes them for noise and wipes them out, noise or
not: of a pattern that repeats every few pixels there is nothing in its surroundings that tells.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from denoiser.training.store import Crops

PERIODS = (2.5, 16.0)
"""Pixels."""
HARDNESS = (0.5, 20.0)
"""From a sine to a square wave."""
AMPLITUDES = (4 / 255, 100 / 255)
UPRIGHT = 0.5
"""Share of patterns along rows and columns."""
TINT = 0.25
"""Standard deviation of the pattern's strength between colours."""

Parameters = NDArray[np.float64]
"""One value for each crop."""


def lay_patterns(crops: Crops, share: float, generator: np.random.Generator) -> None:
    """Lay patterns over some crops, all over them or over a part.

    Parameters
    ----------
    crops : Crops
        Their values are changed.
    share : float
        Of the crops that get a pattern.
    generator : numpy.random.Generator
        For everything that is drawn.
    """
    chosen = np.flatnonzero(generator.random(len(crops.values)) < share)
    if not len(chosen):
        return
    values, count = crops.values[chosen], len(chosen)  # (n, S, S, 3)
    angle = np.where(generator.random(count) < UPRIGHT, 0.0, generator.uniform(0, math.pi, count))
    across = angle + math.pi / 2 + generator.normal(0, 0.05, count) * (angle != 0)
    period = _between(PERIODS, generator, count)
    other = np.where(generator.random(count) < 0.7, period, _between(PERIODS, generator, count))
    waves = (_wave(values, angle, period, generator), _wave(values, across, other, generator))
    hardness = _column(_between(HARDNESS, generator, count), values)
    threshold = _column(generator.uniform(-0.3, 0.9, count), values)
    kinds = generator.integers(0, len(KINDS), count)
    pattern = torch.empty_like(waves[0])
    for index, kind in enumerate(KINDS):
        if len(of_kind := np.flatnonzero(kinds == index)):
            first, second = (wave[of_kind] for wave in waves)
            pattern[of_kind] = kind(first, second, hardness[of_kind], threshold[of_kind])

    strength = _column(_between(AMPLITUDES, generator, count) * generator.choice((-1, 1), count), values)
    tint = 1 + TINT * generator.normal(size=(count, 1, 1, 3))
    where = _where(values, generator)
    # What is below shows through more or less: patterns lie on flat things, too.
    below = where * _column(generator.random(count), values)
    mean = values.mean(dim=(1, 2), keepdim=True)
    made = values + below * (mean - values) + where * strength * pattern * torch.from_numpy(tint).to(values)
    step = crops.step[chosen]
    made = torch.where(crops.white[chosen] > 0, made.clamp(0, 1), made)
    crops.values[chosen] = torch.where(step > 0, (made / step).round() * step, made)


def _checks(first: Tensor, second: Tensor, hardness: Tensor, threshold: Tensor) -> Tensor:
    return _hard(first, hardness) * _hard(second, hardness)


def _dots(first: Tensor, second: Tensor, hardness: Tensor, threshold: Tensor) -> Tensor:
    return _hard((first + second) / 2 - threshold, 2 * hardness)


def _grid(first: Tensor, second: Tensor, hardness: Tensor, threshold: Tensor) -> Tensor:
    return _hard(torch.maximum(first, second) - threshold, 2 * hardness)


def _lines(first: Tensor, second: Tensor, hardness: Tensor, threshold: Tensor) -> Tensor:
    return _hard(first - threshold, hardness)


KINDS: tuple[Callable[[Tensor, Tensor, Tensor, Tensor], Tensor], ...] = (_checks, _dots, _grid, _lines)


def _hard(wave: Tensor, hardness: Tensor) -> Tensor:
    return (hardness * wave).tanh()


def _wave(values: Tensor, angle: Parameters, period: Parameters, generator: np.random.Generator) -> Tensor:
    """Plane waves, (n, S, S, 1)."""
    places = torch.arange(values.shape[1], device=values.device, dtype=values.dtype)
    turns = 2 * math.pi / period
    along_rows, along_columns = (_column(turns * part, values) for part in (np.cos(angle), np.sin(angle)))
    phase = _column(generator.uniform(0, 2 * math.pi, len(values)), values)
    return (along_rows * places[None, None, :, None] + along_columns * places[None, :, None, None] + phase).sin()


def _where(values: Tensor, generator: np.random.Generator) -> Tensor:
    """1 where the pattern is, (n, S, S, 1): everywhere, or on one side of a soft border."""
    count, size = len(values), values.shape[1]
    border = _wave(values, generator.uniform(0, math.pi, count), generator.uniform(0.7, 3, count) * size, generator)
    whole = torch.from_numpy(generator.random(count) < 0.5).to(values.device).reshape(-1, 1, 1, 1)
    return torch.where(whole, torch.ones_like(border), (12 * border).sigmoid())


def _between(limits: tuple[float, float], generator: np.random.Generator, count: int) -> Parameters:
    """Numbers whose logarithms are uniform."""
    return np.exp(generator.uniform(math.log(limits[0]), math.log(limits[1]), count))


def _column(numbers: Parameters, values: Tensor) -> Tensor:
    """(n,) -> (n, 1, 1, 1), on the device of the values."""
    return torch.from_numpy(numbers).to(values).reshape(-1, 1, 1, 1)
