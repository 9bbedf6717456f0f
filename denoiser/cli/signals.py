"""Ctrl-C and SIGTERM end a run between files: what is finished stays, what is begun leaves no trace."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

from denoiser.errors import ExitCode

if TYPE_CHECKING:
    from denoiser.batch import Stop

CODES = {signal.SIGINT: ExitCode.INTERRUPTED, signal.SIGTERM: ExitCode.TERMINATED}


@contextmanager
def stopping(stop: Stop) -> Iterator[None]:
    """Turn the first signal into a request to stop; the second ends the process at once."""

    def request(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        stop.request(CODES[signal.Signals(number)])
        if sys.stderr.isatty():  # straight to the terminal: a handler must not enter a stream that is being written
            os.write(sys.stderr.fileno(), b"\nstopping; finished files stay, Ctrl-C again ends at once\n")

    before = {number: signal.signal(number, request) for number in CODES}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
