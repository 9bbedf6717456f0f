"""Windows of many pieces become equal batches, and results go home.

A piece is cut into windows; windows of equal shape, from whatever piece, share a batch. Shapes are
never padded to a common size: that would change what the network sees, and a picture's result must
not depend on the company it was computed in.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from denoiser.tiling import Sheet, Window, reflect

DTYPES = (np.dtype(np.uint8), np.dtype(np.uint16), np.dtype(np.float32))
"""Pixel types that travel to the network's device as they are stored."""


@dataclass(frozen=True, eq=False)
class Piece:
    """Consecutive rows of one page, as stored.

    Attributes
    ----------
    values : ndarray
        (rows, W, C) with C = 1 (gray) or 3, uint8, uint16 or finite float32.
    scale : float
        ``values * scale`` is what the network sees.
    white : float
        Where the container clips, in those units; 0 when unknown. A known white also says that the
        values lie about in [0, white].
    above, below : int
        First and last rows that are context: the network reads them, they are not returned. For a result
        equal to that of the whole page the first row must lie on a multiple of ``Denoiser.row_multiple``
        of the page, and context must be at least ``Denoiser.context_rows`` wherever the page goes on.
    sigma : float
        Noise level in network units, for networks that ask for it.
    uncertainty : bool
        Whether the deviation of the estimate is wanted instead of the estimate, of networks that state it.
    sheet : Sheet or None
        For pieces that come one after the other, from the top of a page to its bottom, each beginning no later than
        where the one before ended: networks may keep what the next one needs of the last one.
    row : int
        Where the first row lies on the sheet.
    tag : object
        Travels with the piece; not looked at.

    Raises
    ------
    ValueError
        If the values have another shape or type, or no row is left between the context.
    """

    values: NDArray[Any]
    scale: float = 1.0
    white: float = 0.0
    above: int = 0
    below: int = 0
    tag: object = None
    sigma: float = 0.0
    uncertainty: bool = False
    sheet: Sheet | None = None
    row: int = 0

    def __post_init__(self) -> None:
        shape, dtype = self.values.shape, self.values.dtype
        if len(shape) != 3 or shape[2] not in (1, 3) or min(shape) < 1 or dtype not in DTYPES:
            raise ValueError(f"a piece is (rows, W, 1 or 3) of uint8, uint16 or float32, not {shape} of {dtype}")
        if min(self.above, self.below) < 0 or self.above + self.below >= shape[0]:
            raise ValueError(f"{self.above} and {self.below} rows of context leave nothing of {shape[0]} rows")
        if not (math.isfinite(self.scale) and self.scale > 0):
            raise ValueError(f"the scale of a piece must be finite and positive, not {self.scale}")


@dataclass(eq=False)
class Job:
    """A piece on its way: its result, and how many of its windows are still missing."""

    piece: Piece
    result: NDArray[np.float32] = field(init=False)
    """(h, W, C), the rows between the context."""
    missing: int = 0

    def __post_init__(self) -> None:
        rows, width, channels = self.piece.values.shape
        self.result = np.empty((rows - self.piece.above - self.piece.below, width, channels), np.float32)

    @property
    def nbytes(self) -> int:
        """Bytes that the piece and its result occupy."""
        return self.piece.values.nbytes + self.result.nbytes


class Key(NamedTuple):
    """What the windows of one batch have in common; ``lane`` says which network computes them."""

    height: int
    width: int
    channels: int
    dtype: str
    precision: str
    uncertainty: bool
    lane: int = 0


class Item(NamedTuple):
    """One window of one job."""

    job: Job
    window: Window

    def read(self, out: NDArray[Any]) -> None:
        """Copy the window's stored values to ``out`` (height, width, C), continuing the page by reflection."""
        values, window = self.job.piece.values, self.window
        bottom, right = window.top + window.height, window.left + window.width
        inside = values[window.top : bottom, window.left : right]
        height, width = inside.shape[:2]
        out[:height, :width] = inside
        # Reading by index is slow: it is left to the few rows and columns beyond the page.
        rows = reflect(values.shape[0], bottom, values.shape[0])
        columns = reflect(values.shape[1], right, values.shape[1])
        if rows.size:
            out[height:, :width] = values[rows, window.left : right]
        if columns.size:
            out[:height, width:] = values[window.top : bottom, columns]
        if rows.size and columns.size:
            out[height:, width:] = values[rows[:, None], columns]

    def write(self, result: NDArray[np.float32], owned: bool) -> None:
        """Put the kept part of a window's result, (height, width, C), in its place.

        Where that is the whole result of the piece, and nobody else has it (``owned``), it becomes the piece's: large
        pictures are not copied once more.
        """
        rows, columns = self.window.kept
        above, kept = self.job.piece.above, result[self.window.kept_inside]
        if owned and kept.shape == self.job.result.shape:
            self.job.result = kept
        else:
            self.job.result[rows.start - above : rows.stop - above, columns] = kept


class Levels(NamedTuple):
    """The numbers that belong to each window of a batch, each (N,) float32."""

    scale: NDArray[np.float32]
    white: NDArray[np.float32]
    sigma: NDArray[np.float32]


def gather(items: Sequence[Item], out: NDArray[Any]) -> Levels:
    """Copy the windows' stored values into ``out``, (N, height, width, C) with N at least ``len(items)``.

    Places without a window are zero, so that what they compute is harmless.
    """
    for item, place in zip(items, out, strict=False):
        item.read(place)
    out[len(items) :] = 0
    levels = np.zeros((3, len(out)), np.float32)
    for column, (job, _) in enumerate(items):
        levels[:, column] = job.piece.scale, job.piece.white, job.piece.sigma
    return Levels(*levels)


def scatter(
    items: Sequence[Item], results: NDArray[np.float32], finite: NDArray[np.bool_], owned: bool = False
) -> list[Item]:
    """Put results in their places. Returns the items whose result is not finite.

    ``owned`` says that the memory of the results will not be used for others.
    """
    for item, result in zip(items, results, strict=False):
        item.write(result, owned and len(results) == 1)
    return [item for item, good in zip(items, finite, strict=False) if not good]
