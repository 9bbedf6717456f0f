"""Geometry of tiling: which windows a network reads, and which part of each result is kept.

Everything here is integer arithmetic on rows and columns of one page.

A page is padded on the right and at the bottom alone, by reflection, up to the next multiple of the
network's total stride; at its four true borders the network's own zero padding applies, in the whole
page as in its windows. That choice makes tiled output equal untiled output exactly, because a window
touches a border of the padded page on the same side as the whole page does, it shows the network the
kind of border that it was trained on, and it costs nothing for small pictures: 28 x 28 pixels become
32 x 32, where a reflected margin as wide as the receptive field would make them thirty times as large.

Away from the true borders a window reads ``halo`` pixels more than it keeps. Tiled equals untiled
where the halo is at least the receptive field and every window begins on a multiple of the stride.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Slices = tuple[slice, slice]


@dataclass(frozen=True)
class Window:
    """One rectangle that the network reads, and the part of its result that is kept.

    All coordinates are rows and columns of the page. ``top``, ``left``, ``height`` and ``width`` are what
    is read and may reach beyond the page into its padding; ``keep_*`` (half-open) never does.
    """

    top: int
    left: int
    height: int
    width: int
    keep_top: int
    keep_left: int
    keep_bottom: int
    keep_right: int

    @property
    def pixels(self) -> int:
        """Pixels that the network computes."""
        return self.height * self.width

    @property
    def kept(self) -> Slices:
        """Rows and columns of the page that this window answers for."""
        return slice(self.keep_top, self.keep_bottom), slice(self.keep_left, self.keep_right)

    @property
    def kept_inside(self) -> Slices:
        """The same pixels, counted from the window's own corner."""
        rows = slice(self.keep_top - self.top, self.keep_bottom - self.top)
        return rows, slice(self.keep_left - self.left, self.keep_right - self.left)

    def restricted_to(self, kept: Slices) -> Window | None:
        """This window with only those of its kept pixels that lie in ``kept``; None when there are none."""
        rows, columns = kept
        top, bottom = max(self.keep_top, rows.start), min(self.keep_bottom, rows.stop)
        left, right = max(self.keep_left, columns.start), min(self.keep_right, columns.stop)
        if top >= bottom or left >= right:
            return None
        return Window(self.top, self.left, self.height, self.width, top, left, bottom, right)


@dataclass(frozen=True)
class Sheet:
    """What pieces that follow each other down one page have in common.

    Attributes
    ----------
    page : hashable
        Equal for all pieces of one page, and for no others of a stream.
    part : int
        Which channels of the page they hold.
    height : int
        Rows of the page.
    again : int
        Rows that the results of two consecutive pieces may have in common.
    """

    page: Hashable
    part: int
    height: int
    again: int = 0


def round_up(value: int, multiple: int) -> int:
    """The smallest multiple of ``multiple`` that is not below ``value``."""
    return -(-value // multiple) * multiple


def smallest_tile(halo: int, multiple: int) -> int:
    """The smallest tile side that keeps anything between two halos."""
    return 2 * round_up(halo, multiple) + multiple


@dataclass(frozen=True)
class _Axis:
    """How one axis is cut: every window has the same size."""

    count: int
    size: int


def _cut(padded: int, tile: int, halo: int, multiple: int) -> _Axis:
    """Cut an axis into the fewest windows of at most ``tile``, then make them as small as that number allows."""
    if padded <= tile:
        return _Axis(1, padded)
    step = tile - 2 * halo
    if step < multiple:
        raise ValueError(f"a tile of {tile} keeps nothing between two halos of {halo} (stride {multiple})")
    # The first and last window have a halo on one side only: count windows keep count * size - 2 halo (count - 1).
    return _cut_into(-(-(padded - 2 * halo) // step), padded, halo, multiple)


def _cut_into(count: int, padded: int, halo: int, multiple: int) -> _Axis:
    """Cut an axis into at most ``count`` windows, as small as that number allows."""
    size = round_up(-(-(padded + 2 * halo * (count - 1)) // count), multiple)
    # Rounding up to the stride may have made one of them needless.
    return _Axis(1 if size >= padded else -(-(padded - 2 * halo) // (size - 2 * halo)), size)


def width_of(count: int, width: int, halo: int, multiple: int) -> int:
    """Width of windows of which ``count``, or fewer, lie side by side on a page; multiples as :func:`plan_windows`."""
    return _cut_into(count, round_up(width, multiple), round_up(halo, multiple), multiple).size


def _windows_along(length: int, tile: int, halo: int, multiple: int) -> list[tuple[int, int, int, int]]:
    """(origin, size, keep start, keep stop) of each window along one axis."""
    padded = round_up(length, multiple)
    size = _cut(padded, tile // multiple * multiple, halo, multiple).size
    windows, start = [], 0
    while start < length:
        # The last window is shifted inwards, so that it ends where the padded page ends and all share one size.
        origin = min(max(start - halo, 0), padded - size)
        stop = length if origin + size == padded else origin + size - halo
        windows.append((origin, size, start, stop))
        start = stop
    return windows


def plan_windows(
    height: int,
    width: int,
    tile: int | tuple[int, int] | None,
    halo: int,
    multiple: int,
    above: int = 0,
    below: int = 0,
) -> list[Window]:
    """Cut a page into windows that together keep each of its pixels exactly once.

    Parameters
    ----------
    height, width : int
        Size of the page in pixels, at least 1.
    tile : int, (int, int) or None
        Largest height and width of a window; None reads the whole page at once. Rounded down to
        ``multiple``; windows come out smaller where the same number of smaller ones covers the page.
    halo : int
        Pixels read beyond the kept part on every side that is not a border of the page; rounded up to
        ``multiple``.
    multiple : int
        Total stride of the network: every origin and size is a multiple of it.
    above, below : int
        First and last rows of the page that are context only: read, never kept.

    Returns
    -------
    list of Window
        In reading order, all of one shape.

    Raises
    ------
    ValueError
        If the page is empty, or a tile is smaller than :func:`smallest_tile` where it has to be cut.
    """
    if min(height, width, multiple) < 1 or min(halo, above, below) < 0 or above + below >= height:
        raise ValueError(f"cannot cut {height} x {width} pixels, context {above} + {below} rows, halo {halo}")
    halo = round_up(halo, multiple)
    largest = round_up(max(height, width), multiple)
    tile_height, tile_width = (largest, largest) if tile is None else (tile, tile) if isinstance(tile, int) else tile
    wanted = slice(above, height - below), slice(0, width)
    windows = (
        Window(top, left, rows, columns, keep_top, keep_left, keep_bottom, keep_right)
        for top, rows, keep_top, keep_bottom in _windows_along(height, tile_height, halo, multiple)
        for left, columns, keep_left, keep_right in _windows_along(width, tile_width, halo, multiple)
    )
    return [cut for window in windows if (cut := window.restricted_to(wanted)) is not None]


@lru_cache(maxsize=1024)
def choose_tile(
    height: int, width: int, halo: int, multiple: int, max_pixels: int, widest: int | None = None
) -> tuple[int, int]:
    """The window shape that computes the fewest pixels in total under a limit on the pixels of one window.

    Parameters
    ----------
    height, width, halo, multiple : int
        As for :func:`plan_windows`.
    max_pixels : int
        Largest number of pixels of one window. Where not even the smallest possible window fits, that
        one is returned; the caller can compare.
    widest : int, optional
        Largest width of one window, not less than the smallest possible one.

    Returns
    -------
    (int, int)
        Height and width; the whole padded page when it fits.
    """
    halo = round_up(halo, multiple)
    rows, columns = round_up(height, multiple), round_up(width, multiple)
    most = columns if widest is None else min(columns, widest)
    if rows * columns <= max_pixels and columns <= most:
        return rows, columns
    least = smallest_tile(halo, multiple)
    best = min(rows, least), min(columns, least)
    best_work: tuple[int, int] | None = None
    for parts in range(1, max(1, (columns - 2 * halo) // multiple) + 1):
        across = _cut_into(parts, columns, halo, multiple)
        tile_height = max_pixels // across.size // multiple * multiple
        if tile_height < min(rows, least) or across.size > most:
            continue
        down = _cut(rows, tile_height, halo, multiple)
        count = across.count * down.count
        work = count * across.size * down.size, count
        if best_work is None or work < best_work:
            best, best_work = (down.size, across.size), work
        if down.count == 1:
            break  # narrower windows would only add overlap
    return best


def work_ratio(height: int, width: int, tile: tuple[int, int], halo: int, multiple: int) -> float:
    """Pixels computed per pixel of the page when it is cut into windows of ``tile``: 1.0 is no overlap at all."""
    halo = round_up(halo, multiple)
    down = _cut(round_up(height, multiple), tile[0], halo, multiple)
    across = _cut(round_up(width, multiple), tile[1], halo, multiple)
    return down.count * down.size * across.count * across.size / (height * width)


def reflect(start: int, stop: int, length: int) -> NDArray[np.intp]:
    """Indices of the positions ``start:stop`` of an axis of ``length`` that is continued by reflection.

    The border itself is not repeated, as in ``numpy.pad(mode="reflect")``. The reflection goes on for as
    long as it must, and a single row or column is replicated.
    """
    positions = np.arange(start, stop)
    if length == 1:
        return np.zeros_like(positions)
    period = 2 * (length - 1)
    positions %= period
    return np.minimum(positions, period - positions)
