"""Judging without the truth: what noise is left, what was removed with it, how well held-out pixels are predicted.

No single figure decides. A method that does nothing leaves noise; one that blurs removes structure, and its residual is
neither white nor foreign to the picture; one that is good predicts a pixel from its neighbours as well as the noise
allows (Batson and Royer 2019, "Noise2Self: Blind denoising by self-supervision", the loss of a J-invariant function).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from denoiser import estimate
from denoiser.benchmark.job import INPUT, Found, Job, Key, Steps
from denoiser.benchmark.pictures import Picture, Subject, read_partner, read_source
from denoiser.benchmark.result import BlindScore, Measured, Timed
from denoiser.selection import brightest

NEAR = 2
"""Pixels, along each axis, within which the residual's autocorrelation is looked at."""

EVERY = 4
"""One pixel of each square of so many pixels a side is held out: one of 16."""

SMALLEST = 8
"""Pixels: smaller pictures have neither structure nor pixels that are held out."""


def measure(subject: Subject, job: Job, steps: Steps) -> Found:
    """Every score of one noisy picture; an InputError leaves it out of every row."""
    noisy = read_source(subject, job.options)
    restored = {name: read_partner(subject, ref, noisy, job.options) for name, ref in subject.restored.items()}
    job.album.begin(subject.name, noisy, known=False)
    wide = job.options.white is None and noisy.stored.dtype.kind in "iu" and noisy.stored.dtype.itemsize > 1
    found_noise = noise_of(noisy.values, noisy.depth, wide)
    level = found_noise.sigma
    job.album.add_noisy(job.label, noisy.values, _caption(level))
    holed, held = hold_out(noisy)
    scores: dict[Key, Timed] = {}

    def add(method: str, values: NDArray[Any], prediction: NDArray[Any] | None, cost: dict[str, Any]) -> None:
        """Score one result."""
        found = scores[job.label, method] = score(subject.name, noisy, values, _held_out(noisy, prediction, held), cost)
        if method != INPUT:
            job.album.add_shot(method, values, _caption(found.noise))

    add(INPUT, noisy.values, holed.values, {"seconds": 0.0})
    for method in job.methods:
        values, cost = job.restore(subject.name, method, noisy, (level or 0.0) / 255)
        prediction = method.restore(holed, (level or 0.0) / 255) if held is not None else None
        add(method.name, values, prediction, cost)
        steps.done()
    for name, picture in restored.items():
        add(name, picture.values, None, {"seconds": 0.0})
    job.album.end()
    height, width, channels = noisy.stored.shape
    dtype = subject.source.page.dtype.name
    measured = Measured(subject.name, height, width, channels, dtype, noisy.range.span, noisy.sha256)
    return Found(measured, scores, found_noise.kind == "correlated")


def _caption(level: float | None) -> str:
    return "" if level is None else f"noise {level:.1f}"


def score(name: str, noisy: Picture, values: NDArray[Any], held_out: float | None, cost: dict[str, Any]) -> BlindScore:
    """Judge a result, (H, W, C) in units of the full range."""
    residual = noisy.values - values
    height, width = values.shape[:2]
    return BlindScore(
        picture=name,
        megapixels=height * width / 1e6,
        noise=noise_of(values, noisy.depth).sigma,
        autocorrelation=autocorrelation(residual),
        structure=structure(residual, values),
        held_out=held_out,
        **cost,
    )


def noise_of(values: NDArray[Any], depth: float | None, wide: bool = False) -> estimate.Estimate:
    """Noise as :mod:`denoiser.estimate` finds it, before clipping, in the parts of a large picture that it looks at.

    Parameters
    ----------
    values : ndarray
        (H, W, C) in units of the full range.
    depth : float or None
        Steps between black and white of integers, which are clipped; None for floats.
    wide : bool
        Whether a container of more than 8 bits is all that is known of white, see :func:`selection.estimate_page`.
    """
    strips = estimate.windows(*values.shape[:2])
    pieces = [
        values[strip.start : strip.stop, left:right].astype(np.float32)
        for strip in strips
        for left, right in strip.columns
    ]
    return estimate.estimate(
        pieces,
        clips=depth is not None,
        step=1 / depth if depth is not None else 0.0,
        bright=brightest(pieces) if wide else 1.0,
    )


def autocorrelation(residual: NDArray[Any]) -> float | None:
    """Root mean square of the residual's normalised autocorrelation over the offsets up to NEAR pixels but 0.

    Each channel by itself, about its mean; squares are averaged. 0 for white noise of any distribution and of a level
    that changes with the brightness, 1 for a residual that is the same everywhere near. None where it has no variance.
    """
    squares: list[float] = []
    for channel in np.moveaxis(residual - residual.mean(axis=(0, 1)), 2, 0):
        variance = float(np.mean(channel * channel))
        if variance > 0 and min(channel.shape) > NEAR:
            squares += [(_product(channel, down, right) / variance) ** 2 for down, right in _offsets()]
    return math.sqrt(np.mean(squares)) if squares else None


def _offsets() -> list[tuple[int, int]]:
    """One of each two opposite offsets up to NEAR pixels along each axis, without 0."""
    near = range(-NEAR, NEAR + 1)
    return [(down, right) for down in range(NEAR + 1) for right in near if down > 0 or right > 0]


def _product(channel: NDArray[Any], down: int, right: int) -> float:
    """Mean product of values that lie ``down`` rows and ``right`` columns apart."""
    height, width = channel.shape
    first = channel[: height - down, max(0, -right) : width - max(0, right)]
    second = channel[down:, max(0, right) : width - max(0, -right)]
    return float(np.mean(first * second))


def structure(residual: NDArray[Any], restored: NDArray[Any]) -> float | None:
    """Correlation of the residual's local strength with that of the edges; None where either is the same everywhere.

    Over each 5 x 5 pixels: root mean square of what was removed, against the mean gradient (Sobel) of the result's mean
    over channels. Noise that is removed alone is as strong on edges as off them: 0. Edges and texture that were removed
    with it make the correlation positive, noise that was left there makes it negative. A figure for the look at the
    "method noise" that Buades et al. 2005 ask for.
    """
    from scipy.ndimage import sobel, uniform_filter

    if min(restored.shape[:2]) < SMALLEST:
        return None
    strength = np.sqrt(np.maximum(uniform_filter(np.mean(residual * residual, axis=2), 5), 0))
    gray = restored.mean(axis=2)
    edges = uniform_filter(np.hypot(sobel(gray, 0), sobel(gray, 1)), 5)
    a, b = strength - strength.mean(), edges - edges.mean()
    scale = math.sqrt(np.sum(a * a) * np.sum(b * b))
    return float(np.sum(a * b)) / scale if scale > 1e-12 else None


def hold_out(noisy: Picture) -> tuple[Picture, NDArray[np.bool_] | None]:
    """Replace pixels on a grid by the mean of their four neighbours, so that a method cannot see them.

    Returns
    -------
    holed : Picture
        With the noisy picture's type of pixels.
    held : ndarray or None
        (H, W), True where a pixel was replaced, in all its channels; None for tiny pictures, of which none is.
    """
    height, width = noisy.stored.shape[:2]
    if min(height, width) < SMALLEST:
        return noisy, None
    held = np.zeros((height, width), bool)
    held[EVERY // 2 :: EVERY, EVERY // 2 :: EVERY] = True
    around = np.pad(noisy.stored.astype(np.float64), ((1, 1), (1, 1), (0, 0)), mode="reflect")
    mean = (around[:-2, 1:-1] + around[2:, 1:-1] + around[1:-1, :-2] + around[1:-1, 2:]) / 4
    stored = noisy.stored.copy()
    stored[held] = np.rint(mean[held]) if stored.dtype.kind in "iu" else mean[held]
    return Picture(stored, noisy.range, noisy.depth), held


def _held_out(noisy: Picture, prediction: NDArray[Any] | None, held: NDArray[np.bool_] | None) -> float | None:
    """RMS error at the held-out pixels, in 1/255 of full range."""
    if prediction is None or held is None:
        return None
    return 255 * math.sqrt(np.mean((prediction[held] - noisy.values[held]) ** 2))
