"""What the steps of a run have in common."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from denoiser.batch.flow import Stop
from denoiser.batch.options import BatchOptions
from denoiser.batch.report import FileResult
from denoiser.batch.writing import Writer
from denoiser.progress import Progress


@dataclass(frozen=True)
class Shared:
    """What all passes of one run share.

    Attributes
    ----------
    budget : int
        Bytes for pictures in flight.
    max_bytes : int
        Decoded size above which a picture that cannot be streamed is refused.
    deadline : float or None
        ``time.monotonic()`` after which no file is begun.
    record : callable
        Takes the result of every file that is finished, failed or abandoned, from any thread.
    workspace : int
        Where it is not 0, writers work on whole pages and need so many bytes per value of colour besides.
    chooses : bool
        Whether the network of each file is chosen by its noise.
    """

    options: BatchOptions
    writer: Writer
    budget: int
    max_bytes: int
    progress: Progress
    stop: Stop
    record: Callable[[FileResult], None]
    deadline: float | None = None
    workspace: int = 0
    chooses: bool = False
