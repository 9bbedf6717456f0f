"""Noise of an image sensor and what the way through the camera makes of it: demosaicing, smoothing, sharpening.

Arrays are (N, C, H, W). All filters are linear and act on the noise alone, see :class:`denoiser.noise.camera.Camera`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from denoiser.noise.base import Random

REACH = 2
"""Pixels on each side that demosaicing looks at."""

SOFT_REACH = 7
"""Pixels on each side that smoothing looks at."""

_LUMA = (0.299, 0.587, 0.114)
"""Weights of R, G, B in luma (ITU-R BT.601), as in the chroma noise filters of cameras and in JPEG."""


def read_variance(shot: Any, count: int, random: Random) -> Any:
    """Variance of the read noise that goes with a shot noise, drawn for each picture.

    log(read) ~ N(2.18 log(shot) + 1.20, 0.26), fitted to the Darmstadt Noise Dataset (Brooks et al. 2019).
    Both are variances in units of the sensor's white, shot per unit of signal.
    """
    return math.e**1.20 * shot**2.18 * math.e ** (0.26 * random.normal((count, 1, 1, 1)))


def offsets(read: Any, bands: Any, shape: tuple[int, ...], random: Random) -> Any:
    """Offsets of whole rows, and half as large ones of whole columns: the fixed pattern of the amplifiers."""
    count, _, height, width = shape
    rows, columns = random.normal((count, 1, height, 1)), random.normal((count, 1, 1, width))
    return (rows + 0.5 * columns) * (bands * read**0.5)


def mosaic_noise(variance: Any, offset: Any, corrected: Any, random: Random) -> Any:
    """Noise of a sensor with a Bayer filter, demosaiced.

    Parameters
    ----------
    variance : array
        (N, 3, H, W), of a photosite below each of the three filters.
    offset : array
        (N, 1, H, W), added to the photosites.
    corrected : array or float
        (N, 1, 1, 1), 0 for bilinear interpolation, 1 for the gradient-corrected one.
    random : Random

    Returns
    -------
    array
        (N, 3, H - 4, W - 4).

    Notes
    -----
    Bilinear interpolation, plus the gradient corrections of Malvar, He and Cutler 2004, "High-quality linear
    interpolation for demosaicing of Bayer-patterned color images", fig. 2. The phase of the mosaic is drawn.
    """
    count, _, height, width = tuple(variance.shape)
    row = _parity(count, (1, 1, height, 1), random)
    column = _parity(count, (1, 1, 1, width), random)
    red, blue = (1 - row) * (1 - column), row * column
    seen = red * variance[:, 0:1] + (1 - red - blue) * variance[:, 1:2] + blue * variance[:, 2:3]
    z = seen**0.5 * random.normal((count, 1, height, width)) + offset
    here, cross, along_row, along_column, diagonal = _interpolated(z, corrected)
    red, blue = _without(red, REACH), _without(blue, REACH)
    # Green sites lie in rows of red, where red is to the left and right, and in rows of blue.
    red_row, blue_row = ((1 - row) * column)[:, :, 2:-2, 2:-2], (row * (1 - column))[:, :, 2:-2, 2:-2]
    made = random.zeros((count, 3, height - 2 * REACH, width - 2 * REACH))
    made[:, 0:1] = red * here + red_row * along_row + blue_row * along_column + blue * diagonal
    made[:, 1:2] = (1 - red - blue) * here + (red + blue) * cross
    made[:, 2:3] = blue * here + blue_row * along_row + red_row * along_column + red * diagonal
    return made


def _interpolated(z: Any, corrected: Any) -> tuple[Any, Any, Any, Any, Any]:
    """Photosites, and each interpolated from neighbours of another colour: around, in its row, in its column, diagonal.

    The other colour's own sites lie up to two pixels away and correct by their gradient, as far as ``corrected`` says.
    """
    here = _without(z, REACH)
    beside, above = z[:, :, 2:-2, 1:-3] + z[:, :, 2:-2, 3:-1], z[:, :, 1:-3, 2:-2] + z[:, :, 3:-1, 2:-2]
    corner = z[:, :, 1:-3, 1:-3] + z[:, :, 1:-3, 3:-1] + z[:, :, 3:-1, 1:-3] + z[:, :, 3:-1, 3:-1]
    left, top = z[:, :, 2:-2, :-4] + z[:, :, 2:-2, 4:], z[:, :, :-4, 2:-2] + z[:, :, 4:, 2:-2]
    step = corrected / 8
    cross = (beside + above) / 4 + step * (4 * here - left - top)
    along_row = beside / 2 + step * (5 * here - corner - left + top / 2)
    along_column = above / 2 + step * (5 * here - corner - top + left / 2)
    diagonal = corner / 4 + step * (6 * here - 1.5 * (left + top))
    return here, cross, along_row, along_column, diagonal


def _parity(count: int, shape: tuple[int, ...], random: Random) -> Any:
    """0, 1, 0, 1 ... along the long axis of the shape, or 1, 0, 1, 0 ..., drawn for each picture."""
    places = random.array(np.arange(math.prod(shape), dtype=np.float32).reshape(shape))
    return (places + (random.uniform((count, 1, 1, 1)) * 2) // 1) % 2


def cell_noise(variance: Any, offset: Any, random: Random) -> Any:
    """Noise of a picture halved in size, whose pixels are the cells of the mosaic: one red, two green, one blue."""
    samples = random.array(np.array([1, 2, 1], dtype=np.float32).reshape(1, 3, 1, 1))
    return (variance / samples) ** 0.5 * random.normal(tuple(variance.shape)) + offset / 2**0.5


def saturated(seen: Any, noise: Any, gains: Any) -> Any:
    """Noise in balanced units; where it lifts a channel above white it is cut, and where that was above, it is gone.

    Converters clip there, so that blown highlights stay white. Negative values stay: cameras store black with room
    below it, and only the finished picture is clipped at 0.
    """
    balanced = seen * gains
    return (balanced + noise * gains).clip(max=1) - balanced.clip(max=1)


def smoothed(noise: Any, smooth: Any, spread: Any, sharpen: Any, chroma: Any, blotches: Any) -> Any:
    """Noise after smoothing and sharpening of luma and smoothing of chroma, with 7 pixels less on each side.

    Parameters
    ----------
    noise : array
        (N, C, H, W); other than three channels are luma alone.
    smooth, chroma : array or float
        (N, 1, 1, 1), the part of the smoothed noise in the result, 0 to 1. What stays is the fine grain that noise
        reduction of cameras leaves over the blotches.
    spread : array or float
        How wide luma is smoothed: by the binomial filter of 3 x 3 (0), that followed by its dilation by two (1), these
        followed by its dilation by four (2), or mixtures of neighbours.
    sharpen : array or float
        The part of what the binomial filter takes away that is added: unsharp masking.
    blotches : array or float
        How wide chroma is smoothed: as luma with a spread of 1 (0) or of 2 (1), or a mixture.

    Notes
    -----
    Noise reduction takes fine noise away and leaves coarse noise: in files of cameras noise depends on frequency, and
    that of the second and third scale, four and eight pixels wide, is part of what is seen (Lebrun, Colom and Morel
    2015, "Multiscale image blind denoising", IEEE Transactions on Image Processing 24).
    """
    if noise.shape[1] != 3:
        return _refined(noise, smooth, spread, sharpen)
    light = noise[:, 0:1] * _LUMA[0] + noise[:, 1:2] * _LUMA[1] + noise[:, 2:3] * _LUMA[2]
    fine, _, wide, widest = _scales(noise - light)
    return _refined(light, smooth, spread, sharpen) + fine + chroma * (wide - fine + blotches * (widest - wide))


def _refined(light: Any, smooth: Any, spread: Any, sharpen: Any) -> Any:
    """Luma smoothed and sharpened."""
    fine, narrow, wide, widest = _scales(light)
    soft = narrow + _part(spread, 0) * (wide - narrow) + _part(spread, 1) * (widest - wide)
    return fine + smooth * (soft - fine) - sharpen * (narrow - fine)


def _part(spread: Any, step: int) -> Any:
    """How much of a step from one scale to the next a spread takes, 0 to 1."""
    beyond = spread - step
    return (abs(beyond) - abs(beyond - 1) + 1) / 2  # clipped to [0, 1], of numbers and of arrays


def _scales(planes: Any) -> tuple[Any, Any, Any, Any]:
    """Planes as they are and smoothed one, three and seven pixels around, each with 7 pixels less on each side."""
    narrow = _binomial(planes, 1)
    wide = _binomial(narrow, 2)
    return _without(planes, 7), _without(narrow, 6), _without(wide, 4), _binomial(wide, 4)


def _without(planes: Any, margin: int) -> Any:
    """Planes without so many pixels on each side."""
    return planes[:, :, margin:-margin, margin:-margin]


def _binomial(planes: Any, step: int) -> Any:
    """Weights 1, 2, 1 along rows and along columns, ``step`` pixels apart; the result lacks as many on each side."""
    # Two sums of two samples each make the weights of three.
    rows = planes[:, :, :-step] + planes[:, :, step:]
    rows = rows[:, :, :-step] + rows[:, :, step:]
    both = rows[:, :, :, :-step] + rows[:, :, :, step:]
    return (both[:, :, :, :-step] + both[:, :, :, step:]) / 16
