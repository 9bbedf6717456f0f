"""What keeps the threads of a run in step: the memory budget, and the wish to stop."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from denoiser.errors import ExitCode

POLL_SECONDS = 0.2
"""How long the thread that carries out a job waits before it looks again whether the job should end."""
AHEAD = 1024
"""Files that may be read before their turn, however small they are."""
NON_HEAD_SHARE = 0.5
"""Part of the budget for files whose turn has not come: the rest is kept for the file that is being computed."""
AHEAD_BYTES = 2**29
"""For each processor, what pictures in flight may take at most before one is read ahead of its turn: memory that has
been used before is faster than memory that has not."""


class Cancelled(Exception):
    """The run, or this file, is being abandoned. Unwinds threads; never reaches a user."""


class Stop:
    """A wish to end the run early, asked for from a signal handler or another thread.

    Setting an attribute takes no lock, so :meth:`request` is safe inside a signal handler.

    Attributes
    ----------
    code : ExitCode or None
        Of the first request. Whoever works looks at it now and then.
    abrupt : bool
        Whether the main thread is where it cannot look for long, so that a signal handler raises
        :class:`denoiser.errors.Interrupted` there, besides the request.
    """

    def __init__(self) -> None:
        self.code: ExitCode | None = None
        self.abrupt = False

    def request(self, code: ExitCode) -> None:
        """Abandon what is in flight, keep what is finished. The first request counts."""
        if self.code is None:
            self.code = code

    @contextmanager
    def abruptly(self, yes: bool = True) -> Iterator[None]:
        """While modules are imported, files are looked for or windows computed; ``yes=False`` for parts that are not.

        Handlers run in the main thread, so this has no effect in others.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before, self.abrupt = self.abrupt, yes
        try:
            yield
        finally:
            self.abrupt = before


class Budget:
    """Bytes that pictures in flight may take together, from reading until they are ready to be written.

    A reader asks for room with its file's *turn* (position in the run). Room is given when there is
    enough, or when nothing else will make room: the network waits for this very file and no writer
    holds anything that it will give back by itself. So the run never hangs, and a picture larger than
    the budget passes alone.

    Parameters
    ----------
    limit : int
        Bytes.
    ahead : int, optional
        Bytes in flight from which on none is read before its turn; half of the limit at most.
    """

    def __init__(self, limit: int, ahead: int | None = None) -> None:
        self.limit = limit
        most = int(limit * NON_HEAD_SHARE)
        self.ahead = most if ahead is None else min(ahead, most)
        self.used = 0
        self.peak = 0
        self._writing = 0
        self._head = 0
        self._wanted = -1
        self._cancelled = False
        self._change = threading.Condition()

    def lease(self, amount: int, turn: int) -> Lease:
        """Wait for room.

        Raises
        ------
        Cancelled
            If the run is abandoned meanwhile.
        """
        with self._change:
            self._change.wait_for(lambda: self._cancelled or self._has_room(amount, turn))
            if self._cancelled:
                raise Cancelled
            self.used += amount
            self.peak = max(self.peak, self.used)
        return Lease(self, amount)

    def _has_room(self, amount: int, turn: int) -> bool:
        if turn > self._head + AHEAD:
            return False
        limit = self.limit if turn <= self._head else self.ahead
        if self.used + amount <= limit or self.used == 0:
            return True
        return turn == self._wanted and self._writing == 0

    def begin(self, turn: int) -> None:
        """The network goes on to this file."""
        with self._change:
            self._head = turn
            self._change.notify_all()

    def want(self, turn: int) -> None:
        """The network has nothing to do until this file's next piece is there."""
        with self._change:
            self._wanted = turn
            self._change.notify_all()

    def satisfied(self, turn: int) -> None:
        """A piece of this file is there."""
        with self._change:
            if self._wanted == turn:
                self._wanted = -1

    def cancel(self) -> None:
        """Wake everyone who waits; nobody gets room any more."""
        with self._change:
            self._cancelled = True
            self._change.notify_all()

    def _move(self, used: int, writing: int) -> None:
        with self._change:
            self.used += used
            self._writing += writing
            self._change.notify_all()


class Lease:
    """Room in a :class:`Budget`."""

    def __init__(self, budget: Budget, amount: int) -> None:
        self.budget = budget
        self.amount = amount
        self._written = False
        self._released = False

    def hand_over(self) -> None:
        """From here on a writer holds it and will release it by itself."""
        if not self._written and not self._released:
            self._written = True
            self.budget._move(0, self.amount)

    def release(self) -> None:
        """Give the room back; once is enough."""
        if not self._released:
            self._released = True
            self.budget._move(-self.amount, -self.amount if self._written else 0)
