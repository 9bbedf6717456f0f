"""What the directories of a TIFF say of its pages: which there are, and which of them can be read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from tifffile import COMPRESSION, PHOTOMETRIC

from denoiser.errors import InputError
from denoiser.images.formats import NUMBERS, type_code
from denoiser.images.image import Page
from denoiser.images.metadata import Common
from denoiser.images.pyramid import is_reduced
from denoiser.images.tiff_record import (
    JPEG_COMPRESSIONS,
    MASK_PAGE,
    PREMULTIPLIED,
    REDUCED_PAGE,
    Ifd,
    Level,
    common_of,
    dropped_by,
    nodata_of,
    read_ifd,
)
from denoiser.images.tiff_write import written_compression

LARGEST_SEGMENT = 64 << 20
"""Pages whose strips or tile rows decode to more than this many bytes count as streaming only if they have many."""

_MANY_SEGMENTS = 8

_REFUSED = {
    PHOTOMETRIC.CFA: "raw sensor data; develop it to RGB first",
    PHOTOMETRIC.CIELAB: "in CIE L*a*b*; convert it to RGB first",
    PHOTOMETRIC.ITULAB: "in ITU L*a*b*; convert it to RGB first",
    PHOTOMETRIC.LOGL: "in logarithmic luminance; convert it to floating point first",
    PHOTOMETRIC.LOGLUV: "in logarithmic LUV; convert it to floating point RGB first",
}
_TO_RGB = (*JPEG_COMPRESSIONS, 33007, 34892, COMPRESSION.WEBP, COMPRESSION.JPEGXL, COMPRESSION.JPEGXL_DNG)
"""Compressions whose decoders turn YCbCr into RGB."""
_APERIO_YCBCR = 33003
"""JPEG 2000 in slides of one maker, whose decoder gives YCbCr whatever the directory says; elsewhere it gives RGB."""
_ALPHA_KINDS = (PREMULTIPLIED, 2)  # ExtraSamples

_Address = tuple[int, int | None]
"""Number of a main directory, and of a SubIFD below it."""


class Listing:
    """What the directories of a file say, gathered one by one."""

    def __init__(self, path: Path, keep_indices: bool, size: int) -> None:
        self._path = path
        self._keep_indices = keep_indices
        self._size = size
        self.pages: list[Page] = []
        self.ifds: list[Ifd] = []
        self.addresses: list[_Address] = []
        self.dropped: list[str] = []
        self.common = Common()
        self.streams = True
        self.largest = 0
        """Bytes of the largest strip or row of tiles."""

    def add(self, number: int, main: tifffile.TiffPage) -> None:
        """Take in a main directory and the SubIFDs below it: reduced versions of the page, or pages of their own."""
        if _is_mask(main):
            self.dropped.append("transparency masks")
            return
        below = subpages(main)
        pictures = {index: page for index, page in enumerate(below) if not _is_mask(page)}
        if len(pictures) < len(below):
            self.dropped.append("transparency masks")
        if self.pages and _is_flagged(main) and (level := self._level(main, sub=False)):
            self._add_levels([level])
            return
        self._take(main, (number, None), 0)
        levels = [self._level(page, sub=True) for page in pictures.values()]
        if all(levels):
            self._add_levels(filter(None, levels))
            return
        self.ifds[-1] = replace(self.ifds[-1], reduced=len(pictures))
        for index, page in pictures.items():
            if page.subifds:
                self.dropped.append("SubIFDs below SubIFDs")
            self._take(page, (number, index), 0)

    def _level(self, directory: tifffile.TiffPage, sub: bool) -> Level | None:
        """A directory as a reduced version of the page before it; None where it is none."""
        _check_layout(self._path, directory)
        ifd = read_ifd(directory, self._keep_indices)
        page = _page(self._path, directory, ifd)
        return Level(page, ifd, sub) if is_reduced(self.pages[-1], page) and not directory.subifds else None

    def _add_levels(self, levels: Iterable[Level]) -> None:
        self.ifds[-1] = replace(self.ifds[-1], levels=(*self.ifds[-1].levels, *levels))

    def _take(self, directory: tifffile.TiffPage, address: _Address, reduced: int) -> None:
        _check_layout(self._path, directory)
        ifd = replace(read_ifd(directory, self._keep_indices), reduced=reduced)
        page = _page(self._path, directory, ifd)
        _check_extent(self._path, directory, self._size)
        if not self.pages:
            self.common = common_of(directory, ifd)
        self.pages.append(page)
        self.ifds.append(ifd)
        self.addresses.append(address)
        self.dropped += dropped_by(directory, ifd)
        if ifd.compression not in (written_compression(page, ifd), COMPRESSION.OJPEG) and not ifd.bits:
            self.dropped.append(f"{COMPRESSION(ifd.compression).name} compression")
        if ifd.palette is None and 8 < directory.bitspersample < 8 * page.dtype.itemsize:
            # Their values stay as they are: it is the container that grows.
            self.dropped.append(f"samples of {directory.bitspersample} bits (they take {8 * page.dtype.itemsize})")
        if not _is_uncompressed(directory):
            segment = _segment_bytes(directory, page)
            self.largest = max(self.largest, segment)
            self.streams &= segment <= max(LARGEST_SEGMENT, page.nbytes // _MANY_SEGMENTS)


def subpages(page: tifffile.TiffPage) -> list[tifffile.TiffPage]:
    return [sub.aspage() for sub in page.pages] if page.subifds and page.pages is not None else []


def _is_flagged(page: tifffile.TiffPage) -> bool:
    """Whether a directory says of itself that it is a reduced version of another."""
    return bool((page.tags.valueof(254) or 0) & REDUCED_PAGE)


def _is_mask(page: tifffile.TiffPage) -> bool:
    return bool((page.tags.valueof(254) or 0) & MASK_PAGE)


def _check_layout(path: Path, page: tifffile.TiffPage) -> None:
    """Damaged fields may hold several numbers, or none, where others count on one."""
    bits = page.bitspersample
    if isinstance(bits, tuple) and len(bits) == page.samplesperpixel:
        raise InputError(f"{path}: samples of {', '.join(map(str, bits))} bits are not supported; convert it to RGB")
    sides = [page.imagelength, page.imagewidth, page.samplesperpixel, page.bitspersample]
    sides += [page.tilelength, page.tilewidth] if page.is_tiled else [page.rowsperstrip]
    if not all(isinstance(side, int) and side > 0 for side in sides):
        raise InputError(f"{path}: has a page without a proper size; the file is damaged")


def _page(path: Path, page: tifffile.TiffPage, ifd: Ifd) -> Page:
    reason = _REFUSED.get(PHOTOMETRIC(page.photometric))
    if _is_ycbcr(page):
        reason = "in YCbCr with a compression other than JPEG; convert it to RGB first"
    if reason:
        raise InputError(f"{path}: is {reason}")
    if page.imagedepth > 1:
        raise InputError(f"{path}: stores volumes in one page; convert it to one page a slice")
    dtype = _read_as(page, ifd)
    if dtype is None or type_code(dtype) not in NUMBERS:
        kind = page.dtype or f"{page.bitspersample}-bit samples"
        raise InputError(f"{path}: pixels of type {kind} are not supported; convert them to uint16 or float32")
    alphas = [kind in _ALPHA_KINDS for kind in ifd.extrasamples]
    if any(alphas[:-1]):
        raise InputError(f"{path}: its alpha channel is not the last one; reorder the channels")
    samples = page.samplesperpixel if ifd.palette is None else page.samplesperpixel + 2
    if ifd.palette is not None and page.samplesperpixel != 1:
        raise InputError(f"{path}: a palette with {page.samplesperpixel} samples a pixel; convert it to RGB")
    alpha = bool(alphas and alphas[-1]) and samples > 1
    return Page(page.imagelength, page.imagewidth, samples, dtype, alpha, nodata_of(page))


def _is_ycbcr(page: tifffile.TiffPage) -> bool:
    """Whether the decoded samples are brightness and colour differences, which nobody turns into RGB here."""
    if page.is_svs and page.compression == _APERIO_YCBCR:
        return True
    return bool(page.photometric == PHOTOMETRIC.YCBCR and page.compression not in _TO_RGB)


def _read_as(page: tifffile.TiffPage, ifd: Ifd) -> np.dtype[Any] | None:
    if ifd.palette is not None:
        return ifd.palette.dtype
    if ifd.bits:
        return np.dtype(np.uint8) if page.dtype is not None and page.dtype.kind in "bu" else None
    return None if page.dtype is None else np.dtype(page.dtype).newbyteorder("=")


def segment_height(directory: tifffile.TiffPage) -> int:
    return int(directory.tilelength if directory.is_tiled else min(directory.rowsperstrip, directory.imagelength))


def _is_uncompressed(directory: tifffile.TiffPage) -> bool:
    return bool(directory.compression == 1 and not directory.is_tiled)


def _segment_bytes(directory: tifffile.TiffPage, page: Page) -> int:
    """Bytes that have to be decoded for a single row."""
    width = max(page.width, directory.tilewidth if directory.is_tiled else 0)
    return segment_height(directory) * width * page.channels * page.dtype.itemsize


def _check_extent(path: Path, page: tifffile.TiffPage, size: int) -> None:
    """A file that ends before its last strip or tile is refused before anything is computed."""
    ends = (offset + count for offset, count in zip(page.dataoffsets, page.databytecounts, strict=False) if count)
    if not page.dataoffsets or max(ends, default=0) > size:
        raise InputError(f"{path}: cut short, its end is missing; copy it again from its source")
