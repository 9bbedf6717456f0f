"""Blocks of 8 x 8 pixels as DCT coefficients, where noise and picture part: what a noise estimate stands on.

Flat blocks hold little but noise. They are chosen by one half of their low frequencies and measured by the others, so
that the choice does not decide about what is measured: the coefficients of noise hardly depend on each other
(Ponomarenko et al. 2007, "An automatic approach to lossy compression of AVIRIS images"; Colom and Buades 2013,
"Analysis and extension of the Ponomarenko et al. method", IPOL).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

SIDE = 8
"""Pixels; the side of the blocks of JPEG as well, whose grid begins in a picture's corner."""
BINS = 8
"""Levels of brightness at which noise is measured: its deviation may depend on the light."""
BLOCKS_PER_BIN = 256
"""With fewer blocks there are fewer levels."""
ENOUGH_BLOCKS = 512
"""Small pictures are cut into overlapping blocks until there are so many."""
SHARE = 0.07
"""Of the blocks of a level, those that are certainly taken: the flattest."""
LEAST = 24
"""Blocks taken at each level, where it has so many."""
MOST_CLIPPED = 0.5
"""Share of black or white pixels above which a block tells nothing about noise."""


def _transform() -> NDArray[np.float32]:
    """The orthonormal DCT of a block of 64 pixels, a row for each coefficient."""
    k, i = np.arange(SIDE)[:, None], np.arange(SIDE)
    rows = np.cos(np.pi * (2 * i + 1) * k / (2 * SIDE)) * np.sqrt(np.where(k == 0, 1, 2) / SIDE)
    return np.kron(rows, rows).astype(np.float32)


TRANSFORM = _transform()
_ORDER = np.add.outer(np.arange(SIDE), np.arange(SIDE)).ravel()  # vertical plus horizontal frequency
_ODD = _ORDER % 2 == 1
_LOW = (_ORDER > 0) & (_ORDER < SIDE)
HIGH = _ORDER >= SIDE
"""Frequencies at which flat blocks of a photograph hold nothing but noise."""
MIDDLE = (_ORDER >= 6) & (_ORDER <= 8)
TOP = _ORDER >= 11
_PARTS = np.stack([part & half for part in (_LOW, HIGH) for half in (~_ODD, _ODD)], axis=1).astype(np.float32)
"""(64, 4), with which squares are summed: low frequencies of even and of odd order, high ones of even and of odd."""
_LOW_OF_HIGH = _PARTS[:, :2].sum(axis=0) / HIGH.sum()
"""What white noise has in the low frequencies of even and of odd order, as a share of what it has in the high ones."""


def _neighbour_products(axis: int) -> NDArray[np.float64]:
    """What each coefficient adds to the mean product of neighbours along an axis, 1 if they were equal everywhere."""
    waves = TRANSFORM.reshape(-1, SIDE, SIDE).astype(np.float64)
    ahead = np.take(waves, range(1, SIDE), axis) * np.take(waves, range(SIDE - 1), axis)
    return np.asarray(ahead.sum((1, 2)) * SIDE / (SIDE - 1))


ACROSS = _neighbour_products(2)
DOWN = _neighbour_products(1)


@dataclass(frozen=True, eq=False)
class Blocks:
    """The blocks of one channel.

    Attributes
    ----------
    coefficients : ndarray
        (N, 64), of the DCT, in units of the full range; the first is 8 times the mean.
    clipped : ndarray or None
        (N,), share of pixels that are black or white; None where nothing clips.
    constant : ndarray
        (N,), whether all pixels are equal.
    """

    coefficients: NDArray[np.float32]
    clipped: NDArray[np.float32] | None
    constant: NDArray[np.bool_]

    @cached_property
    def sums(self) -> NDArray[np.float32]:
        """(N, 4), of the squares: low frequencies of even and of odd order, high ones of even and of odd order."""
        return product(self.coefficients**2, _PARTS)


@dataclass(frozen=True, eq=False)
class Level:
    """Noise at one level of brightness.

    Attributes
    ----------
    mean : float
        Mean of the flat blocks that were measured.
    power : ndarray
        (64,), mean square of each coefficient in them.
    chosen : ndarray
        Which blocks these are.
    """

    mean: float
    power: NDArray[np.float64]
    chosen: NDArray[np.intp]

    @property
    def high(self) -> float:
        """Variance of noise by the high frequencies alone."""
        return float(self.power[HIGH].mean())

    @property
    def low(self) -> float:
        """Mean power of the low frequencies: of noise, and of texture where it is."""
        return float(self.power[_LOW].mean())


def stride_for(areas: list[tuple[int, int]]) -> int:
    """Distance of blocks for pieces of these heights and widths: 8, or less where there would be too few blocks."""
    for stride in (8, 4, 2):
        if sum(_count(height, stride) * _count(width, stride) for height, width in areas) >= ENOUGH_BLOCKS:
            return stride
    return 2


def _count(length: int, stride: int) -> int:
    return max(0, (length - SIDE) // stride + 1)


def cut(plane: NDArray[np.float32], stride: int) -> NDArray[np.float32]:
    """A plane (H, W) -> its blocks (N, 64), from the upper left corner on."""
    height, width = plane.shape
    if min(height, width) < SIDE:
        return np.empty((0, SIDE * SIDE), np.float32)
    if stride == SIDE:
        rows, columns = height // SIDE, width // SIDE
        whole = plane[: rows * SIDE, : columns * SIDE].reshape(rows, SIDE, columns, SIDE)
        return whole.swapaxes(1, 2).reshape(-1, SIDE * SIDE)
    windows = np.lib.stride_tricks.sliding_window_view(plane, (SIDE, SIDE))[::stride, ::stride]
    return windows.reshape(-1, SIDE * SIDE)


def blocks_of(pixels: NDArray[np.float32], clips: bool) -> Blocks:
    """Transform blocks of pixels, (N, 64) in units of the full range, all finite."""
    clipped = _share((pixels <= 0) | (pixels >= 1)) if clips else None
    # Most blocks show by two of their pixels that they are not constant.
    constant = pixels[:, 0] == pixels[:, -1]
    constant[constant] = _share(pixels[constant] == pixels[constant, :1]) == 1
    return Blocks(product(pixels, TRANSFORM.T), clipped, constant)


def _share(marks: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Share of marked pixels in each block; a product is ten times as fast as a mean over rows so short."""
    if not marks.any():
        return np.zeros(len(marks), np.float32)
    return product(marks.astype(np.float32), np.full((SIDE * SIDE, 1), 1 / (SIDE * SIDE), np.float32))[:, 0]


def product(rows: NDArray[np.float32], matrix: NDArray[np.float32]) -> NDArray[np.float32]:
    """``rows @ matrix`` for (N, 64) and (64, K), 64 rows at a time.

    Products so small stay in the thread that asks for them. NumPy takes several threads for larger ones, which wait for
    processors that the network has: beside it they cost several times the work.
    """
    whole = len(rows) // SIDE**2 * SIDE**2
    first = rows[:whole].reshape(whole // SIDE**2, SIDE**2, rows.shape[1]) @ matrix
    return np.concatenate([first.reshape(whole, matrix.shape[1]), rows[whole:] @ matrix])


def levels_of(blocks: Blocks) -> list[Level]:
    """Noise at up to :data:`BINS` levels of brightness, from dark to light; none where no block tells of noise."""
    usable = usable_of(blocks)
    means = blocks.coefficients[usable, 0]
    order = usable[np.argsort(means, kind="stable")]
    bins = min(BINS, max(1, order.size // BLOCKS_PER_BIN))
    return [_level(blocks, part) for part in np.array_split(order, bins) if part.size]


def whole_of(blocks: Blocks) -> list[Level]:
    """Noise at one level, that of all brightness: its blocks are not others where more of a picture is looked at."""
    usable = usable_of(blocks)
    return [_level(blocks, usable)] if usable.size else []


def usable_of(blocks: Blocks) -> NDArray[np.intp]:
    """Which blocks tell of noise: not those that are saturated nor, unless most are, constant (frames and masks)."""
    usable = np.ones(len(blocks.constant), bool) if blocks.clipped is None else blocks.clipped < MOST_CLIPPED
    varied = usable & ~blocks.constant
    return np.flatnonzero(varied if 2 * varied.sum() > usable.sum() else usable)


def _level(blocks: Blocks, part: NDArray[np.intp]) -> Level:
    """The noise in the flat blocks among these."""
    even, odd = _flat(blocks.sums[part])
    chosen = part[_either(even, odd, part.size)]
    mean = float(blocks.coefficients[chosen, 0].mean() / SIDE)
    return Level(mean, _power(blocks.coefficients[part[even]], blocks.coefficients[part[odd]]), chosen)


def _flat(sums: NDArray[np.float32]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Which of some blocks are flat by their low frequencies of even and of odd order.

    First the flattest, then all that are no less flat than noise lets them be. So few blocks decide where texture is
    everywhere, and half of all where noise outweighs it.
    """
    count = len(sums)
    ranks = np.argsort(sums[:, :2], axis=0, kind="stable")
    least = min(count, max(LEAST, round(SHARE * count)))
    # One half of the frequencies chooses, the other is measured, as in _power.
    high = sums[ranks[:least, 0], 3].sum() + sums[ranks[:least, 1], 2].sum()
    noise = float(high) / least * _LOW_OF_HIGH
    even, odd = (max(least, int((sums[:, i] <= noise[i]).sum())) for i in (0, 1))
    return ranks[:even, 0], ranks[:odd, 1]


def _either(even: NDArray[np.intp], odd: NDArray[np.intp], count: int) -> NDArray[np.bool_]:
    found = np.zeros(count, bool)
    found[even] = found[odd] = True
    return found


def _power(by_even: NDArray[np.float32], by_odd: NDArray[np.float32]) -> NDArray[np.float64]:
    """Power of the coefficients of odd order in blocks that the even ones chose, and the other way round.

    That of the mean, which is the picture's, is taken to be that of the lowest frequencies.
    """
    even, odd = (np.square(rows).mean(axis=0) for rows in (by_even, by_odd))
    power: NDArray[np.float64] = np.where(_ODD, even, odd).astype(np.float64)
    power[0] = max(power[1], power[SIDE])
    return power
