"""What a user asks of ``denoiser estimate``."""

from __future__ import annotations

from dataclasses import dataclass

from denoiser.machine import processors
from denoiser.settings import check_range, settle, within, word_or_count


@dataclass(frozen=True)
class EstimateOptions:
    """Options of ``denoiser estimate``, validated.

    Parameters
    ----------
    recursive : bool
        Whether directories are read with all that lies below them.
    include, exclude : tuple of str
        Globs, as of :class:`denoiser.batch.options.BatchOptions`.
    white, black : float or None
        Values of white and black in the file's units where the container's range is not meant. Floats without white
        count as 0 to 1.
    max_memory : int or None
        Budget in bytes for the pictures that are looked at together; None is half of the memory that is free.
    jobs : str or int
        Threads, each with a picture of its own; ``auto`` goes by the processors.

    Raises
    ------
    UsageError
        If a value has no meaning. The message names the option as on the command line.
    """

    recursive: bool = True
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    white: float | None = None
    black: float | None = None
    max_memory: int | None = None
    jobs: str | int = "auto"

    def __post_init__(self) -> None:
        settle(self)
        word_or_count("--jobs", self.jobs, ("auto",), 1)
        within("--max-memory", self.max_memory, 1)
        check_range(self.white, self.black or 0.0)

    @property
    def threads(self) -> int:
        """Number of pictures that are looked at together."""
        return self.jobs if isinstance(self.jobs, int) else min(8, processors())
