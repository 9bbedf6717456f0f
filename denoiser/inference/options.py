"""What a caller may choose about how a network is run."""

from __future__ import annotations

from dataclasses import dataclass

from denoiser.settings import ENSEMBLES, PRECISIONS, one_of, settle, within, word_or_count


@dataclass(frozen=True)
class InferenceOptions:
    """How to run a network.

    Attributes
    ----------
    device : str
        ``auto`` (the best present), ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
    precision : str
        ``auto`` (the fastest that passes the self-check on the device), ``fp32``, ``bf16``, ``fp16``.
    tile : str or int
        ``auto`` (as large as the memory budget and the caches suggest), ``none`` (whole pictures), or the
        largest side of a window in pixels.
    halo : str or int
        Overlap in pixels on each side of a window: ``exact`` (the receptive field: tiled equals untiled),
        ``auto`` (exact where that costs less than a third more work, else as wide as keeps the largest
        difference below one 8-bit step), or a number.
    batch : str or int
        ``auto``, or the largest number of windows in one batch.
    ensemble : int
        1, 2, 4 or 8: the result is the mean of so many views of each window, turned and mirrored, which costs as many
        times as much; see :mod:`denoiser.models.ensemble`.
    max_memory : int or None
        Budget in bytes for the activations and the pictures in flight; None takes half of what is free.

    Raises
    ------
    UsageError
        If a value has no meaning.
    """

    device: str = "auto"
    precision: str = "auto"
    tile: str | int = "auto"
    halo: str | int = "auto"
    batch: str | int = "auto"
    max_memory: int | None = None
    ensemble: int = 1

    def __post_init__(self) -> None:
        settle(self)
        one_of("--precision", self.precision, PRECISIONS)
        word_or_count("--tile", self.tile, ("auto", "none"), 1)
        word_or_count("--halo", self.halo, ("auto", "exact"), 0)
        word_or_count("--batch", self.batch, ("auto",), 1)
        one_of("--ensemble", self.ensemble, ENSEMBLES)
        within("--max-memory", self.max_memory, 1)
