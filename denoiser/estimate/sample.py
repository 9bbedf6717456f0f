"""Which parts of a page are looked at: bounded, evenly spread, and the same every time."""

from __future__ import annotations

import math
from dataclasses import dataclass

from denoiser.estimate.blocks import SIDE

PIXELS = 1 << 19
"""Of a page that are looked at, at most. 512 x 512 are enough for sigma within 5 % on average."""
WINDOW = 64
"""Side of the parts of a page that is larger."""
SHARE = 32
"""One in so many pixels is looked at where looking has to cost little next to denoising, but not fewer than ..."""
LEAST = 1 << 15
"""... so many, which are enough blocks without overlap. Twice as many chose no better network."""


@dataclass(frozen=True)
class Strip:
    """Parts of a page that share their rows.

    Attributes
    ----------
    start, stop : int
        Rows ``start:stop``; ``start`` is a multiple of 8.
    columns : tuple of (int, int)
        Columns ``left:right`` of each part; ``left`` is a multiple of 8.
    """

    start: int
    stop: int
    columns: tuple[tuple[int, int], ...]

    @property
    def pixels(self) -> int:
        return sum((right - left) * (self.stop - self.start) for left, right in self.columns)


def few(height: int, width: int) -> int:
    """How many pixels of a page are looked at to choose its network."""
    return min(PIXELS, max(LEAST, height * width // SHARE))


def windows(height: int, width: int, pixels: int = PIXELS) -> list[Strip]:
    """Parts of a page that hold at most so many pixels; the whole page where it is no larger.

    Parameters
    ----------
    height, width : int
        Of the page.
    pixels : int
        At least one window is given, whatever is asked for.
    """
    if height * width <= pixels:
        return [Strip(0, height, ((0, width),))]
    count = max(1, pixels // WINDOW**2)
    most_rows, most_columns = max(1, height // WINDOW), max(1, width // WINDOW)
    rows = min(most_rows, max(1, round(math.sqrt(count * height / width))))
    columns = min(most_columns, max(1, count // rows))
    rows = min(most_rows, max(1, count // columns))  # what a narrow page leaves over
    across = tuple(_spread(width, columns))
    return [Strip(start, stop, across) for start, stop in _spread(height, rows)]


def _spread(length: int, count: int) -> list[tuple[int, int]]:
    """Intervals of :data:`WINDOW` in the middles of so many equal parts of a length, beginning at multiples of 8.

    Not at its ends: frames, bars and margins tell nothing of a picture.
    """
    starts = [max(0, ((2 * i + 1) * length // count - WINDOW) // 2) for i in range(count)]
    return [(start // SIDE * SIDE, min(length, start // SIDE * SIDE + WINDOW)) for start in starts]
