"""What JPEG leaves behind: the lines between its blocks, and in its own files the tables of the encoder."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from denoiser.estimate.blocks import SIDE

CHANCE = 4.0
"""What stands out by chance, for one difference at each place of the grid; of n it is 1 / sqrt(n) of it."""
LUMA_TABLE = (
    *(16, 11, 10, 16, 24, 40, 51, 61),
    *(12, 12, 14, 19, 26, 58, 60, 55),
    *(14, 13, 16, 24, 40, 57, 69, 56),
    *(14, 17, 22, 29, 51, 87, 80, 62),
    *(18, 22, 37, 56, 68, 109, 103, 77),
    *(24, 35, 55, 64, 81, 104, 113, 92),
    *(49, 64, 78, 87, 103, 121, 120, 101),
    *(72, 92, 95, 98, 112, 100, 103, 99),
)
"""Quantisation of luma at quality 50, ITU-T T.81, table K.1."""


def grid_strength(pieces: Sequence[NDArray[np.float32]]) -> float:
    """How much larger differences across the lines of an 8 x 8 grid are than other differences, as a share.

    About 0 without JPEG. The grid may begin anywhere, as in crops: of eight places the one that stands out is taken,
    and against it the second largest of the other seven.

    Parameters
    ----------
    pieces : sequence of ndarray
        (h, w, C), parts of a picture that begin at multiples of 8 pixels.
    """
    by_place: tuple[list[NDArray[np.float32]], list[NDArray[np.float32]]] = ([], [])
    by_shape: dict[tuple[int, ...], list[NDArray[np.float32]]] = {}
    for piece in pieces:
        by_shape.setdefault(piece.shape, []).append(piece)
    for shape, alike in by_shape.items():
        planes = np.stack(alike) @ np.full(shape[2], 1 / shape[2], np.float32)  # (N, h, w)
        for axis in (0, 1):
            across = np.abs(np.diff(planes, axis=axis + 1)).mean(axis=2 - axis)  # (N, lines)
            filled = np.pad(across, ((0, 0), (0, -across.shape[1] % SIDE)), constant_values=np.nan)
            by_place[axis].append(filled.reshape(-1, SIDE))
    middles = [_medians(np.concatenate(found)) for found in by_place if found]
    if len(middles) < 2 or not np.isfinite(middles).all():
        return 0.0
    # Medians: one straight edge in a picture lies at one place of the grid, but on one line alone.
    means = np.sort(middles, axis=1)
    rest = means[:, :-1].mean(axis=1)
    excess = (means[:, -1] - means[:, -2]) / np.where(rest > 0, rest, 1)
    return max(0.0, float(excess.mean()) - CHANCE / math.sqrt(sum(piece[:, :, 0].size for piece in pieces) / SIDE))


def _medians(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Of each column (N, K) -> (K,), over what is finite; NaN where nothing is."""
    ordered = np.sort(np.where(np.isfinite(rows), rows, np.nan), axis=0)  # NaN comes last
    count = np.isfinite(ordered).sum(axis=0)
    columns = np.arange(rows.shape[1])
    middle = (ordered[(count - 1) // 2, columns] + ordered[np.minimum(count // 2, len(rows) - 1), columns]) / 2
    return np.where(count > 0, middle, np.nan).astype(np.float32)


def quality_of(table: Sequence[int]) -> int:
    """Quality of the encoder, 1 to 100, by the sum of a file's first quantisation table (of luma).

    Exact for libjpeg and what stands on it, which scale one table (ITU-T T.81, table K.1); the nearest for others.
    """
    total = sum(table)
    return min(range(1, 101), key=lambda quality: abs(_table_sum(quality) - total))


def _table_sum(quality: int) -> int:
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    return sum(min(max((value * scale + 50) // 100, 1), 255) for value in LUMA_TABLE)
