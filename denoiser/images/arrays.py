"""Arrays as pictures: those that users hand over, and NumPy's .npy files. One array is one picture or a stack."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from denoiser.errors import InputError, UsageError
from denoiser.images.formats import NUMBERS, type_code
from denoiser.images.image import Bands, Header, Page, Pixels
from denoiser.images.metadata import Metadata
from denoiser.images.raster import reading

MOST_CHANNELS = 4
"""Of a picture of three dimensions. With more it may as well be a stack of gray pictures."""


def as_pages(given: Any) -> NDArray[Any]:
    """A picture or stack that a user hands over, as (N, H, W, C).

    Raises
    ------
    UsageError
        If it is no picture by its type or shape, something of it is masked, or its shape has two meanings.
    """
    if np.ma.is_masked(given):
        raise UsageError("a mask would be lost: fill it, with NaN where pixels are missing (array.filled(numpy.nan))")
    array: NDArray[Any] = np.asarray(given)
    if array.dtype.kind not in "iuf" or array.dtype.itemsize > (8 if array.dtype.kind == "f" else 4):
        # Arithmetic is in float64 at most, which does not hold every 64-bit integer.
        raise UsageError(
            f"an array of {array.dtype} is no picture here: convert it to 8, 16 or 32-bit integers, or to floats"
        )
    if array.ndim not in (2, 3, 4):
        raise UsageError(
            f"an array of {array.ndim} dimensions is no picture: give one of shape (H, W), (H, W, C) or (N, H, W, C)"
        )
    if array.ndim == 3 and array.shape[2] > MOST_CHANNELS:
        raise UsageError(
            f"an array of shape {array.shape} may be a stack of gray pictures or one of {array.shape[2]} channels: "
            "give array[..., None] for the stack, or array[None] for the picture"
        )
    if array.ndim == 2:
        array = array[..., np.newaxis]
    return array if array.ndim == 4 else array[np.newaxis]


def page_of(pages: NDArray[Any], alpha: bool) -> Page:
    """What each page of a stack (N, H, W, C) is.

    Raises
    ------
    UsageError
        If ``alpha`` is not True or False, or there is nothing besides alpha.
    """
    height, width, channels = pages.shape[1:]
    if not isinstance(alpha, bool | np.bool_):
        raise UsageError(f"alpha {alpha!r}: True where the last channel is alpha, else False")
    if alpha and channels < 2:
        raise UsageError("alpha=True needs a channel besides alpha")
    return Page(height, width, channels, pages.dtype, alpha=bool(alpha))


@dataclass(frozen=True)
class NpyRecord:
    """What is needed to write the same array again."""

    shape: tuple[int, ...]
    dtype: str
    """With byte order."""


class NpySource:
    """An open .npy file, of which only the rows are read that are asked for.

    Axes are told by their number and the length of the last: (H, W); (H, W, C) and (N, H, W, C) with at most four
    channels; else (N, H, W). Four channels of uint8 are RGBA; four of anything else are data.
    """

    header: Header

    def __init__(self, path: Path, max_bytes: int | None = None) -> None:
        with reading(path):
            array = _mapped(path)
        self._path = path
        dtype = array.dtype
        if type_code(dtype) not in NUMBERS:
            raise InputError(f"{path}: pixels of type {dtype} are not supported; convert them to uint16 or float32")
        record = NpyRecord(array.shape, dtype.str)
        self._stack = _as_stack(path, array)
        self._start = array.offset if array.flags.c_contiguous else None
        count, height, width, channels = self._stack.shape
        page = Page(height, width, channels, dtype.newbyteorder("="), alpha=channels == 4 and dtype == np.uint8)
        self.header = Header(path, "npy", (page,) * count, True, Metadata(native=record))

    def read(self, page: int, start: int, stop: int) -> Pixels:
        """Rows ``start:stop`` of a page, (stop - start, W, C)."""
        with reading(self._path):
            if self._start is None:
                return np.array(self._stack[page, start:stop], self.header.pages[page].dtype, order="C", subok=False)
            return self._read(page, start, stop)

    def _read(self, page: int, start: int, stop: int) -> Pixels:
        """Rows of an array in C order. Mapped pages would count as this process's memory until others need it."""
        _, height, width, channels = self._stack.shape
        row = width * channels
        offset = self._start + (page * height + start) * row * self._stack.itemsize
        pixels: Pixels = np.fromfile(self._path, self._stack.dtype, (stop - start) * row, offset=offset)
        if pixels.size != (stop - start) * row:
            raise InputError(f"{self._path}: cut short, its end is missing; copy it again from its source")
        return pixels.reshape(-1, width, channels).astype(self.header.pages[page].dtype, copy=False)

    def close(self) -> None:
        self._stack = np.empty((0, 0, 0, 0))

    def __enter__(self) -> NpySource:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _mapped(path: Path) -> Any:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except ValueError as error:
        if "Python objects" in str(error):
            reason = "an array of Python objects, which is not read; save it as uint16 or float32"
            raise InputError(f"{path}: {reason}") from error
        raise


def _as_stack(path: Path, array: Any) -> Any:
    """(N, H, W, C)."""
    shape = array.shape
    if 0 in shape or not 2 <= len(shape) <= 4 or (len(shape) == 4 and shape[3] > MOST_CHANNELS):
        raise InputError(f"{path}: an array of shape {shape} is not (H, W), (H, W, C), (N, H, W) or (N, H, W, C)")
    if len(shape) == 2:
        return array[np.newaxis, :, :, np.newaxis]
    if len(shape) == 3:
        return array[np.newaxis] if shape[2] <= MOST_CHANNELS else array[..., np.newaxis]
    return array


def write_npy(path: Path, pages: tuple[Page, ...], record: NpyRecord | None, bands: Iterable[Bands]) -> None:
    """Write pages as one array, band by band.

    Parameters
    ----------
    path : Path
    pages : tuple of Page
        All alike.
    record : NpyRecord or None
        Shape and type of the input if it was an array; else (H, W) or (H, W, C), with N in front of several pages.
    bands : iterable of iterators of ndarray
        Of each page in order.
    """
    page = pages[0]
    shape = tuple(record.shape if record else _shape(pages))
    dtype = np.dtype(record.dtype) if record else page.dtype
    written = 0
    with path.open("wb") as file:
        header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for band in chain.from_iterable(bands):
            file.write(np.ascontiguousarray(band, dtype).data)
            written += band.size
    if written != math.prod(shape):
        raise ValueError(f"bands hold {written} values of {math.prod(shape)}")


def _shape(pages: tuple[Page, ...]) -> tuple[int, ...]:
    page = pages[0]
    shape: tuple[int, ...] = (page.height, page.width)
    if page.channels > 1:
        shape = (*shape, page.channels)
    return shape if len(pages) == 1 else (len(pages), *shape)
