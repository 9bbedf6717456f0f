"""A run whose inputs or outputs lie in a store: the run of a folder, staged through a local one.

Every object is a file of its size and time in a temporary folder, without contents (sparse), so that the plan is made
as for folders. Inputs are brought chunk by chunk, the next one while one is computed; an output goes to its key as soon
as it is whole and checked. What was made is remembered in ``.denoiser/`` below OUT in the store. Objects cannot be
appended to, so each chunk adds a manifest of its own; a run that comes to its end makes one of all.

``.denoiser/pending*.json`` names the outputs of the chunk that is being written. After a kill nobody can know which of
those that no manifest tells of are new, so the next run makes them again.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, cast

from denoiser.batch import page
from denoiser.batch.items import Action, Destination, Item, Plan
from denoiser.batch.job import Job
from denoiser.batch.journal import Journal, Staged
from denoiser.batch.manifest import Entry, Manifest, Stamp
from denoiser.batch.names import STATE
from denoiser.batch.options import RunOptions
from denoiser.batch.report import FileResult, Report, Status
from denoiser.batch.runner import RunSession
from denoiser.batch.samples import picture
from denoiser.batch.shared import Shared
from denoiser.batch.stores import Address, Store, is_address
from denoiser.batch.writing import Writer
from denoiser.errors import DenoiserError, InputError, OutputError, UsageError
from denoiser.images import SUFFIXES, is_store
from denoiser.progress import Progress

if TYPE_CHECKING:
    from denoiser.batch.flow import Stop
    from denoiser.inference import Denoiser

CHUNK_FILES, CHUNK_BYTES = 64, 1 << 28
"""Files and bytes of a chunk. Two chunks of inputs lie on the local disk at a time."""

TRIES = 5
"""How often the files that other shares renew are listed and read."""

TRANSFERS = 16
"""Objects brought at a time: waiting for a store takes longer than what it sends."""


def run(
    inputs: Sequence[str | Path],
    output: str | Path,
    options: RunOptions,
    progress: Progress,
    denoiser: Denoiser | None,
    stop: Stop,
) -> Report:
    """As :func:`denoiser.batch.run`, where some of the arguments are addresses in stores."""
    if options.save_residual or options.save_uncertainty:
        raise UsageError("--save-residual and --save-uncertainty write to folders; give folders as INPUT and OUT")
    if options.spreads:
        raise UsageError("--backend dask and several devices work on folders; on stores, start one run per --shard i/n")
    with TemporaryDirectory(prefix="denoiser-") as temporary:
        stage = Stage(Path(temporary).resolve())
        try:
            with stop.abruptly():
                destination = stage.destination(output, options)
                files = [stage.input(each, index) for index, each in enumerate(inputs)]
            told = _Translated(progress, stage)
            return StagedSession(stage, files, destination, options, told, denoiser, stop).execute()
        except DenoiserError as error:
            if str(error) == stage.words(str(error)):
                raise
            raise type(error)(stage.words(str(error))) from error


class Stage:
    """The local folder and what lies in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.inputs: list[Staged] = []
        self.output: Staged | None = None
        self.sources: set[str] = set()
        self.pending: dict[str, set[str]] = {}
        """Name of a file of pending outputs -> those that are made again."""

    def input(self, argument: str | Path, index: int) -> str | Path:
        """A local argument that stands for one of the inputs."""
        if not is_address(argument):
            return argument
        store = Store.of(str(argument))
        if self.output is not None and str(store.address()) == str(self.output.store.address()):
            raise UsageError(f"{store.address()}: is INPUT and OUT; give another OUT, such as {store.address()}/clean")
        staged = Staged(store, self.folder / f"in{index}" / (store.base.rpartition("/")[2] or "all"))
        listing = store.listing()
        if not listing:
            raise InputError(f"{store.address()}: there is no such object, and nothing below it")
        for place, stamp in listing.items():
            address = str(store.address(place))
            if self.output is None or not address.startswith(f"{self.output.store.address()}/"):
                self.sources.add(address)
                _stand_in(staged.folder / place if place else staged.folder, stamp)
        staged.folder.parent.mkdir(parents=True, exist_ok=True)
        self.inputs.append(staged)
        return staged.folder

    def destination(self, argument: str | Path, options: RunOptions) -> Destination:
        """Where outputs go locally, with all that is known of those that are there already."""
        if not is_address(argument):
            return Destination.of(argument)
        address = str(argument)
        single = Path(address).suffix.lower() in SUFFIXES
        base, _, name = address.rpartition("/") if single else (address, "", "")
        self.output = Staged(Store.of(base), self.folder / "out")
        listing = self._remembered(self.output)
        self.pending = self._pending(self.output, listing)
        again = set().union(*self.pending.values())
        for place, stamp in listing.items():
            if place not in again and not place.startswith(f"{STATE}/") and name in ("", place):
                _stand_in(self.output.folder / place, stamp)
        self.output.folder.mkdir(exist_ok=True)
        return Destination(self.output.folder, self.output.folder / name if name else None)

    def _remembered(self, output: Staged) -> dict[str, Stamp]:
        """Bring what a store remembers of runs; returns the listing. Other shares may renew it meanwhile."""
        state = output.folder / STATE
        for tries_left in reversed(range(TRIES)):
            shutil.rmtree(state, ignore_errors=True)
            state.mkdir(parents=True)
            try:
                listing = output.store.listing()
                for place in [each for each in listing if each.startswith((f"{STATE}/manifest", f"{STATE}/pending"))]:
                    output.store.get(place, output.folder / place, listing[place])
            except InputError as error:
                if not tries_left:
                    raise OutputError(f"{output.store.address(STATE)}: {error}") from error
            else:
                return listing
        raise AssertionError("the last try has returned or raised")

    def _pending(self, output: Staged, listing: Mapping[str, Stamp]) -> dict[str, set[str]]:
        """Of pending outputs those that no manifest tells of."""
        manifest = Manifest(output.folder)
        found = {}
        for path in sorted((output.folder / STATE).glob("pending*.json")):
            places = [place for place in json.loads(path.read_bytes()) if place in listing]
            found[path.name] = {place for place in places if not manifest.current(place, listing[place])[1]}
        return found

    def staged(self, path: Path) -> Staged | None:
        """What a local file stands in for; None for files that are what they are."""
        places = (*self.inputs, *([self.output] if self.output else ()))
        return next((each for each in places if path.is_relative_to(each.folder)), None)

    def shown(self, path: Path | None) -> Path | None:
        """The address that a local file stands for, as reports name it."""
        staged = self.staged(path) if path is not None and not isinstance(path, Address) else None
        if staged is None or path is None:
            return path
        # Reports show it and never open it, which is all that an address cannot do of what a path can.
        return cast(Path, staged.store.address(staged.relative(path)))

    def words(self, text: str) -> str:
        """A sentence with addresses in the place of local files."""
        for each in (*self.inputs, *([self.output] if self.output else ())):
            text = text.replace(str(each.folder), str(each.store.address()))
        return text


class StagedSession(RunSession):
    """The run of a staged folder."""

    def __init__(
        self,
        stage: Stage,
        inputs: Sequence[str | Path],
        destination: Destination,
        options: RunOptions,
        progress: Progress,
        denoiser: Denoiser | None,
        stop: Stop,
    ) -> None:
        super().__init__(inputs, destination, options, progress, denoiser, stop)
        self.stage = stage
        self.journal = Journal(stage.output, self._own_manifest(), stage.pending) if stage.output else None

    def _dry(self) -> Report:
        plan = self._plan()
        for item in plan.items:
            self._record(_planned(item))
        return self._report(plan)

    def _plan(self) -> Plan:
        plan = super()._plan()
        plan = replace(plan, items=tuple(map(_without_folders, plan.items)))
        for item in plan.items:
            if item.target and str(self.stage.shown(item.target)) in self.stage.sources:
                raise UsageError(f"{item.target}: the output would overwrite an input; give another OUT, or --suffix")
        return plan

    def _writer(self, owner: str) -> Writer:
        if self.stage.output is None:
            return super()._writer(owner)
        root, manifest = self.destination.root, self._own_manifest()
        return StagedWriter(self.stage.output, root, owner, manifest, self.options, self.key)

    def _passes(self, shared: Shared, work: Sequence[Item]) -> None:
        """Bring a chunk while the one before is computed."""
        if self.options.samples:
            work = picture(work, page.PICTURES)
        with ThreadPoolExecutor(TRANSFERS, thread_name_prefix="store") as transfers:
            chunks = _chunks(work)
            brought = self._bring(next(chunks, []), transfers)
            while brought and not self._ended(shared):
                coming = self._bring(next(chunks, []), transfers)
                self._pass_chunk(shared, brought)
                brought = coming
            for _, future in brought:
                future.cancel()
        if self.journal and not self._ended(shared):
            self.journal.close()

    def _finish(self, plan: Plan) -> None:
        if self.journal and self.error is None and self.stop.code is None:
            try:
                self.journal.forget_others({item.place for item in plan.items if self._is_made(item)})
            except OutputError as error:
                self.error = error

    def _is_made(self, item: Item) -> bool:
        result = self.results.get((item.source, item.target))
        return result is not None and result.status in (Status.DONE, Status.COPIED)

    def _ended(self, shared: Shared) -> bool:
        return self.error is not None or shared.stop.code is not None

    def _bring(self, chunk: Sequence[Item], transfers: ThreadPoolExecutor) -> list[tuple[Item, Future[None]]]:
        return [(item, transfers.submit(self._fetch, item)) for item in chunk]

    def _fetch(self, item: Item) -> None:
        staged = self.stage.staged(item.source)
        if staged is not None:
            staged.store.get(staged.relative(item.source), item.source, item.stamp)

    def _pass_chunk(self, shared: Shared, brought: Sequence[tuple[Item, Future[None]]]) -> None:
        there = []
        for item, future in brought:
            try:
                future.result()
                there.append(item)
            except InputError as error:
                self._record(FileResult(item.source, item.target, Status.FAILED, str(error), item.stamp.size))
                shared.progress.advance(files=1)
        try:
            if self.journal:
                self.journal.begin([item.place for item in there])
            self._pass_here(shared, there)
            if self.journal:
                self.journal.end({item.place for item in there if self._is_made(item)})
        except OutputError as error:
            self.error = self.error or error
        for item in there:
            if self.stage.staged(item.source):
                item.source.unlink(missing_ok=True)

    def _record(self, result: FileResult) -> None:
        shown = self._public(result)
        super()._record(shown)
        self.results[result.source, result.target] = shown

    def _report(self, plan: Plan, estimate: float | None = None) -> Report:
        report = super()._report(plan, estimate)
        return replace(
            report,
            files=tuple(self._public(result) for result in report.files),
            output=self.stage.shown(report.output) or report.output,
            message=self.stage.words(report.message),
        )

    def _public(self, result: FileResult) -> FileResult:
        words = self.stage.words
        source = self.stage.shown(result.source) or result.source
        reason, warnings = words(result.reason), tuple(map(words, result.warnings))
        return replace(result, source=source, target=self.stage.shown(result.target), reason=reason, warnings=warnings)


class StagedWriter(Writer):
    """Gives finished files their keys in a store."""

    def __init__(
        self, output: Staged, root: Path, owner: str, manifest: Manifest, options: RunOptions, key: str
    ) -> None:
        super().__init__(root, owner, manifest, options, key, options.controls)
        self.output = output

    def _commit(self, job: Job, temporary: Path, beside: dict[str, Path]) -> None:
        item = job.item
        assert job.stamp is not None
        content = self._content(job)
        stamp = self.output.store.put(temporary, item.place)
        job.claim()
        self.manifest.append(Entry(item.place, job.stamp, content, stamp, self.key, figures=job.figures))


class _Translated:
    """A Progress that tells addresses in the place of local files."""

    def __init__(self, progress: Progress, stage: Stage) -> None:
        self.progress = progress
        self.stage = stage

    def start(self, files: int, megapixels: float, what: str) -> None:
        self.progress.start(files, megapixels, what)

    def advance(self, files: int = 0, megapixels: float = 0.0) -> None:
        self.progress.advance(files, megapixels)

    def note(self, message: str, level: str = "info") -> None:
        self.progress.note(self.stage.words(message), level)

    def finish(self) -> None:
        self.progress.finish()


def _stand_in(path: Path, stamp: Stamp) -> None:
    """A file of an object's size and time that takes no room."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as stream:
        stream.truncate(stamp.size)
    os.utime(path, ns=(stamp.mtime_ns, stamp.mtime_ns))


def _without_folders(item: Item) -> Item:
    if not (item.works and is_store(item.source)):
        return item
    reason = "OME-Zarr is neither read from stores nor written to them; copy it to a folder, and give that"
    return replace(item, action=Action.FAIL, reason=reason)


def _chunks(work: Sequence[Item]) -> Iterator[list[Item]]:
    chunk: list[Item] = []
    size = 0
    for item in work:
        if chunk and (len(chunk) == CHUNK_FILES or size + item.stamp.size > CHUNK_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(item)
        size += item.stamp.size
    if chunk:
        yield chunk


def _planned(item: Item) -> FileResult:
    """What a dry run says of a file without its header, which lies in the store."""
    status = {Action.SKIP: Status.SKIPPED, Action.FAIL: Status.FAILED}.get(item.action, Status.PLANNED)
    return FileResult(item.source, item.target, status, item.reason, item.stamp.size)
