"""Ctrl-C and SIGTERM: what is finished stays, what is begun leaves no trace, and the end comes within seconds.

A run that is at work looks by itself whether it should end, and ends in order. Where it cannot look, because modules
are imported or a network is made ready, the handler raises :class:`Interrupted`. Python runs handlers only between two
steps of its own, so there is a guard besides: a thread that the first signal wakes, and that ends the process when all
else has taken too long. Whatever is ended like this leaves no half file, because files get their names when they are
whole.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING

from denoiser.errors import ExitCode, Interrupted

if TYPE_CHECKING:
    from denoiser.batch import Stop

CODES = {signal.SIGINT: ExitCode.INTERRUPTED, signal.SIGTERM: ExitCode.TERMINATED}
GUARD_SECONDS = 4.0
"""How long after a signal the process is ended from outside its work. Those who wait are promised five seconds."""

_unhurried = threading.Event()
"""Set while the work has something to save that may take longer."""


@contextmanager
def ending() -> Iterator[None]:
    """The whole life of a process: signals end it, with their exit codes, wherever they find it.

    Raises
    ------
    Interrupted
        At the first signal, unless it comes within :func:`stopping`. Behind this it is too late for signals.
    """

    def end(number: int, frame: FrameType | None) -> None:
        raise Interrupted(CODES[signal.Signals(number)])

    read, write = os.pipe()
    with suppress(AttributeError):  # Windows has it from Python 3.12 on, and does not need it
        os.set_blocking(write, False)
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    threading.Thread(target=_guard, args=(read,), name="signals", daemon=True).start()
    for number in CODES:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in CODES:
            signal.signal(number, signal.SIG_IGN)


def _guard(read: int) -> None:
    """Wait for the first signal, whose number the system writes into a pipe."""
    code = CODES[signal.Signals(os.read(read, 1)[0])]
    time.sleep(GUARD_SECONDS)
    if not _unhurried.is_set():
        os._exit(code)


@contextmanager
def stopping(stop: Stop, unhurried: bool = False) -> Iterator[None]:
    """Turn the first signal into a request to stop; the second ends the process at once.

    Until the work says otherwise it is where it cannot look: it has still to be imported.

    Parameters
    ----------
    stop : Stop
    unhurried : bool
        Whether the work takes the time that it needs to save what it has.
    """

    def request(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        code = CODES[signal.Signals(number)]
        stop.request(code)
        if sys.stderr.isatty():  # straight to the terminal: a handler must not enter a stream that is being written
            os.write(sys.stderr.fileno(), b"\nstopping; finished files stay, Ctrl-C again ends at once\n")
        if stop.abrupt:
            raise Interrupted(code)

    stop.abrupt = True
    before = {number: signal.signal(number, request) for number in CODES}
    if unhurried:
        _unhurried.set()
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _unhurried.clear()
