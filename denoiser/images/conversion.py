"""From the pixels of one format to those that another can hold."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from denoiser.images.formats import CAPABILITIES, metadata_of
from denoiser.images.image import Header, Page, Pixels
from denoiser.images.metadata import Metadata


def written_page(page: Page, format: str) -> Page:
    """The page as a format will hold it: narrower integers, without alpha, RGB for WebP."""
    can = CAPABILITIES[format]
    dtype = page.dtype
    if dtype.kind == "u":
        widest = max(int(code[1]) for code in can.dtypes if code[0] == "u")
        dtype = np.dtype(f"u{min(dtype.itemsize, widest)}")
    alpha = page.alpha and can.alpha
    colours = page.channels - page.alpha
    # WebP has no gray, and BMP no gray with alpha.
    if colours == 1 and (format == "webp" or (format == "bmp" and alpha)):
        colours = 3
    return replace(page, dtype=dtype, alpha=alpha, channels=colours + alpha)


def convert(bands: Iterable[Pixels], page: Page, written: Page, format: str, metadata: Metadata) -> Iterator[Pixels]:
    """Bands of a page as those of the written page, which :func:`written_page` gave."""
    same = (page.channels, page.alpha, page.dtype) == (written.channels, written.alpha, written.dtype)
    # Formats for arrays hold the numbers as they are; of the others everybody expects what is to be seen.
    shown = not CAPABILITIES[format].any_channels and page.dtype.kind == "u"
    for band in bands:
        if shown and metadata.premultiplied and written.alpha:
            band = _divided(band)
        if shown and metadata.white_is_zero:
            band = _negative(band, page)
        yield band if same else _convert(band, page, written)


def seen(values: NDArray[np.floating[Any]], like: Header) -> NDArray[np.floating[Any]]:
    """What a small view of a picture shows.

    Parameters
    ----------
    values : ndarray
        (h, w, C) without alpha, from 0 to 1.
    like : Header
        Of the file.

    Returns
    -------
    ndarray
        (h, w, 3) of colour and of inks, (h, w, 1) of all else: the first channel.
    """
    metadata = metadata_of(like)
    if metadata.cmyk and values.shape[2] == 4:
        return (1 - values[:, :, :3]) * (1 - values[:, :, 3:])
    shown = values if values.shape[2] == 3 else values[:, :, :1]
    return 1 - shown if metadata.white_is_zero else shown


def _divided(band: Pixels) -> Pixels:
    """Colours divided by alpha, the last channel; where that is 0 they stay as they are."""
    most = np.uint64(np.iinfo(band.dtype).max)
    alpha = band[:, :, -1:].astype(np.uint64)
    alpha[alpha == 0] = most
    colours = (band[:, :, :-1] * most + alpha // 2) // alpha
    return np.concatenate([np.minimum(colours, most).astype(band.dtype), band[:, :, -1:]], axis=2)


def _negative(band: Pixels, page: Page) -> Pixels:
    """Black and white exchanged; alpha stays."""
    turned = np.iinfo(band.dtype).max - band
    if page.alpha:
        turned[:, :, -1] = band[:, :, -1]
    return turned


def _convert(band: Pixels, page: Page, written: Page) -> Pixels:
    colours = page.channels - page.alpha
    kept = [0] * 3 if colours == 1 and written.channels - written.alpha == 3 else list(range(colours))
    if written.alpha:
        kept.append(page.channels - 1)
    if kept != list(range(page.channels)):
        band = band[:, :, kept]
    return narrow(band, written.dtype)


def narrow(band: Pixels, dtype: np.dtype[Any]) -> Pixels:
    """Unsigned integers scaled from one full range to a smaller one, rounded to the nearest."""
    if band.dtype == dtype:
        return band
    # (2**32 - 1) / (2**16 - 1) and (2**16 - 1) / (2**8 - 1) are whole and odd: no value lies half-way.
    step = int(np.iinfo(band.dtype).max) // int(np.iinfo(dtype).max)
    return ((band.astype(np.uint64) + step // 2) // step).astype(dtype)
