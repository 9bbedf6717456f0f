"""Looking at a page: the noise of a bounded part of its pixels, and the bundled network that suits it.

Where the pixels come from does not matter: rows of an open file, of which no more is decoded than is looked at, or an
array.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from denoiser.estimate import PIXELS, WHITE_MODEL, Advice, Estimate, choose, estimate, few, windows
from denoiser.images import Page
from denoiser.images.image import Pixels
from denoiser.images.pixels import ends_at_black, split, value_range

LEAST_PIXELS = 64 * 64
"""Of a page whose network is chosen by its noise: on smaller ones looking takes longer than denoising."""
LEAST_BLOCKS = 128
"""That a quick look must find to be enough, a quarter of what it takes."""
BRIGHT = 0.999
"""Share of values that are not above what counts as white in the choice for pages of more than 8 bits."""


class Rows(NamedTuple):
    """A page, and how to get at its rows.

    Attributes
    ----------
    page : Page
    read : callable
        (start, stop) -> (stop - start, W, C) as stored.
    quality : int or None
        Of the JPEG encoder that wrote the file, where that is known.
    """

    page: Page
    read: Callable[[int, int], Pixels]
    quality: int | None = None


def settled(page: Page, white: float | None) -> Advice | None:
    """The network of a page whose noise does not decide; None for others.

    Parameters
    ----------
    page : Page
    white : float or None
        As :func:`denoiser.images.pixels.value_range`.
    """
    if page.dtype.kind == "f" and white is None:
        # Traits are measured against the full range: a choice by them would not be that of the same page times 2.
        return Advice(WHITE_MODEL, "its values have no known range")
    if page.height * page.width < LEAST_PIXELS:
        return Advice(WHITE_MODEL, "it is too small to choose by its noise")
    return None


def advise(rows: Rows, white: float | None = None, black: float | None = None) -> Advice:
    """Choose the network of a page, by a quick look.

    Parameters
    ----------
    rows, white, black
        As :func:`estimate_page`.
    """
    return settled(rows.page, white) or choose(look(rows, white, black))


def look(rows: Rows, white: float | None = None, black: float | None = None) -> Estimate:
    """A quick look at a page; a longer one where it is nearly all frame, or saturated.

    Parameters
    ----------
    rows, white, black
        As :func:`estimate_page`.
    """
    found = estimate_page(rows, white, black, quick=True)
    return found if found.blocks >= LEAST_BLOCKS else estimate_page(rows, white, black)


def estimate_page(
    rows: Rows, white: float | None = None, black: float | None = None, *, quick: bool = False
) -> Estimate:
    """Estimate the noise of a page, from a bounded part of its pixels.

    Parameters
    ----------
    rows : Rows
    white, black : float or None
        As :func:`denoiser.images.pixels.value_range`. Floats without white count as 0 to 1.
    quick : bool
        Take no longer than the choice of a network needs: of fewer pixels, and not by their brightness.
    """
    page = rows.page
    values = value_range(page.dtype, white, black, bounded=False)
    strips = windows(page.height, page.width, few(page.height, page.width) if quick else PIXELS)
    pieces: list[NDArray[np.float32]] = []
    for strip in strips:
        stored = rows.read(strip.start, strip.stop)
        for left, right in strip.columns:
            _, note = split(stored[:, left:right], page, values)
            piece = note.network_values()
            if note.missing is not None:
                piece[note.missing] = np.nan
            pieces.append(piece)
    integers = page.dtype.kind in "iu"
    # Few such pages fill their container, and the choice for one is to be that for the same page times 2.
    wide = integers and page.dtype.itemsize > 1 and white is None
    return estimate(
        pieces,
        clips=ends_at_black(page.dtype),
        step=1 / values.span if integers else 0.0,
        quality=rows.quality,
        depth=8 * page.dtype.itemsize,
        bright=brightest(pieces) if wide else 1.0,
        by_light=not quick,
    )


def brightest(pieces: Sequence[NDArray[np.float32]]) -> float:
    """The value below which nearly all others are; 1 where that is none above black."""
    values = np.concatenate([piece[np.isfinite(piece)] for piece in pieces])
    found = float(np.quantile(values, BRIGHT)) if values.size else 0.0
    return found if found > 0 else 1.0
