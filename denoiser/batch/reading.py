"""A file -> bands of rows, cut to fit the memory budget."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from denoiser.batch.flow import Lease
from denoiser.images import Header, Page, Source
from denoiser.images.image import Pixels
from denoiser.images.pixels import FILL_RADIUS, Note, ValueRange, groups, split, value_range

BAND_SHARE = 4
"""A band takes at most one in so many parts of the budget: one is read, one computed, one written, one spare."""
LEAST_ROWS = 64
"""Small bands have at least so many, if that is within the limit."""
PIECE_BYTES = 4096
"""What a piece costs besides its pixels: objects and queues. It counts when pictures are tiny."""
SMALL_FILE = 1 << 20
"""Up to so many bytes in all a file asks for room once; asking step by step would cost more than it saves."""
STREAMING_FORMATS = frozenset({"tiff", "npy", "zarr"})
"""Formats that are written band by band; all others are assembled in memory first."""


@dataclass(eq=False)
class Band:
    """Consecutive rows of one page on their way from the file to the file.

    Attributes
    ----------
    page, start, stop
        Rows ``start:stop`` of this page.
    pixels : array
        (stop - start, W, C) as stored.
    colours : int
        Channels without alpha, which come first.
    planes : array or None
        (above + stop - start + below, W, colours) for the network; None where the pixels pass as they are.
    leases : list of Lease
        Room that is free again when these rows are ready to be written.
    kept : Lease or None
        Room for the assembled output, with the last band; the writer frees it with its file.
    fringe : (int, int)
        Context rows above and below that the network gives back with the others, for what is done to its result.
    surround : array or None
        The planes with these rows, where there are any.
    results : list of array
        What the network made of the planes, one array per group of channels.
    height : int
        Rows of the page.
    stated : bool
        Whether the network is also asked how uncertain that is.
    deviations : list of array
        What it answered, as ``results``.
    """

    page: int
    start: int
    stop: int
    pixels: Pixels
    colours: int
    planes: Pixels | None = None
    above: int = 0
    below: int = 0
    note: Note | None = None
    leases: list[Lease] = field(default_factory=list)
    kept: Lease | None = None
    fringe: tuple[int, int] = (0, 0)
    surround: Pixels | None = None
    results: list[NDArray[np.float32]] = field(default_factory=list)
    height: int = 0
    stated: bool = False
    deviations: list[NDArray[np.float32]] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether the network has answered all that it was asked."""
        found: int = sum(array.shape[-1] for array in (*self.results, *self.deviations))
        return found == self.colours * (1 + self.stated)

    @property
    def megapixels(self) -> float:
        return float(self.pixels.shape[0] * self.pixels.shape[1] / 1e6)

    def hand_over(self) -> None:
        """The network is done with it."""
        self.planes = None
        for lease in (*self.leases, self.kept):
            if lease is not None:
                lease.hand_over()

    def release(self) -> None:
        """Its rows are ready to be written, or will never be."""
        for lease in self.leases:
            lease.release()


def _never(width: int, parts: int) -> bool:
    return False


@dataclass(frozen=True)
class Grid:
    """How pages are cut.

    Attributes
    ----------
    context : int
        Rows that the network needs above and below a band.
    multiple : int
        Bands begin on multiples of this many rows.
    limit : int
        Bytes that a band may take.
    results : int
        Values that the network gives for each value of colour.
    keeps_rows : callable
        Whether the network keeps its rows from band to band of a page so wide, of so many parts that are computed by
        themselves. Small bands cost no more than large ones then: they take half as much, and the other half is left
        to the network for its rows.
    """

    context: int
    multiple: int
    limit: int
    results: int = 1
    keeps_rows: Callable[[int, int], bool] = _never

    @property
    def margin(self) -> int:
        """Rows read above and below a band: context that begins on the multiple."""
        return math.ceil(self.context / self.multiple) * self.multiple

    def beside(self, held: int) -> Grid:
        """The grid for what is left of the budget besides so many bytes."""
        return replace(self, limit=max(self.limit - held // BAND_SHARE, self.limit // BAND_SHARE))

    def light(self, page: Page) -> bool:
        """Whether bands of a page that streams are small ones."""
        return self.keeps_rows(page.width, len(groups(colours(page))))

    def band_rows(self, page: Page, streams: bool) -> int:
        """Rows per band: as many as fit, even over the bands of a page."""
        stored = page.width * page.channels * page.dtype.itemsize
        result = page.width * colours(page) * 4 * self.results
        if streams:
            around = 2 * (self.margin + FILL_RADIUS) * stored
            rows = (self.limit - around) // (stored + result)
            if self.light(page):
                rows = min(rows, max((self.limit // 2 - around) // (stored + result), LEAST_ROWS))
        else:
            rows = self.limit // result  # the stored page is in memory anyway
        rows = max(1, rows // self.multiple)
        bands = math.ceil(math.ceil(page.height / self.multiple) / rows)
        return math.ceil(math.ceil(page.height / self.multiple) / bands) * self.multiple


@dataclass(frozen=True)
class Reader:
    """Cuts files into bands.

    Attributes
    ----------
    grid : Grid
    white, black : float or None
        As :class:`denoiser.batch.options.BatchOptions`.
    passes : bool
        Whether pixels go to the writer as they are, past the network.
    needs_range : bool
        Whether the network works only on pictures whose black and white are known.
    workspace : int
        Bytes per value of colour that the writer needs besides.
    reach : int
        Rows above and below a band that decide about what is done to the network's result.
    stated : bool
        Whether the network is asked how uncertain its results are.
    """

    grid: Grid
    white: float | None = None
    black: float | None = None
    passes: bool = False
    needs_range: bool = False
    workspace: int = 0
    reach: int = 0
    stated: bool = False

    def refusal(self, header: Header, limit: int) -> str | None:
        """Why these pages cannot be worked on within so many bytes, or None if they can."""
        return self._without_range(header) or self._too_large(header, limit)

    def _without_range(self, header: Header) -> str | None:
        ranges = (self._range(page) for page in header.pages)
        if not self.needs_range or all(values.white is not None for values in ranges):
            return None
        return (
            "holds floats, which have no range of their own, and this model works on a known range only: give --white "
            "(and --black), for example --white 1, or use a model such as unet that needs no range"
        )

    def _range(self, page: Page) -> ValueRange:
        return value_range(page.dtype, self.white, self.black, bounded=self.needs_range)

    def _too_large(self, header: Header, limit: int) -> str | None:
        need = max(page.nbytes + page.height * page.width * colours(page) * self.workspace for page in header.pages)
        if not self.workspace or need <= limit:
            return None
        return (
            f"needs {need / 1e6:,.0f} MB, because a page is worked on as a whole, and may take "
            f"{limit / 1e6:,.0f} MB; give more --max-memory, or cut it into smaller pictures"
        )

    def bands(self, source: Source, form: str, lease: Callable[[int], Lease]) -> Iterator[Band]:
        """All bands of a file, page by page, top to bottom.

        Parameters
        ----------
        source : Source
        form : str
            Format of the output.
        lease : callable
            Waits for so many bytes of the budget.
        """
        pages = source.header.pages
        if len(pages) == 1 and self._total(pages[0]) <= min(SMALL_FILE, self.grid.limit):
            yield self._small(source, lease)
            return
        if source.header.held > SMALL_FILE:
            lease(source.header.held)  # until the file is written
        assembled = None if form in STREAMING_FORMATS else lease(max(page.nbytes for page in pages))
        for index, page in enumerate(pages):
            for band in self._page(source, index, lease):
                if index == len(pages) - 1 and band.stop == page.height:
                    band.kept = assembled
                yield band

    def cut(self, source: Source, index: int, rows: tuple[int, int, int, int]) -> Band:
        """One band by itself: of rows ``(top, start, stop, bottom)`` of a page the outer ones are context."""
        page = source.header.pages[index]
        return self._band(_Window(source, index), page, rows, self._range(page))

    def _total(self, page: Page) -> int:
        """Bytes of a page in every shape it takes at once: decoded, computed and assembled again."""
        return 2 * page.nbytes + self._cost(page, page.height, 0)

    def _small(self, source: Source, lease: Callable[[int], Lease]) -> Band:
        page = source.header.pages[0]
        kept = lease(self._total(page))
        values = self._range(page)
        band = self._band(_Window(source, 0), page, (0, 0, page.height, page.height), values)
        band.kept = kept
        return band

    def _page(self, source: Source, index: int, lease: Callable[[int], Lease]) -> Iterator[Band]:
        page = source.header.pages[index]
        streams = source.header.streams
        rows = self.grid.beside(source.header.held).band_rows(page, streams)
        values = self._range(page)
        held = None if streams else lease(page.nbytes)
        window = _Window(source, index)
        for start in range(0, page.height, rows):
            stop = min(start + rows, page.height)
            margin = 0 if self.passes else self.grid.margin
            top, bottom = max(0, start - margin), min(page.height, stop + margin)
            cost = self._cost(page, stop - start, bottom - top if streams else 0)
            room = lease(2 * cost if streams and self.grid.light(page) else cost)
            band = self._band(window, page, (top, start, stop, bottom), values)
            band.leases.append(room)
            if held is not None and stop == page.height:
                band.leases.append(held)
            yield band

    def _cost(self, page: Page, kept: int, read: int) -> int:
        stored = page.width * page.channels * page.dtype.itemsize
        result = page.width * colours(page) * (self.workspace if self.passes else 4 * self.grid.results)
        converted = 0 if page.dtype in (np.uint8, np.uint16, np.float32) else result
        return kept * result + read * (stored + converted) + PIECE_BYTES

    def _band(self, window: _Window, page: Page, rows: tuple[int, int, int, int], values: ValueRange) -> Band:
        top, start, stop, bottom = rows
        if self.passes:
            return Band(window.index, start, stop, window.rows(start, stop), colours(page))
        # Missing pixels are filled from their surroundings: a band needs those of its context rows too.
        first, last = max(0, top - FILL_RADIUS), min(page.height, bottom + FILL_RADIUS)
        read = window.rows(first, last)
        pixels = read[start - first : stop - first]
        planes, note = split(read, page, values)
        if len(pixels) != len(read):
            planes = planes[top - first : bottom - first]
            note = split(pixels, page, values)[1]
        band = Band(window.index, start, stop, pixels, colours(page), planes, start - top, bottom - stop, note)
        band.height = page.height
        band.stated = self.stated
        if self.reach:
            band.fringe = min(self.reach, band.above), min(self.reach, band.below)
            band.surround = planes[band.above - band.fringe[0] : len(planes) - band.below + band.fringe[1]]
        return band


class _Window:
    """Rows of one page, read once though bands overlap by their context."""

    def __init__(self, source: Source, index: int) -> None:
        self.source = source
        self.index = index
        self._first = 0
        self._held: NDArray[Any] | None = None

    def rows(self, first: int, last: int) -> Pixels:
        """Rows ``first:last``; neither may be less than at the call before."""
        if not self.source.header.streams:
            if self._held is None:
                self._held = self.source.read(self.index, 0, self.source.header.pages[self.index].height)
            return self._held[first:last]
        held = self._held
        end = self._first + len(held) if held is not None else 0
        if held is None or end <= first:
            rows = self.source.read(self.index, first, last)
        elif end >= last:  # the context of the band before went as far: down to the end of the page
            rows = held[first - self._first :]
        else:
            rows = np.concatenate([held[first - self._first :], self.source.read(self.index, end, last)])
        self._first, self._held = first, rows
        return rows


def colours(page: Page) -> int:
    """Channels without alpha."""
    return page.channels - page.alpha


def pages_of(header: Header) -> tuple[Page, ...]:
    """The pages of a float picture beside an output: the colours of each page as float32."""
    return tuple(Page(page.height, page.width, colours(page), np.dtype(np.float32)) for page in header.pages)
