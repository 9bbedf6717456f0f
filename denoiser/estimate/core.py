"""The noise of one picture, from pieces of it: level, dependence on the light, correlation, traces of JPEG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from denoiser.estimate import blocks as dct
from denoiser.estimate.blocks import Blocks, Level
from denoiser.estimate.grid import grid_strength
from denoiser.estimate.model import Line, fit
from denoiser.estimate.spectra import spectra_of

WHITE_ROLLOFF = 0.55
"""Power of the highest frequencies against the middle ones that white noise has at least.

White noise has 1, and some less where faint texture adds to the middle frequencies: measured 0.64 to 1.06 for sigma
from 2 to 75. Noise filtered by a Gaussian of half a pixel has 0.4 to 0.48, demosaiced noise 0.1 to 0.4."""
HARDLY_ANY = 1.0
"""Below this standard deviation, in 1/255 of full range, fine texture cannot be told from noise."""
LEAST_BLOCKS = 8
LARGEST = 1e15
"""Floats beyond it are not measured: sums of their squares are more than single precision holds."""


@dataclass(frozen=True)
class ChannelNoise:
    """Noise of one channel.

    Attributes
    ----------
    sigma : float
        Standard deviation in 1/255 of full range, before clipping, root mean square over the picture.
    gain : float
        Variance per unit of signal, of full range 1.
    read : float
        Standard deviation of the part that does not depend on the signal, in 1/255 of full range.
    horizontal, vertical : float
        Correlation of the noise of neighbouring pixels: 0 for white noise, up to 1.
    rolloff : float
        Power of the highest frequencies against the middle ones: 1 for white noise, 0 where the finest is smoothed.
    """

    sigma: float
    gain: float
    read: float
    horizontal: float
    vertical: float
    rolloff: float


@dataclass(frozen=True)
class Estimate:
    """Noise of one picture.

    Attributes
    ----------
    channels : tuple of ChannelNoise
        Empty where the picture is too small or nothing in it tells of noise (saturated, empty).
    shared : float or None
        Correlation of the noise between two colour channels, that of the pair which has most; None for other numbers
        of channels than three. Faint texture adds to it.
    grid : float
        Strength of JPEG's block grid: how much larger differences across its lines are than others, as a share.
    quality : int or None
        Of the JPEG encoder, by the file's own tables; None for other files.
    depth : int
        Bits of each value in the file.
    bright : float
        What counts as white where noise is called strong or weak, in units of the full range.
    spectra : ndarray or None
        What the choice of a network weighs, see :mod:`denoiser.estimate.spectra`. None without channels.
    blocks : int
        How many blocks tell of it: neither saturated nor, unless most are, constant.
    """

    channels: tuple[ChannelNoise, ...]
    shared: float | None = None
    grid: float = 0.0
    quality: int | None = None
    depth: int = 8
    bright: float = 1.0
    spectra: NDArray[np.float32] | None = field(default=None, repr=False, compare=False)
    blocks: int = 0

    @property
    def sigma(self) -> float | None:
        """Root mean square over the channels, in 1/255 of full range; None where nothing could be measured."""
        return _mean_square([channel.sigma for channel in self.channels]) if self.channels else None

    @property
    def rolloff(self) -> float:
        """Of the channel that is smoothed least: cameras keep colour coarse, and noise of any channel tells."""
        return max((channel.rolloff for channel in self.channels), default=1.0)

    @property
    def kind(self) -> str:
        """``white``, ``correlated``, or ``none`` where there is hardly any noise; ``unknown`` without channels."""
        if self.sigma is None:
            return "unknown"
        if self.sigma < HARDLY_ANY * self.bright:
            return "none"
        return "white" if self.rolloff >= WHITE_ROLLOFF else "correlated"

    def to_json(self) -> dict[str, Any]:
        return {
            "sigma": None if self.sigma is None else round(self.sigma, 4),
            "kind": self.kind,
            "channels": [{key: float(f"{value:.5g}") for key, value in asdict(each).items()} for each in self.channels],
            "shared": None if self.shared is None else round(self.shared, 4),
            "grid": round(self.grid, 4),
            "quality": self.quality,
        }


def estimate(
    pieces: Sequence[NDArray[np.float32]],
    *,
    clips: bool,
    step: float = 0.0,
    quality: int | None = None,
    depth: int = 8,
    bright: float = 1.0,
    by_light: bool = True,
) -> Estimate:
    """Estimate the noise of a picture.

    Parameters
    ----------
    pieces : sequence of ndarray
        (h, w, C) each, parts of one picture that begin at multiples of 8 pixels, in units of the full range; NaN
        where a pixel is missing. See :func:`denoiser.estimate.sample.windows`.
    clips : bool
        Whether values were clipped to [0, 1], as integers were.
    step : float
        Distance of the values that the file can hold; 0 for floats.
    quality : int or None
        Of JPEG, where the file says so.
    depth : int
        Bits of each value in the file.
    bright : float
        What counts as white in ``spectra`` and ``kind``, in units of the full range.
    by_light : bool
        False measures the noise at one level of brightness, which takes a fifth less time. A network is not chosen by
        how noise depends on the light.

    Returns
    -------
    Estimate
    """
    if step == 0 and any(np.nanmax(np.abs(piece), initial=0) > LARGEST for piece in pieces):
        return Estimate((), quality=quality, depth=depth)
    stride = dct.stride_for([piece.shape[:2] for piece in pieces])
    cuts = [dct.cut(piece[:, :, c], stride) for piece in pieces for c in range(piece.shape[2])]
    count = pieces[0].shape[2] if pieces else 0
    planes = [np.concatenate(cuts[c::count]) for c in range(count)]
    if not all(np.isfinite(piece).all() for piece in pieces):
        finite = np.isfinite(sum(plane.sum(axis=1) for plane in planes))
        planes = [plane[finite] for plane in planes]
    if not planes or len(planes[0]) < LEAST_BLOCKS:
        return Estimate((), quality=quality, depth=depth)
    cut = [dct.blocks_of(plane, clips) for plane in planes]
    measure = dct.levels_of if by_light else dct.whole_of
    levels = [measure(each) for each in cut]
    if not all(levels):
        return Estimate((), quality=quality, depth=depth)
    channels = tuple(_channel(found, clips, step) for found in levels)
    green = 1 if count == 3 else 0
    usable = dct.usable_of(cut[green])
    flat = (dct.whole_of(cut[green]) if by_light else levels[green])[0].chosen
    shared = _shared(cut, flat) if count == 3 else None
    spectra = spectra_of(cut, usable, flat, bright)
    return Estimate(channels, shared, grid_strength(pieces), quality, depth, bright, spectra, usable.size)


def _channel(levels: Sequence[Level], clips: bool, step: float) -> ChannelNoise:
    power, weights = _spectrum(levels)
    middle = float(power[dct.MIDDLE].mean())
    rolloff = float(power[dct.TOP].mean()) / middle if middle > 0 else 0.0
    # White noise is known best by the high frequencies, of which the picture has least; other noise by all.
    white = rolloff >= WHITE_ROLLOFF
    variances = [(level.high if white else float(level.power.mean())) - step**2 / 12 for level in levels]
    kept = [i for i, variance in enumerate(variances) if variance > 0]
    line, variance = Line(0.0, 0.0), 0.0
    if kept:
        line, variance = fit(
            [levels[i].mean for i in kept], [variances[i] for i in kept], [float(weights[i]) for i in kept], clips
        )
    total = float(power.sum())
    across, down = (float(power @ each) / total if total > 0 else 0.0 for each in (dct.ACROSS, dct.DOWN))
    return ChannelNoise(255 * math.sqrt(variance), line.gain, 255 * line.read, across, down, rolloff)


def _spectrum(levels: Sequence[Level]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Power of the coefficients over all levels, each in units of its own noise, and the weights of the levels.

    A level weighs as its number of blocks, and less where its low frequencies stand out more than at other levels:
    then its flattest blocks have texture.
    """
    counts = np.array([level.chosen.size for level in levels], np.float64)
    low = np.array([level.low for level in levels])
    high = np.array([level.high for level in levels])
    texture = low / np.maximum(high, 1e-3 * np.maximum(low, 1e-12))
    weights = counts / (np.maximum(texture, 1) / max(1.0, texture.min())) ** 2
    scale = np.array([level.power.mean() for level in levels])
    parts = [w / s * level.power for w, s, level in zip(weights, scale, levels, strict=True) if s > 0]
    return (np.sum(parts, axis=0) if parts else np.zeros(dct.HIGH.size)), weights


def _shared(cut: Sequence[Blocks], chosen: NDArray[np.intp]) -> float:
    """Correlation of the highest frequencies of two channels, in blocks where green is flat: the largest of three."""
    tops = [each.coefficients[chosen][:, dct.TOP].astype(np.float64) for each in cut]
    return max((_correlation(tops[a], tops[b]) for a, b in ((0, 1), (1, 2), (0, 2))), key=abs)


def _correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    energy = float((a * a).sum() * (b * b).sum())
    return float((a * b).sum()) / math.sqrt(energy) if energy > 0 else 0.0


def _mean_square(values: Sequence[float]) -> float:
    return math.sqrt(sum(value * value for value in values) / len(values))
