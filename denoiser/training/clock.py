"""Time of a training run."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Clock:
    """Seconds of training, those before a resume counted in.

    Parameters
    ----------
    before : float
        Seconds that earlier parts of the run took.
    """

    def __init__(self, before: float) -> None:
        self.before = before
        self.started = time.perf_counter() - before
        self.busy = 0.0

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self.started

    @contextmanager
    def working(self) -> Iterator[None]:
        """Forward, backward and optimiser: what the time is for."""
        begin = time.perf_counter()
        yield
        self.busy += time.perf_counter() - begin

    @contextmanager
    def standing_still(self) -> Iterator[None]:
        """Looking is not training: the schedule does not move on meanwhile."""
        begin = time.perf_counter()
        yield
        self.started += time.perf_counter() - begin

    def overhead(self, seconds: float) -> float:
        """Share of this part of the run, which ended at so many seconds, that was not work."""
        spent = seconds - self.before
        return 1 - self.busy / spent if spent > 0 else 0.0
