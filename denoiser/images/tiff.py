"""Reading TIFF: pages, stacks, tiles and strips, of which only those are decoded that rows are asked from."""

from __future__ import annotations

import itertools
import logging
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from tifffile import COMPRESSION, PHOTOMETRIC

from denoiser.errors import InputError
from denoiser.images.image import Header, Page, Pixels
from denoiser.images.metadata import Metadata
from denoiser.images.raster import check_size, reading
from denoiser.images.tiff_listing import LARGEST_SEGMENT, Listing, segment_height, subpages
from denoiser.images.tiff_record import JPEG_COMPRESSIONS, PREMULTIPLIED, Ifd, TiffRecord, particular_of

# What tifffile has to say about odd files would reach the user's stderr as lines that name no file.
logging.getLogger("tifffile").addHandler(logging.NullHandler())

_KEPT_ROWS = 512
"""Decoded rows kept from one read to the next: enough for the context that neighbouring bands share."""

_KEPT_BYTES = 16 << 20
"""Of larger strips or rows of tiles only those rows are kept that follow the ones asked for."""

_HELD_SEGMENTS = 2
"""Strips or rows of tiles held while a page streams: rows of one are left over from reading, one is gathered to be
written."""

_JPEG_DECODERS = (*JPEG_COMPRESSIONS, 33007, 34892)
"""Compressions whose decoder needs tables from the directory; the last two are variants of JPEG."""
_NATIVE = "<" if sys.byteorder == "little" else ">"


class TiffSource:
    """An open TIFF file."""

    header: Header

    def __init__(self, path: Path, max_bytes: int | None = None) -> None:
        self._path = path
        with reading(path):
            self._tif = tifffile.TiffFile(path)
        self._current: tuple[int, tifffile.TiffPage] | None = None
        self._rows: dict[tuple[int, int], tuple[int, Pixels]] = {}
        """Decoded rows by page and number of the strip or row of tiles, with the number of the first one."""
        try:
            with reading(path):
                self._list_pages(max_bytes)
        except BaseException:
            self._tif.close()
            raise

    def _list_pages(self, max_bytes: int | None) -> None:
        tif, path = self._tif, self._path
        if tif.is_stk or tif.is_lsm or tif.is_eer:
            raise InputError(f"{path}: a vendor's variety of TIFF; convert it to OME-TIFF first")
        listing = Listing(path, keep_indices=bool(tif.is_imagej or tif.is_ome), size=tif.filehandle.size)
        for number in range(len(tif.pages)):
            listing.add(number, tif.pages[number].aspage())
        if not listing.pages:
            raise InputError(f"{path}: holds no picture")
        if listing.largest > LARGEST_SEGMENT:
            check_size(path, listing.largest, max_bytes, "its strips or tiles")
        self._addresses = listing.addresses
        self._ifds = tuple(listing.ifds)
        count = _virtual_pages(tif, listing.pages)
        self._virtual = count > 1
        metadata = Metadata(
            common=listing.common,
            native=TiffRecord(tif.byteorder, tif.is_bigtiff, self._ifds, self._virtual),
            lossy=any(ifd.compression in JPEG_COMPRESSIONS for ifd in self._ifds),
            reduced=any(ifd.levels for ifd in self._ifds),
            cmyk=self._ifds[0].photometric == PHOTOMETRIC.SEPARATED,
            white_is_zero=self._ifds[0].photometric == PHOTOMETRIC.MINISWHITE and self._ifds[0].bits != 1,
            premultiplied=listing.pages[0].alpha and self._ifds[0].extrasamples[-1] == PREMULTIPLIED,
            particular=particular_of(self._ifds),
            dropped=tuple(dict.fromkeys(listing.dropped)),
        )
        held = _HELD_SEGMENTS * listing.largest if listing.streams else 0
        self.header = Header(path, "tiff", tuple(listing.pages) * count, listing.streams, metadata, held)

    def read(self, page: int, start: int, stop: int) -> Pixels:
        """Rows ``start:stop`` of a page, (stop - start, W, C)."""
        with reading(self._path):
            number = 0 if self._virtual else page
            directory, ifd, shape = self._directory(number), self._ifds[number], self.header.pages[page]
            if _is_plain(directory, ifd):
                offset = directory.dataoffsets[0] + (page * shape.nbytes if self._virtual else 0)
                return self._read_plain(offset, shape, ifd.planar, start, stop)
            return self._read_segments(page, directory, ifd, start, stop)

    def _directory(self, number: int) -> tifffile.TiffPage:
        """The directory of a page. The last one is kept; all of a long stack would fill the memory."""
        if self._current is not None and self._current[0] == number:
            return self._current[1]
        main, sub = self._addresses[number]
        directory = self._tif.pages[main].aspage()
        if sub is not None:
            directory = subpages(directory)[sub]
        if directory.compression == COMPRESSION.NONE:
            directory.predictor = 1  # says nothing there, and other readers pass over it; tifffile would apply it
        self._current = (number, directory)
        return directory

    def _read_plain(self, offset: int, page: Page, planar: bool, start: int, stop: int) -> Pixels:
        """Uncompressed rows that lie behind each other, straight from the file."""
        planes, samples = (page.channels, 1) if planar else (1, page.channels)
        row_bytes = page.width * samples * page.dtype.itemsize
        pixels: Pixels = np.empty((planes, stop - start, page.width, samples), page.dtype)
        handle = self._tif.filehandle
        for plane in range(planes):
            handle.seek(offset + (plane * page.height + start) * row_bytes)
            wanted = pixels[plane].reshape(-1).view(np.uint8)
            if handle.readinto(wanted) != wanted.size:
                raise InputError(f"{self._path}: cut short, its end is missing; copy it again from its source")
        if self._tif.byteorder != _NATIVE:
            pixels.byteswap(inplace=True)
        return np.ascontiguousarray(np.moveaxis(pixels[..., 0], 0, -1)) if planar else pixels[0]

    def _read_segments(self, page: int, directory: tifffile.TiffPage, ifd: Ifd, start: int, stop: int) -> Pixels:
        shape = self.header.pages[page]
        pixels = np.empty((stop - start, shape.width, shape.channels), shape.dtype)
        height = segment_height(directory)
        before, self._rows = self._rows, {}
        for row in range(start // height, math.ceil(stop / height)):
            top, bottom = row * height, min((row + 1) * height, shape.height)
            first, last = max(start, top), min(stop, bottom)
            wanted = pixels[first - start : last - start]
            large = (bottom - top) * pixels[0].nbytes > _KEPT_BYTES
            begin, rows = before.pop((page, row), (bottom, None))
            if rows is not None and begin <= first:
                wanted[...] = rows[first - begin : last - begin]
            else:
                begin = last if large else top
                rows = np.empty((bottom - begin, shape.width, shape.channels), shape.dtype)
                self._decode_row(directory, ifd, shape, row, ((first - top, wanted), (begin - top, rows)))
            if last < bottom or (last > stop - _KEPT_ROWS and not large):
                self._rows[page, row] = begin, rows
        return pixels

    def _decode_row(
        self, directory: tifffile.TiffPage, ifd: Ifd, page: Page, row: int, parts: tuple[tuple[int, Pixels], ...]
    ) -> None:
        """Decode a strip, or a row of tiles, into parts of it: each its first row and (rows, W, C) to be filled."""
        height = segment_height(directory)
        rows = min(height, page.height - row * height)
        planes = directory.samplesperpixel if ifd.planar else 1
        samples = 1 if ifd.planar else directory.samplesperpixel
        across = math.ceil(page.width / directory.tilewidth) if directory.is_tiled else 1
        down = math.ceil(page.height / height)
        sparse = np.bool_ if ifd.bits == 1 else directory.dtype
        for plane, column in itertools.product(range(planes), range(across)):
            left = column * directory.tilewidth if directory.is_tiled else 0
            right = min(left + directory.tilewidth, page.width) if directory.is_tiled else page.width
            segment = self._segment(directory, (plane * down + row) * across + column)
            if segment is None:
                segment = np.full((1, rows, right - left, samples), directory.nodata, sparse)
            decoded = _expand(segment[0, :rows, : right - left], ifd)
            channels = slice(plane, plane + 1) if ifd.planar else slice(None)
            for first, part in parts:
                part[:, left:right, channels] = decoded[first : first + len(part)]

    def _segment(self, directory: tifffile.TiffPage, index: int) -> Any:
        """One decoded strip or tile, (1, h, w, samples), or None where the file leaves it out."""
        offset, count = directory.dataoffsets[index], directory.databytecounts[index]
        if not (offset and count):
            return None
        handle = self._tif.filehandle
        handle.seek(offset)
        data = handle.read(count)
        if len(data) < count:
            raise InputError(f"{self._path}: cut short, its end is missing; copy it again from its source")
        jpeg = directory.compression in _JPEG_DECODERS
        tables = {"jpegtables": directory.jpegtables, "jpegheader": directory.jpegheader} if jpeg else {}
        return directory.decode(data, index, **tables)[0]

    def close(self) -> None:
        self._rows = {}
        self._tif.close()

    def __enter__(self) -> TiffSource:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _expand(decoded: Any, ifd: Ifd) -> Pixels:
    """Indices to colours, and samples of less than 8 bits to the range of 8."""
    if ifd.palette is not None:
        # An index beyond the palette takes its last colour, as viewers show it.
        colours: Pixels = ifd.palette[np.minimum(decoded[:, :, 0], len(ifd.palette) - 1)]
        return colours
    if not ifd.bits:
        return np.asarray(decoded)
    most = (1 << ifd.bits) - 1
    samples = decoded.astype(np.uint16)
    if ifd.bits == 1 and ifd.photometric == PHOTOMETRIC.MINISWHITE:
        samples = most - samples
    return np.asarray((samples * 255 + most // 2) // most, np.uint8)


def _is_plain(directory: tifffile.TiffPage, ifd: Ifd) -> bool:
    """Whether rows can be read from the file without any decoding."""
    return bool(
        not directory.is_tiled
        and directory.dtype is not None
        and directory.compression == 1
        and directory.fillorder == 1
        and ifd.palette is None
        and directory.bitspersample == directory.dtype.itemsize * 8
        and directory.dtype.kind in "iuf"
        and directory.dataoffsets[0]
        and directory.is_contiguous
    )


def _virtual_pages(tif: tifffile.TiffFile, pages: list[Page]) -> int:
    """How many pages follow behind the one directory of a large ImageJ or tifffile stack; else 1."""
    if len(tif.pages) != 1 or len(pages) != 1 or not (tif.is_imagej or tif.is_shaped):
        return 1
    series = tif.series[0]
    count = series.size // (pages[0].height * pages[0].width * pages[0].channels)
    return count if count > 1 and series.dataoffset is not None else 1
