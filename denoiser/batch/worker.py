"""What runs in a Dask worker: units of files, each done by this process's part in the run."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from denoiser import tuning
from denoiser.batch.auto import Chooser
from denoiser.batch.items import Item
from denoiser.batch.job import explained
from denoiser.batch.parts import Part, Setup
from denoiser.batch.pieces import pieces_of
from denoiser.batch.reading import Grid, Reader
from denoiser.batch.report import FileResult
from denoiser.errors import DenoiserError, ExitCode, UnavailableError
from denoiser.images import Source, open_source

MOST_RUNS = 2
"""Runs that have their network in memory here; a worker may serve several that go on at the same time."""

_turn = threading.Lock()
_parts: dict[str, Part] = {}
_stopped: dict[str, ExitCode] = {}
_opened: dict[tuple[str, Path], Source] = {}
"""The file that rows were read from last; stacks have many headers, which are not read for every page again."""


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


@dataclass(frozen=True)
class Facts:
    """What one must know of a network to cut bands for it, as :class:`denoiser.inference.Denoiser` has it."""

    context_rows: int
    row_multiple: int
    needs_range: bool
    described: Mapping[str, str | int]


@dataclass(frozen=True)
class Rows:
    """A piece of one band, for a worker that computes it without the rest of the file.

    Attributes
    ----------
    source : Path
    page : int
    rows : (int, int, int, int)
        As :meth:`denoiser.batch.reading.Reader.cut`.
    piece : int
        Number of the piece among those of the band.
    model : str
        The network that was chosen for the file; empty where there is but one.
    """

    source: Path
    page: int
    rows: tuple[int, int, int, int]
    piece: int
    model: str = ""


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


def facts(setup: Setup) -> Facts:
    """The network that this worker has for a run."""
    with _turn:
        network = _part(setup, _Notes()).network()
        return Facts(network.context_rows, network.row_multiple, network.needs_range, network.describe())


def compute(setup: Setup, asked: Sequence[Rows]) -> list[NDArray[np.float32]]:
    """What the network makes of rows of a large file, for the process that writes it.

    Raises
    ------
    UnavailableError
        If the network cannot be had.
    InputError
        If the rows cannot be read.
    """
    o = setup.options
    reader = Reader(Grid(0, 1, 0), o.white, o.black, reach=o.controls.reach, stated="uncertainty" in o.beside)
    with _turn:
        network = _part(setup, _Notes()).network()
        pieces = []
        try:
            for (path, page, rows), wanted in groupby(asked, lambda each: (each.source, each.page, each.rows)):
                of_band = pieces_of(None, reader.cut(_source(setup.run, path), page, rows))
                pieces += [of_band[each.piece] for each in wanted]
        except (OSError, MemoryError) as error:
            raise explained(error) from error
        if isinstance(network, Chooser):
            network = network.networks[asked[0].model]  # all are rows of one file
        return [values for _, values in network.stream(pieces)]


def _source(run: str, path: Path) -> Source:
    if (run, path) not in _opened:
        while _opened:
            _opened.popitem()[1].close()
        _opened[run, path] = open_source(path)
    return _opened[run, path]


@cache
def _tune() -> None:
    """What the command does for its own process, once; torch is loaded after it."""
    tuning.set_environment()
    tuning.keep_freed_memory()


def _part(setup: Setup, progress: _Notes) -> Part:
    """This process's part in a run, with a network that is loaded once."""
    if setup.run not in _parts:
        _tune()
        while len(_parts) >= MOST_RUNS:
            del _parts[next(iter(_parts))]
        _parts[setup.run] = Part(setup, progress)
    part = _parts[setup.run]
    part.progress = progress
    if setup.run in _stopped:
        part.stop.request(_stopped[setup.run])
    return part
