"""A large picture whose bands are computed by many workers of a cluster.

The process that planned the run owns the file: its pipeline reads, checks and writes as any other, in order and within
its budget, and only the network is elsewhere. A worker is told which rows to compute; it reads them, with their
context, from the file itself, so that no pixels travel on the way there. Bands of a worker that dies are computed by
another. Some bands for each worker are under way at a time, fewer where the budget has no room for their results.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from denoiser.batch import worker
from denoiser.batch.flow import POLL_SECONDS, Cancelled, Stop
from denoiser.batch.items import Item
from denoiser.batch.names import shown
from denoiser.batch.parts import Setup
from denoiser.batch.pieces import origin
from denoiser.batch.pipeline import Pipeline
from denoiser.batch.reading import Grid, colours
from denoiser.batch.shared import Shared
from denoiser.batch.units import SHARED_FORMATS
from denoiser.errors import DenoiserError, InputError, UnavailableError
from denoiser.images import Page, open_source
from denoiser.images.pixels import FILL_RADIUS

if TYPE_CHECKING:
    from distributed import Client, Future

    from denoiser.inference import Piece

BAND_PIXELS = 4 << 20
"""Pixels that a worker gets at a time: some seconds of work on a few processors."""
CONTEXT_SHARE = 8
"""A band has at least so many times the rows of its context on one side, or most of the work would be context."""
AHEAD = 2
"""Tasks in hand per worker, besides the one whose results are waited for."""
PRIORITY = 1
"""Of bands before units of files, whose results wait for nobody."""
DEATHS = "the workers that it was given to died, perhaps for lack of memory; give less --max-memory"


def fetched(future: Future[Any]) -> tuple[Any, BaseException | None]:
    """What came of a task: its result, or why there is none; neither where the scheduler has dropped it.

    A worker may die with results that it has told of and that nobody has fetched. Dask then takes its word back, and
    whoever waits for a result has to ask again.

    Raises
    ------
    TimeoutError
        If nothing has come by now.
    """
    failure = future.exception(timeout=POLL_SECONDS)
    if failure is not None or future.cancelled():
        return None, failure
    return future.result(timeout=POLL_SECONDS), None


@dataclass(frozen=True)
class Remote:
    """A network on other machines; see :class:`denoiser.inference.Denoiser` for what is not said here.

    Attributes
    ----------
    facts : worker.Facts
        What the pipeline must know of it.
    submit : callable
        Gives rows to a worker.
    over : callable
        Whether the run has ended.
    workers : callable
        How many there are.
    room : int
        Bytes that may be under way.
    """

    facts: worker.Facts
    submit: Callable[[list[worker.Rows]], Future[list[NDArray[np.float32]]]]
    over: Callable[[], bool]
    workers: Callable[[], int]
    room: int

    @property
    def context_rows(self) -> int:
        return self.facts.context_rows

    def keeps_rows(self, width: int, parts: int) -> bool:
        return False  # bands go to whoever is free

    @property
    def row_multiple(self) -> int:
        return self.facts.row_multiple

    @property
    def needs_range(self) -> bool:
        return self.facts.needs_range

    def stream(self, pieces: Iterable[Piece]) -> Iterator[tuple[Piece, NDArray[np.float32]]]:
        """Denoise pieces, in order and lazily; those of several small bands are one task.

        Raises
        ------
        InputError
            If a worker cannot read the rows, or all who get them die.
        UnavailableError
            If the scheduler has dropped the work.
        Cancelled
            If the run has ended.
        """
        waiting: deque[_Task] = deque()
        for group in _groups(pieces):
            waiting.append(_Task(group, self.submit([_rows(piece) for piece in group])))
            while len(waiting) > 1 and (
                len(waiting) > AHEAD * self.workers() or sum(task.size for task in waiting) > self.room
            ):
                yield from self._results(waiting.popleft())
        while waiting:
            yield from self._results(waiting.popleft())

    def _results(self, task: _Task) -> Iterator[tuple[Piece, NDArray[np.float32]]]:
        while not self.over():
            try:
                values, failure = fetched(task.future)
            except TimeoutError:
                continue
            if failure is not None:
                raise _explained(failure)
            if values is None:
                raise UnavailableError("the Dask scheduler has dropped the work; finished files stay")
            yield from zip(task.pieces, values, strict=True)
            return
        raise Cancelled


@dataclass(frozen=True)
class _Task:
    """Pieces, and the promise of what the network makes of them."""

    pieces: list[Piece]
    future: Future[list[NDArray[np.float32]]]

    @property
    def size(self) -> int:
        """Bytes of its pixels and of its results."""
        return sum(piece.values.nbytes + 4 * piece.values.size for piece in self.pieces)


def _groups(pieces: Iterable[Piece]) -> Iterator[list[Piece]]:
    """Pieces that make a task together."""
    group: list[Piece] = []
    for piece in pieces:
        group.append(piece)
        if sum(each.values.shape[0] * each.values.shape[1] for each in group) >= BAND_PIXELS // 2:
            yield group
            group = []
    if group:
        yield group


def _rows(piece: Piece) -> worker.Rows:
    """What a worker must know to have the same piece."""
    job, band, index = origin(piece)
    rows = band.start - band.above, band.start, band.stop, band.stop + band.below
    return worker.Rows(job.item.source, band.page, rows, index, job.advice.model if job.advice else "")


def _explained(failure: BaseException) -> BaseException:
    from distributed import KilledWorker

    return InputError(DEATHS) if isinstance(failure, KilledWorker) else failure


class Sharing:
    """Does large files, one after the other, in a thread of its own.

    Parameters
    ----------
    client : Client
    setup : Setup
        What the workers are told.
    shared : Shared
        Of the run, whose results go to where the caller of :meth:`take` wants them.
    workers : callable
        How many workers there are.

    Attributes
    ----------
    error : DenoiserError or None
        What stopped it.
    whole : list of Item
        Files that one worker had better do as a whole.
    engine : dict
        What does the work, for the report.
    """

    def __init__(self, client: Client, setup: Setup, shared: Shared, workers: Callable[[], int]) -> None:
        self.client = client
        self.setup = setup
        self.shared = replace(shared, stop=Stop(), budget=shared.budget // (setup.processes + 1))
        self.workers = workers
        self.error: DenoiserError | None = None
        self.whole: list[Item] = []
        self.engine: Mapping[str, str | int] = {}
        self._facts: worker.Facts | None = None
        self._items: deque[Item] = deque()
        self._thread: threading.Thread | None = None
        self._count = 0

    @property
    def busy(self) -> bool:
        """Whether there is a file that is not done."""
        return bool(self._items) or (self._thread is not None and self._thread.is_alive())

    def take(self, item: Item) -> bool:
        """Do a file in its turn; False where no rows of it can be read by themselves, or one worker will do."""
        if _suits(item):
            self._items.append(item)
            return True
        return False

    def look(self) -> None:
        """Go on with the next file, unless one is under way."""
        if self._thread is not None and self._thread.is_alive():
            return
        if self.error is not None or self.shared.stop.code is not None:
            self._items.clear()
        elif self._items:
            self._thread = threading.Thread(target=self._do, args=[self._items.popleft()], name="sharing", daemon=True)
            self._thread.start()

    def _do(self, item: Item) -> None:
        try:
            self._facts = self._facts or self._ask()
            self.engine = self._facts.described
            room = self.shared.budget // 2
            remote = Remote(self._facts, self._submit, self._over, self.workers, room)
            half = self.engine.get("precision") != "fp32"
            done = Pipeline(self.shared, [item], remote, half, band_bytes=_band_bytes(item, self._facts))
            done.execute()
        except Cancelled:
            return
        except DenoiserError as error:
            self.error = error
            return
        self.whole += done.again
        self.error = done.error

    def _ask(self) -> worker.Facts:
        future = self._give(worker.facts, self.setup)
        while not self._over():
            try:
                found, failure = fetched(future)
            except TimeoutError:
                continue
            if isinstance(found, worker.Facts):
                return found
            raise failure if isinstance(failure, DenoiserError) else UnavailableError(unusable(failure))
        raise Cancelled

    def _submit(self, rows: list[worker.Rows]) -> Future[list[NDArray[np.float32]]]:
        return self._give(worker.compute, self.setup, rows)

    def _give(self, work: Callable[..., Any], *arguments: Any) -> Future[Any]:
        self._count += 1
        key = f"bands-{self.setup.run}-{self._count}"
        return self.client.submit(work, *arguments, key=key, pure=False, priority=PRIORITY)

    def _over(self) -> bool:
        return self.shared.stop.code is not None


def unusable(failure: object) -> str:
    """What to say where a worker cannot even begin."""
    if isinstance(failure, ModuleNotFoundError):
        return f"a worker has no module {failure.name!r}: install image-denoiser[dask] for it, the same version as here"
    if isinstance(failure, DenoiserError):
        return str(failure)
    return f"a worker failed with an unexpected {type(failure).__name__}: {shown(str(failure))}"


def _suits(item: Item) -> bool:
    try:
        with open_source(item.source) as source:
            header = source.header
    except (DenoiserError, OSError):
        return False  # whoever does it as a whole says what is wrong with it
    return header.streams and header.format in SHARED_FORMATS and header.megapixels * 1e6 >= 2 * BAND_PIXELS


def _band_bytes(item: Item, facts: worker.Facts) -> int:
    """Bytes for bands that are worth a task: the opposite of :meth:`denoiser.batch.reading.Grid.band_rows`."""
    margin = Grid(facts.context_rows, facts.row_multiple, 0).margin
    with open_source(item.source) as source:
        return max(_bytes(page, margin, facts.row_multiple) for page in source.header.pages)


def _bytes(page: Page, margin: int, multiple: int) -> int:
    stored = page.width * page.channels * page.dtype.itemsize
    result = page.width * colours(page) * 4
    rows = max(BAND_PIXELS // page.width, CONTEXT_SHARE * margin) + multiple
    return rows * (stored + result) + 2 * (margin + FILL_RADIUS) * stored
