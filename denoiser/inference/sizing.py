"""What memory is for, how large windows and batches may be, and what shrinks when memory runs out after all."""

from __future__ import annotations

from dataclasses import dataclass

from denoiser.errors import UsageError
from denoiser.inference.options import InferenceOptions
from denoiser.tiling import Window, choose_tile, plan_windows, round_up, smallest_tile, work_ratio

FREE_SHARE = 0.5
"""Share of the free memory that is used where the user sets no budget."""

ACTIVATION_SHARE = 0.6
"""Share of the budget for what the network holds while it computes."""

ALLOCATED = 1.5
"""Memory that is taken per byte of live tensors: allocators and libraries keep some of their own (measured)."""

FLIGHT_SHARE = 0.25
"""Share of the budget that pieces may take which were taken and not yet given back."""

ENOUGH_IN_FLIGHT = {"cpu": 2**28, "mps": 2**28, "cuda": 2**30}
"""Bytes in flight that are enough to fill batches on each kind of device, unless the pictures are so large that these
are not enough for all workers."""

CPU_WINDOW = 2**21
"""Most pixels of a window on the CPU. Speed per pixel is flat up to about two megapixels and falls
beyond, where activations leave the caches for good; smaller windows pay more for their halos."""

FLOW_WINDOW = 2**23
"""The same where the network takes windows row by row: only their number matters then, of which there should be
enough for all processors."""

FLOW_WIDTH = 3200
"""Widest of these windows: rows that are much wider do not fit into the caches by the dozen."""

CUT_WIDTH = 2048
"""Widest of them where a picture has to be cut anyway: rows up to that are the fastest, as
:data:`denoiser.models.rows.SIMPLE_WIDTH` says. Pictures of 12 and 24 MP take 5 to 10% less time than in wider windows,
though they have more of them; those of one window would take longer in two."""

FLOW_ROWS_BYTES = 240 << 20
"""What the rows that are computed at a time cost (measured: 190 MB, 260 MB in windows of FLOW_WIDTH)."""

FLOW_BYTES = 12
"""What each pixel of such a window costs besides: three results."""

DOWN_SHARE = 1.4
"""Share of the budget for a network that takes pages from top to bottom, whose callers leave it half as much again."""

DOWN_ALLOCATED = 3.0
"""Memory that is taken per byte of live tensors, for rows that are joined with what was kept of those before
(measured: 330 to 400 bytes per pixel)."""

DOWN_BYTES = 64 << 20
"""What the libraries keep for it, whatever the size (measured)."""

CPU_BATCH = 2**17
"""Pixels of a batch of small windows on the CPU: larger ones are not faster, and hold results back longer."""

GPU_BATCH = 2**21
"""The same on a GPU, where fewer pixels do not fill the device."""

SMALL_WINDOW = 2**16
"""On the CPU a batch of one window up to this size is computed as two: torch leaves very small batches of
one to another library, whose sums end in other digits, and results must not depend on the batch."""

MOST_ELEMENTS = 2**31 - 1
"""Convolutions of larger tensors are slow or wrong on GPUs, where indices have 32 bits."""

TYPICAL_PAGE = (4000, 6000)
"""The picture that decides between an exact and a smaller halo."""

WORTHWHILE = 4 / 3
"""An exact halo is used by itself where it costs less than a third more work."""


@dataclass
class Sizing:
    """Shapes of windows and batches. Mutable: it remembers what did not fit.

    Attributes
    ----------
    tile : int or None
        Largest side of a window that the user asked for; None leaves it to ``window_pixels``.
    halo, multiple : int
        Overlap and stride of the network.
    window_pixels, batch_pixels : int
        Most pixels of one window, and of one batch of more than one window.
    batch : int or None
        Most windows in a batch that the user asked for.
    whole_batches : bool
        True where batches are always filled up to their full number of windows, so that results cannot
        depend on how many pictures were left.
    never_cut : bool
        True where the user wants whole pictures, whatever they cost.
    widest, widest_part : int or None
        Widest window that is chosen by itself: for a whole picture, and for a part of one.
    """

    tile: int | None
    halo: int
    multiple: int
    window_pixels: int
    batch_pixels: int
    batch: int | None = None
    whole_batches: bool = False
    never_cut: bool = False
    widest: int | None = None
    widest_part: int | None = None

    def windows(self, height: int, width: int, above: int = 0, below: int = 0) -> list[Window]:
        """Cut one piece."""
        tile = None if self.never_cut else self._tile_for(height, width)
        return plan_windows(height, width, tile, self.halo, self.multiple, above, below)

    def _tile_for(self, height: int, width: int) -> tuple[int, int]:
        if self.tile is not None and self.tile**2 <= self.window_pixels:
            return self.tile, self.tile
        return self.chosen(height, width, self.halo)

    def chosen(self, height: int, width: int, halo: int) -> tuple[int, int]:
        """Height and width of the windows that are best for a picture, with such a halo."""
        tile = choose_tile(height, width, halo, self.multiple, self.window_pixels, self.widest)
        if tile[0] >= height and tile[1] >= width:
            return tile
        return choose_tile(height, width, halo, self.multiple, self.window_pixels, self.widest_part)

    def full_batch(self, height: int, width: int) -> int:
        """Windows of this shape that make a batch."""
        fitting = max(1, self.batch_pixels // (height * width))
        return min(fitting, self.batch) if self.batch is not None else fitting

    def places(self, items: int, height: int, width: int) -> int:
        """Windows that are computed for a batch of so many."""
        if self.whole_batches:
            return max(items, self.full_batch(height, width))
        return 2 if items == 1 and height * width <= SMALL_WINDOW else items

    def shrink(self, items: int, height: int, width: int) -> bool:
        """Remember that a batch did not fit into memory: half the batch, and then half the window.

        Returns
        -------
        bool
            False when nothing smaller is possible.
        """
        pixels = height * width
        if items > 1:
            self.batch_pixels = min(self.batch_pixels, items // 2 * pixels)
            return True
        least = smallest_tile(self.halo, self.multiple) ** 2
        if self.never_cut or pixels <= least:
            return False
        self.window_pixels = min(self.window_pixels, max(least, pixels // 2))
        self.batch_pixels = min(self.batch_pixels, self.window_pixels)
        return True


def choose_halo(options: InferenceOptions, sizing: Sizing, receptive_field: int) -> int | None:
    """The halo that the options ask for, or None when ``auto`` needs the measured one."""
    exact = round_up(receptive_field, sizing.multiple)
    if isinstance(options.halo, int):
        return round_up(options.halo, sizing.multiple)
    if options.halo == "exact" or sizing.never_cut:
        return exact
    least = smallest_tile(exact, sizing.multiple)
    if sizing.tile is not None and sizing.tile < least:
        return None
    if sizing.tile is not None:
        side = sizing.tile // sizing.multiple * sizing.multiple
        tile = side, side
    else:
        tile = sizing.chosen(*TYPICAL_PAGE, exact)
    return exact if work_ratio(*TYPICAL_PAGE, tile, exact, sizing.multiple) < WORTHWHILE else None


def check_tile(sizing: Sizing) -> None:
    """Refuse a tile that would be nothing but halo.

    Raises
    ------
    UsageError
        If the user's tile keeps nothing.
    """
    least = smallest_tile(sizing.halo, sizing.multiple)
    if sizing.tile is not None and sizing.tile < least:
        raise UsageError(
            f"tile {sizing.tile} is too small: with a halo of {sizing.halo} on both sides and a stride of "
            f"{sizing.multiple} this model needs at least {least}; choose a larger --tile or a smaller --halo"
        )
