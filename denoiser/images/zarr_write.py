"""Writing OME-Zarr: all that a store says is copied, its pixels are written anew, and its levels made of them."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from functools import reduce
from itertools import groupby, pairwise
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from denoiser.images.bands import regroup
from denoiser.images.image import Bands, Page, Pixels
from denoiser.images.zarr_read import SPOOL
from denoiser.images.zarr_store import (
    DOCUMENTS,
    Index,
    Picture,
    Region,
    ZarrRecord,
    open_store,
    parts,
    stored_type,
    unit_of,
    whole,
)

if TYPE_CHECKING:
    from zarr import Array

_Plane = tuple[int, Index, Bands]
"""Number of a picture, place of a plane in it, and its rows."""


def write_zarr(path: Path, source: Path, record: ZarrRecord, bands: Iterable[Bands]) -> None:
    """Write a store like another one.

    Parameters
    ----------
    path : Path
        A directory, which is made.
    source : Path
        The store that was read. What is in it besides the pixels of its pictures (documents, labels, tables) is
        copied as it is.
    record : ZarrRecord
    bands : iterable of iterators of ndarray
        Of each plane in order, pulled one by one.
    """
    places = {place for levels in record.places for place in levels}
    _copy_all_but_chunks(source, path, {source / place for place in places})
    root: Any = open_store(path, "r+")
    arrays = {place: _writable(root[place], place in record.sparse) for place in places}
    pictures = [Picture(tuple(arrays[place] for place in levels)) for levels in record.places]
    planes = [(number, index) for number, each in enumerate(pictures) for index in np.ndindex(each.leading)]
    given = ((number, index, rows) for (number, index), rows in zip(planes, bands, strict=True))
    for number, own in groupby(given, key=lambda plane: plane[0]):
        _Writer(pictures[number], path.parent).write(own)
    for picture in pictures:
        for larger, smaller in pairwise(picture.levels):
            _reduce(larger, smaller)


def _copy_all_but_chunks(source: Path, target: Path, arrays: set[Path]) -> None:
    target.mkdir()
    for entry in source.iterdir():
        if source in arrays and entry.name not in DOCUMENTS:
            continue
        if entry.is_dir():
            _copy_all_but_chunks(entry, target / entry.name, arrays)
        else:
            shutil.copyfile(entry, target / entry.name)


def _writable(array: Array[Any], sparse: bool) -> Array[Any]:
    """An array that leaves out chunks that hold the fill value alone if, and only if, the input does."""
    return array.with_config({"write_empty_chunks": not sparse})


class _Writer:
    """Writes the planes of a picture, each chunk or shard once: when all of its rows, and all planes that share it,
    are there."""

    def __init__(self, picture: Picture, folder: Path) -> None:
        self._array = picture.full
        self._page = picture.page
        self._folder = folder
        self._unit = unit_of(self._array)
        depths = self._unit[:-2]
        self._shared = next((axis for axis, depth in enumerate(depths) if depth > 1), None)
        """First axis along which planes share chunks."""

    def write(self, planes: Iterator[_Plane]) -> None:
        row_bytes = self._page.width * self._page.dtype.itemsize
        if self._shared is None and self._unit[-2] * row_bytes <= SPOOL:
            for _, index, bands in planes:
                self._write_plane(index, bands)
            return
        for _, group in groupby(planes, key=self._group):
            with SpooledTemporaryFile(SPOOL, dir=str(self._folder)) as file:
                self._write_group(group, file)

    def _group(self, plane: _Plane) -> Index:
        """What planes have in common that are written together; they follow each other."""
        index = plane[1]
        if self._shared is None:
            return index
        return (*index[: self._shared], index[self._shared] // self._unit[self._shared])

    def _write_plane(self, index: Index, bands: Bands) -> None:
        """Write a plane by rows of chunks."""
        top = 0
        for rows in regroup(bands, self._page, self._unit[-2]):
            bottom = top + len(rows)
            region = (*(slice(place, place + 1) for place in index), slice(top, bottom), slice(0, self._page.width))
            self._array[region] = rows.reshape([each.stop - each.start for each in region])
            top = bottom

    def _write_group(self, group: Iterable[_Plane], file: IO[bytes]) -> None:
        """Write planes by way of a file: a row of chunks of one plane, or several planes, at a time."""
        page = self._page
        height = self._unit[-2] if self._shared is None else page.height
        planes: list[Index] = []
        for _, index, bands in group:
            planes.append(index)
            row = 0
            for rows in _cut(bands, height):
                file.write(np.ascontiguousarray(rows).data)
                row += len(rows)
                if self._shared is None and (row % height == 0 or row == page.height):
                    self._flush(file, planes, (row - 1) // height * height, row)
                    file.seek(0)
            if row != page.height:
                raise ValueError(f"bands hold {row} rows of {page.height}")
        if self._shared is not None:
            self._flush(file, planes, 0, page.height)

    def _flush(self, file: IO[bytes], planes: list[Index], top: int, bottom: int) -> None:
        """Write rows ``top:bottom`` of the planes, which the file holds one plane after the other."""
        starts = {index: number * (bottom - top) for number, index in enumerate(planes)}
        around = (slice(min(places), max(places) + 1) for places in zip(*planes, strict=True))
        for _, region in parts((*around, slice(top, bottom), slice(0, self._page.width)), self._unit):
            *leading, rows, columns = region
            block = np.empty([each.stop - each.start for each in region], self._page.dtype)
            for offset in np.ndindex(block.shape[:-2]):
                index = tuple(int(each.start) + step for each, step in zip(leading, offset, strict=True))
                first = starts[index] + rows.start - top
                _read_block(file, self._page, first, columns, block[offset])
            self._array[region] = block


def _cut(bands: Bands, height: int) -> Iterator[Pixels]:
    """The same rows in bands that do not reach over multiples of ``height`` rows."""
    row = 0
    for band in bands:
        while len(band):
            part, band = np.split(band, [height - row % height])
            yield part
            row += len(part)


def _read_block(file: IO[bytes], page: Page, first: int, columns: slice, out: NDArray[Any]) -> None:
    """Columns of the rows from ``first`` on in a file of rows of a page."""
    size = page.dtype.itemsize
    for number, row in enumerate(out, first):
        file.seek((number * page.width + columns.start) * size)
        row[...] = np.frombuffer(file.read(row.nbytes), page.dtype)


def _reduce(larger: Array[Any], smaller: Array[Any]) -> None:
    """Make a level of the one before it by averages over areas, or over volumes where it has fewer planes."""
    for _, unit in parts(whole(smaller), unit_of(smaller)):
        block = np.empty([each.stop - each.start for each in unit], stored_type(smaller))
        for _, region in parts(unit, tuple(smaller.chunks)):
            own = tuple(slice(a.start - b.start, a.stop - b.start) for a, b in zip(region, unit, strict=True))
            block[own] = _mean(larger, smaller, region)
        smaller[unit] = block


def _mean(larger: Array[Any], smaller: Array[Any], region: Region) -> NDArray[Any]:
    """Values of a region of the smaller level: means over their places in the larger one, of what is a number there."""
    edges = [
        np.arange(each.start, each.stop + 1) * large // small
        for each, large, small in zip(region, larger.shape, smaller.shape, strict=True)
    ]
    values: NDArray[Any] = np.asarray(larger[tuple(slice(int(each[0]), int(each[-1])) for each in edges)])
    if values.dtype.kind != "f":
        return np.asarray(np.rint(_sums(values, edges) / _counts(edges)), stored_type(smaller))
    known = np.isfinite(values)
    if known.all():
        return np.asarray(_sums(values, edges) / _counts(edges), stored_type(smaller))
    sums, counts = _sums(np.where(known, values, 0), edges), _sums(known, edges)
    return np.asarray(np.where(counts > 0, sums / np.maximum(counts, 1), np.nan), stored_type(smaller))


def _sums(values: NDArray[Any], edges: list[NDArray[Any]]) -> NDArray[np.float64]:
    """Sums between edges along each axis, the fastest one first."""
    for axis in reversed(range(values.ndim)):
        if values.shape[axis] > len(edges[axis]) - 1:
            values = np.add.reduceat(values, edges[axis][:-1] - edges[axis][0], axis, np.float64)
    return np.asarray(values, np.float64)


def _counts(edges: list[NDArray[Any]]) -> NDArray[Any]:
    """How many values each sum has."""
    return reduce(np.multiply.outer, map(np.diff, edges))
