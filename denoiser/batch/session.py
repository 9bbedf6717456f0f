"""One job over many files, from the arguments to the report: the steps that all such jobs share."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

from denoiser import machine
from denoiser.batch.flow import Stop
from denoiser.batch.items import Action, Destination, Item, Plan
from denoiser.batch.manifest import Manifest
from denoiser.batch.names import STATE, shown
from denoiser.batch.options import BatchOptions
from denoiser.batch.pipeline import Pipeline
from denoiser.batch.plan import inspect, make_plan
from denoiser.batch.report import Events, FileResult, Report, Status
from denoiser.batch.room import check_room
from denoiser.batch.shared import Shared
from denoiser.batch.verification import Verification
from denoiser.batch.writing import Writer, remove_leftovers
from denoiser.errors import DenoiserError, ExitCode, Interrupted, OutputError
from denoiser.images import SUFFIXES
from denoiser.lock import Lock, free_share
from denoiser.progress import Progress

HEADERS_AHEAD = 512
"""With at most so many files their headers are read before the start, to know the megapixels of the whole run."""


INTERRUPTED = "interrupted; finished files stay, the next run goes on"


class Session:
    """One job over many files. Its steps stand in the order in which they are taken.

    Parameters
    ----------
    inputs : sequence of str or Path
    destination : Destination
    options : BatchOptions
    key : str
        Hash of the options that decide an output's bytes.
    progress : Progress
    stop : Stop
    """

    command = "run"
    workspace = 0
    chooses = False
    """As :class:`denoiser.batch.pipeline.Shared`."""
    budget_parts = 2
    """One part of so many of the memory is for pictures in flight; the rest is for what works on them."""

    def __init__(
        self,
        inputs: Sequence[str | Path],
        destination: Destination,
        options: BatchOptions,
        key: str,
        progress: Progress,
        stop: Stop,
    ) -> None:
        self.started = datetime.now(UTC)
        self.clock = time.monotonic()
        self.inputs = inputs
        self.destination = destination
        self.options = options
        self.key = key
        self.progress = progress
        self.stop = stop
        self.manifest: Manifest | None = None
        self.locked = False
        self.results: dict[tuple[Path, Path | None], FileResult] = {}
        self.events: Events | None = None
        self.error: DenoiserError | None = None
        self.interrupted = False

    def execute(self) -> Report:
        """Plan or work, as the options say."""
        self.stop.abrupt = False  # the steps say where they may be torn
        with ExitStack() as held:
            if not self.options.dry_run:
                return self._wet(held)
            with self.stop.abruptly():
                return self._dry()

    # What each kind of job does in its own way.

    @property
    def verb(self) -> str:
        """What is done, for the progress."""
        raise NotImplementedError

    def _prepare(self, plan: Plan) -> None:
        """Make sure that the work can be done, before anything is touched. There is some."""

    def _estimate(self, plan: Plan) -> float | None:
        """Seconds that the work would take; None where that cannot be said."""
        return None

    def _memory(self) -> int:
        """Bytes for the whole run."""
        return self.options.max_memory or machine.free_memory() // 2

    def _writer(self, owner: str) -> Writer:
        return Writer(self.destination.root, owner, self._own_manifest(), self.options, self.key)

    def _passes(self, shared: Shared, work: Sequence[Item]) -> None:
        """Do the work."""
        first = Pipeline(shared, work, None)
        first.execute()
        self.error = first.error

    def _engine(self) -> Mapping[str, str | int]:
        """What did the work, for the report."""
        return {}

    def _verification(self) -> Verification | None:
        """What came of doing parts of the work twice; None where nobody asked for it."""
        return None

    def _finish(self, plan: Plan) -> None:
        """What is left to do when all files are done; the manifest is closed."""

    # The steps.

    def _dry(self) -> Report:
        """Plan, read headers, write nothing."""
        plan = inspect(self._plan(), self.options.strict, self._memory() // self.budget_parts)
        for item in plan.items:
            self.results[item.source, item.target] = _planned(item)
        return self._report(plan, self._estimate(plan) if plan.work else None)

    def _wet(self, held: ExitStack) -> Report:
        """Do the work."""
        with self.stop.abruptly():
            if (self.destination.root / STATE).is_dir():
                self._lock(held)
            plan = self._plan()
        try:
            with self.stop.abruptly():
                plan = self._make_ready(plan, held)
            self._carry_out(plan, held)
        except Interrupted:
            self.interrupted = True
        self._finish(plan)
        return self._report(plan)

    def _make_ready(self, plan: Plan, held: ExitStack) -> Plan:
        """Make sure that the work can be done, and that nobody else does it; the plan as it is by then."""
        if plan.work:
            self._prepare(plan)
        if plan.work and not self.locked:
            self._lock(held)
            if self._own_manifest().changed():  # another run came and went meanwhile
                return self._plan()
        return plan

    def _carry_out(self, plan: Plan, held: ExitStack) -> None:
        self.events = held.enter_context(Events(self.options.events))
        for item in plan.items:
            if not item.works:
                self._record(_planned(item))
        self._open_manifest(plan, held)
        if plan.work:
            self._work(plan)

    def _lock(self, held: ExitStack) -> None:
        # One output file has no directory of its own to lock: two writers of it replace each other's whole files.
        if self.options.lock and not self.destination.file:
            held.enter_context(Lock(self.destination.root, self.options.share))
        self.locked = True

    def _own_manifest(self) -> Manifest:
        if self.manifest is None:
            share = "file" if self.destination.file else self.options.share
            self.manifest = Manifest(self.destination.root, share)
        return self.manifest

    def _plan(self) -> Plan:
        manifest = self._own_manifest()
        manifest.load()
        plan = make_plan(self.inputs, self.destination, self.options, self.key, manifest)
        for folder in plan.made:
            self.progress.note(
                f"{shown(folder)}: an earlier run has written there, and its outputs are read like other pictures; "
                f"leave them out with --exclude '{shown(folder.name)}/' if that is not meant",
                "warning",
            )
        return plan

    def _open_manifest(self, plan: Plan, held: ExitStack) -> None:
        news = [item.refresh for item in plan.items if item.refresh]
        if not plan.work and not news:
            return
        manifest = self._own_manifest()
        manifest.open(compact=self._owner is not None)
        held.callback(manifest.close)
        for entry in news:
            try:
                manifest.append(entry)
            except OSError as error:
                raise OutputError(f"{shown(manifest.path)}: cannot be written ({error.strerror})") from error

    @property
    def _owner(self) -> str | None:
        """Whose temporary files this run may remove; None without a lock, when nobody's are certainly dead."""
        if self.destination.file or not self.options.lock:
            return None
        return self.options.share

    def _work(self, plan: Plan) -> None:
        work = plan.work[: self.options.max_files]
        with self.stop.abruptly():
            remove_leftovers([path for item in plan.items for path in item.outputs], self._owner)
            if warning := check_room(work, self.destination.root, self.options.max_runtime is not None):
                self.progress.note(warning, "warning")
            shared = self._shared(free_share() if self._owner is None else self._owner)
            self.progress.start(len(work), _megapixels(plan, work, shared.budget), self.verb)
        try:
            self._passes(shared, work)
        finally:
            self.progress.finish()
            shared.writer.sync_folders()

    def _shared(self, owner: str) -> Shared:
        """What all passes share; ``owner`` marks the temporary files."""
        budget = self._memory() // self.budget_parts
        return Shared(
            options=self.options,
            writer=self._writer(owner),
            budget=budget,
            max_bytes=budget,
            progress=self.progress,
            stop=self.stop,
            record=self._record,
            deadline=self._deadline(),
            workspace=self.workspace,
            chooses=self.chooses,
        )

    def _deadline(self) -> float | None:
        """``time.monotonic()`` after which no file is begun."""
        return None if self.options.max_runtime is None else self.clock + self.options.max_runtime

    def _record(self, result: FileResult) -> None:
        """A file is finished. Called from any thread, once per file."""
        self.results[result.source, result.target] = result
        if self.events is not None and result.status is not Status.LEFT:
            self.events.write(result)
        if result.status is Status.FAILED:
            self.progress.note(f"{shown(result.source)}: {result.reason}", "error")
        for warning in result.warnings:
            self.progress.note(f"{shown(result.source)}: {warning}", "warning")

    def _report(self, plan: Plan, estimate: float | None = None) -> Report:
        files = tuple(self.results.get((item.source, item.target)) or _untouched(item) for item in plan.items)
        stopped, message = self._ending(plan, files)
        return Report(
            files=files,
            output=self.destination.file or self.destination.root,
            found=plan.found,
            ignored=plan.ignored,
            started=self.started,
            seconds=time.monotonic() - self.clock,
            options=self.options.to_json(),
            engine=self._engine(),
            stopped=stopped,
            message=message,
            estimate=estimate,
            command=self.command,
            verification=self._verification(),
        )

    def _ending(self, plan: Plan, files: Sequence[FileResult]) -> tuple[ExitCode | None, str]:
        """Why the run ended before its end, and the sentence that belongs to it."""
        if self.error is not None:
            return self.error.exit_code, str(self.error)
        if self.interrupted:
            return self.stop.code, INTERRUPTED
        if plan.found == 0:
            looked = ", ".join(SUFFIXES)
            where = ", ".join(shown(str(each)) for each in self.inputs)
            return None, f"no readable image found in {where}: looked for {looked}, passed over {plan.ignored} files"
        if not any(result.status is Status.LEFT for result in files):
            return None, ""
        if self.stop.code is not None:
            return self.stop.code, INTERRUPTED
        limit = "--max-files" if self.options.max_files and len(plan.work) > self.options.max_files else "--max-runtime"
        if self.options.exists == "skip":
            return ExitCode.STOPPED, f"stopped at {limit}; the next run goes on"
        return ExitCode.STOPPED, f"stopped at {limit}; only with --exists skip does the next run go on from here"


def _planned(item: Item) -> FileResult:
    """What a plan alone says of a file."""
    status = {Action.SKIP: Status.SKIPPED, Action.FAIL: Status.FAILED}.get(item.action, Status.PLANNED)
    return FileResult(
        source=item.source,
        target=item.target,
        status=status,
        reason=item.reason,
        size=item.stamp.size,
        pages=item.pages,
        megapixels=item.megapixels,
        warnings=(item.warning,) if item.warning else (),
        losses=item.losses,
        residual=item.residual,
        uncertainty=item.uncertainty,
    )


def _untouched(item: Item) -> FileResult:
    """What is told of a file that the run has not come to."""
    if not item.works:
        return _planned(item)
    return FileResult(
        source=item.source, target=item.target, status=Status.LEFT, reason="not begun", size=item.stamp.size
    )


def _megapixels(plan: Plan, work: Sequence[Item], max_bytes: int) -> float:
    """Megapixels of the work as far as headers tell; 0 (unknown) where there are too many to look at first."""
    if len(work) > HEADERS_AHEAD:
        return 0.0
    return inspect(Plan(tuple(work), plan.root, plan.found, plan.ignored), False, max_bytes).megapixels
