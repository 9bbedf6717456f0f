"""``denoiser estimate``: the noise of many files. Nothing is written."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from denoiser import machine, selection
from denoiser.batch import names, ranges
from denoiser.batch.discover import Found, Rules, discover
from denoiser.batch.estimate_options import EstimateOptions
from denoiser.batch.flow import POLL_SECONDS, Stop
from denoiser.batch.job import explained
from denoiser.batch.names import shown
from denoiser.errors import DenoiserError, ExitCode
from denoiser.estimate import Advice, Estimate, choose, quality_of, windows
from denoiser.images import SUFFIXES, Header, Source, open_source
from denoiser.images.image import Pixels
from denoiser.images.jpeg import JpegRecord
from denoiser.images.metadata import Metadata
from denoiser.progress import Progress, Silent
from denoiser.selection import Rows
from denoiser.settings import as_paths

SCHEMA = "denoiser.estimate/1"
PAGES = 8
"""Pages of a stack that are looked at, evenly spread from the first to the last."""


@dataclass(frozen=True)
class PageEstimate:
    """The noise of one page.

    Attributes
    ----------
    page : int
        Counted from 0.
    height, width : int
        Of the page, in pixels.
    sampled : int
        Pixels of it that were looked at.
    beyond : bool
        Whether it holds floats far above 1, which counts as their white.
    """

    page: int
    height: int
    width: int
    sampled: int
    estimate: Estimate
    advice: Advice
    beyond: bool = False

    def to_json(self) -> dict[str, Any]:
        return {
            "page": self.page,
            "height": self.height,
            "width": self.width,
            "sampled": self.sampled,
            **self.estimate.to_json(),
            "model": self.advice.model,
            "reason": self.advice.reason,
        }


@dataclass(frozen=True)
class FileEstimate:
    """The noise of one file.

    Attributes
    ----------
    pages : tuple of PageEstimate
        Those that were looked at; of a stack at most :data:`PAGES`. Empty for a file that failed.
    count : int
        Pages that the file has.
    failure : str
        Why it could not be read, without its name; empty otherwise.
    """

    source: Path
    pages: tuple[PageEstimate, ...] = ()
    count: int = 0
    failure: str = ""

    def to_json(self) -> dict[str, Any]:
        return {
            "source": shown(self.source),
            "failure": self.failure,
            "count": self.count,
            "pages": [page.to_json() for page in self.pages],
        }


@dataclass(frozen=True)
class EstimateReport:
    """The noise of all files.

    Attributes
    ----------
    files : tuple of FileEstimate
        Sorted bytewise by their place below the inputs.
    found : int
        Files that could be opened, by their name and first bytes.
    message : str
        What was looked for in vain, or why there are fewer files than were found; else empty.
    stopped : ExitCode or None
        Of a signal.
    """

    files: tuple[FileEstimate, ...]
    found: int
    seconds: float
    message: str = ""
    stopped: ExitCode | None = None

    @property
    def failures(self) -> tuple[FileEstimate, ...]:
        return tuple(each for each in self.files if each.failure)

    @property
    def exit_code(self) -> ExitCode:
        if self.stopped is not None:
            return self.stopped
        if self.found == 0:
            return ExitCode.NOTHING_TO_DO
        return ExitCode.SOME_FAILED if self.failures else ExitCode.OK

    def to_json(self) -> dict[str, Any]:
        """The document of ``--json``. Holds no NaN or infinity."""
        from denoiser import __version__

        return {
            "schema": SCHEMA,
            "version": __version__,
            "exit_code": int(self.exit_code),
            "message": self.message,
            "seconds": round(self.seconds, 3),
            "files": [each.to_json() for each in self.files],
        }


def estimate_files(
    inputs: str | Path | Sequence[str | Path],
    options: EstimateOptions | None = None,
    progress: Progress | None = None,
    stop: Stop | None = None,
) -> EstimateReport:
    """Estimate the noise of files and of all pictures in directories.

    Parameters
    ----------
    inputs : str, Path or sequence of these
        As of :func:`denoiser.run`.
    options : EstimateOptions, optional
    progress : Progress, optional
    stop : Stop, optional
        Lets a signal handler or another thread end the work early.

    Returns
    -------
    EstimateReport

    Raises
    ------
    UsageError
        If a list of files cannot be read.
    """
    begun, options, stop = time.monotonic(), options or EstimateOptions(), stop or Stop()
    progress = progress or Silent()
    arguments = as_paths("INPUT", inputs)
    with stop.abruptly():
        found = discover(arguments, Rules(options.recursive, options.include, options.exclude))
    stop.abrupt = False
    progress.start(len(found.files), 0.0, "estimating")
    files = []
    for result in _in_threads(found.files, options, stop):
        files.append(result)
        if result.failure:
            progress.note(f"{shown(result.source)}: {result.failure}", "error")
        progress.advance(1)
    progress.finish()
    if beyond := [each for each in files if any(page.beyond for page in each.pages)]:
        progress.note(ranges.warning(beyond[0].source), "warning")
    readable = sum(not each.failure for each in found.files)
    message = ""
    if not readable:
        where = ", ".join(shown(str(each)) for each in arguments)
        message = f"no readable image found in {where}: looked for {', '.join(SUFFIXES)}, passed over {found.ignored}"
    elif stop.code is not None:
        message = f"interrupted after {len(files)} of {len(found.files)} files"
    return EstimateReport(tuple(files), readable, time.monotonic() - begun, message, stop.code)


def _in_threads(files: Sequence[Found], options: EstimateOptions, stop: Stop) -> Iterator[FileEstimate]:
    """Results in the order of the files; as many pictures are in memory at once as there are threads."""
    memory = options.max_memory or machine.free_memory() // 2
    pool = ThreadPoolExecutor(options.threads, thread_name_prefix="estimate")
    try:
        for future in [pool.submit(_file, found, options, memory // options.threads, stop) for found in files]:
            while stop.code is None and not future.done():
                wait([future], timeout=POLL_SECONDS)
            if stop.code is not None:
                return
            if (result := future.result()) is not None:
                yield result
    finally:
        pool.shutdown(wait=stop.code is None, cancel_futures=True)


def _file(found: Found, options: EstimateOptions, memory: int, stop: Stop) -> FileEstimate | None:
    """The noise of one file within so many bytes; None where the work is over."""
    if stop.code is not None:
        return None
    if found.failure:
        return FileEstimate(found.path, failure=found.failure)
    try:
        with open_source(found.path, memory) as source:
            count = len(source.header.pages)
            pages = tuple(_page(source, index, options) for index in _spread(count))
    except (DenoiserError, MemoryError, OSError) as error:
        return FileEstimate(found.path, failure=names.reason(explained(error), found.path))
    return FileEstimate(found.path, pages, count)


def _spread(count: int) -> list[int]:
    """Which of so many pages are looked at."""
    if count <= PAGES:
        return list(range(count))
    return [index * (count - 1) // (PAGES - 1) for index in range(PAGES)]


def _page(source: Source, index: int, options: EstimateOptions) -> PageEstimate:
    page, rows, beyond = source.header.pages[index], _rows(source, index), False
    has_range = page.dtype.kind in "iu" or options.white is not None

    def read(start: int, stop: int) -> Pixels:
        nonlocal beyond
        stored = rows.read(start, stop)
        beyond = beyond or (not has_range and ranges.is_far_beyond(stored))
        return stored

    found = selection.estimate_page(rows._replace(read=read), options.white, options.black)
    sampled = sum(strip.pixels for strip in windows(page.height, page.width))
    advice = selection.settled(page, options.white) or choose(found)
    return PageEstimate(index, page.height, page.width, sampled, found, advice, beyond)


def advise(source: Source, index: int, white: float | None = None, black: float | None = None) -> Advice:
    """Choose the network of one page of an open file, as :func:`denoiser.selection.advise` does.

    Parameters
    ----------
    source : Source
    index : int
        Of the page.
    white, black : float or None
        As :func:`denoiser.images.pixels.value_range`.
    """
    return selection.advise(_rows(source, index), white, black)


def _rows(source: Source, index: int) -> Rows:
    header = source.header
    return Rows(header.pages[index], partial(source.read, index), _quality(header))


def _quality(header: Header) -> int | None:
    """Quality of the JPEG encoder, by the tables in the file."""
    record = header.metadata.native if isinstance(header.metadata, Metadata) else None
    return quality_of(record.tables[0]) if isinstance(record, JpegRecord) else None
