"""The same work on a Dask cluster: units of files, and bands of large ones, go to worker processes.

A unit is some files that take a few seconds together, so that scheduling costs little next to the work and progress
is seen. Units become smaller towards the end, so that the workers finish together (guided self-scheduling,
Polychronopoulos and Kuck 1987), and a file that is large beside all other work is shared by them (see
:mod:`denoiser.batch.sharing`). Each worker has one unit in hand and one waiting: more would only be work that is lost
or stolen. Dask gives the units of a dead worker to others; what such a unit has finished is not done again (see
:mod:`denoiser.batch.parts`).

This uses ``distributed`` itself and not joblib's Dask backend: joblib submits batches as fast as it can draw them and
re-raises the first loss of a worker as an error of the whole run.
"""

from __future__ import annotations

import logging
import os
import queue
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from denoiser.batch import worker
from denoiser.batch.crew import CLOSING_SECONDS, Crew
from denoiser.batch.flow import POLL_SECONDS
from denoiser.batch.items import Item
from denoiser.batch.options import RunOptions
from denoiser.batch.parts import Delegation, Setup, delegated
from denoiser.batch.report import FileResult, Status
from denoiser.batch.shared import Shared
from denoiser.batch.sharing import DEATHS, Sharing, fetched, unusable
from denoiser.batch.units import Units, shareable
from denoiser.errors import DenoiserError, ExitCode, UnavailableError
from denoiser.machine import processors

if TYPE_CHECKING:
    from distributed import Client, Future

AHEAD = 2
"""Units in hand per worker."""
LOOK_SECONDS = 2.0
"""How often it is asked who works."""
CONNECT_SECONDS = 10.0
"""How long to wait for the scheduler."""
TELL_SECONDS = 10.0
"""How long to wait for workers in silence."""
PATIENCE_SECONDS = 120.0
"""How long to wait for a worker when there is none."""
GRACE_SECONDS = 3.0
"""How long workers may take to let go of their files after a wish to stop."""
CREW_GRACE_SECONDS = 1.0
"""The same for workers that end with the run."""
MEMORY_PER_WORKER = 1 << 30
"""No more workers are started on this machine than have so many bytes each."""


def require() -> None:
    """Make sure that Dask is installed.

    Raises
    ------
    UnavailableError
        If it is not.
    """
    if find_spec("distributed") is None:
        raise UnavailableError("--backend dask needs Dask: pip install 'image-denoiser[dask]'")


def execute(shared: Shared, work: Sequence[Item]) -> tuple[DenoiserError | None, Mapping[str, str | int]]:
    """Do the work on a cluster.

    Parameters
    ----------
    shared : Shared
        Its options name the scheduler.
    work : sequence of Item

    Returns
    -------
    error : DenoiserError or None
        What stopped the work.
    engine : dict
        What did it, for the report.

    Raises
    ------
    UnavailableError
        If there is no scheduler, no worker, or a worker that cannot take part.
    """
    assert isinstance(shared.options, RunOptions)
    with shared.stop.abruptly():
        import distributed  # noqa: F401 - takes seconds on a busy machine
    with _connected(shared.options) as (client, crew), delegated(shared, work) as (delegation, setup):
        run = _Run(client, crew, delegation, setup)
        if run.prepare():
            run.execute()
        if crew is not None:
            crew.end(0.0 if shared.stop.code is not None else CLOSING_SECONDS)
    return run.error, {**run.engine, "workers": len(run.seen)} if run.engine else {}


@contextmanager
def _connected(options: RunOptions) -> Iterator[tuple[Client, Crew | None]]:
    """A client of the scheduler, and the workers that are started here if none is named."""
    from distributed import Client, LocalCluster

    quiet = logging.getLogger("distributed")
    before = quiet.level
    quiet.setLevel(logging.CRITICAL)  # what becomes of units and workers is told in words of this program
    try:
        if options.scheduler is not None:
            with _client(options.scheduler) as client:
                yield client, None
            return
        here = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}
        scheduler = LocalCluster(n_workers=0, silence_logs=logging.CRITICAL, **here)
        with (
            scheduler,
            Client(scheduler, set_as_default=False) as client,
            Crew(scheduler.scheduler_address, *_workers_here(options)) as crew,
        ):
            yield client, crew
    finally:
        quiet.setLevel(before)


def _client(scheduler: str) -> Client:
    """Connect to a scheduler by its address or scheduler file."""
    from distributed import Client

    try:
        if scheduler.endswith(".json"):
            if not Path(scheduler).is_file():  # Dask would wait for it
                raise UnavailableError(f"--scheduler {scheduler}: there is no such scheduler file")
            return Client(scheduler_file=scheduler, timeout=CONNECT_SECONDS, set_as_default=False)
        return Client(scheduler, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        raise UnavailableError(
            f"--scheduler {scheduler}: no Dask scheduler answers there ({error}); start one with `dask scheduler`, or "
            "leave --scheduler away to use this machine"
        ) from error


def _workers_here(options: RunOptions) -> tuple[int, int]:
    """How many workers to start on this machine, and with how many threads each."""
    if options.copies:
        return processors(), 1
    from denoiser.inference import devices

    threads = devices.threads()
    if devices.resolve(options.device).type != "cpu":
        return 1, threads
    memory = options.max_memory or devices.free_memory(devices.resolve("cpu")) // 2
    workers = max(1, min(threads, memory // MEMORY_PER_WORKER))
    return workers, max(1, min(threads, int(os.environ.get("OMP_NUM_THREADS", threads))) // workers)


class _Run:
    """One run, seen from the process that planned it."""

    def __init__(self, client: Client, crew: Crew | None, delegation: Delegation, setup: Setup) -> None:
        self.client = client
        self.crew = crew
        self.delegation = delegation
        self.shared = delegation.shared
        self.setup = replace(setup, threads=crew.threads if crew else None)
        self.error: DenoiserError | None = None
        self.engine: Mapping[str, str | int] = {}
        self.seen: set[str] = set()
        self.sharing: Sharing | None = None
        self._units = Units(delegation.work)
        self._pending: dict[Future[worker.Outcome], Sequence[Item]] = {}
        self._done: queue.SimpleQueue[Future[worker.Outcome]] = queue.SimpleQueue()
        self._workers: list[str] = []
        self._looked = self._last_worker = 0.0
        self._count = 0

    def prepare(self) -> bool:
        """Wait for workers, and let every one check that it can take part. False if the run is to stop meanwhile.

        Raises
        ------
        UnavailableError
            If they do not come, or one cannot take part.
        """
        if not self._wait_for(self.crew.wanted if self.crew else 1):
            return False
        hosts = Counter(address.rpartition(":")[0] for address in self._workers)
        owner = self.crew is not None and any(map(shareable, self.delegation.work))  # it needs memory as well
        self.setup = replace(self.setup, processes=max(hosts.values()) + owner)
        answers: Mapping[str, object] = self.client.run(worker.refusal, self.setup, on_error="return")
        for address, answer in answers.items():
            if answer is not None and not isinstance(answer, OSError):  # that is one who has left since
                raise UnavailableError(f"{address}: {answer if isinstance(answer, str) else unusable(answer)}")
        self.shared.progress.note(f"{len(self._workers)} Dask workers on {len(hosts)} machines", "debug")
        if not self.setup.options.copies:
            shared = replace(self.shared, record=self.delegation.record)
            self.sharing = Sharing(self.client, self.setup, shared, lambda: len(self._workers))
        return True

    def _wait_for(self, least: int) -> bool:
        began = told = time.monotonic()
        while len(self._who()) < least:
            now = time.monotonic()
            if self.shared.stop.code is not None:
                return False
            if now > began + PATIENCE_SECONDS:
                raise UnavailableError(f"the Dask scheduler has no workers; start some: {self._command()}")
            if told == began and now > began + TELL_SECONDS:
                told = now
                self.shared.progress.note(f"waiting for Dask workers ({self._command()})", "warning")
            time.sleep(POLL_SECONDS)
        return True

    def _command(self) -> str:
        return f"dask worker {self.client.scheduler.address}" if self.client.scheduler else "dask worker"

    def execute(self) -> None:
        """Returns when all units are done, or the run is over."""
        stopped = None
        while True:
            self._look()
            if self._over():
                if stopped is None:
                    stopped = time.monotonic()
                    self._stop()
                if time.monotonic() > stopped + (CREW_GRACE_SECONDS if self.crew else GRACE_SECONDS):
                    return
            else:
                self._fill()
            if not self._pending and not (self.sharing and self.sharing.busy):
                return
            try:
                self._take(self._done.get(timeout=POLL_SECONDS))
            except queue.Empty:
                continue

    def _over(self) -> bool:
        return self.error is not None or self.shared.stop.code is not None

    def _who(self) -> list[str]:
        """The workers that there are."""
        if self.crew:
            self.crew.look()
        self._workers = list(self.client.nthreads())
        self.seen.update(self._workers)
        return self._workers

    def _look(self) -> None:
        """See now and then who works; without anybody there is no end."""
        now = time.monotonic()
        if now < self._looked + LOOK_SECONDS:
            return
        self._looked = now
        try:
            there = self.client.status == "running" and self._who()
        except OSError:
            there = None
        except UnavailableError as error:
            self.error = error
            return
        if there is None or self.client.status != "running":
            self.error = self.error or UnavailableError("the Dask scheduler is gone; finished files stay")
        elif there:
            self._last_worker = now
        elif now > self._last_worker + PATIENCE_SECONDS:
            self.error = UnavailableError("all Dask workers are gone; finished files stay, the next run goes on")

    def _fill(self) -> None:
        """Keep as many units in hand as the workers need; begin none after the deadline."""
        deadline = self.shared.deadline
        self._share()
        while len(self._pending) < AHEAD * max(1, len(self._workers)):
            if deadline is not None and time.monotonic() >= deadline:
                return
            if self.sharing and (large := self._units.large(len(self._workers))):
                if not self.sharing.take(large):
                    self._units.again([large])
                self._share()
                continue
            unit = self._units.next(len(self._workers))
            if not unit:
                return
            self._count += 1
            key = f"denoise-{self.setup.run}-{self._count}"
            future: Future[worker.Outcome] = self.client.submit(worker.do, self.setup, unit, key=key, pure=False)
            self._pending[future] = unit
            future.add_done_callback(self._done.put)

    def _share(self) -> None:
        """See how far the files are that the workers share."""
        if self.sharing is None:
            return
        self.sharing.look()
        self.error = self.error or self.sharing.error
        self.engine = self.engine or self.sharing.engine
        self._units.again(self.sharing.whole)
        self.sharing.whole = []

    def _take(self, future: Future[worker.Outcome]) -> None:
        """Write down what became of a unit."""
        unit = self._pending[future]
        try:
            outcome, failure = fetched(future)
        except TimeoutError:
            self._done.put(future)
            return
        del self._pending[future]
        if outcome is not None:
            self._tell(outcome)
        elif failure is not None:
            self._failed(unit, failure)
        elif not self._over():
            word = "has dropped the work" if self.client.status == "running" else "is gone"
            self.error = UnavailableError(f"the Dask scheduler {word}; finished files stay")

    def _tell(self, outcome: worker.Outcome) -> None:
        self._units.measure(sum(result.size for result in outcome.results), len(outcome.results), outcome.seconds)
        for message, level in outcome.notes:
            self.shared.progress.note(message, level)
        for result in outcome.results:
            if result.status is not Status.LEFT:
                self.shared.progress.advance(files=1, megapixels=result.megapixels)
            self.delegation.record(result)
        self.engine = self.engine or outcome.engine or {}
        if outcome.error is not None:
            self.error = self.error or outcome.error

    def _failed(self, unit: Sequence[Item], failure: BaseException | None) -> None:
        """A unit that killed its workers is done file by file, to find the one that does it."""
        from distributed import KilledWorker

        if not isinstance(failure, KilledWorker):
            self.error = self.error or UnavailableError(unusable(failure))
        elif len(unit) > 1:
            self._units.again(unit)
        else:
            item = unit[0]
            self.delegation.record(
                FileResult(item.source, item.target, Status.FAILED, reason=DEATHS, size=item.stamp.size)
            )
            self.shared.progress.advance(files=1)

    def _stop(self) -> None:
        """Let the workers abandon what they have in hand; what waits ends by itself."""
        code = self.shared.stop.code or ExitCode.TERMINATED
        if self.sharing:
            self.sharing.shared.stop.request(code)
        if self.client.status == "running":  # else the scheduler is gone
            with suppress(OSError):
                self.client.run(worker.stop, self.setup.run, code, wait=False, on_error="ignore")
