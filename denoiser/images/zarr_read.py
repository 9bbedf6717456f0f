"""Reading OME-Zarr: planes of time, channel and depth as pages, of which only those chunks are decoded that are needed.

A chunk that is not there holds the fill value, by the definition of Zarr. Since a store that was copied in part looks
the same, the user is told of it.
"""

from __future__ import annotations

import itertools
import math
from bisect import bisect_right
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from denoiser.errors import InputError
from denoiser.images.image import Header, Pixels
from denoiser.images.metadata import Metadata
from denoiser.images.raster import check_size, reading
from denoiser.images.zarr_store import (
    Index,
    Picture,
    Region,
    ZarrRecord,
    count_units,
    open_store,
    parts,
    pictures_of,
    stored_type,
    unit_file,
    unit_of,
    whole,
)

if TYPE_CHECKING:
    from zarr import Array

_LARGEST_UNIT = 64 << 20
"""Chunks and shards of more bytes than this are held against the limit. Pages whose rows of chunks take more than
this count as streaming only if they have many."""

_MANY_ROWS = 8

_AT_ONCE = 10
"""Chunks that zarr decodes or encodes at a time."""

_SLAB, _SLAB_SHARE = 256 << 20, 4
"""Planes that share chunks are decoded together and kept if they take no more bytes than this, nor more than one in so
many parts of the limit. Where they take more, chunks are decoded again for each plane."""

SPOOL = 32 << 20
"""Bytes of a row of chunks, or of planes that share chunks, that wait in memory to be written; more go to a file."""


class ZarrSource:
    """An open OME-Zarr store."""

    header: Header

    def __init__(self, path: Path, max_bytes: int | None = None) -> None:
        self._path = path
        self._slab_limit = _SLAB if max_bytes is None else min(_SLAB, max_bytes // _SLAB_SHARE)
        root = open_store(path)
        with reading(path):
            self._pictures = pictures_of(path, root)
        self._starts = [0, *itertools.accumulate(picture.planes for picture in self._pictures)]
        """Number of the first page of each picture, and of all pages."""
        self._rest: tuple[int, int, Pixels] | None = None
        """Page, first row and rows that were decoded but not asked for yet."""
        self._slab: tuple[int, Index, NDArray[Any]] | None = None
        """Number of a picture, place of the first of some planes, and these planes with all their axes."""
        for array in (array for picture in self._pictures for array in picture.levels):
            unit = math.prod(unit_of(array)) * array.dtype.itemsize
            if unit > _LARGEST_UNIT:
                check_size(path, unit, max_bytes, "its chunks or shards")
        self.header = self._header()

    def _header(self) -> Header:
        pages = itertools.chain.from_iterable([picture.page] * picture.planes for picture in self._pictures)
        gaps = self._gaps()
        groups = {"", *(PurePosixPath(picture.full.path).parent.as_posix() for picture in self._pictures)}
        labelled = any((self._path / group / "labels").is_dir() for group in groups)
        metadata = Metadata(
            native=ZarrRecord(
                tuple(tuple(array.path for array in picture.levels) for picture in self._pictures), frozenset(gaps)
            ),
            reduced=any(len(picture.levels) > 1 for picture in self._pictures),
            particular=("OME-NGFF metadata",) + ("labels",) * labelled,
        )
        streams = all(map(_streams, self._pictures))
        held = max(map(self._held, self._pictures)) if streams else 0
        warnings = tuple(gaps[picture.full.path] for picture in self._pictures if picture.full.path in gaps)
        return Header(self._path, "zarr", tuple(pages), streams, metadata, held, warnings)

    def _gaps(self) -> dict[str, str]:
        """Arrays that lack chunks, and what is to be said about it."""
        gaps = {}
        for picture in self._pictures:
            for array in picture.levels:
                there, wanted = count_units(self._path, array)
                if there == 0 and array is picture.full:
                    raise InputError(f"{self._path}: {array.path} holds no chunk; copy it again from its source")
                if there < wanted:
                    gaps[array.path] = self._gap(array, wanted - there, wanted)
        return gaps

    def _gap(self, array: Array[Any], missing: int, wanted: int) -> str:
        files = (unit_file(self._path, array, cell) for cell, _ in parts(whole(array), unit_of(array)))
        first = next((file.relative_to(self._path).as_posix() for file in files if not file.exists()), "")
        return (
            f"{missing} of {wanted} chunks of {array.path} are not there, the first is {first}; they count as "
            f"{array.fill_value}, as Zarr has it"
        )

    def _held(self, picture: Picture) -> int:
        """As :attr:`Header.held`: what reading keeps, what zarr has in hand, what waits to be written."""
        full, size = picture.full, picture.full.dtype.itemsize
        row = full.shape[-1] * size
        chunk, unit = (math.prod(shape) * size for shape in (full.chunks, unit_of(full)))
        planes = self._slab_planes(picture)
        kept = planes * picture.page.nbytes if planes > 1 else full.chunks[-2] * row
        shared = math.prod(unit_of(full)[:-2]) > 1
        waiting = picture.planes * picture.page.nbytes if shared else unit_of(full)[-2] * row
        return kept + _AT_ONCE * chunk + unit + min(SPOOL, waiting)

    def _slab_planes(self, picture: Picture) -> int:
        """How many planes are decoded together: those that share chunks, if they are not too large."""
        sizes = zip(picture.full.chunks[:-2], picture.leading, strict=True)
        planes = math.prod(min(chunk, size) for chunk, size in sizes)
        return planes if planes * picture.page.nbytes <= self._slab_limit else 1

    def read(self, page: int, start: int, stop: int) -> Pixels:
        """Rows ``start:stop`` of a page, (stop - start, W, 1)."""
        number = bisect_right(self._starts, page) - 1
        picture = self._pictures[number]
        index = tuple(map(int, np.unravel_index(page - self._starts[number], picture.leading)))
        if self._slab_planes(picture) > 1:
            rows: Pixels = self._from_slab(number, index)[start:stop]
        else:
            rows = self._from_chunks(picture.full, page, index, start, stop)
        return rows[:, :, np.newaxis]

    def _from_slab(self, number: int, index: Index) -> Pixels:
        """A plane of those that were decoded together, (H, W)."""
        array = self._pictures[number].full
        first = tuple(place // size * size for place, size in zip(index, array.chunks, strict=False))
        if self._slab is None or self._slab[:2] != (number, first):
            self._slab = None
            lasts = (
                min(place + size, limit) for place, size, limit in zip(first, array.chunks, array.shape, strict=False)
            )
            region = (*map(slice, first, lasts), *whole(array)[-2:])
            self._slab = number, first, self._decoded(array, region)
        plane: Pixels = self._slab[2][tuple(place - start for place, start in zip(index, first, strict=True))]
        return plane

    def _from_chunks(self, array: Array[Any], page: int, index: Index, start: int, stop: int) -> Pixels:
        """Rows of a plane, (h, W). What else is in the last row of chunks is kept for the next call."""
        if start == stop:
            return np.empty((0, array.shape[-1]), stored_type(array))
        height, depth = array.shape[-2], array.chunks[-2]
        bottom = min(math.ceil(stop / depth) * depth, height)
        before, self._rest = self._rest, None
        rows: Pixels | None = None
        if before is not None and before[0] == page and before[1] <= start < before[1] + len(before[2]):
            rows = before[2][start - before[1] :]
        top = start if rows is None else start + len(rows)
        if top < bottom:
            region = (*(slice(place, place + 1) for place in index), slice(top, bottom), slice(0, array.shape[-1]))
            fresh = self._decoded(array, region).reshape(bottom - top, -1)
            rows = fresh if rows is None else np.concatenate([rows, fresh])
        assert rows is not None
        if len(rows) == stop - start:
            return rows
        # Copied, for a view keeps all that was decoded.
        self._rest = page, stop, rows[stop - start :].copy()
        return rows[: stop - start].copy()

    def _decoded(self, array: Array[Any], region: Region) -> NDArray[Any]:
        """The values of a region, with all its axes.

        Raises
        ------
        InputError
            If a chunk is damaged, which is named.
        """
        units = list(parts(region, unit_of(array)))
        files = [unit_file(self._path, array, cell) for cell, _ in units]
        for file in files:
            # Some codecs take an empty file for a chunk that is not there.
            if file.is_file() and not file.stat().st_size:
                raise InputError(f"{self._damage(file)} is empty; copy it again from its source")
        try:
            return self._values(array, region)
        except InputError:
            for file, (_, part) in zip(files, units, strict=True):
                self._try(array, part, file)
            raise

    def _try(self, array: Array[Any], part: Region, file: Path) -> None:
        try:
            self._values(array, part)
        except InputError as error:
            raise InputError(f"{self._damage(file)} is damaged or cut short; copy it again from its source") from error

    def _damage(self, file: Path) -> str:
        return f"{self._path}: its chunk {file.relative_to(self._path).as_posix()}"

    def _values(self, array: Array[Any], region: Region) -> NDArray[Any]:
        with reading(self._path):
            return np.ascontiguousarray(array[region], stored_type(array))

    def close(self) -> None:
        self._rest = self._slab = None

    def __enter__(self) -> ZarrSource:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _streams(picture: Picture) -> bool:
    """Whether a row of chunks is little beside the page."""
    row_bytes = picture.full.chunks[-2] * picture.full.shape[-1] * picture.full.dtype.itemsize
    return row_bytes <= max(_LARGEST_UNIT, picture.page.nbytes // _MANY_ROWS)
