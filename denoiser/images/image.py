"""The value objects that travel between files, the batch and the network.

A *page* is one picture of a file: a file of most formats has one, a TIFF or a stacked ``.npy`` has
many. Pixels stay as the file stores them, ``(H, W, C)``, until :mod:`denoiser.images.pixels` turns
them into numbers for a network.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from denoiser.errors import UsageError

Pixels = NDArray[Any]
"""Pixels as stored: (H, W, C), C >= 1, any of the supported dtypes, alpha last when there is one."""


@dataclass(frozen=True)
class Page:
    """Size and meaning of one page, known without decoding its pixels.

    ``channels`` counts alpha. ``dtype`` is what :meth:`Source.read` returns: palette and 1-bit
    pictures are expanded on reading (RGB(A) or 8-bit gray), 2- and 4-bit gray to 8 bit.
    """

    height: int
    width: int
    channels: int
    dtype: np.dtype[Any]
    alpha: bool = False
    nodata: float | None = None
    """Value that marks missing pixels (GDAL_NODATA), besides NaN and infinities."""

    @property
    def nbytes(self) -> int:
        return self.height * self.width * self.channels * self.dtype.itemsize


@dataclass(frozen=True)
class Header:
    """What a file is, read from its first bytes and directories alone."""

    path: Path
    format: str
    """``png``, ``jpeg``, ``webp``, ``bmp``, ``tiff``, ``npy`` or ``zarr``."""
    pages: tuple[Page, ...]
    streams: bool
    """True where rows can be read without decoding the whole file (TIFF strips and tiles, .npy, chunks of Zarr)."""
    metadata: Any = field(default=None, repr=False, compare=False)
    """Private to the codec: everything needed to write the file back as it was."""
    held: int = 0
    """Bytes that reading and writing hold besides the rows on their way: strips, or rows of tiles, of TIFF."""
    warnings: tuple[str, ...] = ()
    """What the user should know of the file though it can be read."""

    @property
    def megapixels(self) -> float:
        return sum(page.height * page.width for page in self.pages) / 1e6


class Source(Protocol):
    """An open input file. Used by one thread at a time; a context manager."""

    header: Header

    def read(self, page: int, start: int, stop: int) -> Pixels:
        """Rows ``start:stop`` of a page, (stop - start, W, C).

        Raises
        ------
        InputError
            If the data are damaged. The message names the file.
        """
        ...

    def close(self) -> None: ...

    def __enter__(self) -> Source: ...

    def __exit__(self, *exc: object) -> None: ...


Bands = Iterator[Pixels]
"""Consecutive bands of rows of one page, top to bottom, together the whole page."""

PageBands = Iterable[Bands]
"""The pages of a file in order, each as its bands. Lazily consumed by a writer."""


@dataclass(frozen=True)
class Target:
    """How an output file is to be written."""

    format: str = "keep"
    """One of the formats of :class:`Header`, or ``keep`` for that of the input."""
    quality: int | None = None
    """1 to 100 for lossy formats. None takes the input's own quantisation tables where it has some."""
    compress_level: int | None = None
    """zlib level 0 to 9 of PNG and of deflated TIFF. None is the fast setting that suits pictures."""

    def __post_init__(self) -> None:
        if self.quality is not None and not 1 <= self.quality <= 100:
            raise UsageError(f"quality {self.quality} is not between 1 and 100")
        if self.compress_level is not None and not 0 <= self.compress_level <= 9:
            raise UsageError(f"compression level {self.compress_level} is not between 0 and 9")
