"""Reduced versions of a page, made anew from its rows while they pass by.

Denoising the reduced versions of a pyramid one by one would give levels that do not show the same picture; averages of
the first level do, and cost next to nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from denoiser.images.image import Bands, Page, Pixels

_SPOOL = 32 << 20
"""Bytes of a level that wait in memory; more go to a file beside the output."""


def is_reduced(full: Page, page: Page) -> bool:
    """Whether a page can be a smaller version of another: the same kind of pixels, the same shape to a pixel."""
    alike = (page.channels, page.dtype, page.alpha) == (full.channels, full.dtype, full.alpha)
    if not alike or not (page.width < full.width and page.height < full.height):
        return False
    return abs(full.height * page.width / full.width - page.height) <= 1 + full.height / full.width


class Reducer:
    """Makes one level by area averaging; each of its pixels is the mean of those whose place it takes.

    Parameters
    ----------
    full : Page
        What rows are fed of.
    page : Page
        The level.
    file : binary file
        Where the level's rows go.
    """

    def __init__(self, full: Page, page: Page, file: IO[bytes]) -> None:
        self.page = page
        self.file = file
        self.smaller: list[Reducer] = []
        """Levels that are made of this one."""
        self._nodata = full.nodata
        self._lasts = np.arange(1, page.height + 1) * full.height // page.height
        """For each row of the level the row of the full page behind the last one that it takes."""
        self._columns = np.arange(page.width) * full.width // page.width
        self._read = self._made = 0
        self._sum: NDArray[np.float64] = np.zeros((full.width, full.channels))
        self._seen: NDArray[np.float64] = np.zeros((full.width, full.channels))

    def feed(self, rows: Pixels) -> None:
        """Take the next rows of the full page."""
        while len(rows):
            part, rows = np.split(rows, [self._lasts[self._made] - self._read])
            self._read += len(part)
            valid = self._valid(part)
            self._sum += part.sum(axis=0, dtype=np.float64, where=True if valid is None else valid)
            self._seen += len(part) if valid is None else valid.sum(axis=0)
            if self._read == self._lasts[self._made]:
                self._emit()

    def _valid(self, rows: Pixels) -> NDArray[np.bool_] | None:
        """Which values count; None where all do."""
        if rows.dtype.kind != "f" and self._nodata is None:
            return None
        valid: NDArray[np.bool_] = np.isfinite(rows)
        return valid if self._nodata is None else valid & (rows != self._nodata)

    def _emit(self) -> None:
        total = np.add.reduceat(self._sum, self._columns, axis=0)  # (w, C)
        seen = np.add.reduceat(self._seen, self._columns, axis=0)
        missing = np.nan if self._nodata is None else self._nodata
        mean: NDArray[Any] = np.where(seen > 0, total / np.maximum(seen, 1), missing)
        row = (mean if self.page.dtype.kind == "f" else np.rint(mean)).astype(self.page.dtype)[np.newaxis]
        self.file.write(row.data)
        for each in self.smaller:
            each.feed(row)
        self._made += 1
        self._sum[:], self._seen[:] = 0, 0

    def bands(self, height: int) -> Bands:
        """The level from top to bottom, when all rows have been fed."""
        page = self.page
        self.file.seek(0)
        for top in range(0, page.height, height):
            shape = (min(height, page.height - top), page.width, page.channels)
            data = self.file.read(int(np.prod(shape)) * page.dtype.itemsize)
            yield np.frombuffer(data, page.dtype).reshape(shape)


class Pyramid:
    """All levels of one page.

    Parameters
    ----------
    full : Page
    pages : sequence of Page
        The levels. Each is made of the smallest one before it that is larger, else of the full page.
    folder : Path
        For temporary files without names.
    stack : ExitStack
        Closes them.
    """

    def __init__(self, full: Page, pages: Iterable[Page], folder: Path, stack: ExitStack) -> None:
        self.levels: list[Reducer] = []
        self._first: list[Reducer] = []
        for page in pages:
            larger = [each for each in self.levels if page.height <= each.page.height and page.width <= each.page.width]
            parent = min(larger, key=lambda each: each.page.nbytes, default=None)
            file = stack.enter_context(SpooledTemporaryFile(_SPOOL, dir=str(folder)))  # noqa: SIM115 - by the stack
            level = Reducer(parent.page if parent else full, page, file)
            self.levels.append(level)
            (parent.smaller if parent else self._first).append(level)

    def watch(self, bands: Bands) -> Iterator[Pixels]:
        """The same bands; the levels see them on the way."""
        for band in bands:
            for level in self._first:
                level.feed(band)
            yield band
