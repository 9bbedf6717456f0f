"""One run from the arguments to the report."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import psutil

from denoiser.batch.flow import Stop
from denoiser.batch.items import Action, Destination, Item, Plan
from denoiser.batch.lock import Lock
from denoiser.batch.manifest import Manifest
from denoiser.batch.names import STATE, shown
from denoiser.batch.options import RunOptions
from denoiser.batch.pipeline import Pipeline, Shared
from denoiser.batch.plan import inspect, make_plan
from denoiser.batch.report import Events, FileResult, Report, Status
from denoiser.batch.writing import Writer, remove_leftovers
from denoiser.errors import DenoiserError, ExitCode, OutputError
from denoiser.images import SUFFIXES
from denoiser.progress import Progress, Silent

if TYPE_CHECKING:
    from denoiser.inference import Denoiser

HEADERS_AHEAD = 512
"""With at most so many files their headers are read before the start, to know the megapixels of the whole run."""
TRIAL_SECONDS = 0.3
"""How long a trial must take to tell the network's speed."""


def run(
    inputs: str | Path | Sequence[str | Path],
    output: str | Path,
    options: RunOptions | None = None,
    progress: Progress | None = None,
    denoiser: Denoiser | None = None,
    stop: Stop | None = None,
) -> Report:
    """Denoise files and directories into a directory, or one file into a file.

    Finished files are remembered in ``output/.denoiser`` and skipped by the next run. No input is ever
    written to, and every output appears whole under its name or not at all. Outputs get the usual
    permissions of new files and the time of their making.

    Parameters
    ----------
    inputs : str, Path or sequence of these
        Files, directories (read with all that lies below, mirrored below ``output``), globs, and
        ``@file`` for a list of these.
    output : str or Path
        A directory, which is made where it is missing; or a file, if the input is one file.
    options : RunOptions, optional
    progress : Progress, optional
        Is told how far the work is; nobody is by default.
    denoiser : Denoiser, optional
        Used instead of ``options.model`` and its device and precision.
    stop : Stop, optional
        Lets a signal handler or another thread end the run early.

    Returns
    -------
    Report
        What became of every file. Failures of single files, a full disk and a stop are told there:
        look at ``exit_code``.

    Raises
    ------
    UsageError
        If two inputs would share an output, or an output would overwrite an input.
    UnavailableError
        If the model or the device is not there.
    OutputError
        If nothing can be written below ``output``.
    LockedError
        If another run is writing there.
    """
    files = [inputs] if isinstance(inputs, str | Path) else list(inputs)
    options = options or RunOptions()
    session = _Run(files, Destination.of(output), options, progress or Silent(), denoiser, stop or Stop())
    with ExitStack() as held:
        return session.dry(held) if options.dry_run else session.wet(held)


class _Run:
    """One run. Its steps stand in the order in which they are taken."""

    def __init__(
        self,
        inputs: Sequence[str | Path],
        destination: Destination,
        options: RunOptions,
        progress: Progress,
        denoiser: Denoiser | None,
        stop: Stop,
    ) -> None:
        self.started = datetime.now(UTC)
        self.clock = time.monotonic()
        self.inputs = inputs
        self.destination = destination
        self.options = options
        self.progress = progress
        self.denoiser = denoiser
        self.given = denoiser is not None
        self.stop = stop
        # An unknown model is an error before anything else is looked at.
        self.key = options.key(_identity(options, denoiser))
        self.manifest: Manifest | None = None
        self.locked = False
        self.results: dict[tuple[Path, Path | None], FileResult] = {}
        self.events: Events | None = None
        self.error: DenoiserError | None = None

    def dry(self, held: ExitStack) -> Report:
        """Plan, read headers, write nothing."""
        plan = inspect(self._plan(), self.options.strict, self._memory() // 2)
        for item in plan.items:
            self.results[item.source, item.target] = _planned(item)
        estimate = None
        if plan.work and self.options.strength > 0:
            estimate = plan.megapixels / _speed(self._network())
        return self._report(plan, estimate)

    def wet(self, held: ExitStack) -> Report:
        """Do the work."""
        if (self.destination.root / STATE).is_dir():
            self._lock(held)
        plan = self._plan()
        if plan.work and self.options.strength > 0:
            self._network()
        if plan.work and not self.locked:
            self._lock(held)
            if self._own_manifest().changed():  # another run came and went meanwhile
                plan = self._plan()
        self.events = held.enter_context(Events(self.options.events))
        for item in plan.items:
            if not item.works:
                self._record(_planned(item))
        self._open_manifest(plan, held)
        if plan.work:
            self._work(plan)
        return self._report(plan)

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
        return make_plan(self.inputs, self.destination, self.options, self.key, manifest)

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

    def _network(self) -> Denoiser:
        if self.denoiser is None:
            self.denoiser = self._build(self.options.precision)
            told = ", ".join(f"{key} {value}" for key, value in self.denoiser.describe().items())
            self.progress.note(told, "debug")
        return self.denoiser

    def _build(self, precision: str) -> Denoiser:
        from denoiser import weights
        from denoiser.inference import Denoiser, InferenceOptions, devices

        # On the CPU the network shares the budget with the pictures in flight; a device has memory of its own.
        on_cpu = devices.resolve(self.options.device).type == "cpu"
        o = self.options
        module, card = weights.load(o.model)
        memory = self._memory() // 2 if on_cpu else o.max_memory
        return Denoiser(module, card, InferenceOptions(o.device, precision, o.tile, o.halo, o.batch, memory))

    def _fallback(self) -> Denoiser | None:
        """The same network in fp32, for files that fail their check in half precision."""
        if self.given or self.denoiser is None or self.denoiser.describe().get("precision") == "fp32":
            return None
        return self._build("fp32")

    def _memory(self) -> int:
        """Bytes for the whole run."""
        if self.options.max_memory is not None:
            return self.options.max_memory
        if self.options.strength == 0 or self.given:
            return int(psutil.virtual_memory().available) // 2
        from denoiser.inference import devices

        return devices.free_memory(devices.resolve("cpu")) // 2

    def _work(self, plan: Plan) -> None:
        o = self.options
        work = plan.work[: o.max_files]
        targets = [path for item in work for path in item.outputs]
        remove_leftovers(targets, self._owner)
        owner = "free" if self._owner is None else self._owner
        writer = Writer(self.destination.root, owner, self._own_manifest(), o, self.key)
        memory = self._memory()
        shared = Shared(
            options=o,
            writer=writer,
            budget=memory // 2,
            max_bytes=memory // 2,
            progress=self.progress,
            stop=self.stop,
            record=self._record,
            deadline=None if o.max_runtime is None else self.clock + o.max_runtime,
        )
        self.progress.start(
            len(work), _megapixels(plan, work, memory // 2), "copying" if o.strength == 0 else "denoising"
        )
        try:
            self._passes(shared, work)
        finally:
            self.progress.finish()
            writer.sync_folders()

    def _passes(self, shared: Shared, work: Sequence[Item]) -> None:
        """The pass over all files, and a second one in full precision over those that failed their check."""
        network = self.denoiser if self.options.strength > 0 else None
        half = network is not None and not self.given and network.describe().get("precision") != "fp32"
        first = Pipeline(shared, work, network, second_try=half)
        first.execute()
        self.error = first.error
        if first.again and self.error is None and self.stop.code is None:
            self.progress.note(f"{len(first.again)} files failed their check and are done again in fp32", "warning")
            second = Pipeline(shared, first.again, self._fallback())
            second.execute()
            self.error = second.error

    def _record(self, result: FileResult) -> None:
        """A file is finished. Called from any thread, once per file."""
        self.results[result.source, result.target] = result
        if result.status is Status.FAILED:
            self.progress.note(f"{shown(result.source)}: {result.reason}", "error")
        for warning in result.warnings:
            self.progress.note(f"{shown(result.source)}: {warning}", "warning")
        if self.events is not None and result.status is not Status.LEFT:
            self.events.write(result)

    def _report(self, plan: Plan, estimate: float | None = None) -> Report:
        files = tuple(self.results.get((item.source, item.target)) or _left(item) for item in plan.items)
        stopped, message = self._ending(plan, files)
        return Report(
            files=files,
            output=self.destination.file or self.destination.root,
            found=plan.found,
            ignored=plan.ignored,
            started=self.started,
            seconds=time.monotonic() - self.clock,
            options=self.options.to_json(),
            engine=self.denoiser.describe() if self.denoiser is not None else {},
            stopped=stopped,
            message=message,
            estimate=estimate,
        )

    def _ending(self, plan: Plan, files: Sequence[FileResult]) -> tuple[ExitCode | None, str]:
        """Why the run ended before its end, and the sentence that belongs to it."""
        if self.error is not None:
            return self.error.exit_code, str(self.error)
        if plan.found == 0:
            looked = ", ".join(SUFFIXES)
            where = ", ".join(shown(str(each)) for each in self.inputs)
            return None, f"no readable image found in {where}: looked for {looked}, passed over {plan.ignored} files"
        if not any(result.status is Status.LEFT for result in files):
            return None, ""
        if self.stop.code is not None:
            return self.stop.code, "interrupted; finished files stay, the next run goes on"
        limit = "--max-files" if self.options.max_files and len(plan.work) > self.options.max_files else "--max-runtime"
        return ExitCode.STOPPED, f"stopped at {limit}; the next run goes on"


def _identity(options: RunOptions, denoiser: Denoiser | None) -> str:
    """What stands for the weights in the key of an output."""
    if denoiser is not None:
        return json.dumps(denoiser.describe(), sort_keys=True, default=str)
    from denoiser import weights

    return weights.file_hash(weights.resolve(options.model))


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
    )


def _left(item: Item) -> FileResult:
    return FileResult(
        source=item.source, target=item.target, status=Status.LEFT, reason="not begun", size=item.stamp.size
    )


def _megapixels(plan: Plan, work: Sequence[Item], max_bytes: int) -> float:
    """Megapixels of the work as far as headers tell; 0 (unknown) where there are too many to look at first."""
    if len(work) > HEADERS_AHEAD:
        return 0.0
    return inspect(Plan(tuple(work), plan.root, plan.found, plan.ignored), False, max_bytes).megapixels


def _speed(network: Denoiser) -> float:
    """Megapixels per second of the network, measured on noise; the second of two equal trials counts."""
    from denoiser.inference import Piece

    side = 256
    while True:
        noise = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
        piece = Piece(noise, scale=1 / 255, white=1.0)
        for _ in range(2):
            begun = time.monotonic()
            for _result in network.stream([piece]):
                pass
            seconds = time.monotonic() - begun
        if seconds > TRIAL_SECONDS or side >= 1024:
            return side * side / 1e6 / max(seconds, 1e-9)
        side *= 2
