"""Cutting and joining bands of rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from denoiser.images.image import Page, Pixels


def gather(bands: Iterable[Pixels], page: Page) -> Pixels:
    """A whole page from its bands, (H, W, C), contiguous.

    Raises
    ------
    ValueError
        If the bands do not make up the page: a mistake of the caller, not of a file.
    """
    whole: Pixels | None = None
    row = 0
    for band in bands:
        _check(band, page)
        if row == 0 and band.shape[0] == page.height:
            whole, row = np.ascontiguousarray(band), page.height
            continue
        if whole is None:
            whole = np.empty((page.height, page.width, page.channels), page.dtype)
        whole[row : row + band.shape[0]] = band
        row += band.shape[0]
    if whole is None or row != page.height:
        raise ValueError(f"bands hold {row} rows of {page.height}")
    return whole


def regroup(bands: Iterable[Pixels], page: Page, rows: int) -> Iterator[Pixels]:
    """The same rows in bands of exactly ``rows`` rows; the last one holds what is left."""
    waiting: Pixels | None = None
    held = total = 0
    for band in bands:
        _check(band, page)
        total += band.shape[0]
        if total > page.height:
            raise ValueError(f"bands hold more than the {page.height} rows of the page")
        while held + band.shape[0] >= rows:
            if waiting is None:
                yield band[:rows]
            else:
                waiting[held:] = band[: rows - held]
                yield waiting
            band, waiting, held = band[rows - held :], None, 0
        if band.shape[0]:
            # Copied, though joining views would do: a view keeps the whole band in memory until the next one is there.
            waiting = np.empty((rows, page.width, page.channels), page.dtype) if waiting is None else waiting
            waiting[held : held + band.shape[0]] = band
            held += band.shape[0]
    if total != page.height:
        raise ValueError(f"bands hold {total} rows of {page.height}")
    if waiting is not None:
        yield waiting[:held]


def _check(band: Pixels, page: Page) -> None:
    if band.shape[1:] != (page.width, page.channels) or band.dtype != page.dtype:
        raise ValueError(f"a band of {band.shape} {band.dtype} does not belong to {page}")
