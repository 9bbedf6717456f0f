"""Running batches: several at once on the CPU, overlapped with transfers on CUDA.

On the CPU each worker thread computes its own batch with one compute thread (or few). Compared with
one batch spread over all processors there are no barriers between threads, where one processor that
is busy with decoding or encoding a file makes all others wait: measured on two shared cores this is
1.2 times as fast for windows of a megapixel and twice as fast for batches of small pictures.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from denoiser.inference import devices
from denoiser.inference.batching import Item, Key, gather, scatter
from denoiser.inference.network import Network
from denoiser.inference.strips import Strip

_MOST_WORKERS = 8
"""Batches computed at once on a CPU; further processors become threads of these workers."""


class Ticket(Protocol):
    """A batch under way."""

    @property
    def items(self) -> Sequence[Item]: ...

    @property
    def key(self) -> Key: ...

    def done(self) -> bool:
        """Whether the result is there without waiting or computing."""
        ...

    def result(self) -> list[Item]:
        """Wait until results are written to their jobs. Returns the items whose result is not finite."""
        ...


class Engine(Protocol):
    """Computes batches on one device."""

    @property
    def depth(self) -> int:
        """How many batches may be under way at once."""
        ...

    @property
    def workers(self) -> int:
        """How many of these compute at the same time, and need memory for it."""
        ...

    def limit_workers(self, most: int) -> None:
        """Let no more than so many batches compute at the same time, at least one. Before the first batch."""
        ...

    def submit(self, items: Sequence[Item], key: Key, places: int, share: int) -> Ticket:
        """Begin a batch of ``places`` windows, of which ``items`` are real.

        ``share`` batches have the processors between them: a single small picture gets them all.
        """
        ...

    def no_more(self) -> None:
        """Say that nothing follows the batches under way for now."""
        ...

    def network(self, precision: str) -> Network:
        """The network in a precision, made when first asked for."""
        ...


class Networks:
    """The networks of one module in the precisions that were asked for, made when first needed."""

    def __init__(self, module: nn.Module, device: torch.device) -> None:
        self._module = module
        self._device = device
        self._made: dict[str, Network] = {}

    def network(self, precision: str) -> Network:
        if precision not in self._made:
            self._made[precision] = Network(self._module, self._device, precision)
        return self._made[precision]

    def limit_workers(self, most: int) -> None:
        """Nothing to do where one batch computes at a time."""

    def no_more(self) -> None:
        """Nothing to do where a batch has all of the device."""


def as_tensor(stored: NDArray[Any]) -> Tensor:
    """A batch of stored values as torch sees it: uint16 under the name of int16."""
    return torch.from_numpy(stored.view(np.int16) if stored.dtype == np.uint16 else stored)


def _run(
    network: Network, items: Sequence[Item], key: Key, places: int, between: Callable[[], None] = lambda: None
) -> list[Item]:
    """Compute a batch from beginning to end in the calling thread."""
    if not key.uncertainty and network.flows(places, key.height, key.width):
        return _run_down(network, items[0], between)
    stored = np.empty((places, key.height, key.width, key.channels), key.dtype)
    levels = torch.from_numpy(np.stack(gather(items, stored))).to(network.device)
    values, finite = network.compute(as_tensor(stored).to(network.device), levels, key.uncertainty)
    return scatter(items, values.cpu().numpy(), finite.cpu().numpy(), owned=True)


def _run_down(network: Network, item: Item, between: Callable[[], None]) -> list[Item]:
    """Compute one window from top to bottom, its result row by row into its job."""
    (job, window), finite = item, []
    network.go_down(
        window.height,
        window.width,
        job.piece.white,
        item.scaled,
        lambda row, noise: finite.append(item.subtract(row, noise)),
        between,
    )
    return [] if all(finite) else [item]


@dataclass(frozen=True)
class _FutureTicket:
    """A batch that a worker thread computes."""

    items: Sequence[Item]
    key: Key
    future: Future[list[Item]]

    def done(self) -> bool:
        return self.future.done()

    def result(self) -> list[Item]:
        failed = self.future.result()
        # Workers set their own number of threads, and torch takes the last number that anybody set as the
        # default of threads to come. This sets it back without changing it for the calling thread.
        torch.set_num_threads(torch.get_num_threads())
        return failed


@dataclass(frozen=True)
class _DeferredTicket:
    """A batch that is computed when its result is asked for."""

    items: Sequence[Item]
    key: Key
    compute: Callable[[], list[Item]]

    def done(self) -> bool:
        return False

    def result(self) -> list[Item]:
        return self.compute()


class SerialEngine(Networks):
    """One batch after the other (MPS)."""

    depth = 1
    workers = 1

    def submit(self, items: Sequence[Item], key: Key, places: int, share: int) -> Ticket:
        return _DeferredTicket(items, key, partial(_run, self.network(key.precision), items, key, places))


class Workers:
    """Threads that compute batches, each its own: of one engine, or of several that take turns.

    Attributes
    ----------
    count : int
        How many compute at the same time.
    ending : bool
        Whether nothing follows the batches under way for now.
    """

    def __init__(self) -> None:
        # OpenMP heeds OMP_NUM_THREADS and the affinity mask, torch.set_num_threads says what the user wants,
        # and none of them knows the quota of a container.
        self.threads = min(devices.threads(), torch.get_num_threads())
        self.count = min(self.threads, _MOST_WORKERS)
        self._begin()

    def _begin(self) -> None:
        self._pool = ThreadPoolExecutor(self.count, thread_name_prefix="denoiser-cpu")
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._under_way = 0
        self.ending = False

    @property
    def pool(self) -> ThreadPoolExecutor:
        if self._process != os.getpid():  # a fork has none of the threads of the process that it was made of
            self._begin()
        return self._pool

    def limit(self, most: int) -> None:
        if most < self.count:
            self.count = max(1, most)
            self._begin()

    def share(self, of: int) -> int:
        """Threads for each of so many batches."""
        return max(1, self.threads // min(of, self.count))

    def submit(self, threads: int, run: Callable[[Callable[[], None]], list[Item]]) -> Future[list[Item]]:
        """Run a batch, which calls what it is given now and then, in so many threads or in more at the end."""
        pool = self.pool
        with self._lock:
            self._under_way += 1
            self.ending = False
        return pool.submit(self._run, threads, run)

    def _run(self, threads: int, run: Callable[[Callable[[], None]], list[Item]]) -> list[Item]:
        def spread() -> None:
            if self.ending:
                _use(max(threads, self.share(self._under_way)))

        _use(threads)
        try:
            return run(spread)
        finally:
            with self._lock:
                self._under_way -= 1


class CpuEngine(Networks):
    """Worker threads, each with its own batch.

    Parameters
    ----------
    module : torch.nn.Module
    crew : Workers, optional
        Those of an engine with which this one takes turns.
    """

    def __init__(self, module: nn.Module, crew: Workers | None = None) -> None:
        super().__init__(module, torch.device("cpu"))
        self.crew = crew or Workers()

    @property
    def workers(self) -> int:
        return self.crew.count

    @property
    def depth(self) -> int:
        return 2 * self.workers

    def limit_workers(self, most: int) -> None:
        self.crew.limit(most)

    def submit(self, items: Sequence[Item], key: Key, places: int, share: int) -> Ticket:
        run = partial(_run, self.network(key.precision), items, key, places)
        return _FutureTicket(items, key, self.crew.submit(self.crew.share(share), run))

    def no_more(self) -> None:
        """The processors of workers that have nothing to do any more go to those that are still in a large window."""
        self.crew.ending = True

    def submit_strip(self, strip: Strip, item: Item, key: Key, share: int) -> Ticket:
        """Begin the next band of a strip, which waits for the one before."""
        # The one before has been submitted before, so that somebody is computing it already.
        run = partial(_continue_with_threads, self.crew.share(share), strip, strip.before, item, key)
        strip.before = self.crew.pool.submit(run)
        return _FutureTicket([item], key, strip.before)


def _continue_with_threads(
    threads: int, strip: Strip, before: Future[list[Item]] | None, item: Item, key: Key
) -> list[Item]:
    if before is not None:
        wait([before])
    _use(threads)
    if strip.broken:
        return _run(strip.network, [item], key, 1)
    try:
        return strip.compute(item)
    except Exception:
        strip.broken = True
        raise


def _use(threads: int) -> None:
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)  # for this worker alone


def make_engine(module: nn.Module, device: torch.device, beside: Engine | None = None) -> Engine:
    """The engine for a device; on a CPU with the workers of the one beside which it computes."""
    if device.type == "cuda":
        from denoiser.inference.cuda import CudaEngine

        return CudaEngine(module, device)
    if device.type == "cpu":
        return CpuEngine(module, beside.crew if isinstance(beside, CpuEngine) else None)
    return SerialEngine(module, device)
