"""JPEG for batches, on any device: the arithmetic of the encoder and decoder without the lossless coding between.

Same tables, same colour conversion, same reduction and interpolation of chroma as libjpeg (ITU-T T.81, JFIF 1.02), so
that its pictures come out to within rounding. Arrays are (N, C, H, W).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from denoiser.noise.base import Random, extended, whole
from denoiser.noise.camera_colour import through

MCU = 16
"""Side of the smallest coded unit when chroma is halved: four blocks of 8 x 8."""

_LUMA_TABLE = (
    "16 11 10 16 24 40 51 61 12 12 14 19 26 58 60 55 14 13 16 24 40 57 69 56 14 17 22 29 51 87 80 62 "
    "18 22 37 56 68 109 103 77 24 35 55 64 81 104 113 92 49 64 78 87 103 121 120 101 72 92 95 98 112 100 103 99"
)
_CHROMA_TABLE = "17 18 24 47 18 21 26 66 24 26 56 99 47 66 99 99"
"""Steps of the quantiser at quality 50 (ITU-T T.81, annex K.1); chroma is 99 outside its first 4 x 4."""


def _tables() -> NDArray[np.float32]:
    """(2, 8, 8): luma and chroma at quality 50."""
    tables = np.full((2, 8, 8), 99, dtype=np.float32)
    tables[0] = np.array(_LUMA_TABLE.split(), dtype=np.float32).reshape(8, 8)
    tables[1, :4, :4] = np.array(_CHROMA_TABLE.split(), dtype=np.float32).reshape(4, 4)
    return tables


def _cosines() -> NDArray[np.float32]:
    """The orthonormal discrete cosine transform of 8 samples; row k is the wave of frequency k."""
    k, i = np.arange(8)[:, None], np.arange(8)
    waves = np.cos((2 * i + 1) * k * np.pi / 16) / 2
    waves[0] /= 2**0.5
    return waves.astype(np.float32)


TABLES = _tables()
COSINES = _cosines()

_YCC = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]], dtype=np.float32)
_RGB = np.array([[1, 0, 1.402], [1, -0.344136, -0.714136], [1, 1.772, 0]], dtype=np.float32)
"""JFIF's colours, with chroma around 0."""


def steps(quality: Any, random: Random) -> tuple[Any, Any]:
    """Steps of the quantiser for luma and chroma, each (N, 1, 1, 8, 1, 8), scaled as libjpeg does.

    Parameters
    ----------
    quality : array
        (N, 1, 1, 1), 1 to 100; rounded to whole numbers.
    random : Random
    """
    quality = whole(quality)[:, :, :, :, None, None]
    scale = random.where(quality < 50, (5000 / quality) // 1, 200 - 2 * quality)
    tables = random.array(TABLES.reshape(2, 1, 1, 1, 8, 1, 8))
    luma, chroma = (((table * scale + 50) / 100) // 1 for table in (tables[0], tables[1]))
    return luma.clip(1, 255), chroma.clip(1, 255)


def recoded(levels: Any, quality: Any, halved: Any, corner: tuple[int, int], random: Random) -> Any:
    """Pictures after JPEG.

    Parameters
    ----------
    levels : array
        (N, C, H, W), whole numbers 0 to 255. Other than three channels are coded as gray pictures of their own.
    quality : array
        (N, 1, 1, 1), 1 to 100.
    halved : array
        (N, 1, 1, 1), 1 where chroma is coded at half resolution (4:2:0), 0 where at full (4:4:4).
    corner : tuple of int
        Rows and columns from the corner of a coded unit to that of the pictures, 0 to 15.
    random : Random

    Returns
    -------
    array
        As levels.
    """
    height, width = tuple(levels.shape)[2:]
    luma_steps, chroma_steps = steps(quality, random)
    full = (-(-(size + start) // MCU) * MCU for size, start in zip((height, width), corner, strict=True))
    planes = extended(levels, *corner, random.zeros((*tuple(levels.shape)[:2], *full)))
    if planes.shape[1] != 3:
        made = _quantised(planes - 128, luma_steps, random) + 128
    else:
        coded = through(random.array(_YCC), planes).round()
        luma = _quantised(coded[:, 0:1] - 128, luma_steps, random).round().clip(-128, 127) + 128
        chroma = _chroma(coded[:, 1:3], chroma_steps, halved, random)
        coded[:, 0:1], coded[:, 1:3] = luma, chroma
        made = through(random.array(_RGB), coded)
    return made.round().clip(0, 255)[:, :, corner[0] : corner[0] + height, corner[1] : corner[1] + width]


def _chroma(planes: Any, step: Any, halved: Any, random: Random) -> Any:
    """Both chroma planes coded at half and at full resolution, of which each picture gets its own."""
    corners = planes[:, :, ::2, ::2] + planes[:, :, 1::2, ::2] + planes[:, :, ::2, 1::2] + planes[:, :, 1::2, 1::2]
    # libjpeg rounds halves down in even columns and up in odd ones, both here and on the way back.
    corners[:, :, :, ::2] -= 0.5
    corners[:, :, :, 1::2] += 0.5
    half = _quantised((corners / 4).round(), step, random).round().clip(-128, 127)
    full = _quantised(planes, step, random).round().clip(-128, 127)
    # Whole numbers: their difference, added again, is exact.
    return full + halved * (_doubled(half, random) - full)


def _quantised(planes: Any, step: Any, random: Random) -> Any:
    """Planes around 0 after the cosine transform of 8 x 8 blocks, its quantisation and its inverse."""
    count, channels, height, width = tuple(planes.shape)
    cosines = random.array(COSINES)
    across = planes.reshape(count, channels, height, width // 8, 8) @ cosines.swapaxes(0, 1)
    both = cosines @ across.reshape(count, channels, height // 8, 8, width)
    # One step for each wave of a row of blocks: memory is then walked in long runs.
    step = (step + random.zeros((1, 1, 1, 1, width // 8, 1))).reshape(count, 1, 1, 8, width)
    # libjpeg knows waves to 1/8, which makes halves common, and rounds these away from 0: a hair takes them there.
    waves = ((both * 8).round() * (1.00001 / 8 / step)).round() * step
    down = cosines.swapaxes(0, 1) @ waves
    made = down.reshape(count, channels, height, width // 8, 8) @ cosines
    return made.reshape(count, channels, height, width)


def _doubled(half: Any, random: Random) -> Any:
    """Planes at twice the size by libjpeg's triangle filter: 3/4 of the nearest, 1/4 of the next, along each axis."""
    count, channels, height, width = tuple(half.shape)
    wide = extended(half, 1, 1, random.zeros((count, channels, height + 2, width + 2)))
    doubled = random.zeros((count, channels, 2 * height, 2 * width))
    near = wide[:, :, 1:-1] * 3
    for parity, line in enumerate((near + wide[:, :, :-2], near + wide[:, :, 2:])):
        middle = line[:, :, :, 1:-1] * 3
        doubled[:, :, parity::2, 0::2] = ((middle + line[:, :, :, :-2]) / 16 + 1 / 64).round()
        doubled[:, :, parity::2, 1::2] = ((middle + line[:, :, :, 2:]) / 16 - 1 / 64).round()
    return doubled
