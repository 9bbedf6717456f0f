"""Several devices of one machine: a process for each, with its share of the files.

The processes are spawned, never forked: a fork of a process with threads or a CUDA context hangs or crashes. Each gets
a fixed share, cut as ``--shard`` cuts, so that its pipeline runs through without a pause between units of work. They
talk through pipes: results and progress come, a wish to stop goes.
"""

from __future__ import annotations

import multiprocessing
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from typing import Any

from denoiser.batch.flow import POLL_SECONDS
from denoiser.batch.items import Item
from denoiser.batch.parts import Delegation, Part, Setup, delegated
from denoiser.batch.plan import share_out
from denoiser.batch.shared import Shared
from denoiser.errors import DenoiserError, ExitCode, UnavailableError

GRACE_SECONDS = 3.0
"""How long a process may take to let go of its files after a wish to stop; then it is ended."""


def execute(
    shared: Shared, work: Sequence[Item], devices: Sequence[str]
) -> tuple[DenoiserError | None, Mapping[str, str | int]]:
    """Do the work with a process per device.

    Parameters
    ----------
    shared : Shared
    work : sequence of Item
    devices : sequence of str
        One name per process; a name may come twice.

    Returns
    -------
    error : DenoiserError or None
        What stopped the work.
    engine : dict
        What did it, for the report.
    """
    if shared.stop.code is not None:
        return None, {}
    with delegated(shared, work) as (delegation, setup):
        team = _Team(delegation, replace(setup, processes=len(devices), threads=_threads(len(devices))), devices)
        team.execute()
    return team.error, {**team.engine, "device": ", ".join(devices), "processes": len(devices)}


def _threads(processes: int) -> int:
    """Threads per process: what is allowed here, in equal parts."""
    import torch

    from denoiser.inference import devices

    return max(1, min(devices.threads(), torch.get_num_threads()) // processes)


class _Team:
    """The processes, seen from the one that planned."""

    def __init__(self, delegation: Delegation, setup: Setup, devices: Sequence[str]) -> None:
        self.delegation = delegation
        self.shared = delegation.shared
        self.error: DenoiserError | None = None
        self.engine: Mapping[str, str | int] = {}
        context = multiprocessing.get_context("spawn")
        self._members: dict[Connection, _Member] = {}
        for index, device in enumerate(devices):
            share = share_out(delegation.work, index, len(devices))
            if share:
                here, there = context.Pipe()
                own = replace(setup, options=replace(setup.options, device=device))
                process = context.Process(target=_work, args=(own, share, there), name=device, daemon=True)
                self._members[here] = _Member(process, there)

    def execute(self) -> None:
        """Returns when every process has ended."""
        for member in self._members.values():
            member.start()
        stopped = None
        try:
            while self._members:
                for pipe in wait(list(self._members), timeout=POLL_SECONDS):
                    assert isinstance(pipe, Connection)
                    self._hear(pipe)
                if stopped is None and (self.shared.stop.code is not None or self.error is not None):
                    stopped = time.monotonic()
                    self._stop()
                if stopped is not None and time.monotonic() > stopped + GRACE_SECONDS:
                    return
        finally:
            for member in self._members.values():
                member.end()

    def _stop(self) -> None:
        for pipe in self._members:
            try:
                pipe.send(self.shared.stop.code or ExitCode.TERMINATED)
            except OSError:  # it has ended meanwhile; what it has told is still to be heard
                continue

    def _hear(self, pipe: Connection) -> None:
        """One message, or the end of a process."""
        try:
            kind, message = pipe.recv()
        except (EOFError, OSError):  # in the middle of a message it is an OSError
            member = self._members.pop(pipe)
            member.process.join()
            if not member.finished and self.shared.stop.code is None:
                code = member.process.exitcode
                self._fail(UnavailableError(f"the process on {member.process.name} died (exit code {code})"))
            return
        if kind == "result":
            self.delegation.record(message)
        elif kind == "advance":
            self.shared.progress.advance(*message)
        elif kind == "note":
            self.shared.progress.note(*message)
        else:
            self._members[pipe].finished = True
            error, engine = message
            self.engine = self.engine or engine
            if error is not None:
                self._fail(error)

    def _fail(self, error: DenoiserError) -> None:
        self.error = self.error or error


class _Member:
    """One process."""

    def __init__(self, process: Any, pipe: Connection) -> None:
        self.process = process
        self.pipe = pipe
        self.finished = False

    def start(self) -> None:
        self.process.start()
        self.pipe.close()  # the process has its own end; without this one its death is heard

    def end(self) -> None:
        self.process.kill()
        self.process.join()


class _Line:
    """The :class:`denoiser.progress.Progress` of a process: tells the one that planned."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._lock = threading.Lock()

    def send(self, kind: str, message: Any) -> None:
        with self._lock:
            self._pipe.send((kind, message))

    def start(self, files: int, megapixels: float, what: str) -> None:
        """The planning process has told this."""

    def advance(self, files: int = 0, megapixels: float = 0.0) -> None:
        self.send("advance", (files, megapixels))

    def note(self, message: str, level: str = "info") -> None:
        self.send("note", (message, level))

    def finish(self) -> None:
        """The planning process tells this."""


def _work(setup: Setup, items: Sequence[Item], pipe: Connection) -> None:
    """What a process does from its beginning to its end."""
    for sent in (signal.SIGINT, signal.SIGTERM):  # they may reach all processes; the one that planned decides
        signal.signal(sent, signal.SIG_IGN)
    line = _Line(pipe)
    engine: Mapping[str, str | int] = {}
    error: DenoiserError | None
    try:
        part = Part(setup, line)
        threading.Thread(target=_listen, args=(pipe, part.stop.request), daemon=True).start()
        error = part.do(items, lambda result: line.send("result", result))
        engine = part.engine()
    except DenoiserError as failure:
        error = failure
    except ConnectionError:
        sys.exit(1)  # nobody listens any more
    with suppress(ConnectionError):
        line.send("end", (error, engine))


def _listen(pipe: Connection, request: Callable[[ExitCode], None]) -> None:
    """Hear a wish to stop; the end of the planning process is one."""
    try:
        request(pipe.recv())
    except (EOFError, OSError):
        request(ExitCode.TERMINATED)
