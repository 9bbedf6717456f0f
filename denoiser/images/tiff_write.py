"""Writing TIFF as a stream: memory is set by the height of a band, not by the size of a picture."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, islice
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import IO, Any

import numpy as np
import tifffile
from tifffile import COMPRESSION, PHOTOMETRIC

from denoiser.images.bands import regroup
from denoiser.images.formats import NUMBERS, type_code
from denoiser.images.image import Bands, Page, Pixels, Target
from denoiser.images.pyramid import Pyramid
from denoiser.images.tiff_exif import attach, stand_ins
from denoiser.images.tiff_record import JPEG_COMPRESSIONS, Ifd, TiffRecord

_CLASSIC_LIMIT = 2**32 - 2**25
"""Bytes above which 32-bit offsets might not do; what compression saves is not known beforehand."""

_STRIP = 256 << 10
_LARGEST_STRIP = 32 << 20
"""Input strips that hold more bytes than this are written smaller, so that they can be streamed."""

_SPOOL = 32 << 20
_PARALLEL = 8 << 20
"""Bytes of a page from which on it is worth to compress in several threads."""

_DEFLATE_LEVEL = 1
"""Within 1% of the size of level 6 on predicted photographs, and half as long again in speed."""
_JPEG_QUALITY = 95

_DEFLATES = (COMPRESSION.ADOBE_DEFLATE, COMPRESSION.DEFLATE)
_PREDICTABLE = (COMPRESSION.LZW, COMPRESSION.LZMA, COMPRESSION.ZSTD, *_DEFLATES)


@dataclass(frozen=True)
class _Codec:
    """A compression that can be written, the arguments that make it lossless, and the pixels that it takes."""

    arguments: dict[str, Any] = field(default_factory=dict)
    dtypes: frozenset[str] = NUMBERS
    channels: tuple[int, ...] = ()
    """Of interleaved pixels; any number if empty."""
    side: int = 2**31
    """Pixels a side of a strip or tile."""


_8_BIT, _TO_16_BIT = frozenset({"u1"}), frozenset({"u1", "u2"})
_CODECS: dict[int, _Codec] = {
    COMPRESSION.NONE: _Codec(),
    COMPRESSION.LZW: _Codec(),
    COMPRESSION.PACKBITS: _Codec({"axis": -2}),
    COMPRESSION.LZMA: _Codec(),
    COMPRESSION.ZSTD: _Codec(),
    COMPRESSION.LERC: _Codec(),
    COMPRESSION.ADOBE_DEFLATE: _Codec(),
    COMPRESSION.DEFLATE: _Codec(),
    COMPRESSION.JPEG: _Codec({}, _8_BIT, (1, 3), 65500),
    COMPRESSION.PNG: _Codec({}, _TO_16_BIT, (1, 3, 4)),
    COMPRESSION.WEBP: _Codec({"lossless": True}, _8_BIT, (3, 4), 16383),
    COMPRESSION.JPEGXL: _Codec({"lossless": True}, _TO_16_BIT, (1, 3, 4)),
    COMPRESSION.JPEGXL_DNG: _Codec({"lossless": True}, _TO_16_BIT, (1, 3, 4)),
    COMPRESSION.JPEG2000: _Codec({"codecformat": 0, "reversible": True}, _TO_16_BIT, (1, 3, 4)),
}

_Encode = Callable[[Pixels], bytes]


def write_tiff(path: Path, pages: tuple[Page, ...], record: TiffRecord, bands: Iterable[Bands], target: Target) -> None:
    """Write pages as TIFF.

    Parameters
    ----------
    path : Path
    pages : tuple of Page
    record : TiffRecord
        Directories of the pages.
    bands : iterable of iterators of ndarray
        Of each page in order, pulled one by one.
    target : Target
    """
    bigtiff = record.bigtiff or sum(page.nbytes for page in pages) > _CLASSIC_LIMIT
    with tifffile.TiffWriter(path, bigtiff=bigtiff, byteorder=record.byteorder, ome=False, shaped=False) as writer:
        if record.virtual:
            whole = chain.from_iterable(bands)
            _PageWriter(writer, pages[0], record.ifds[0], target, path.parent).write_stack(len(pages), whole)
            return
        for page, ifd, rows in zip(pages, record.ifds, bands, strict=True):
            _write_page(writer, page, ifd, rows, target, path.parent)
            for _ in rows:
                raise ValueError("more rows than the page has")
    main = _main_directories(record.ifds)
    attach(path, ((number, ifd.exif) for number, ifd in enumerate(main)))


def _main_directories(ifds: tuple[Ifd, ...]) -> list[Ifd]:
    main, position = [], 0
    while position < len(ifds):
        main.append(ifds[position])
        main += [level.ifd for level in ifds[position].levels if not level.sub]
        position += 1 + ifds[position].reduced
    return main


def _write_page(writer: tifffile.TiffWriter, page: Page, ifd: Ifd, rows: Bands, target: Target, folder: Path) -> None:
    """A page, and behind it its reduced versions."""
    with ExitStack() as stack:
        pyramid = Pyramid(page, [level.page for level in ifd.levels], folder, stack)
        _PageWriter(writer, page, ifd, target, folder).write(pyramid.watch(rows))
        for level, made in zip(ifd.levels, pyramid.levels, strict=True):
            own = _PageWriter(writer, level.page, level.ifd, target, folder)
            own.write(made.bands(own.rows))


class _PageWriter:
    """Writes one page; holds what was decided about its layout."""

    def __init__(self, writer: tifffile.TiffWriter, page: Page, ifd: Ifd, target: Target, folder: Path) -> None:
        self._writer = writer
        self._page = page
        self._ifd = ifd
        self._folder = folder
        self._planar = ifd.planar and page.channels > 1
        self._compression = written_compression(page, ifd)
        self._predictor = _predictor(page, ifd, self._compression)
        self._colours = _colours(page, ifd)
        self._jpeg = self._compression == COMPRESSION.JPEG
        self._subsampling = self._chroma()
        self._tile = self._tiles()
        self.rows = self._tile[0] if self._tile else self._strip_rows()
        self._arguments = self._codec_arguments(target)

    def write(self, bands: Bands) -> None:
        page = self._page
        shape: tuple[int, ...] = (page.height, page.width)
        if page.channels > 1:
            shape = (page.channels, *shape) if self._planar else (*shape, page.channels)
        with ExitStack() as stack:
            self._write(shape, self._data(bands, stack))

    def write_stack(self, count: int, bands: Iterator[Pixels]) -> None:
        """Uncompressed pages one behind the other, each with a directory of its own."""
        page = self._page
        shape: tuple[int, ...] = (count, page.height, page.width)
        self.rows = page.height
        self._write(shape if page.channels == 1 else (*shape, page.channels), (np.ascontiguousarray(b) for b in bands))

    def _write(self, shape: tuple[int, ...], data: Iterator[Any]) -> None:
        page, ifd = self._page, self._ifd
        order = self._writer.tiff.byteorder
        extra = self._extrasamples()
        self._writer.write(
            data,
            shape=shape,
            dtype=page.dtype,
            photometric=self._colours,
            planarconfig=(2 if self._planar else 1) if page.channels > 1 else None,
            extrasamples=extra or None,
            tile=self._tile,
            rowsperstrip=None if self._tile else self.rows,
            compression=self._compression,
            compressionargs={"outcolorspace": self._arguments["outcolorspace"]} if self._subsampling else None,
            predictor=self._predictor,
            subsampling=self._subsampling,
            resolution=ifd.resolution,
            resolutionunit=ifd.resolution_unit if ifd.resolution else None,
            subfiletype=ifd.subfiletype,
            software=False,
            subifds=ifd.reduced or sum(level.sub for level in ifd.levels) or None,
            metadata=None,
            extratags=[
                *(tag.for_writer(order) for tag in ifd.tags),
                *stand_ins((code for code, _ in ifd.exif), self._writer.tiff.is_bigtiff),
            ],
        )

    def _extrasamples(self) -> tuple[int, ...]:
        usual = tifffile.TIFF.PHOTOMETRIC_SAMPLES[self._colours]
        missing = self._page.channels - usual
        return ((0,) * missing + self._ifd.extrasamples)[-missing:] if missing > 0 else ()

    def _chroma(self) -> tuple[int, int] | None:
        """Subsampling, for JPEG with colours; None for everything else."""
        if not self._jpeg or self._planar or self._colours != PHOTOMETRIC.RGB:
            return None
        stored_as_ycbcr = self._ifd.photometric == PHOTOMETRIC.YCBCR
        wanted = self._ifd.subsampling if stored_as_ycbcr else (1, 1)
        return wanted if wanted in ((1, 1), (2, 1), (2, 2)) else (1, 1)

    def _tiles(self) -> tuple[int, int] | None:
        tile = self._ifd.tile
        if tile is None or tile[0] % 16 or tile[1] % 16:
            return None
        if self._subsampling and any(side % (8 * max(self._subsampling)) for side in tile):
            self._subsampling = (1, 1)
        return tile

    def _strip_rows(self) -> int:
        page = self._page
        row_bytes = page.width * (1 if self._planar else page.channels) * page.dtype.itemsize
        rows = self._ifd.rows_per_strip
        if rows is None or rows * row_bytes > _LARGEST_STRIP:
            rows = _STRIP // row_bytes
        block = 8 * max(self._subsampling) if self._subsampling else 1
        return max(1, min(math.ceil(max(1, rows) / block) * block, page.height))

    def _codec_arguments(self, target: Target) -> dict[str, Any]:
        if self._compression in _DEFLATES:
            return {"level": _DEFLATE_LEVEL if target.compress_level is None else target.compress_level}
        if not self._jpeg:
            return _CODECS[self._compression].arguments
        quality = {"level": target.quality or _JPEG_QUALITY}
        if self._subsampling is None:
            return quality
        stored = "YCBCR" if self._ifd.photometric == PHOTOMETRIC.YCBCR else "RGB"
        return {**quality, "subsampling": self._subsampling, "colorspace": "RGB", "outcolorspace": stored}

    def _data(self, bands: Bands, stack: ExitStack) -> Iterator[Any]:
        """What TiffWriter takes: rows as they are if nothing is done to them, else encoded strips or tiles."""
        page = self._page
        rows: Iterator[Pixels]
        if self._planar:
            planes = _spool(bands, page, self._folder, stack)
            plane = Page(page.height, page.width, 1, page.dtype)
            rows = chain.from_iterable(_unspool(file, plane, self.rows) for file in planes)
        else:
            rows = regroup(bands, page, self.rows)
        if self._compression == COMPRESSION.NONE and not self._tile:
            return (np.ascontiguousarray(row) for row in rows)
        # A generator expression would keep each row of tiles until the next one is there; map does not.
        pieces = chain.from_iterable(map(partial(_tiles_of, tile=self._tile), rows)) if self._tile else rows
        compresses = self._compression != COMPRESSION.NONE
        workers = tifffile.TIFF.MAXWORKERS if compresses and page.nbytes >= _PARALLEL else 1
        return _encoded(pieces, self._encode, workers)

    def _encode(self, piece: Pixels) -> bytes:
        piece = np.ascontiguousarray(piece, piece.dtype.newbyteorder(self._writer.tiff.byteorder))
        if self._compression == COMPRESSION.NONE:
            return piece.tobytes()
        if self._predictor:
            piece = tifffile.TIFF.PREDICTORS[self._predictor](piece, axis=-2)
        encoded: bytes = tifffile.TIFF.COMPRESSORS[self._compression](piece, **self._arguments)
        return encoded


def written_compression(page: Page, ifd: Ifd) -> int:
    """The input's compression, or deflate where that cannot be written or not with these pixels."""
    wanted = COMPRESSION.JPEG if ifd.compression in JPEG_COMPRESSIONS else ifd.compression
    codec = _CODECS.get(wanted)
    if codec is None or type_code(page.dtype) not in codec.dtypes:
        return int(COMPRESSION.ADOBE_DEFLATE)
    samples = 1 if ifd.planar else page.channels
    sides = ifd.tile or (min(page.height, ifd.rows_per_strip or _STRIP), page.width)
    fits = (not codec.channels or samples in codec.channels) and max(sides) <= codec.side
    return int(wanted if fits else COMPRESSION.ADOBE_DEFLATE)


def _predictor(page: Page, ifd: Ifd, compression: int) -> int | None:
    """The input's predictor where it had one and the compression goes with it."""
    if ifd.predictor == 1 or compression not in _PREDICTABLE:
        return None
    if page.dtype.kind == "f":
        return 3
    return 2 if ifd.predictor == 2 else None


def _colours(page: Page, ifd: Ifd) -> int:
    if ifd.palette is not None:
        return int(PHOTOMETRIC.RGB)
    if page.channels < tifffile.TIFF.PHOTOMETRIC_SAMPLES.get(ifd.photometric, 1):
        return int(PHOTOMETRIC.MINISBLACK)
    if ifd.photometric == PHOTOMETRIC.YCBCR and ifd.compression in JPEG_COMPRESSIONS:
        return int(PHOTOMETRIC.RGB)  # as the decoder gave it
    if ifd.bits == 1 and ifd.photometric == PHOTOMETRIC.MINISWHITE:
        return int(PHOTOMETRIC.MINISBLACK)  # turned round on reading
    return ifd.photometric


def _tiles_of(rows: Pixels, tile: tuple[int, int]) -> Iterator[Pixels]:
    """Tiles of one row of tiles, filled up at the right and lower edge by repeating the last pixel."""
    below = tile[0] - rows.shape[0]
    for left in range(0, rows.shape[1], tile[1]):
        piece = rows[:, left : left + tile[1]]
        beside = tile[1] - piece.shape[1]
        yield np.pad(piece, ((0, below), (0, beside), (0, 0)), "edge") if below or beside else piece


def _encoded(pieces: Iterator[Pixels], encode: _Encode, workers: int) -> Iterator[bytes]:
    """Encoded pieces in order, a few at a time, so that no more than those are held."""
    if workers < 2:
        yield from map(encode, pieces)
        return
    with ThreadPoolExecutor(workers) as pool:
        while group := list(islice(pieces, 4 * workers)):
            yield from pool.map(encode, group)


def _spool(bands: Bands, page: Page, folder: Path, stack: ExitStack) -> list[IO[bytes]]:
    """Channels of a page in files of their own: planes come one after the other in the file, but bands do not."""
    limit = _SPOOL // page.channels
    planes: list[IO[bytes]] = [
        stack.enter_context(SpooledTemporaryFile(limit, dir=str(folder)))  # noqa: SIM115 - closed with the stack
        for _ in range(page.channels)
    ]
    for band in regroup(bands, page, max(1, _STRIP // (page.width * page.dtype.itemsize))):
        for channel, plane in enumerate(planes):
            plane.write(np.ascontiguousarray(band[:, :, channel]).data)
    return planes


def _unspool(file: IO[bytes], plane: Page, rows: int) -> Iterator[Pixels]:
    file.seek(0)
    for top in range(0, plane.height, rows):
        height = min(rows, plane.height - top)
        data = file.read(height * plane.width * plane.dtype.itemsize)
        yield np.frombuffer(data, plane.dtype).reshape(height, plane.width, 1)
