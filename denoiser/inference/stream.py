"""One pass over many pieces: cut, group into batches, compute, recover, give back in order.

Several networks may share a pass, each in a lane of its own: their batches are computed side by side, and no processor
waits where one network's pieces end and another's begin.

What a piece becomes never follows from timing. Which windows share a batch, and how many threads compute it, may,
because pieces are taken as others are done; no bit of a result depends on either.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from denoiser.errors import InputError
from denoiser.inference import devices
from denoiser.inference.batching import Buffers, Item, Job, Key, Piece
from denoiser.inference.engine import CpuEngine, Engine, Ticket
from denoiser.inference.sizing import Sizing
from denoiser.inference.strips import Courses

Result = tuple[Piece, NDArray[np.float32]]


class Down(NamedTuple):
    """What computes pages from top to bottom, band by band."""

    engine: CpuEngine
    courses: Courses


class Lane(NamedTuple):
    """One network of a stream, and how its pieces are computed.

    Attributes
    ----------
    engine : Engine
    device : torch.device
    sizing : Sizing
        Shared with other streams of the same network: what did not fit into memory once is remembered.
    precision_of : callable
        The precision in which a piece is computed.
    enough, most : int
        When pieces that were taken and not yet given back occupy more bytes than ``enough``, and there are batches for
        all workers, no more are taken and batches are no longer held back until they are full; with more than ``most``
        in any case.
    down : Down or None
        Computes pages whose pieces follow each other; without it, all pieces are computed by themselves.
    """

    engine: Engine
    device: torch.device
    sizing: Sizing
    precision_of: Callable[[Piece], str]
    enough: int
    most: int
    down: Down | None = None


class Stream:
    """Denoises one sequence of pieces.

    Parameters
    ----------
    lanes : sequence of Lane
        Whose engines share their workers.
    lane_of : callable, optional
        Piece -> which lane it goes to; by default the first.
    """

    def __init__(self, lanes: Sequence[Lane], lane_of: Callable[[Piece], int] = lambda piece: 0) -> None:
        self._lanes = lanes
        self._lane_of = lane_of
        self._depth, self._workers = lanes[0].engine.depth, lanes[0].engine.workers
        self._enough, self._most = min(lane.enough for lane in lanes), min(lane.most for lane in lanes)
        self._jobs: deque[Job] = deque()
        self._buffers = Buffers()
        self._bytes = 0
        self._waiting: dict[Key, list[Item]] = {}
        self._tickets: deque[Ticket] = deque()
        self._first: list[tuple[list[Item], Key]] | None = []

    def results(self, pieces: Iterable[Piece]) -> Iterator[Result]:
        """Give back each piece with its result, (h, W, C) float32, in order."""
        for piece in pieces:
            self._add(piece)
            yield from self._finished()
            while self._jobs and self._is_full():
                self._advance()
                yield from self._finished()
        for key in list(self._waiting):
            self._submit(self._waiting.pop(key), key)
        self._start()
        for lane in self._lanes:
            lane.engine.no_more()
        while self._jobs:
            self._advance()
            yield from self._finished()

    def _is_full(self) -> bool:
        supplied = len(self._tickets) >= self._depth
        return self._bytes > (self._enough if supplied else self._most)

    def _add(self, piece: Piece) -> None:
        """Cut a piece, and compute every batch that is full."""
        job = Job(piece, self._buffers)
        self._jobs.append(job)
        self._bytes += job.nbytes
        rows, width, _ = piece.values.shape
        number = self._lane_of(piece)
        lane = self._lanes[number]
        precision = lane.precision_of(piece)
        self._leave_others(number)
        if lane.down is not None and self._continue(lane.down, job, precision, number):
            return
        windows = lane.sizing.windows(rows, width, piece.above, piece.below)
        job.missing = len(windows)
        for window in windows:
            shape, dtype = (window.height, window.width, piece.values.shape[2]), piece.values.dtype.name
            key = Key(*shape, dtype, precision, piece.uncertainty, number)
            waiting = self._waiting.setdefault(key, [])
            waiting.append(Item(job, window))
            if len(waiting) >= lane.sizing.full_batch(key.height, key.width):
                self._submit(self._waiting.pop(key), key)

    def _leave_others(self, number: int) -> None:
        """Let the other lanes forget pages on their way: pages come one after the other."""
        for other, lane in enumerate(self._lanes):
            if other != number and lane.down is not None:
                lane.down.courses.leave()

    def _continue(self, down: Down, job: Job, precision: str, number: int) -> bool:
        """Compute a piece as what follows those before it on its page, if it is one that can be."""
        course = down.courses.course(job.piece, down.engine.network(precision))
        if course is None:
            return False
        windows = down.courses.windows(job.piece, course.tile)
        job.missing = len(windows)
        for window, strip in zip(windows, course.strips, strict=True):
            shape, dtype = (window.height, window.width, job.piece.values.shape[2]), job.piece.values.dtype.name
            while len(self._tickets) >= self._depth:
                self._collect(self._tickets.popleft())
            key = Key(*shape, dtype, precision, False, number)
            self._tickets.append(down.engine.submit_strip(strip, Item(job, window), key, len(windows)))
        return True

    def _finished(self) -> Iterator[Result]:
        """Results that can be given back without waiting."""
        while self._tickets and self._tickets[0].done():
            self._collect(self._tickets.popleft())
        while self._jobs and self._jobs[0].missing == 0:
            job = self._jobs.popleft()
            self._bytes -= job.nbytes
            yield job.piece, job.result

    def _advance(self) -> None:
        """Bring the oldest piece nearer to its end."""
        front = self._jobs[0]
        needed = [key for key, items in self._waiting.items() if any(item.job is front for item in items)]
        for key in needed:
            self._submit(self._waiting.pop(key), key)
        self._start()
        if self._tickets:
            self._collect(self._tickets.popleft())

    # Batches.

    def _submit(self, items: list[Item], key: Key) -> None:
        """Begin a batch, except that the first few wait for each other to share the processors fairly."""
        if self._first is None:
            self._begin(items, key, self._workers)
            return
        self._first.append((items, key))
        if len(self._first) >= self._workers:
            self._start()

    def _start(self) -> None:
        if self._first is not None:
            first, self._first = self._first, None
            for items, key in first:
                self._begin(items, key, len(first))

    def _begin(self, items: list[Item], key: Key, share: int) -> None:
        while len(self._tickets) >= self._depth:
            self._collect(self._tickets.popleft())
        lane = self._lanes[key.lane]
        places = lane.sizing.places(len(items), key.height, key.width)
        try:
            self._tickets.append(lane.engine.submit(items, key, places, share))
            return
        except (MemoryError, RuntimeError) as error:
            if not devices.is_out_of_memory(error):
                raise
        # Outside the except block: the exception's frames hold the tensors that did not fit.
        self._recover(items, key)

    def _collect(self, ticket: Ticket) -> None:
        """Wait for a batch. Windows that half precision cannot hold are done again in fp32."""
        items, key = ticket.items, ticket.key
        failed: list[Item] | None = None
        try:
            failed = ticket.result()
        except (MemoryError, RuntimeError) as error:
            if not devices.is_out_of_memory(error):
                raise
        del ticket  # it may hold the exception
        if failed is None:
            self._recover(items, key)
            return
        if failed and key.precision != "fp32":
            self._again(failed, key._replace(precision="fp32"))
            again = {id(item) for item in failed}
            items = [item for item in items if id(item) not in again]
        for item in items:
            item.job.missing -= 1

    def _again(self, items: Sequence[Item], key: Key) -> None:
        """Compute windows now, in batches of the present size."""
        step = self._lanes[key.lane].sizing.full_batch(key.height, key.width)
        for start in range(0, len(items), step):
            self._begin(list(items[start : start + step]), key, 1)
            while self._tickets:
                self._collect(self._tickets.popleft())

    def _recover(self, items: Sequence[Item], key: Key) -> None:
        """After a batch ran out of memory: halve the batch, then the window, and go on."""
        while self._tickets:
            self._collect(self._tickets.popleft())
        lane = self._lanes[key.lane]
        devices.release_memory(lane.device)
        if not lane.sizing.shrink(len(items), key.height, key.width):
            raise InputError(
                f"out of memory on {lane.device}: a window of {key.height} x {key.width} pixels does not fit and "
                "cannot be made smaller; use --tile auto, a smaller --halo, or another --device"
            )
        if len(items) > 1:
            self._again(items, key)
        else:
            self._cut_again(items[0], key)

    def _cut_again(self, item: Item, key: Key) -> None:
        """Compute the kept part of one window as several smaller windows of its page."""
        job, window = item
        rows, width, _ = job.piece.values.shape
        smaller = [
            part
            for whole in self._lanes[key.lane].sizing.windows(rows, width, job.piece.above, job.piece.below)
            if (part := whole.restricted_to(window.kept)) is not None
        ]
        job.missing += len(smaller) - 1
        shape = smaller[0].height, smaller[0].width
        self._again([Item(job, part) for part in smaller], key._replace(height=shape[0], width=shape[1]))
