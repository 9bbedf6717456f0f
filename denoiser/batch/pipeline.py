"""Read ahead -> compute -> check -> write behind. One failure stays one failure.

Reader threads cut files into bands, in order and within a memory budget; the calling thread takes them
to the network, file by file; writer threads pull the results into temporary files. Why it cannot hang:
results come in the order of the pieces, so of all files with a writer only one is incomplete, the rest
end by themselves; and the budget gives room to the file that the network waits for as soon as no writer
can make room (see :class:`denoiser.batch.flow.Budget`).
"""

from __future__ import annotations

import logging
import queue
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from denoiser.batch.flow import AHEAD_BYTES, POLL_SECONDS, Budget, Cancelled
from denoiser.batch.intake import Intake
from denoiser.batch.items import Action, Item
from denoiser.batch.job import CheckError, Job, explained
from denoiser.batch.pieces import origin, pieces_of
from denoiser.batch.reading import Band
from denoiser.batch.report import Status
from denoiser.batch.shared import Shared
from denoiser.batch.verification import Verifier
from denoiser.errors import DenoiserError, Interrupted, OutputError, UnavailableError

if TYPE_CHECKING:
    from denoiser.batch.auto import Network
    from denoiser.batch.sharing import Remote
    from denoiser.inference import Piece

    Result = tuple[Piece, NDArray[np.float32]]

_log = logging.getLogger(__name__)

GRACE_SECONDS = 2.0
"""How long threads may take to end after a wish to stop. Service managers wait for a process as short as ten seconds,
an encoder with a large picture takes longer."""


class Pipeline:
    """One pass over a list of files.

    Parameters
    ----------
    shared : Shared
    items : sequence of Item
        In the order in which they are done.
    denoiser : Denoiser, Chooser, Remote or None
        None where pixels go past the network: as they are (strength 0), or to a writer that works on them.
    second_try : bool
        Whether files that fail their check are kept for another pass, see ``again``, instead of failing.
    verifier : Verifier, optional
        Sees what the network makes of every band.
    band_bytes : int, optional
        Bytes that a band may take, where it is less than the budget has room for.

    Attributes
    ----------
    again : list of Item
        Files whose result failed its check.
    error : DenoiserError or None
        What stopped the whole pass.
    """

    def __init__(
        self,
        shared: Shared,
        items: Sequence[Item],
        denoiser: Network | Remote | None,
        second_try: bool = False,
        verifier: Verifier | None = None,
        band_bytes: int = sys.maxsize,
    ) -> None:
        self.shared = shared
        self.denoiser = denoiser
        self.second_try = second_try
        self.verifier = verifier
        self.again: list[Item] = []
        self.error: DenoiserError | None = None
        self.budget = Budget(shared.budget, AHEAD_BYTES * shared.options.threads)
        self.jobs = [Job(item, turn) for turn, item in enumerate(items)]
        self._unread = iter(self.jobs)
        self._begun: list[Job] = []
        self._writes: list[Future[None]] = []
        self._crowd = 64
        self._closing = False
        self._lock = threading.Lock()
        self._intake = Intake(shared, denoiser, self.budget, self._lock, band_bytes)
        self._writers = ThreadPoolExecutor(shared.options.threads, thread_name_prefix="writer")

    def execute(self) -> None:
        """Do the work. Returns when every file is finished, failed or left, and every thread has ended."""
        readers = [
            threading.Thread(target=self._read_all, name=f"reader-{number}", daemon=True)
            for number in range(self.shared.options.threads)
        ]
        for thread in readers:
            thread.start()
        try:
            self._compute()
            while self._writes and not self._over():
                wait(self._writes, timeout=POLL_SECONDS)
                self._forget_finished()
        except Interrupted:
            pass  # the wish to stop is known; what follows is the end of every run that is stopped
        finally:
            self._abandon()
            self._part_with(readers)
            for job in self.jobs:
                self._settle(job)

    # The calling thread: order, limits, network.

    def _compute(self) -> None:
        taken: deque[Piece] = deque()
        pieces = self._pieces(taken)
        if self.denoiser is None:
            for _ in pieces:
                raise AssertionError("without a network there are no pieces")
            return
        results = self._results(self.denoiser, pieces, taken)
        for piece, values in results:
            job, band, _ = origin(piece)
            if self._over():
                break
            if job.error is not None:
                band.release()
                continue
            (band.deviations if piece.uncertainty else band.results).append(values)
            if band.complete:
                if self.verifier is not None:
                    self.verifier.see(job, band)
                self._hand_over(job, band)
        results.close()

    def _results(
        self, denoiser: Network | Remote, pieces: Iterator[Piece], taken: deque[Piece]
    ) -> Generator[Result, None, None]:
        """Pieces and what the network made of them.

        When the network fails, the pieces that it had taken are given to it one by one, so that the
        failure finds its file, and the others go on.
        """
        crashes: list[Exception] = []
        while True:
            with self._boundary(crashes.append):
                for piece, values in self._interruptible(denoiser.stream(self._undisturbed(pieces))):
                    taken.popleft()
                    yield piece, values
                return
            if self._over():
                return
            if not taken:
                self._end_with(UnavailableError(f"the network cannot run: {crashes[-1]}"))
                return
            while taken and not self._over():
                piece = taken.popleft()
                if origin(piece)[0].error is not None:
                    continue
                with self._boundary(origin(piece)[0].fail):
                    yield from self._interruptible(denoiser.stream([piece]))

    def _interruptible(self, results: Iterator[Result]) -> Iterator[Result]:
        """Take results of the network, which may compute a whole band, and half a minute, before it gives one."""
        while True:
            with self.shared.stop.abruptly():
                result = next(results, None)
            if result is None:
                return
            yield result

    def _undisturbed(self, pieces: Iterator[Piece]) -> Iterator[Piece]:
        """Give pieces to the network; how they come about is not torn."""
        while True:
            with self.shared.stop.abruptly(False):
                piece = next(pieces, None)
            if piece is None:
                return
            yield piece

    def _pieces(self, taken: deque[Piece]) -> Iterator[Piece]:
        """What the network is to compute, in order; what needs no network is passed on from here."""
        for job in self.jobs:
            if self._over() or (self.shared.deadline is not None and time.monotonic() >= self.shared.deadline):
                return
            self.budget.begin(job.turn)
            if job.item.action is Action.COPY:
                self._begin(job, self._copy)
                continue
            begun = False
            while (band := self._next_band(job)) is not None:
                if job.error is not None:
                    band.release()
                    continue
                if not begun:
                    begun = True
                    self._begin(job, self._write)
                if band.planes is None:
                    self._hand_over(job, band)
                    continue
                pieces: list[Piece] = []
                with self._boundary(job.fail):
                    pieces = pieces_of(job, band)
                for piece in pieces:
                    taken.append(piece)
                    yield piece
            if not begun and not self._over():
                self._settle(job)

    def _next_band(self, job: Job) -> Band | None:
        """The next band of a job; None when there are no more, or the run is over."""
        try:
            return job.incoming.get_nowait()
        except queue.Empty:
            self.budget.want(job.turn)
        while not self._over():
            try:
                return job.incoming.get(timeout=POLL_SECONDS)
            except queue.Empty:
                continue
        return None

    def _begin(self, job: Job, work: Callable[[Job], None]) -> None:
        """Give a file to a writer thread. Copies wait for one: nothing else holds them back."""
        if len(self._writes) >= self._crowd:  # now and then: looking at each for every file would add up
            self._forget_finished()
            self._crowd = 2 * len(self._writes) + 64
        while (
            job.item.action is Action.COPY and len(self._writes) > 2 * self.shared.options.threads and not self._over()
        ):
            wait(self._writes, timeout=POLL_SECONDS, return_when=FIRST_COMPLETED)
            self._forget_finished()
        self._begun.append(job)
        self._writes.append(self._writers.submit(work, job))

    def _forget_finished(self) -> None:
        self._writes = [write for write in self._writes if not write.done()]
        self._begun = [job for job in self._begun if not job.settled]

    def _hand_over(self, job: Job, band: Band) -> None:
        self.shared.progress.advance(megapixels=band.megapixels)
        band.hand_over()
        job.outgoing.put(band)

    def _abandon(self) -> None:
        """Let go of everyone who waits. At the end of an undisturbed run nobody does."""
        self.budget.cancel()
        self._closing = True
        for job in self._begun:
            job.outgoing.put(None)

    def _part_with(self, readers: Sequence[threading.Thread]) -> None:
        """Wait until every thread has ended; after a wish to stop only for a moment, as nothing of theirs is kept."""
        stopped = self.shared.stop.code is not None
        end = time.monotonic() + GRACE_SECONDS
        wait(self._writes, timeout=GRACE_SECONDS if stopped else None)
        self._writers.shutdown(wait=not stopped, cancel_futures=stopped)
        for thread in readers:
            thread.join(max(0.0, end - time.monotonic()) if stopped else None)
        if not stopped:
            return
        named = [job for job in self._begun if job.refuse()]
        while not all(job.settled for job in named):
            time.sleep(POLL_SECONDS / 10)
        self.shared.writer.abandon()

    # Reader threads.

    def _read_all(self) -> None:
        while not self._over():
            with self._lock:
                job = next(self._unread, None)
            if job is None:
                return
            if job.item.action is Action.COPY:
                continue
            with self._boundary(job.fail):
                self._intake.read(job)
            self.budget.satisfied(job.turn)
            job.incoming.put(None)

    # Writer threads.

    def _write(self, job: Job) -> None:
        if not self._over():
            with self._boundary(job.fail):
                self.shared.writer.write(job)
                job.done = True
        self._settle(job)

    def _copy(self, job: Job) -> None:
        if not self._over():
            with self._boundary(job.fail):
                self._intake.decode(job)
                self.shared.writer.copy(job)
                job.done = True
                if job.header:
                    self.shared.progress.advance(megapixels=job.header.megapixels)
        self._settle(job)

    # What every thread may do.

    @contextmanager
    def _boundary(self, on_error: Callable[[Exception], None]) -> Iterator[None]:
        """The place where an error of one file stops being an error of the run."""
        try:
            yield
        except Cancelled:
            pass
        except (OutputError, UnavailableError) as error:
            on_error(error)
            self._end_with(error)
        except Exception as error:
            _log.debug("%s", error, exc_info=True)
            on_error(explained(error))

    def _over(self) -> bool:
        return self._closing or self.error is not None or self.shared.stop.code is not None

    def _end_with(self, error: DenoiserError) -> None:
        with self._lock:
            self.error = self.error or error
        self.budget.cancel()

    def _settle(self, job: Job) -> None:
        """Write down what became of a file, once."""
        with self._lock:
            if job.settled:
                return
            job.settled = True
        for lease in job.leases:
            lease.release()
        if isinstance(job.error, CheckError) and self.second_try and not job.done:
            with self._lock:
                self.again.append(job.item)
            return
        result = job.result()
        if result.status is not Status.LEFT:
            self.shared.progress.advance(files=1)
        with self._boundary(lambda error: None):
            self.shared.record(result)
