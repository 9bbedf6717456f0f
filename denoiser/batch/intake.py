"""Files on their way in: opened, refused or cut into bands, within the memory budget."""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING

from denoiser.batch.estimation import advise
from denoiser.batch.flow import Budget, Cancelled, Lease
from denoiser.batch.items import Action
from denoiser.batch.job import Job
from denoiser.batch.manifest import Stamp
from denoiser.batch.names import shown
from denoiser.batch.reading import BAND_SHARE, Grid, Reader
from denoiser.batch.shared import Shared
from denoiser.errors import InputError
from denoiser.images import Source, losses, open_source, refusal

if TYPE_CHECKING:
    from denoiser.batch.auto import Network
    from denoiser.batch.sharing import Remote


class Intake:
    """Reads the files of one pass. Used from many threads.

    Parameters
    ----------
    shared : Shared
    denoiser : Denoiser, Chooser, Remote or None
        See :class:`denoiser.batch.pipeline.Pipeline`.
    budget : Budget
        Where memory is taken from.
    lock : Lock
        Held while a job is settled.
    band_bytes : int
        Bytes that a band may take, where it is less than the budget has room for.
    """

    def __init__(
        self,
        shared: Shared,
        denoiser: Network | Remote | None,
        budget: Budget,
        lock: threading.Lock,
        band_bytes: int,
    ) -> None:
        self.shared = shared
        self.denoiser = denoiser
        self.budget = budget
        self._lock = lock
        stated = denoiser is not None and "uncertainty" in shared.options.beside
        self._reader = Reader(
            self._grid(band_bytes, stated),
            shared.options.white,
            shared.options.black,
            passes=denoiser is None,
            needs_range=denoiser is not None and denoiser.needs_range,
            workspace=shared.workspace,
            reach=shared.writer.controls.reach,
            stated=stated,
        )

    def _grid(self, band_bytes: int, stated: bool) -> Grid:
        if self.shared.workspace:
            return Grid(0, 1, sys.maxsize)
        limit = min(self.shared.budget // BAND_SHARE, band_bytes)
        if self.denoiser is None:
            return Grid(0, 1, limit)
        context = self.denoiser.context_rows + self.shared.writer.controls.reach
        return Grid(context, self.denoiser.row_multiple, limit, 1 + stated, self.denoiser.keeps_rows)

    def read(self, job: Job) -> None:
        """Put the bands of a file into its queue, one by one as there is memory for them.

        Raises
        ------
        DenoiserError
            If the file cannot be read, or may not be.
        Cancelled
            If the job is over, or the run.
        """
        with self._open(job) as source:
            for band in self._reader.bands(source, job.form, lambda amount: self._lease(job, amount)):
                # In this order: once it has the band the network may want the next one, which must not be forgotten.
                self.budget.satisfied(job.turn)
                if job.advice is None and self.shared.chooses:
                    self._choose(job, source)
                job.incoming.put(band)

    def decode(self, job: Job) -> None:
        """Read all pixels of a file that is to be copied, so that a damaged one does not pass for a good one.

        Raises as :meth:`read`.
        """
        with self._open(job) as source:
            streams = source.header.streams
            for index, page in enumerate(source.header.pages):
                rows = self._reader.grid.band_rows(page, streams) if streams else page.height
                # The only room that a copy holds, so that copies never wait for each other in a circle.
                room = self._lease(job, rows * page.width * page.channels * page.dtype.itemsize)
                for start in range(0, page.height, rows):
                    source.read(index, start, min(start + rows, page.height))
                room.release()

    def _choose(self, job: Job, source: Source) -> None:
        """Choose the network of a file, now that its first rows are in memory, by its first page."""
        job.advice = advise(source, 0, self.shared.options.white, self.shared.options.black)
        job.figures = {"model": job.advice.model, "reason": job.advice.reason}
        self.shared.progress.note(f"{shown(job.item.source)}: {job.advice.model}, {job.advice.reason}", "debug")

    def _open(self, job: Job) -> Source:
        job.started = time.monotonic()
        job.stamp = Stamp.at(job.item.source)
        source = open_source(job.item.source, self.shared.max_bytes)
        job.header = source.header
        if job.item.action is not Action.COPY:
            job.losses = losses(source.header, job.form)
            refused = refusal(source.header, job.form)
            if job.losses and self.shared.options.strict:
                refused = f"--strict: {job.form} cannot keep {', '.join(job.losses)}"
            refused = refused or self._reader.refusal(source.header, self.shared.max_bytes)
            if refused:
                source.close()
                raise InputError(refused)
        return source

    def _lease(self, job: Job, amount: int) -> Lease:
        lease = self.budget.lease(amount, job.turn)
        with self._lock:
            job.leases.append(lease)
            if job.settled or job.error is not None:  # reading on would be in vain
                lease.release()
                raise Cancelled
        return lease
