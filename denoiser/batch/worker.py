"""What runs in a Dask worker: units of files, each done by this process's part in the run."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from denoiser.batch.items import Item
from denoiser.batch.parts import Part, Setup
from denoiser.batch.report import FileResult
from denoiser.errors import DenoiserError, ExitCode, UnavailableError

MOST_RUNS = 2
"""Runs that have their network in memory here; a worker may serve several that go on at the same time."""

_turn = threading.Lock()
_parts: dict[str, Part] = {}
_stopped: dict[str, ExitCode] = {}


@dataclass(frozen=True)
class Outcome:
    """What a worker tells of a unit.

    Attributes
    ----------
    results : tuple of FileResult
    notes : tuple of (str, str)
        What is to be told to the user, with levels.
    error : DenoiserError or None
        What stops the run.
    engine : dict
        What did the work.
    seconds : float
    """

    results: tuple[FileResult, ...] = ()
    notes: tuple[tuple[str, str], ...] = ()
    error: DenoiserError | None = None
    engine: Mapping[str, str | int] | None = None
    seconds: float = 0.0


class _Notes:
    """A :class:`denoiser.progress.Progress` that keeps what is to be told; files are counted where they are planned."""

    def __init__(self) -> None:
        self._notes: list[tuple[str, str]] = []

    def start(self, files: int, megapixels: float, what: str) -> None:
        """The planning process has told this."""

    def advance(self, files: int = 0, megapixels: float = 0.0) -> None:
        """The planning process counts whole files."""

    def note(self, message: str, level: str = "info") -> None:
        self._notes.append((message, level))

    def finish(self) -> None:
        """The planning process tells this."""

    def take(self) -> tuple[tuple[str, str], ...]:
        """What has been told since the last time."""
        taken, self._notes = tuple(self._notes), []
        return taken


def refusal(setup: Setup) -> str | None:
    """Why this worker cannot take part."""
    try:
        setup.check()
    except UnavailableError as error:
        return str(error)
    return None


def stop(run: str, code: ExitCode) -> None:
    """Abandon what this worker does for a run."""
    _stopped[run] = code
    if run in _parts:
        _parts[run].stop.request(code)


def do(setup: Setup, items: Sequence[Item]) -> Outcome:
    """Do some files in a worker. However many threads it has, one unit has all of them."""
    results: list[FileResult] = []
    with _turn:
        began = time.monotonic()
        notes = _Notes()
        try:
            part = _part(setup, notes)
            error = part.do(items, results.append)
        except DenoiserError as failure:
            return Outcome(tuple(results), error=failure)
        return Outcome(tuple(results), notes.take(), error, part.engine(), time.monotonic() - began)


def _part(setup: Setup, progress: _Notes) -> Part:
    """This process's part in a run, with a network that is loaded once."""
    if setup.run not in _parts:
        while len(_parts) >= MOST_RUNS:
            del _parts[next(iter(_parts))]
        _parts[setup.run] = Part(setup, progress)
    part = _parts[setup.run]
    part.progress = progress
    if setup.run in _stopped:
        part.stop.request(_stopped[setup.run])
    return part
