"""The middle of a file before and after, looked at on the way: an estimate of the noise, and views for a page.

A sample is one square of the middle page, SIDE pixels or less, whatever the size of the file, so that a report costs
little time and memory. It is gathered band by band and does not depend on where a file was cut.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from denoiser.batch.items import Item
from denoiser.batch.options import BatchOptions
from denoiser.batch.reading import Band
from denoiser.estimate import estimate
from denoiser.images import Header
from denoiser.images.conversion import seen
from denoiser.images.image import Pixels
from denoiser.images.pixels import ValueRange, ends_at_black, value_range

SIDE = 256
"""Most pixels of a sample's side."""

BLOCK = 8
"""Samples begin at multiples of so many pixels, as the blocks of JPEG do."""

VIEW = 192
"""Most pixels of a view's side: the middle of the sample, pixel by pixel."""

QUALITY = 80
"""Of a view as WebP: at 60 the grain of a mild noise is gone."""

SHOWN = (0.5, 99.5)
"""Percentiles of the noisy sample that become black and white in views of what is not 8 bit: 12-bit data in 16-bit
containers and dark frames would be black squares."""


@dataclass(eq=False)
class Sample:
    """One square of a file, before and after.

    Attributes
    ----------
    page : int
    rows, columns : slice
        Where the square lies.
    values : ValueRange
    like : Header
        Of the file.
    """

    page: int
    rows: slice
    columns: slice
    values: ValueRange
    like: Header
    parts: list[tuple[Pixels, Pixels]] = field(default_factory=list)

    @classmethod
    def of(cls, header: Header, options: BatchOptions) -> Sample:
        """The sample of a file."""
        index = len(header.pages) // 2
        page = header.pages[index]
        values = value_range(page.dtype, options.white, options.black, bounded=False)
        return cls(index, _middle(page.height, SIDE), _middle(page.width, SIDE), values, header)

    def add(self, band: Band, before: Pixels, after: Pixels) -> None:
        """Take what lies inside from one band, (h, W, C) as stored, without alpha."""
        if band.page != self.page:
            return
        rows = slice(max(self.rows.start, band.start) - band.start, max(0, self.rows.stop - band.start))
        if rows.start < min(rows.stop, len(before)):
            self.parts.append((before[rows, self.columns].copy(), after[rows, self.columns].copy()))

    def noise(self) -> dict[str, Any]:
        """Standard deviation of the noise before and after; empty where nothing was computed.

        In 1/255 of full range, or in stored units where the range is not known (floats).
        """
        if not self.parts:
            return {}
        unit, scale = ("stored", 1.0) if self.values.white is None else ("1/255", 255 / self.values.span)
        before, after = (_sigma(square, self.values) for square in self._squares())
        return {"before": _plain(before, scale), "after": _plain(after, scale), "unit": unit}

    def views(self) -> tuple[bytes, bytes] | None:
        """The middle before and after as WebP, in the same contrast."""
        if not self.parts:
            return None
        before, after = self._squares()
        black, white = self._contrast(before)
        return self._webp(before, black, white), self._webp(after, black, white)

    def _webp(self, square: Pixels, black: float, white: float) -> bytes:
        rows, columns = (slice(*_middle(length, VIEW).indices(length)) for length in square.shape[:2])
        values = np.nan_to_num((square[rows, columns].astype(np.float64) - black) / (white - black)).clip(0, 1)
        levels: NDArray[np.uint8] = np.rint(seen(values, self.like) * 255).astype(np.uint8)
        picture = Image.fromarray(levels if levels.shape[2] == 3 else levels[:, :, 0])
        stream = io.BytesIO()
        picture.save(stream, "WEBP", quality=QUALITY, method=4)
        return stream.getvalue()

    def _squares(self) -> tuple[Pixels, Pixels]:
        before, after = zip(*self.parts, strict=True)
        return np.concatenate(before), np.concatenate(after)

    def _contrast(self, before: Pixels) -> tuple[float, float]:
        """Stored values that are shown black and white."""
        finite = before[np.isfinite(before)]
        if self.values.white is not None and before.dtype.itemsize == 1:
            return self.values.black, self.values.white
        if not finite.size:
            return 0.0, 1.0
        low, high = (float(each) for each in np.percentile(finite, SHOWN))
        return low, max(high, np.nextafter(low, math.inf))


def picture(items: Sequence[Item], most: int) -> list[Item]:
    """Mark those items whose views are kept: at most so many, spread evenly."""
    chosen = set(np.linspace(0, len(items) - 1, min(most, len(items))).round().astype(int).tolist())
    return [replace(item, pictured=True) if index in chosen else item for index, item in enumerate(items)]


def _middle(length: int, most: int) -> slice:
    start = max(0, (length - most) // 2) // BLOCK * BLOCK
    return slice(start, min(length, start + most))


def _sigma(square: Pixels, values: ValueRange) -> float | None:
    """Standard deviation of the noise in stored units; None where it cannot be told."""
    black, span = _unit(square, values)
    if not span:
        return None
    with np.errstate(invalid="ignore", over="ignore"):
        piece = ((square - np.float64(black)) / span).astype(np.float32)
    step = 1 / span if square.dtype.kind != "f" else 0.0
    found = estimate([np.where(np.isfinite(piece), piece, np.nan)], clips=ends_at_black(square.dtype), step=step)
    return None if found.sigma is None else found.sigma / 255 * span


def _unit(square: Pixels, values: ValueRange) -> tuple[float, float]:
    """Black and the range above it; of floats without a declared range those of the square."""
    if values.white is not None:
        return values.black, values.span
    finite = square[np.isfinite(square)]
    return (float(finite.min()), float(finite.max()) - float(finite.min())) if finite.size else (0.0, 0.0)


def _plain(value: float | None, scale: float) -> float | None:
    """A few digits of what is known."""
    return None if value is None else float(f"{value * scale:.4g}")
