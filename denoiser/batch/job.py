"""One file on its way through a run."""

from __future__ import annotations

import queue
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from denoiser.batch import names
from denoiser.batch.checks import Moments
from denoiser.batch.flow import Cancelled, Lease
from denoiser.batch.items import Action, Item
from denoiser.batch.manifest import Stamp
from denoiser.batch.reading import Band
from denoiser.batch.report import FileResult, Status
from denoiser.batch.samples import Sample
from denoiser.errors import DenoiserError, InputError
from denoiser.estimate import Advice
from denoiser.images import Header

_fates = threading.Lock()
"""Held for the moment in which it is decided whether files get their names. One for all jobs, of which there may be
millions."""


class CheckError(InputError):
    """An output did not pass its check."""


@dataclass(eq=False)
class Job:
    """One file on its way through the run. Each field is set by one thread and read by later ones.

    Attributes
    ----------
    turn : int
        Position in the run.
    incoming : queue of Band or None
        From the reader; None ends it.
    outgoing : queue of Band or None
        To the writer; None: there will be no more, abandon the file.
    change : Moments
        Of output minus input, where a job gathers it.
    sample : Sample or None
        What the report shows of it, where there is one.
    advice : Advice or None
        Which network was chosen by the file's noise, and why; None where none was to be chosen.
    figures : dict or None
        What the manifest is to remember of the output.
    error : Exception or None
        The first thing that went wrong.
    """

    item: Item
    turn: int
    incoming: queue.SimpleQueue[Band | None] = field(default_factory=queue.SimpleQueue)
    outgoing: queue.SimpleQueue[Band | None] = field(default_factory=queue.SimpleQueue)
    header: Header | None = None
    stamp: Stamp | None = None
    started: float = 0.0
    leases: list[Lease] = field(default_factory=list)
    losses: tuple[str, ...] = ()
    checks: dict[str, Any] = field(default_factory=dict)
    change: Moments = field(default_factory=Moments)
    sample: Sample | None = None
    noise: dict[str, Any] = field(default_factory=dict)
    views: tuple[bytes, bytes] | None = None
    advice: Advice | None = None
    figures: dict[str, Any] | None = None
    error: Exception | None = None
    claimed: bool = False
    refused: bool = False
    done: bool = False
    settled: bool = False

    def claim(self) -> None:
        """Its files are about to get their names.

        Raises
        ------
        Cancelled
            If the run has ended without them.
        """
        with _fates:
            if self.refused:
                raise Cancelled
            self.claimed = True

    def refuse(self) -> bool:
        """Let its files get no names from now on; True if that comes too late."""
        with _fates:
            self.refused = True
            return self.claimed

    def fail(self, error: Exception) -> None:
        """Remember what went wrong and let go of the writer."""
        if self.error is None:
            self.error = error
        self.outgoing.put(None)

    @property
    def form(self) -> str:
        """Format of the output; known once the header is."""
        if self.item.format != "keep" or self.header is None:
            return self.item.format
        return self.header.format

    def result(self) -> FileResult:
        """What became of it."""
        item = self.item
        status, reason = Status.LEFT, "the run ended before it was finished"
        if self.done:
            status, reason = Status.COPIED if item.action is Action.COPY else Status.DONE, ""
        elif self.error is not None:
            status, reason = Status.FAILED, names.reason(self.error, item.source)
        lost = (f"{self.form} cannot keep {', '.join(self.losses)}",) if self.losses and self.done else ()
        return FileResult(
            source=item.source,
            target=item.target,
            status=status,
            reason=reason,
            size=item.stamp.size,
            pages=len(self.header.pages) if self.header else 0,
            megapixels=self.header.megapixels if self.header else 0.0,
            seconds=time.monotonic() - self.started if self.started else 0.0,
            warnings=(*lost, *self.header.warnings) if self.header and self.done else lost,
            losses=self.losses,
            checks=self.checks,
            residual=item.residual,
            uncertainty=item.uncertainty,
            choice={} if self.advice is None else {"model": self.advice.model, "reason": self.advice.reason},
            noise=self.noise,
            views=self.views,
        )


def explained(error: Exception) -> Exception:
    """An error in words that help."""
    if isinstance(error, DenoiserError):
        return error
    if isinstance(error, MemoryError):
        told = InputError("it does not fit into memory; close other programs, or give fewer --jobs")
    elif isinstance(error, OSError):
        told = InputError(f"cannot be read: {error.strerror or error}")
    else:
        told = InputError(f"unexpected {type(error).__name__}: {error}")
    told.__cause__ = error
    return told
