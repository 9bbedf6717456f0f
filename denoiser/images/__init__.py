"""Picture files to pixels and back without losing a bit.

>>> from pathlib import Path
>>> from denoiser import images
>>> with images.open_source(Path("in.tif")) as source:                           # doctest: +SKIP
...     pages = ([source.read(i, 0, page.height)] for i, page in enumerate(source.header.pages))
...     images.save(Path("out.tif"), source.header, map(iter, pages), images.Target())
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from denoiser.errors import InputError
from denoiser.images import arrays, bmp, jpeg, png, tiff, tiff_write, webp, zarr_read, zarr_write
from denoiser.images.bands import gather
from denoiser.images.conversion import convert, written_page
from denoiser.images.formats import (
    CAPABILITIES,
    SUFFIXES,
    detect,
    holds_group,
    is_picture,
    is_store,
    losses,
    refusal,
    resolve,
    signature,
)
from denoiser.images.image import Bands, Header, Page, PageBands, Pixels, Source, Target
from denoiser.images.metadata import Metadata
from denoiser.images.tiff_record import TiffRecord, fresh_ifd
from denoiser.images.walk import pictures_below

__all__ = [
    "CAPABILITIES",
    "SUFFIXES",
    "Bands",
    "Header",
    "Page",
    "PageBands",
    "Pixels",
    "Source",
    "Target",
    "holds_group",
    "is_picture",
    "is_store",
    "losses",
    "open_source",
    "pictures_below",
    "refusal",
    "save",
    "signature",
]

_SOURCES: dict[str, Callable[[Path, int | None], Source]] = {
    "png": png.PngSource,
    "jpeg": jpeg.JpegSource,
    "webp": webp.WebpSource,
    "bmp": bmp.BmpSource,
    "tiff": tiff.TiffSource,
    "npy": arrays.NpySource,
    "zarr": zarr_read.ZarrSource,
}

_RASTER_WRITERS: dict[str, Callable[[Path, Pixels, Metadata, Target], None]] = {
    "png": png.write_png,
    "jpeg": jpeg.write_jpeg,
    "webp": webp.write_webp,
    "bmp": bmp.write_bmp,
}


def open_source(path: Path, max_bytes: int | None = None) -> Source:
    """Open a picture by reading its headers alone.

    The content decides about the format, whatever the suffix says: a JPEG named ``.png`` is read as JPEG, and written
    as JPEG under its own name unless another format is asked for.

    Parameters
    ----------
    path : Path
    max_bytes : int or None
        Refuse a picture that has to be decoded as a whole and takes more bytes than this; None sets no limit.

    Returns
    -------
    Source
        A context manager; ``header`` says what is in the file and ``read`` gives rows.

    Raises
    ------
    InputError
        If the file is missing, unreadable, not regular, empty, damaged, too large, or not a picture.
    """
    path = Path(path)
    return _SOURCES[detect(path)](path, max_bytes)


def save(path: Path, like: Header, pages: PageBands, target: Target | None = None) -> None:
    """Write a picture with everything that the input's file said besides its pixels.

    Parameters
    ----------
    path : Path
        Written directly; the caller gives a temporary name, syncs and renames. A half-written file stays on errors.
        OME-Zarr makes a directory of it.
    like : Header
        Of the input.
    pages : iterable of iterators of ndarray
        For each page its bands of rows, (rows, W, C), with the dtype and channels of ``like.pages``. Pulled lazily:
        TIFF, .npy and OME-Zarr hold about one band at a time, other formats the page.
    target : Target or None
        None writes the input's format.

    Raises
    ------
    InputError
        If the target format cannot hold the picture even with losses, see :func:`refusal`.
    UsageError
        If there is no such format.
    OSError
        If the file cannot be written.
    """
    path, target = Path(path), target or Target()
    format = resolve(like, target.format)
    reason = refusal(like, format)
    if reason:
        raise InputError(f"{like.path}: {reason}")
    written = like.pages if format == like.format else tuple(written_page(page, format) for page in like.pages)
    metadata = like.metadata if isinstance(like.metadata, Metadata) else Metadata()
    bands = (
        convert(rows, page, out, format, metadata) for rows, page, out in zip(pages, like.pages, written, strict=True)
    )
    native: Any = metadata.native if format == like.format else None
    if format == "tiff":
        tiff_write.write_tiff(path, written, native or _fresh_record(written, metadata), bands, target)
    elif format == "npy":
        arrays.write_npy(path, written, native, bands)
    elif format == "zarr":
        zarr_write.write_zarr(path, like.path, native, bands)
    else:
        whole = [gather(rows, page) for rows, page in zip(bands, written, strict=True)]
        _RASTER_WRITERS[format](path, whole[0], metadata, target)


def _fresh_record(pages: tuple[Page, ...], metadata: Metadata) -> TiffRecord:
    ifds = tuple(fresh_ifd(page, metadata.common, metadata.cmyk) for page in pages)
    return TiffRecord("<", False, ifds)
