"""What became of every file, and the exit code that follows from it."""

from __future__ import annotations

import errno
import json
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from denoiser.batch.names import shown
from denoiser.errors import ExitCode, OutputError

if TYPE_CHECKING:
    from denoiser.batch.verification import Verification

SCHEMA = "denoiser.run/1"
SCHEMAS = {"run": SCHEMA, "corrupt": "denoiser.corrupt/1"}
EVENT_SCHEMA = "denoiser.event/1"


class Status(StrEnum):
    """What became of one file."""

    DONE = "done"
    COPIED = "copied"
    SKIPPED = "skipped"
    FAILED = "failed"
    LEFT = "left"
    """Not begun, or abandoned without a trace: the run was stopped. The next run does it."""
    PLANNED = "planned"
    """A dry run would have done it."""


@dataclass(frozen=True)
class FileResult:
    """What became of one file.

    Attributes
    ----------
    target : Path or None
        None where a file failed before it had an output.
    reason : str
        Why it failed, was skipped or is left; empty when it is done.
    megapixels, pages, seconds
        0 where unknown. ``seconds`` runs from the first read to the finished file; files overlap.
    losses : tuple of str
        What the target format could not keep.
    checks : dict
        The figures that were checked before the file got its name, see :mod:`denoiser.batch.checks`.
    noise : dict
        What a sample says of the noise before and after, where a report was asked for, see
        :mod:`denoiser.batch.samples`.
    choice : dict
        The ``model`` that ``--model auto`` chose and its ``reason``; empty without it.
    views : (bytes, bytes) or None
        The middle before and after as WebP, of the files that are shown on a page.
    """

    source: Path
    target: Path | None
    status: Status
    reason: str = ""
    size: int = 0
    pages: int = 0
    megapixels: float = 0.0
    seconds: float = 0.0
    warnings: tuple[str, ...] = ()
    losses: tuple[str, ...] = ()
    checks: Mapping[str, Any] = field(default_factory=dict)
    residual: Path | None = None
    uncertainty: Path | None = None
    noise: Mapping[str, Any] = field(default_factory=dict)
    choice: Mapping[str, str] = field(default_factory=dict)
    views: tuple[bytes, bytes] | None = field(default=None, repr=False)

    def to_json(self) -> dict[str, Any]:
        return {
            "source": shown(self.source),
            "target": shown(self.target) if self.target else None,
            "status": str(self.status),
            "reason": self.reason,
            "bytes": self.size,
            "pages": self.pages,
            "megapixels": round(self.megapixels, 6),
            "seconds": round(self.seconds, 4),
            "warnings": list(self.warnings),
            "losses": list(self.losses),
            "checks": dict(self.checks),
            "noise": dict(self.noise),
            "choice": dict(self.choice),
            "residual": shown(self.residual) if self.residual else None,
            "uncertainty": shown(self.uncertainty) if self.uncertainty else None,
        }


@dataclass(frozen=True)
class Report:
    """The result of one run.

    Attributes
    ----------
    files : tuple of FileResult
        In the order of the plan.
    found : int
        Image files that the inputs hold, over all shards.
    ignored : int
        Files passed over in directories because they are no images or were excluded.
    started : datetime
        With its time zone, UTC.
    seconds : float
        Wall time of the whole run.
    options : dict
        As :meth:`RunOptions.to_json`.
    engine : dict
        As ``Denoiser.describe()``; empty where no network was needed.
    stopped : ExitCode or None
        Why the run ended early; None when it came to its end.
    message : str
        The sentence that belongs to ``stopped``, or says what was looked for in vain.
    estimate : float or None
        Seconds that a dry run expects of a real one; None where no speed was given.
    command : str
        Which command's report it is: ``run`` or ``corrupt``.
    verification : Verification or None
        What ``--verify-tiles`` found; None where nobody asked.
    """

    files: tuple[FileResult, ...]
    output: Path
    found: int
    ignored: int
    started: datetime
    seconds: float
    options: Mapping[str, Any]
    engine: Mapping[str, Any] = field(default_factory=dict)
    stopped: ExitCode | None = None
    message: str = ""
    estimate: float | None = None
    command: str = "run"
    verification: Verification | None = None

    @property
    def exit_code(self) -> ExitCode:
        """What the process should tell its caller."""
        if self.stopped is not None and self.stopped is not ExitCode.STOPPED:
            return self.stopped
        if self.found == 0:
            return ExitCode.NOTHING_TO_DO
        # Work left outranks failures: exit code 1 promises that all other files are written.
        if self.count(Status.LEFT):
            return ExitCode.STOPPED
        return ExitCode.SOME_FAILED if self.count(Status.FAILED) else ExitCode.OK

    def count(self, status: Status) -> int:
        """Number of files with this status."""
        return sum(result.status is status for result in self.files)

    @property
    def failures(self) -> tuple[FileResult, ...]:
        """The files that failed, in order."""
        return tuple(result for result in self.files if result.status is Status.FAILED)

    @property
    def megapixels(self) -> float:
        """Megapixels of the files that were done, or would be by a dry run."""
        worked = (Status.DONE, Status.COPIED, Status.PLANNED)
        return sum(result.megapixels for result in self.files if result.status in worked)

    def totals(self) -> dict[str, float]:
        """Numbers over all files, by name."""
        counts = Counter(str(result.status) for result in self.files)
        return {
            "files": len(self.files),
            **{str(status): counts[str(status)] for status in Status},
            "ignored": self.ignored,
            "warnings": sum(len(result.warnings) for result in self.files),
            "megapixels": round(self.megapixels, 6),
            "megapixels_per_second": round(self.megapixels / self.seconds, 4) if self.seconds else 0.0,
        }

    def to_json(self) -> dict[str, Any]:
        """The document of ``--json``: plain values, ``schema`` names its version."""
        from denoiser import __version__

        return {
            "schema": SCHEMAS[self.command],
            "version": __version__,
            "exit_code": int(self.exit_code),
            "exit": self.exit_code.name.lower(),
            "message": self.message,
            "started": self.started.isoformat(timespec="seconds"),
            "seconds": round(self.seconds, 3),
            "estimate": self.estimate,
            "output": shown(self.output),
            "options": dict(self.options),
            "engine": dict(self.engine),
            "totals": self.totals(),
            "verification": self.verification.to_json() if self.verification else None,
            "files": [result.to_json() for result in self.files],
        }


class Events:
    """One JSON line per file, appended as the file is finished. Used from any thread; a context manager.

    Parameters
    ----------
    path : Path or None
        None: nothing is written.

    Raises
    ------
    OutputError
        If the file cannot be written, at the start or later.
    UsageError
        If it is a picture.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._file: int | None = None
        if path is not None:
            from denoiser.images.formats import check_no_picture  # loads libraries

            check_no_picture(path, "--events")
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
            except OSError as error:
                raise self._error(error) from error

    def write(self, result: FileResult) -> None:
        """Append one line in one write, so that several runs may share the file."""
        if self._file is None:
            return
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = (json.dumps({"schema": EVENT_SCHEMA, "time": now, **result.to_json()}) + "\n").encode()
        try:
            if os.write(self._file, line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # a short write is how a full disk begins
        except OSError as error:
            raise self._error(error) from error

    def _error(self, error: OSError) -> OutputError:
        return OutputError(f"{shown(self.path or '')}: the events cannot be written ({error.strerror})")

    def __enter__(self) -> Events:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None
