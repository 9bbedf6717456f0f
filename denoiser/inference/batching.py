"""Windows of many pieces become equal batches, and results go home.

A piece is cut into windows; windows of equal shape, from whatever piece, share a batch. Shapes are
never padded to a common size: that would change what the network sees, and a picture's result must
not depend on the company it was computed in.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
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


class Buffers:
    """Memory of large results, which serves again once nobody has them any more.

    The allocator gives arrays above its largest threshold (32 MB for glibc) back to the system at once, and their pages
    are cleared for the next one: a tenth of the time of a picture of 6 megapixels on a virtual machine. A buffer of
    another size is made when none is idle, so that what is idle never adds to what was in use at once.
    """

    LEAST = 2**25
    """Bytes of an array that is worth it."""
    SLACK = 5 / 4
    """A buffer may be so many times as large as what is asked for."""

    def __init__(self) -> None:
        self._idle: deque[NDArray[np.float32]] = deque()

    def empty(self, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """An array of any values, as :func:`numpy.empty` makes it."""
        count = math.prod(shape)
        if count * 4 < self.LEAST:
            return np.empty(shape, np.float32)
        return np.asarray(_Lease(self._take(count), self._idle))[:count].reshape(shape)

    def _take(self, count: int) -> NDArray[np.float32]:
        while True:
            try:
                idle = self._idle.pop()
            except IndexError:
                return np.empty(count, np.float32)
            if count <= idle.size <= count * self.SLACK:
                return idle


class _Lease:
    """Owner of an array that is in use; the end of the last view of it is its end."""

    def __init__(self, memory: NDArray[np.float32], idle: deque[NDArray[np.float32]]) -> None:
        self._memory, self._idle = memory, idle
        self.__array_interface__ = memory.__array_interface__

    def __del__(self) -> None:
        self._idle.append(self._memory)  # one step: this may run in any thread, between any two lines


class Job:
    """A piece on its way: its result, and how many of its windows are still missing.

    Parameters
    ----------
    piece : Piece
    buffers : Buffers
        Memory for the result, taken when the first window is done.
    """

    def __init__(self, piece: Piece, buffers: Buffers) -> None:
        self.piece = piece
        self.missing = 0
        rows, width, channels = piece.values.shape
        self.shape = rows - piece.above - piece.below, width, channels
        self.nbytes = piece.values.nbytes + 4 * math.prod(self.shape)
        """Bytes that the piece and its result occupy."""
        self._buffers = buffers
        self._result: NDArray[np.float32] | None = None
        self._lock = threading.Lock()

    @property
    def result(self) -> NDArray[np.float32]:
        """(h, W, C), the rows between the context."""
        with self._lock:  # windows of one job may be done at the same time
            if self._result is None:
                self._result = self._buffers.empty(self.shape)
            return self._result

    @result.setter
    def result(self, values: NDArray[np.float32]) -> None:
        self._result = values


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

    def scaled(self, start: int, stop: int) -> NDArray[np.float32]:
        """Some rows of the window, counted from its top, as the network sees them: (rows, width, C)."""
        piece, window = self.job.piece, self.window
        stored = np.empty((stop - start, window.width, piece.values.shape[2]), piece.values.dtype)
        self._replace(window=replace(window, top=window.top + start, height=stop - start)).read(stored)
        return np.asarray(np.multiply(stored, np.float32(piece.scale), dtype=np.float32))

    def subtract(self, start: int, noise: NDArray[np.float32]) -> bool:
        """Put what is kept of some rows of the window in their place, without their noise, (rows, width, C).

        Returns
        -------
        bool
            Whether all of it is finite.
        """
        piece, (rows, columns) = self.job.piece, self.window.kept
        offset = self.window.top + start
        first, last = max(rows.start, offset), min(rows.stop, offset + len(noise))
        if first >= last:
            return True
        values = self.job.result[first - piece.above : last - piece.above, columns]
        np.multiply(piece.values[first:last, columns], np.float32(piece.scale), out=values)
        values -= noise[first - offset : last - offset, self.window.kept_inside[1]]
        return all_finite(values)

    def write(self, result: NDArray[np.float32], owned: bool) -> None:
        """Put the kept part of a window's result, (height, width, C), in its place.

        Where that is the whole result of the piece, and nobody else has it (``owned``), it becomes the piece's: large
        pictures are not copied once more.
        """
        rows, columns = self.window.kept
        above, kept = self.job.piece.above, result[self.window.kept_inside]
        if owned and kept.shape == self.job.shape:
            self.job.result = kept
        else:
            self.job.result[rows.start - above : rows.stop - above, columns] = kept


def all_finite(values: NDArray[np.float32]) -> bool:
    """Whether no value is infinite or not a number."""
    # A sum tells the same in a fraction of the time, unless it overflows itself.
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(values.sum()) or np.isfinite(values).all())


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
