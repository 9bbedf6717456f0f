"""Pages whose bands come one after the other, through a network that keeps its rows between them.

A band that is computed by itself is computed together with its context, which for bands of a very wide page is more
than the band. A network that takes pictures row by row (:mod:`denoiser.models.rows`) needs none: what it keeps of the
band before is its context. The page is cut into strips from top to bottom, side by side with halos, because rows that
are much wider do not fit into the caches, and so that every processor has one.

Pieces come with their context all the same. A strip for which there is no memory, or whose values half precision cannot
hold, goes on as windows of each piece (:mod:`denoiser.inference.stream`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from denoiser.inference.batching import Item, Piece, all_finite
from denoiser.inference.network import FLOW_ROWS, Network
from denoiser.inference.sizing import FLOW_WIDTH
from denoiser.tiling import Sheet, Window, plan_windows, round_up, smallest_tile, width_of

LEAST_WIDTH = 4
"""A strip is at least so many times as wide as its halo."""

MOST_PIXELS = 2**18
"""Pixels that the network gets at a time. Twice as many are 5% faster and take 100 MB more on every processor."""


class Strip:
    """Some columns of a page, from its first row to its last.

    Parameters
    ----------
    network : Network
        One that flows.
    sheet : Sheet
    step : int
        Rows that the network gets at a time.

    Attributes
    ----------
    broken : bool
        Whether it cannot go on, because a band failed.
    before : Future or None
        The band that must be done before the next one.
    """

    def __init__(self, network: Network, sheet: Sheet, step: int) -> None:
        self.network = network
        self.sheet = sheet
        self.broken = False
        self.before: Future[list[Item]] | None = None
        self._step = step
        self._flow = network.flow()
        self._taken = 0
        self._noise: deque[Tensor] = deque()
        self._first = 0
        """Row of the page at which the noise in hand begins."""

    def compute(self, item: Item) -> list[Item]:
        """Compute the next band.

        Parameters
        ----------
        item : Item
            Its window has all rows of the piece.

        Returns
        -------
        list of Item
            The same where its result is not finite, and the strip is broken; else nothing.
        """
        piece, window = item.job.piece, item.window
        self._take(item)
        rows, columns = window.kept
        values = item.job.result[rows.start - piece.above : rows.stop - piece.above, columns]
        np.multiply(piece.values[rows, columns], np.float32(piece.scale), out=values)
        inside = slice(columns.start - window.left, columns.stop - window.left)
        self._subtract(values, piece.row + rows.start, inside)
        self._forget(piece.row + rows.stop - self.sheet.again)
        self.broken = not all_finite(values)
        return [item] if self.broken else []

    def _take(self, item: Item) -> None:
        """Give the network what is new in a piece."""
        piece, window = item.job.piece, item.window
        bottom = piece.row + len(piece.values)
        if bottom == self.sheet.height:
            bottom = piece.row + window.height  # with what continues it to a multiple of the stride
        for start in range(self._taken, bottom, self._step):
            stop = min(start + self._step, bottom)
            x = torch.from_numpy(item.scaled(start - piece.row, stop - piece.row))
            found = self.network.push(self._flow, x, piece.white, stop >= self.sheet.height)
            if found is not None:
                self._noise.append(found)
            self._taken = stop

    def _subtract(self, values: NDArray[np.float32], start: int, columns: slice) -> None:
        """Subtract the noise of rows of the page from ``start`` on."""
        at, done = self._first, 0
        for noise in self._noise:
            begin = max(start + done - at, 0)
            part = noise[begin : begin + len(values) - done, columns]
            values[done : done + len(part)] -= part.float().numpy()
            done += len(part)
            at += len(noise)
        if done < len(values):
            raise AssertionError(f"{len(values) - done} rows are missing: the network reaches further than it declares")

    def _forget(self, row: int) -> None:
        """Let go of the noise above a row of the page."""
        while self._noise and self._first + len(self._noise[0]) <= row:
            self._first += len(self._noise.popleft())


class Course(NamedTuple):
    """One page on its way.

    Attributes
    ----------
    strips : list of Strip
    tile : (int, int)
        Height and width of windows that give one window to each of them.
    nbytes : int
        What they keep.
    """

    strips: Sequence[Strip]
    tile: tuple[int, int]
    nbytes: int


class _Cut(NamedTuple):
    """Width of the strips of a page, what they keep, and pixels that each computes at a time: 0 without room for it."""

    across: int
    nbytes: int
    pixels: int


@dataclass
class Courses:
    """The pages of one stream that are computed so.

    Attributes
    ----------
    halo, multiple : int
        Receptive field and stride of the network.
    workers : int
        Strips that are computed at the same time.
    room : int
        Bytes for all of it.
    column_bytes : callable
        What a strip keeps for each of its columns; asked when there is the first page.
    pixel_bytes : float
        What is in memory for each pixel that the network is computing.
    """

    halo: int
    multiple: int
    workers: int
    room: int
    column_bytes: Callable[[], float]
    pixel_bytes: float
    _live: dict[Sheet, Course] = field(default_factory=dict)

    def course(self, piece: Piece, network: Network) -> Course | None:
        """The course that a piece continues or begins; None where it is to be computed by itself."""
        sheet = piece.sheet
        if piece.uncertainty:
            return None
        if sheet is None:
            self.leave()
            return None
        # Pages come one after the other: one whose file failed has no end.
        self._live = {known: course for known, course in self._live.items() if known.page == sheet.page}
        begins = piece.row == 0 and piece.above == 0
        course = self._begin(piece, sheet, network) if begins else self._live.get(sheet)
        if course is None or any(strip.network is not network for strip in course.strips):
            return None
        ends = piece.below == 0 and piece.row + len(piece.values) == sheet.height
        if ends:
            self._live.pop(sheet, None)
        else:
            self._live[sheet] = course
        return course

    def leave(self) -> None:
        """Forget pages that have not come to their end: no more of them will come."""
        self._live.clear()

    def windows(self, piece: Piece, tile: tuple[int, int]) -> list[Window]:
        """What each strip of a course has to do with a piece."""
        height, width, _ = piece.values.shape
        return plan_windows(height, width, tile, self.halo, self.multiple, piece.above, piece.below)

    def fits(self, width: int, parts: int) -> bool:
        """Whether there is room for a page so wide, of so many parts that are computed by themselves."""
        return self._cut(width, (parts - 1) * self._cut(width, 0).nbytes).pixels > 0

    def _begin(self, piece: Piece, sheet: Sheet, network: Network) -> Course | None:
        cut = self._cut(piece.values.shape[1], sum(course.nbytes for course in self._live.values()))
        if cut.pixels == 0:
            return None
        tile = round_up(sheet.height, self.multiple), cut.across
        windows = self.windows(piece, tile)
        step = network.rows_at_once(windows[0].width, cut.pixels)
        return Course([Strip(network, sheet, step) for _ in windows], tile, cut.nbytes)

    def _cut(self, width: int, held: int) -> _Cut:
        """How a page is cut where so much is held for others."""
        # As many strips as there are processors, unless they would be hardly more than halo.
        most = max(1, width // (LEAST_WIDTH * max(self.halo, self.multiple)))
        widest = max(FLOW_WIDTH, smallest_tile(self.halo, self.multiple))
        count = max(-(-(width - 2 * self.halo) // (widest - 2 * self.halo)), min(self.workers, most))
        across = width_of(count, width, self.halo, self.multiple)
        nbytes = int(count * across * self.column_bytes())
        pixels = int((self.room - nbytes - held) / (min(self.workers, count) * self.pixel_bytes))
        return _Cut(across, nbytes, min(pixels, MOST_PIXELS) if pixels >= FLOW_ROWS * across else 0)
