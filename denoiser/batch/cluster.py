"""The same work on a Dask cluster: units of files go to worker processes, results come back.

A unit is some files that take a few seconds together, so that scheduling costs little next to the work and progress
is seen. Units become smaller towards the end, so that the workers finish together (guided self-scheduling,
Polychronopoulos and Kuck 1987). Each worker has one unit in hand and one waiting: more would only be work that is lost
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
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from denoiser.batch import worker
from denoiser.batch.crew import Crew
from denoiser.batch.flow import POLL_SECONDS
from denoiser.batch.items import Item
from denoiser.batch.names import shown
from denoiser.batch.options import RunOptions, processors
from denoiser.batch.parts import Delegation, Setup
from denoiser.batch.pipeline import Shared
from denoiser.batch.plan import FILE_WEIGHT
from denoiser.batch.report import FileResult, Status
from denoiser.errors import DenoiserError, ExitCode, UnavailableError

if TYPE_CHECKING:
    from distributed import Client, Future

UNIT_SECONDS = 4.0
"""How long a unit should take a worker."""
FIRST_BYTES = 1 << 20
"""Size of units until it is known how fast the workers are."""
MOST_FILES = 256
"""A unit has no more files than that."""
SPLITS = 3
"""A unit holds at most one in so many parts of what each worker would get of the work that is left."""
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

        delegation, setup = Delegation(shared, work), Setup.of(shared, work)
    with _connected(shared.options) as (client, crew), setup.announced():
        run = _Run(client, crew, delegation, setup)
        if run.prepare():
            run.execute()
            delegation.settle(setup)
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
        self._units = _Units(delegation.work)
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
        self.setup = replace(self.setup, processes=max(hosts.values()))
        answers: Mapping[str, object] = self.client.run(worker.refusal, self.setup, on_error="return")
        for address, answer in answers.items():
            if answer is not None:
                raise UnavailableError(f"{address}: {answer if isinstance(answer, str) else _unusable(answer)}")
        self.shared.progress.note(f"{len(self._workers)} Dask workers on {len(hosts)} machines", "debug")
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
                if time.monotonic() > stopped + GRACE_SECONDS:
                    return
            else:
                self._fill()
            if not self._pending:
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
        while len(self._pending) < AHEAD * max(1, len(self._workers)):
            if deadline is not None and time.monotonic() >= deadline:
                return
            unit = self._units.next(len(self._workers))
            if not unit:
                return
            self._count += 1
            key = f"denoise-{self.setup.run}-{self._count}"
            future: Future[worker.Outcome] = self.client.submit(worker.do, self.setup, unit, key=key, pure=False)
            self._pending[future] = unit
            future.add_done_callback(self._done.put)

    def _take(self, future: Future[worker.Outcome]) -> None:
        """Write down what became of a unit."""
        unit = self._pending.pop(future)
        if future.status == "finished":
            try:
                self._tell(future.result(timeout=POLL_SECONDS))
            except TimeoutError:  # its worker has died since; somebody does it again
                self._pending[future] = unit
                self._done.put(future)
        elif future.status == "error":
            self._failed(unit, future.exception())
        elif not self._over():
            self.error = UnavailableError("the Dask scheduler has dropped the work; finished files stay")

    def _tell(self, outcome: worker.Outcome) -> None:
        self._units.measure(outcome)
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
            self.error = self.error or UnavailableError(_unusable(failure))
        elif len(unit) > 1:
            self._units.again(unit)
        else:
            reason = "the workers that it was given to died, perhaps for lack of memory; give less --max-memory"
            item = unit[0]
            self.delegation.record(
                FileResult(item.source, item.target, Status.FAILED, reason=reason, size=item.stamp.size)
            )
            self.shared.progress.advance(files=1)

    def _stop(self) -> None:
        """Let the workers abandon what they have in hand; what waits ends by itself."""
        code = self.shared.stop.code or ExitCode.TERMINATED
        self.client.run(worker.stop, self.setup.run, code, wait=False, on_error="ignore")


class _Units:
    """Cuts the work into units."""

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

    def again(self, unit: Sequence[Item]) -> None:
        """Do these one by one."""
        self._alone.extend(unit)

    def measure(self, outcome: worker.Outcome) -> None:
        """Learn how many bytes a worker does per second; the first network and the first pages make it slow."""
        size = sum(result.size + FILE_WEIGHT for result in outcome.results)
        if outcome.seconds > 0 and size:
            self._speed += (size / outcome.seconds - self._speed) / 4


def _weight(item: Item) -> int:
    return item.stamp.size + FILE_WEIGHT


def _unusable(failure: object) -> str:
    """What to say where a worker cannot even begin."""
    if isinstance(failure, ModuleNotFoundError):
        return f"a worker has no module {failure.name!r}: install image-denoiser[dask] for it, the same version as here"
    if isinstance(failure, DenoiserError):
        return str(failure)
    return f"a worker failed with an unexpected {type(failure).__name__}: {shown(str(failure))}"
