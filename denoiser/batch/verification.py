"""``--verify-tiles``: random windows of the user's own pictures, computed once more with all the context there is.

Pictures that are cut, into bands or into tiles, should equal those that are not. Windows are drawn where the network's
results come by; when all files are done each of them is computed again as one piece with a halo as wide as the
receptive field, and compared. Both are taken before rounding and encoding, which would hide small differences and add
others.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from denoiser.batch.job import Job
from denoiser.batch.names import shown
from denoiser.batch.options import BatchOptions
from denoiser.batch.reading import Band
from denoiser.errors import DenoiserError
from denoiser.images import Page, Source, open_source
from denoiser.images.pixels import FILL_RADIUS, ValueRange, groups, split, value_range

if TYPE_CHECKING:
    from denoiser.batch.auto import Network

SIDE = 128
"""Pixels a side of a window. Small ones, so that many places are looked at for little work."""
SEED = 20250603


@dataclass(frozen=True)
class Verification:
    """What came of it.

    Attributes
    ----------
    windows : int
        Number of windows that were computed again.
    pictures : int
        Pages that were computed in parts, of which the windows were drawn.
    largest : float or None
        Largest difference in units of 1/255 of the full range; None where no picture has a known range.
    own : float
        Largest difference in the units of the picture that has it.
    source : Path or None
        That picture, with the page, row and column of the window.
    """

    windows: int = 0
    pictures: int = 0
    largest: float | None = None
    own: float = 0.0
    source: Path | None = None
    page: int = 0
    row: int = 0
    column: int = 0

    def sentence(self) -> str:
        """The result in words."""
        if not self.pictures:
            return "nothing to verify: no picture was computed in parts"
        if self.source is None:
            return "nothing was verified: no picture that was computed in parts could be read again"
        size = "" if self.largest is None else f"{self.largest:.3g} of 1/255, "
        return (
            f"{self.windows} windows of {SIDE} x {SIDE} pixels computed again with a full halo: the largest difference "
            f"is {size}{self.own:.3g} in the picture's own units ({shown(self.source)}, page {self.page + 1}, "
            f"row {self.row}, column {self.column})"
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "windows": self.windows,
            "side": SIDE,
            "pictures": self.pictures,
            "largest_255ths": self.largest,
            "largest_own_units": self.own,
            "source": shown(self.source) if self.source else None,
            "page": self.page,
            "row": self.row,
            "column": self.column,
            "sentence": self.sentence(),
        }


@dataclass(eq=False)
class _Sample:
    """A window, and what the network made of it in the run."""

    rank: float
    job: Job
    page: int
    row: int
    column: int
    values: NDArray[np.float32]
    """(h, w, C)"""


class Verifier:
    """Draws windows from what one network makes of one list of files. Used by one thread.

    Every place of all cut pictures is as likely as any other, though how many there will be is known at the end only:
    each window has a rank that is drawn by the file's place and weighted by its size (Efraimidis and Spirakis 2006),
    and those of lowest rank are kept. Neither threads nor the order of files change the choice.

    Parameters
    ----------
    count : int
        Number of windows.
    denoiser : Denoiser or Chooser
    """

    def __init__(self, count: int, denoiser: Network) -> None:
        self.count = count
        self.denoiser = denoiser
        self.samples: list[_Sample] = []
        self.cut: set[tuple[Job, int]] = set()

    def see(self, job: Job, band: Band) -> None:
        """Look at the network's results of a band; they are in order of the rows."""
        assert job.header is not None
        page = job.header.pages[band.page]
        if band.start == 0 and (band.stop < page.height or self.denoiser.cuts(page.height, page.width)):
            self.cut.add((job, band.page))
            self.samples += self._draw(job, band.page, band.colours)
            self.samples = sorted(self.samples, key=lambda sample: sample.rank)[: self.count]
        for sample in self.samples:
            if sample.job is job and sample.page == band.page:
                _fill(sample, band)

    def _draw(self, job: Job, index: int, colours: int) -> Iterator[_Sample]:
        assert job.header is not None
        page = job.header.pages[index]
        place = zlib.crc32(job.item.place.encode("utf-8", "surrogateescape"))
        random = np.random.default_rng((SEED, place, index))
        height, width = min(SIDE, page.height), min(SIDE, page.width)
        for rank in random.exponential(1 / (page.height * page.width), self.count):
            row, column = random.integers(page.height - height + 1), random.integers(page.width - width + 1)
            if len(self.samples) < self.count or rank < self.samples[-1].rank:
                values = np.zeros((height, width, colours), np.float32)
                yield _Sample(float(rank), job, index, int(row), int(column), values)

    def check(self, options: BatchOptions) -> Verification:
        """Compute the windows again; those of files that failed, or cannot be read any more, are left out."""
        found = Verification(pictures=sum(job.done for job, _ in self.cut))
        samples = sorted((sample for sample in self.samples if sample.job.done), key=lambda sample: sample.job.turn)
        for job, own in groupby(samples, key=lambda sample: sample.job):
            try:
                with open_source(job.item.source) as source:
                    for sample in sorted(own, key=lambda sample: (sample.page, sample.row)):
                        found = self._compare(found, sample, source, options)
            except (DenoiserError, OSError):
                continue
        return found

    def _compare(self, found: Verification, sample: _Sample, source: Source, options: BatchOptions) -> Verification:
        page = source.header.pages[sample.page]
        known = self._range(page, options)
        difference = float(np.abs(self._again(sample, source, options) - sample.values).max())
        parts = None if known.white is None else 255 * difference
        found = replace(found, windows=found.windows + 1)
        # Where a range is unknown the units of pictures cannot be compared; a picture with a known one goes first.
        if found.source is not None and (parts or 0.0, difference * known.span) <= (found.largest or 0.0, found.own):
            return found
        return replace(
            found,
            largest=parts if found.largest is None else max(parts or 0.0, found.largest),
            own=difference * known.span,
            source=sample.job.item.source,
            page=sample.page,
            row=sample.row,
            column=sample.column,
        )

    def _range(self, page: Page, options: BatchOptions) -> ValueRange:
        return value_range(page.dtype, options.white, options.black, bounded=self.denoiser.needs_range)

    def _again(self, sample: _Sample, source: Source, options: BatchOptions) -> NDArray[np.float32]:
        """The values of a window, from one piece with a full halo."""
        from denoiser.inference import Piece

        page = source.header.pages[sample.page]
        height, width, colours = sample.values.shape
        top, bottom = self._around(sample.row, height, page.height)
        left, right = self._around(sample.column, width, page.width)
        # Missing pixels are filled from their surroundings, which are those of the halo too.
        first, fore = max(0, top - FILL_RADIUS), max(0, left - FILL_RADIUS)
        rows = source.read(sample.page, first, min(page.height, bottom + FILL_RADIUS))
        planes, note = split(rows[:, fore : right + FILL_RADIUS], page, self._range(page, options))
        planes = planes[top - first : bottom - first, left - fore : right - fore]
        above, below = sample.row - top, bottom - sample.row - height
        found = [
            self.denoiser.whole(Piece(planes[..., group], note.scale, note.white, above, below, tag=(sample.job, None)))
            for group in groups(colours)
        ]
        return np.concatenate(found, axis=-1)[:, sample.column - left :][:, :width]

    def _around(self, start: int, length: int, size: int) -> tuple[int, int]:
        """A range with its halo, begun on the network's multiple."""
        halo, multiple = self.denoiser.full_halo, self.denoiser.row_multiple
        return max(0, (start - halo) // multiple * multiple), min(size, start + length + halo)


def combined(verifications: Iterable[Verification]) -> Verification:
    """What came of several passes."""
    found = list(verifications)
    worst = max(found, key=lambda each: (each.source is not None, each.largest or 0.0, each.own))
    return replace(worst, windows=sum(each.windows for each in found), pictures=sum(each.pictures for each in found))


def _fill(sample: _Sample, band: Band) -> None:
    """Copy the rows of a band that lie in a window."""
    height, width, _ = sample.values.shape
    first, last = max(sample.row, band.start), min(sample.row + height, band.stop)
    if first >= last:
        return
    columns = slice(sample.column, sample.column + width)
    skipped = first - band.start + band.fringe[0]
    results = [result[skipped : skipped + last - first, columns] for result in band.results]
    sample.values[first - sample.row : last - sample.row] = np.concatenate(results, axis=-1)
