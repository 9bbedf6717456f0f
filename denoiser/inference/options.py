"""What a caller may choose about how a network is run."""

from __future__ import annotations

from dataclasses import dataclass

from denoiser.errors import UsageError
from denoiser.models.ensemble import VIEWS
from denoiser.models.needs import PRECISIONS


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
        if self.precision not in ("auto", *PRECISIONS):
            raise UsageError(f"precision must be auto or one of {', '.join(PRECISIONS)}, not {self.precision!r}")
        _check_size("tile", self.tile, ("auto", "none"), least=1)
        _check_size("halo", self.halo, ("auto", "exact"), least=0)
        _check_size("batch", self.batch, ("auto",), least=1)
        if self.ensemble not in VIEWS:
            raise UsageError(f"ensemble must be one of {', '.join(map(str, VIEWS))}, not {self.ensemble!r}")
        if self.max_memory is not None and not (isinstance(self.max_memory, int) and self.max_memory > 0):
            raise UsageError(f"max-memory must be a whole number of bytes above 0, not {self.max_memory!r}")


def _check_size(name: str, value: str | int, words: tuple[str, ...], least: int) -> None:
    number = isinstance(value, int) and not isinstance(value, bool) and value >= least
    if not number and value not in words:
        raise UsageError(f"{name} must be {', '.join(words)} or a whole number of at least {least}, not {value!r}")
