"""Exit codes and the exceptions that carry them.

The library raises :class:`DenoiserError`; ``denoiser.cli.main`` alone turns one into a sentence on
stderr and a process exit code. Nothing is imported here but the standard library.
"""

from __future__ import annotations

from enum import IntEnum
from pathlib import Path


def shown(path: Path | str) -> str:
    """A path for messages and JSON; bytes that are no UTF-8 are shown escaped."""
    return str(path).encode("utf-8", "backslashreplace").decode("utf-8")


class ExitCode(IntEnum):
    """What the process tells its caller. Part of the public contract (README, "Exit codes")."""

    OK = 0
    """Everything asked for is done, also when all of it was done before."""
    SOME_FAILED = 1
    """Some inputs failed; all others are written; the failures are listed."""
    USAGE = 2
    """Unknown option, bad value, or an output would overwrite an input."""
    NOTHING_TO_DO = 3
    """No readable image found in the input."""
    UNAVAILABLE = 4
    """Model, weights or device not available, or a weights file is damaged."""
    OUTPUT = 5
    """Output cannot be written: permission, disk full."""
    STOPPED = 6
    """Stopped at a limit (``--max-runtime``, ``--max-files``) with work left."""
    LOCKED = 7
    """Another run holds the lock on this output directory."""
    GATE = 8
    """A quality gate failed."""
    INTERRUPTED = 130
    """Ctrl-C. Finished files stay, no half file, the next run goes on."""
    TERMINATED = 143
    """SIGTERM. As for INTERRUPTED."""


class Interrupted(BaseException):
    """Ctrl-C or SIGTERM where the work cannot look for it by itself. No error: nothing but the end of a job stops it.

    Parameters
    ----------
    code : ExitCode
        ``INTERRUPTED`` or ``TERMINATED``.
    """

    def __init__(self, code: ExitCode) -> None:
        super().__init__(code)
        self.code = code


class DenoiserError(Exception):
    """Base of every error that a user can cause or cure.

    The message is one or two plain sentences that name the file or option, say what is wrong with it
    and what to do.
    """

    exit_code: ExitCode = ExitCode.SOME_FAILED


class InputError(DenoiserError):
    """One input cannot be read or processed. In a batch it fails that file alone."""

    exit_code = ExitCode.SOME_FAILED


class UsageError(DenoiserError):
    """An option or argument is wrong, or the plan would destroy an input."""

    exit_code = ExitCode.USAGE


class NothingToDoError(DenoiserError):
    """The inputs hold no image that could be read."""

    exit_code = ExitCode.NOTHING_TO_DO


class UnavailableError(DenoiserError):
    """A model, weights file or device is missing or damaged."""

    exit_code = ExitCode.UNAVAILABLE


class OutputError(DenoiserError):
    """The output cannot be written. Stops the whole batch: the next file would fail as well."""

    exit_code = ExitCode.OUTPUT


class LockedError(DenoiserError):
    """Another run is writing into the same output directory."""

    exit_code = ExitCode.LOCKED
