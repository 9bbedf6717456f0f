"""Talking to people: progress, notes and the log file. All of it goes to stderr; stdout is for data."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from io import TextIOWrapper
from pathlib import Path
from typing import Any, Protocol, TextIO

import typer

from denoiser.errors import DenoiserError, ExitCode, OutputError
from denoiser.settings import on_disk

LEVELS = {"debug": 0, "info": 1, "summary": 2, "warning": 2, "error": 3}
"""``summary``: the one line at the end, shown wherever warnings are."""

SECONDS_BETWEEN_LINES = 30.0
"""How often a run that nobody watches says where it is, so that a cron mail stays short."""

PROBLEMS_SHOWN = 50
"""A run that nobody watches tells this many warnings and errors; the log file and ``--json`` have them all."""


class Meter(Protocol):
    """Shows how far the work is, and prints lines without breaking what it shows."""

    def start(self, files: int, megapixels: float, what: str) -> None: ...

    def advance(self, files: int, megapixels: float) -> None: ...

    def line(self, text: str, level: str) -> None: ...

    def finish(self) -> None: ...


class Lines:
    """A Meter for logs and mails: a line at the start, then one every 30 s at most."""

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet
        self.what = ""
        self.files = self.total_files = 0
        self.megapixels = self.total_megapixels = 0.0
        self.began = self.told = 0.0

    def start(self, files: int, megapixels: float, what: str) -> None:
        self.what, self.total_files, self.total_megapixels = what, files, megapixels
        self.files, self.megapixels = 0, 0.0
        self.began = self.told = time.monotonic()
        size = f", {megapixels:,.1f} MP" if megapixels else ""
        self._tell(f"{what}: {count(files, 'file')}{size}")

    def advance(self, files: int, megapixels: float) -> None:
        self.files += files
        self.megapixels += megapixels
        now = time.monotonic()
        if now - self.told >= SECONDS_BETWEEN_LINES:
            self.told = now
            self._tell(self._where(now - self.began))

    def line(self, text: str, level: str) -> None:
        say(text)

    def finish(self) -> None:
        """The summary line comes from the command, which has the report."""

    def _tell(self, text: str) -> None:
        if not self.quiet:
            say(text)

    def _where(self, seconds: float) -> str:
        text = f"{self.what}: {self.files:,} of {count(self.total_files, 'file')}"
        done, total = self.megapixels, self.total_megapixels
        if not total:
            done, total = float(self.files), float(self.total_files)
        text += f", {self.files / seconds:.1f} images/s, {self.megapixels / seconds:.2f} MP/s"
        return f"{text}, {duration(seconds * (total - done) / done)} left" if 0 < done < total else text


class Talk:
    """The :class:`denoiser.progress.Progress` of the command line.

    Parameters
    ----------
    meter : Meter
        A bar or plain lines.
    least : str
        Level below which notes are not shown.
    log : file, optional
        Gets every note from ``info`` up (from ``debug`` when ``least`` is), with its time.
    limit : int, optional
        So many warnings and errors are shown; the rest is only counted.
    """

    def __init__(self, meter: Meter, least: str = "info", log: TextIO | None = None, limit: int | None = None) -> None:
        self.meter = meter
        self.least = least
        self.log = log
        self.limit = limit
        self.problems = 0
        self.log_error: OSError | None = None
        """Why the log is not whole."""
        self.lock = threading.RLock()

    def start(self, files: int, megapixels: float, what: str) -> None:
        with self.lock:
            self._write("info", f"{what}: {count(files, 'file')}, {megapixels:,.1f} MP")
            self.meter.start(files, megapixels, what)

    def advance(self, files: int = 0, megapixels: float = 0.0) -> None:
        with self.lock:
            self.meter.advance(files, megapixels)

    def note(self, message: str, level: str = "info") -> None:
        with self.lock:
            self._write(level, message)
            if LEVELS[level] < LEVELS[self.least]:
                return
            if level in ("warning", "error"):
                self.problems += 1
                if self.limit is not None and self.problems > self.limit:
                    return
            self.meter.line(f"{level}: {message}" if level in ("warning", "error") else message, level)

    def finish(self) -> None:
        with self.lock:
            self.meter.finish()
            untold = self.problems - self.limit if self.limit is not None else 0
            if untold > 0:
                text = f"warning: {untold:,} more warnings and errors; --log-file and --json have them all"
                self.meter.line(text, "warning")
                self.problems -= untold

    def _write(self, level: str, message: str) -> None:
        if self.log is None or self.log_error is not None or (level == "debug" and self.least != "debug"):
            return
        now = datetime.now().astimezone().isoformat(timespec="seconds")
        try:
            self.log.write(f"{now} {level.upper():7} {message}\n")
            self.log.flush()
        except OSError as error:  # the work goes on; the command ends with this error when it is done
            self.log_error = error


def say(text: str) -> None:
    """A line on stderr, which may be a file on a full disk, or a pipe that nobody reads: the work goes on without."""
    with suppress(OSError):
        typer.echo(text, err=True)


class _LibraryNotes(logging.Handler):
    """Hands what libraries log (a damaged TIFF tag, a torch warning) to the Talk instead of raw stderr."""

    def __init__(self, talk: Talk, debug: bool) -> None:
        super().__init__()
        self.talk = talk
        self.debug = debug

    def emit(self, record: logging.LogRecord) -> None:
        if self.debug and record.exc_info:
            say(self.format(record).rstrip("\n"))
            return
        level = "debug"
        if record.name.partition(".")[0] == "denoiser":
            level = {"CRITICAL": "error"}.get(record.levelname, record.levelname).lower()
        self.talk.note(f"{record.name}: {record.getMessage()}", level if level in LEVELS else "info")


def is_watched() -> bool:
    """Whether somebody looks at a terminal that can draw."""
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


@contextmanager
def talking(
    quiet: bool = False,
    verbose: bool = False,
    log_file: Path | None = None,
    progress: bool = True,
    debug: bool = False,
    rare: bool = False,
) -> Iterator[Talk]:
    """Open the conversation with the user for the length of one command.

    Where nobody watches only warnings are shown, and notes where these are ``rare``.

    Errors pass through, into the log file as well; with ``debug`` their traceback is shown first.

    Raises
    ------
    OutputError
        If the log file cannot be written; where that shows later, when all is done.
    """
    if log_file is not None:
        on_disk("--log-file", log_file)
    watched = is_watched()
    least = "error" if quiet else "debug" if verbose else "info" if watched or rare else "warning"
    meter: Meter = Lines(quiet)
    if watched and progress and not quiet:
        from denoiser.cli.bar import Bar

        meter = Bar()
    log = _open_log(log_file)
    talk = Talk(meter, least, log, None if verbose or watched else PROBLEMS_SHOWN)
    handler = _LibraryNotes(talk, debug)
    root, own = logging.getLogger(), logging.getLogger("denoiser")
    own.setLevel(logging.DEBUG if debug else logging.NOTSET)
    root.addHandler(handler)
    logging.captureWarnings(True)
    try:
        yield talk
        if talk.log_error is not None:
            raise _unwritable(log_file, talk.log_error)
    except Exception as error:
        if debug:
            say(traceback.format_exc().rstrip("\n"))
        talk._write("error", str(error) if isinstance(error, DenoiserError) else repr(error))
        raise
    finally:
        talk.meter.finish()
        logging.captureWarnings(False)
        root.removeHandler(handler)
        own.setLevel(logging.NOTSET)
        if log is not None:
            with suppress(OSError):
                log.close()


def _open_log(path: Path | None) -> TextIO | None:
    if path is None:
        return None
    if path.exists():  # looking at it loads libraries
        from denoiser.images.formats import check_no_picture

        check_no_picture(path, "--log-file")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("a", encoding="utf-8")
    except OSError as error:
        raise _unwritable(path, error) from error


def _unwritable(path: Path | None, error: OSError) -> OutputError:
    return OutputError(f"{path}: the log file cannot be written ({error.strerror})")


def open_streams() -> None:
    """Make the standard streams ones that can always be used, before any file is opened.

    A stream that the caller has closed becomes the null device: the next file would get its number, and what libraries
    print with it. A character that stdout's encoding lacks becomes a question mark.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            stream = Path(os.devnull).open(mode, encoding="utf-8")  # noqa: SIM115 - as long as the process lives
            os.set_inheritable(stream.fileno(), True)
            setattr(sys, name, stream)
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


def close_stdout() -> None:
    """Let what is still to be written go nowhere: Python tries once more when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def to_stdout() -> Iterator[None]:
    """Around whatever writes to stdout.

    Raises
    ------
    OutputError
        If it cannot be written, such as a file on a full disk.
    """
    try:
        yield
        sys.stdout.flush()
    except OSError as error:
        close_stdout()
        if isinstance(error, BrokenPipeError):  # whoever reads has seen enough, and is told nothing
            raise typer.Exit(ExitCode.OUTPUT) from error
        raise OutputError(f"stdout cannot be written ({error.strerror})") from error


def print_text(text: str) -> None:
    """Text on stdout."""
    with to_stdout():
        typer.echo(text)


def print_json(document: Any) -> None:
    """One JSON document on stdout, in ASCII where stdout's encoding lacks some of its characters."""
    import json

    text = json.dumps(document, indent=2, ensure_ascii=False)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(document, indent=2)
    print_text(text)


def count(number: int, noun: str) -> str:
    """``1 file``, ``2,000 files``."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def duration(seconds: float) -> str:
    """``3.2 s``, ``4 min 5 s``, ``2 h 10 min``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
