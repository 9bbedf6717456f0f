"""One process's part in a run that another process has planned: the same pipeline, checks, files and manifest.

The process that was called plans, holds the lock, records and reports. Others get items of its plan (by a
:class:`Setup`, which says all that they must know) and tell what became of each file. A process that takes part
appends to a manifest of its own, because lines of several machines in one file may overwrite each other; these
manifests are taken over into that of the run at its end, and read by the next run wherever that did not come to pass.

A process may die with a file under its final name that it has not told of. Whoever is given this file then finds it
and its line in the manifest, and tells of it.
"""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from denoiser.batch.flow import Stop
from denoiser.batch.items import Action, Destination, Item
from denoiser.batch.manifest import Manifest, Stamp
from denoiser.batch.names import STATE, shown
from denoiser.batch.options import RunOptions
from denoiser.batch.report import FileResult, Status
from denoiser.batch.runner import RunSession
from denoiser.batch.shared import Shared
from denoiser.batch.writing import OLD_SECONDS, remove_leftovers
from denoiser.errors import DenoiserError, OutputError, UnavailableError
from denoiser.images import open_source
from denoiser.lock import FREE
from denoiser.machine import processors
from denoiser.progress import Progress

if TYPE_CHECKING:
    from denoiser.batch.auto import Network

PREFIX = "part-"
"""Names of the manifests of processes that take part begin with this, and so does the file that proves that they see
the output directory."""


@dataclass(frozen=True)
class Setup:
    """What a process must know to take part in a run.

    Attributes
    ----------
    run : str
        A random name of the run.
    root : Path
        The output directory, absolute as all paths here.
    owner : str
        Marks temporary files, as :class:`denoiser.batch.writing.Writer`.
    options : RunOptions
        Of the run; limits that hold for all processes together are taken out.
    key : str
        Hash of the options and weights that decide an output's bytes.
    version : str
        Of this program.
    folder : Path or None
        One of the folders with inputs, which every process must see.
    deadline : float or None
        ``time.time()`` after which no file is begun.
    processes : int
        How many take part on one machine, among which memory and processors are divided.
    threads : int or None
        Processor threads for the network of each; None divides the machine's.
    """

    run: str
    root: Path
    owner: str
    options: RunOptions
    key: str
    version: str
    folder: Path | None = None
    deadline: float | None = None
    processes: int = 1
    threads: int | None = None

    @classmethod
    def of(cls, shared: Shared, work: Sequence[Item]) -> Setup:
        """The setup of a run that is about to do this work."""
        from denoiser import __version__

        assert isinstance(shared.options, RunOptions)
        deadline = None if shared.deadline is None else time.time() + shared.deadline - time.monotonic()
        return cls(
            run=secrets.token_hex(4),
            root=shared.writer.root.absolute(),
            owner=shared.writer.owner,
            options=_for_others(shared.options),
            key=shared.writer.key,
            version=__version__,
            folder=work[0].source.absolute().parent if work else None,
            deadline=deadline,
        )

    @property
    def proof(self) -> Path:
        """A file that the planning process has written."""
        return self.root / STATE / f"{PREFIX}{self.run}"

    @contextmanager
    def announced(self) -> Iterator[None]:
        """Let the proof be there for the length of the run.

        Raises
        ------
        OutputError
            If it cannot be written.
        """
        try:
            self.proof.write_text(self.run)
        except OSError as error:
            raise OutputError(f"{shown(self.proof)}: cannot be written ({error.strerror})") from error
        try:
            yield
        finally:
            with suppress(OSError):
                self.proof.unlink()

    def check(self) -> None:
        """Make sure that this process can take part.

        Raises
        ------
        UnavailableError
            If it has another version of this program or does not see the same files.
        """
        from denoiser import __version__

        here = socket.gethostname()
        if __version__ != self.version:
            raise UnavailableError(
                f"the worker on {here} has denoiser {__version__}, this is {self.version}; install the same on all"
            )
        remedy = "give paths that mean the same files on every worker, on a file system that they share"
        if not self._sees_output():
            raise UnavailableError(f"the worker on {here} does not see {shown(self.root)} as it is here; {remedy}")
        if self.folder is not None and not self.folder.is_dir():
            raise UnavailableError(f"the worker on {here} does not see {shown(self.folder)}; {remedy}")

    def _sees_output(self) -> bool:
        try:
            return self.proof.read_text() == self.run
        except OSError:
            return False

    def fold(self, manifest: Manifest) -> None:
        """Take over the manifests of processes that took part, and of dead runs; remove what else these left.

        Raises
        ------
        OutputError
            If a file cannot be read or written.
        """
        try:
            folder, old = self.root / STATE, time.time() - OLD_SECONDS
            others = set(folder.glob(f"manifest-{PREFIX}*.jsonl"))
            own = set(folder.glob(f"manifest-{PREFIX}{self.run}-*.jsonl"))
            manifest.fold(sorted(own | {path for path in others if path.stat().st_mtime < old}))
            for proof in folder.glob(f"{PREFIX}*"):
                if proof.stat().st_mtime < old:
                    proof.unlink()
        except OSError as error:
            raise OutputError(f"{shown(manifest.path)}: cannot be written ({error.strerror})") from error


def _for_others(options: RunOptions) -> RunOptions:
    """The options of a run as a process that takes part has them: what is left to do there, with absolute paths."""
    from denoiser import weights

    known = options.model in (weights.AUTO, *weights.bundled())
    model = options.model if known else str(Path(options.model).absolute())
    own: dict[str, Any] = {"model": model, "backend": "local", "scheduler": None, "shard": None, "events": None}
    limits: dict[str, Any] = {"max_files": None, "max_runtime": None}
    return replace(options, **(_absolute_paths(options) | own | limits))


def _absolute_paths(of: Any) -> dict[str, Any]:
    """The fields of a dataclass that hold a path, with absolute ones."""
    values = {field.name: getattr(of, field.name) for field in fields(of)}
    return {name: value.absolute() for name, value in values.items() if isinstance(value, Path)}


class Part(RunSession):
    """What one process does for a run that another has planned. One thread at a time may give it work.

    Parameters
    ----------
    setup : Setup
    progress : Progress

    Raises
    ------
    UnavailableError
        If this process cannot take part, or has not the same weights.
    """

    def __init__(self, setup: Setup, progress: Progress) -> None:
        setup.check()
        options = setup.options
        if options.jobs == "auto":
            options = replace(options, jobs=min(8, max(2, processors() // setup.processes)))
        super().__init__([], Destination(setup.root), options, progress, None, Stop())
        if self.key != setup.key:
            raise UnavailableError(
                f"the worker on {socket.gethostname()} has another file for the model {options.model!r}; "
                "install the same on all"
            )
        self.setup = setup
        self.manifest = Manifest(setup.root, f"{PREFIX}{setup.run}-{secrets.token_hex(4)}", read=False)
        self._items: Mapping[Path | None, Item] = {}
        self._tell: Callable[[FileResult], None] = lambda result: None

    def do(self, items: Sequence[Item], tell: Callable[[FileResult], None]) -> DenoiserError | None:
        """Do some files.

        Parameters
        ----------
        items : sequence of Item
            With absolute paths.
        tell : callable
            Takes the result of each, once, from any thread.

        Returns
        -------
        DenoiserError or None
            What would stop the next files as well.

        Raises
        ------
        UnavailableError
            If the network cannot be had.
        OutputError
            If the manifest cannot be written.
        """
        self._items, self._tell, self.error = {item.target: item for item in items}, tell, None
        work = []
        for item in items:
            if made := self._made(item):
                tell(made)
            else:
                work.append(item)
        manifest = self._own_manifest()
        manifest.open(compact=False)
        try:
            if work and not self.options.copies:
                self._network()
            shared = self._shared(self.setup.owner)
            self._pass_here(shared, work)
            shared.writer.sync_folders()
        finally:
            manifest.close()
        return self.error

    def network(self) -> Network:
        """The network, which is loaded when it is first asked for.

        Raises
        ------
        UnavailableError
            If it cannot be had.
        """
        return self._network()

    def engine(self) -> Mapping[str, str | int]:
        """What does the work here."""
        return self._engine()

    def _build(self, precision: str) -> Network:
        import torch

        from denoiser.inference import devices

        # Those who start workers often set OMP_NUM_THREADS to 1, for tasks that have no threads of their own.
        torch.set_num_threads(self.setup.threads or max(1, devices.threads() // self.setup.processes))
        return super()._build(precision)

    def _memory(self) -> int:
        return super()._memory() // self.setup.processes

    def _deadline(self) -> float | None:
        return None if self.setup.deadline is None else time.monotonic() + self.setup.deadline - time.time()

    def _record(self, result: FileResult) -> None:
        item = self._items[result.target]
        again = self._made(item) if result.status is Status.FAILED else None
        self._tell(again or result)

    def _made(self, item: Item) -> FileResult | None:
        """The result of a file that another process of this run has finished without telling; None for all others."""
        if item.replaces or item.target is None or not os.path.lexists(item.target):
            return None
        with suppress(OSError, DenoiserError):
            entry, certain = Manifest(self.setup.root).current(item.place, Stamp.at(item.target))
            if entry is None or not certain or (entry.key, entry.source) != (self.key, item.stamp):
                return None
            with open_source(item.source) as source:
                header = source.header
            status = Status.COPIED if item.action is Action.COPY else Status.DONE
            known: dict[str, Any] = {"status": status, "size": item.stamp.size, "pages": len(header.pages)}
            return FileResult(**_paths(item), **known, megapixels=header.megapixels)
        return None


class Delegation:
    """Items of a plan on their way to other processes, and their results on the way back.

    Others see absolute paths, because they run elsewhere; the user sees the paths that were given.

    Parameters
    ----------
    shared : Shared
        Of the run.
    work : sequence of Item
    """

    def __init__(self, shared: Shared, work: Sequence[Item]) -> None:
        self.shared = shared
        self.work = [replace(item, **_absolute_paths(item)) for item in work]
        self._given = {item.target: before for item, before in zip(self.work, work, strict=True)}

    def record(self, result: FileResult) -> None:
        """Write down what became of a file, under its names here. What is told twice counts once."""
        item = self._given.get(result.target)
        if item is None or result.status is Status.LEFT:
            return
        del self._given[result.target]
        self.shared.record(replace(result, **_paths(item)))

    def settle(self, setup: Setup) -> None:
        """Clear up behind processes that have ended, well or not.

        Raises
        ------
        OutputError
            If a manifest cannot be read or written.
        """
        owner = None if setup.owner.startswith(FREE) else setup.owner
        remove_leftovers([path for item in self.work for path in item.outputs], owner)
        setup.fold(self.shared.writer.manifest)


@contextmanager
def delegated(shared: Shared, work: Sequence[Item]) -> Iterator[tuple[Delegation, Setup]]:
    """While other processes do the work; what they leave behind is settled when the block ends well.

    Raises
    ------
    OutputError
        If nothing can be written in the output directory.
    """
    delegation, setup = Delegation(shared, work), Setup.of(shared, work)
    with setup.announced():
        yield delegation, setup
        delegation.settle(setup)


def _paths(item: Item) -> dict[str, Any]:
    """The fields of a result that hold a path, as an item has them."""
    values = {field.name: getattr(item, field.name, None) for field in fields(FileResult)}
    return {name: value for name, value in values.items() if isinstance(value, Path)}
