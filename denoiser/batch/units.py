"""The work of a run cut into units for the workers of a cluster."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from denoiser.batch.items import Action, Item
from denoiser.batch.plan import FILE_WEIGHT
from denoiser.images import SUFFIXES

UNIT_SECONDS = 4.0
"""How long a unit should take a worker."""
FIRST_BYTES = 1 << 20
"""Size of units until it is known how fast the workers are."""
MOST_FILES = 256
"""A unit has no more files than that."""
SPLITS = 3
"""A unit holds at most one in so many parts of what each worker would get of the work that is left."""
LARGE_BYTES = 16 << 20
"""Smaller files are never shared by workers: it would cost more than it saves."""
LARGE_SHARE = 1.5
"""A file is shared by workers when one would have it for so many times as long as all of them have work left."""
SHARED_FORMATS = frozenset({"tiff", "npy"})
"""Formats of which any process can read some rows, and that are written band by band."""


class Units:
    """Cuts the work into units.

    Parameters
    ----------
    work : sequence of Item
    """

    def __init__(self, work: Sequence[Item]) -> None:
        self._work = deque(work)
        self._left = sum(_weight(item) for item in work)
        self._alone: deque[Item] = deque()
        self._speed = FIRST_BYTES / UNIT_SECONDS

    def next(self, workers: int) -> list[Item]:
        """The next unit; empty when there is no more."""
        if self._alone:
            return [self._alone.popleft()]
        limit = min(self._speed * UNIT_SECONDS, self._left / (SPLITS * max(1, workers)))
        unit: list[Item] = []
        size = 0
        while self._work and len(unit) < MOST_FILES and (not unit or size + _weight(self._work[0]) <= limit):
            size += _weight(self._work[0])
            unit.append(self._work.popleft())
        self._left -= size
        return unit

    def large(self, workers: int) -> Item | None:
        """The next file, taken out, if the workers had better share it; None if it belongs to a unit."""
        if workers < 2 or self._alone or not self._work:
            return None
        item = self._work[0]
        if not shareable(item):
            return None
        if _weight(item) * workers < LARGE_SHARE * self._left:
            return None
        self._left -= _weight(item)
        return self._work.popleft()

    def again(self, items: Sequence[Item]) -> None:
        """Do these one by one."""
        self._alone.extend(items)

    def measure(self, size: int, files: int, seconds: float) -> None:
        """Learn how many bytes a worker does per second; the first network and the first pages make it slow."""
        if seconds > 0 and files:
            self._speed += ((size + files * FILE_WEIGHT) / seconds - self._speed) / 4


def shareable(item: Item) -> bool:
    """Whether it may be worth it that workers share a file, as far as its name and size tell."""
    forms = {SUFFIXES.get(item.source.suffix.lower(), ""), item.format} - {"keep"}
    return item.action is Action.PROCESS and item.stamp.size >= LARGE_BYTES and forms <= SHARED_FORMATS


def _weight(item: Item) -> int:
    return item.stamp.size + FILE_WEIGHT
