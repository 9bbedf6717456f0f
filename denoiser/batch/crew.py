"""Dask workers on this machine, for a run that was given no scheduler.

They are plain processes and not ``LocalCluster``'s, whose start cannot be interrupted: a run must end within seconds of
a signal, also while workers start. A process that dies is replaced.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from types import TracebackType

from denoiser.errors import UnavailableError

MOST_DEATHS = 8
"""Workers that may die per worker that is wanted, before the run ends."""
CLOSING_SECONDS = 1.0
"""How long a worker may take to leave by itself."""


class Crew:
    """Worker processes, a context manager: they end with it.

    Parameters
    ----------
    scheduler : str
        Address.
    wanted : int
        How many.
    threads : int
        Processor threads for each.
    """

    def __init__(self, scheduler: str, wanted: int, threads: int) -> None:
        self.wanted = wanted
        self.threads = threads
        self.deaths = 0
        options = ["--nthreads", "1", "--no-nanny", "--no-dashboard", "--memory-limit", "0", "--death-timeout", "60"]
        self._command = [sys.executable, "-m", "distributed.cli.dask_worker", scheduler, *options]
        self._processes: list[subprocess.Popen[bytes]] = []

    def look(self) -> None:
        """Replace who has died.

        Raises
        ------
        UnavailableError
            If too many have.
        """
        dead = [process for process in self._processes if process.poll() is not None]
        self.deaths += len(dead)
        if self.deaths > MOST_DEATHS * self.wanted:
            raise UnavailableError(
                f"the Dask workers die as soon as they are started, the last with exit code {dead[-1].returncode}; "
                f"to see why: {' '.join(self._command)}"
            )
        self._processes = [process for process in self._processes if process not in dead]
        while len(self._processes) < self.wanted:
            self._processes.append(self._start())

    def _start(self) -> subprocess.Popen[bytes]:
        # A session of its own: Ctrl-C at the terminal is for the process that plans, which then ends the others.
        return subprocess.Popen(
            self._command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env={**os.environ, "OMP_NUM_THREADS": str(self.threads)},
        )

    def __enter__(self) -> Crew:
        self.look()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end(CLOSING_SECONDS)

    def end(self, seconds: float) -> None:
        """Let them go, for so long at most; nobody works or writes any more then."""
        for process in self._processes:
            process.terminate()
        end = time.monotonic() + seconds
        for process in self._processes:
            try:
                process.wait(max(0.0, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._processes = []
