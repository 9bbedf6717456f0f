"""Inputs -> exactly one output each, decided before any work starts.

Nothing is written here and no pixel is decoded: stat calls, list files, and for a dry run headers. An
input's bytes are read only where its time has changed but not its size, to see whether it is still the
input that its output was made from.
"""

from __future__ import annotations

import heapq
import os
import stat
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from denoiser.batch import names
from denoiser.batch.discover import Discovery, Found, Identity, Rules, discover, identities
from denoiser.batch.manifest import Entry, Manifest, Stamp, content_hash
from denoiser.batch.names import shown
from denoiser.batch.options import RunOptions
from denoiser.errors import DenoiserError, UsageError
from denoiser.images import SUFFIXES, losses, open_source

FILE_WEIGHT = 64 * 1024
"""What a file costs in a share besides its bytes: opening, syncing, renaming."""


class Action(StrEnum):
    """What a run will do with one input."""

    DENOISE = "denoise"
    COPY = "copy"
    SKIP = "skip"
    FAIL = "fail"


@dataclass(frozen=True)
class Destination:
    """Where outputs go.

    Attributes
    ----------
    root : Path
        The output directory, or the directory of the one output file.
    file : Path or None
        The output file, where OUT names one.
    """

    root: Path
    file: Path | None = None

    @classmethod
    def of(cls, output: str | Path) -> Destination:
        """OUT is a file if it is one, or if there is nothing yet and its suffix is an image's.

        Raises
        ------
        UsageError
            If it exists and is neither a directory nor an image by its suffix.
        """
        path = Path(output)
        if path.is_dir() or str(output).endswith(("/", os.sep)):
            return cls(path)
        if path.suffix.lower() in SUFFIXES:
            return cls(path.parent, path)
        if path.exists():
            raise UsageError(f"{shown(path)}: the output is a file without an image's suffix, not a directory")
        return cls(path)


@dataclass(frozen=True)
class Item:
    """One input and what becomes of it.

    Attributes
    ----------
    place : str
        The output's path below the output directory, with slashes: its name in the manifest.
    target, residual : Path or None
        Where the output and the residual go; ``target`` is None for inputs that have none.
    format : str
        Format of the output, or ``keep``.
    reason : str
        Why it is skipped or fails, or is done again.
    warning : str
        What the user should know though it is no failure.
    replaces : bool
        Whether a file is there that may be replaced.
    refresh : Entry or None
        What the manifest should learn about a finished output: its input's new time.
    pages, megapixels, losses
        Known after :func:`inspect` alone.
    """

    source: Path
    place: str
    target: Path | None
    action: Action
    stamp: Stamp
    format: str = "keep"
    reason: str = ""
    warning: str = ""
    residual: Path | None = None
    replaces: bool = False
    refresh: Entry | None = None
    pages: int = 0
    megapixels: float = 0.0
    losses: tuple[str, ...] = ()

    @property
    def works(self) -> bool:
        """Whether there is something to do."""
        return self.action in (Action.DENOISE, Action.COPY)


@dataclass(frozen=True)
class Plan:
    """What a run will do, in bytewise order of the inputs' places.

    Attributes
    ----------
    found : int
        Image files that the inputs hold, over all shares.
    ignored : int
        Files that were passed over.
    """

    items: tuple[Item, ...]
    root: Path
    found: int
    ignored: int

    @property
    def work(self) -> tuple[Item, ...]:
        """The items with something to do."""
        return tuple(item for item in self.items if item.works)

    @property
    def megapixels(self) -> float:
        """Megapixels of the work; 0 before :func:`inspect`."""
        return sum(item.megapixels for item in self.work)


def make_plan(
    inputs: Sequence[str | Path], destination: Destination, options: RunOptions, key: str, manifest: Manifest
) -> Plan:
    """Decide what becomes of every input.

    Parameters
    ----------
    inputs : sequence of str or Path
        As :func:`denoiser.batch.discover.discover`.
    destination : Destination
    options : RunOptions
    key : str
        :meth:`RunOptions.key` of this run.
    manifest : Manifest
        Of ``destination.root``.

    Raises
    ------
    UsageError
        If two inputs would share an output, an output would overwrite an input, OUT is the input
        directory, or OUT is a file and the input is not one. Nothing has been touched then.
    """
    found = discover(inputs, _rules(inputs, destination, options, manifest))
    _check_destination(found, destination, options)
    items = [_aim(each, destination, options) for each in found.files]
    _check_collisions(items, destination)
    _check_overwriting(items, found)
    if options.shard:
        items = share_out(items, *options.shard)
    decided = _Decider(destination, options, key, manifest).decide(items)
    readable = sum(not each.failure for each in found.files)
    return Plan(tuple(decided), destination.root, readable, found.ignored)


def _rules(inputs: Sequence[str | Path], destination: Destination, options: RunOptions, manifest: Manifest) -> Rules:
    outputs = [] if destination.file else [destination.root]
    if options.save_residual:
        outputs.append(options.save_residual)
    made: frozenset[Identity] = frozenset()
    root = destination.root.resolve()
    if any(Path(each).resolve().is_relative_to(root) for each in inputs):
        made = identities(destination.root / target for target in manifest.entries)
    return Rules(options.recursive, options.include, options.exclude, identities(outputs), made)


def _check_destination(found: Discovery, destination: Destination, options: RunOptions) -> None:
    if destination.file and not found.single:
        raise UsageError(
            f"{shown(destination.file)}: the output names a file, but the input is not one file; give a directory"
        )
    if destination.file and options.format not in ("keep", SUFFIXES[destination.file.suffix.lower()]):
        raise UsageError(f"{shown(destination.file)}: its suffix contradicts --format {options.format}")
    if options.save_residual and options.save_residual.resolve() == destination.root.resolve():
        raise UsageError("--save-residual: give a directory other than the output's")
    outputs = identities([destination.root])
    for root in found.roots:
        if identities([root]) & outputs and not options.suffix:
            raise UsageError(
                f"{shown(root)}: the output directory is the input directory, so outputs would overwrite inputs; give "
                "another directory, or --suffix to make the names differ"
            )


def _aim(found: Found, destination: Destination, options: RunOptions) -> Item:
    """Give an input its output."""
    stamp = Stamp(found.size, found.mtime_ns)
    if found.failure:
        return Item(found.path, found.relative, None, Action.FAIL, stamp, reason=found.failure)
    if destination.file:
        place, form = destination.file.name, SUFFIXES[destination.file.suffix.lower()]
    else:
        place, form = _place(found.relative, options), options.format
    keeps = form in ("keep", SUFFIXES.get(found.path.suffix.lower()))
    action = Action.COPY if options.strength == 0 and keeps else Action.DENOISE
    residual = options.save_residual / f"{place}.tif" if options.save_residual else None
    return Item(found.path, place, destination.root / place, action, stamp, form, residual=residual)


def _place(relative: str, options: RunOptions) -> str:
    folder, slash, name = relative.rpartition("/")
    stem, suffix = names.split_name(name)
    if options.format not in ("keep", SUFFIXES.get(Path(name).suffix.lower())):
        suffix = names.EXTENSIONS[options.format]
    return f"{folder}{slash}{stem}{options.suffix}{suffix}"


def _outputs(items: Iterable[Item]) -> list[tuple[Item, Path]]:
    return [(item, path) for item in items for path in (item.target, item.residual) if path is not None]


def _check_collisions(items: Sequence[Item], destination: Destination) -> None:
    folds_case = _folds_case(destination.root)
    taken: dict[str, Item] = {}
    for item, path in _outputs(items):
        other = taken.setdefault(names.collision_key(os.path.normpath(path.absolute()), folds_case), item)
        if other is not item:
            raise UsageError(
                f"{shown(other.source)} and {shown(item.source)} would both be written to {shown(path)}; rename one, "
                "or denoise them into different directories (or from their common parent directory)"
            )


def _folds_case(folder: Path) -> bool:
    """Whether the file system takes ``A`` and ``a`` for one name, asked of the nearest directory that exists."""
    for path in (folder.absolute(), *folder.absolute().parents):
        swapped = path.with_name(path.name.swapcase()) if path.name else path
        if swapped != path and path.exists():
            return swapped.exists() and swapped.samefile(path)
    return False


def _check_overwriting(items: Sequence[Item], found: Discovery) -> None:
    sources = {each.identity: each.path for each in found.files if not each.failure}
    for _, path in _outputs(items):
        for identity in identities([path]) & sources.keys():
            raise UsageError(
                f"{shown(path)}: the output would overwrite the input {shown(sources[identity])}; give another output "
                "directory, or --suffix"
            )


def share_out(items: Sequence[Item], index: int, count: int) -> list[Item]:
    """The ``index``-th of ``count`` shares, in order. Deterministic, disjoint, complete, even in bytes.

    The largest file goes to the share with the least so far, and so on (Graham 1969): no share exceeds
    the best possible by more than a third.
    """
    loads = [(0, share) for share in range(1, count + 1)]
    mine = []
    by_size = sorted(range(len(items)), key=lambda i: (-items[i].stamp.size, os.fsencode(items[i].place), i))
    for i in by_size:
        load, share = heapq.heappop(loads)
        heapq.heappush(loads, (load + items[i].stamp.size + FILE_WEIGHT, share))
        if share == index:
            mine.append(i)
    return [items[i] for i in sorted(mine)]


class _Decider:
    """Looks at what is there already."""

    def __init__(self, destination: Destination, options: RunOptions, key: str, manifest: Manifest) -> None:
        self.root = destination.root
        self.options = options
        self.key = key
        self.manifest = manifest
        self.now = time.time()
        self.planned: set[Path] = set()

    def decide(self, items: Sequence[Item]) -> list[Item]:
        self.planned = {path for _, path in _outputs(items)}
        decided = [self._one(item) for item in items]
        if self.options.exists == "error":
            there = [item for item in decided if item.replaces]
            if there:
                raise UsageError(
                    f"{len(there)} of {len(items)} outputs exist already, the first is {shown(there[0].target or '')}; "
                    "choose what to do with --exists skip, overwrite or rename"
                )
        return decided

    def _one(self, item: Item) -> Item:
        if item.target is None:
            return item
        try:
            there = item.target.stat()
        except OSError:
            there = None
        if there and stat.S_ISDIR(there.st_mode):
            return replace(item, action=Action.FAIL, reason=f"a directory is where its output {item.place} should be")
        if there or item.target.is_symlink() or (item.residual and item.residual.exists()):
            item = self._existing(item, Stamp.of(there) if there else None)
        return self._ripe(item) if item.works else item

    def _ripe(self, item: Item) -> Item:
        age = self.now - item.stamp.mtime_ns / 1e9
        if 0 <= age < self.options.min_age:
            return _skip(item, f"changed {age:.0f} s ago and may still be written; the next run does it (--min-age)")
        return item

    def _existing(self, item: Item, there: Stamp | None) -> Item:
        if self.options.exists == "rename":
            return self._renamed(item)
        item = replace(item, replaces=True)
        if self.options.exists != "skip":
            return item
        entry, certain = self.manifest.current(item.place, there) if there else (None, False)
        if entry is None and there is None and item.place in self.manifest.entries:
            return item  # the output was removed, its residual is ours
        if entry is None:
            return _leave(item, edited=item.place in self.manifest.entries)
        news = self._news(item, entry)
        if not news:
            fresh = replace(entry, source=item.stamp) if entry.source != item.stamp else None
            return replace(_skip(item, "done before"), refresh=fresh)
        return replace(item, reason=news) if certain else _leave(item, edited=True)

    def _news(self, item: Item, entry: Entry) -> str:
        """Why an output has to be made again; empty when it has not."""
        if entry.key != self.key:
            return "the model or the options have changed"
        if item.residual and not _is_there(item.residual, entry.residual):
            return "its residual is missing"
        if entry.source == item.stamp:
            return ""
        if entry.source.size == item.stamp.size and _hash(item.source) == entry.content:
            return ""
        return "the input has changed"

    def _renamed(self, item: Item) -> Item:
        """Give the output the first free name ``stem-1``, ``stem-2`` ..."""
        folder, slash, name = item.place.rpartition("/")
        stem, suffix = names.split_name(name)
        number = 0
        while True:
            number += 1
            place = f"{folder}{slash}{stem}-{number}{suffix}"
            target = self.root / place
            residual = item.residual.with_name(f"{target.name}.tif") if item.residual else None
            wanted = {path for path in (target, residual) if path}
            if not wanted & self.planned and not any(os.path.lexists(path) for path in wanted):
                self.planned |= wanted
                return replace(item, place=place, target=target, residual=residual)


def _skip(item: Item, reason: str) -> Item:
    return replace(item, action=Action.SKIP, reason=reason)


def _leave(item: Item, edited: bool) -> Item:
    what = "was changed since it was made" if edited else "exists and was not made by this program"
    remedy = "give --exists overwrite to replace it"
    warning = f"{shown(item.target or '')}: {what} and is left alone; {remedy}"
    return replace(_skip(item, f"its output {what}; {remedy}"), warning=warning)


def _is_there(path: Path, stamp: Stamp | None) -> bool:
    try:
        return stamp is not None and path.stat().st_size == stamp.size
    except OSError:
        return False


def _hash(path: Path) -> str:
    try:
        return content_hash(path)
    except OSError:
        return ""  # the reader will say what is wrong with it


def inspect(plan: Plan, strict: bool, max_bytes: int | None = None) -> Plan:
    """Open the header of everything that has to be done: pages, megapixels, what would be lost.

    Parameters
    ----------
    plan : Plan
    strict : bool
        Whether a loss fails the file.
    max_bytes : int or None
        As :func:`denoiser.images.open_source`.
    """
    return replace(plan, items=tuple(_inspect(i, strict, max_bytes) if i.works else i for i in plan.items))


def _inspect(item: Item, strict: bool, max_bytes: int | None) -> Item:
    try:
        with open_source(item.source, max_bytes) as source:
            header = source.header
    except (DenoiserError, OSError) as error:
        return replace(item, action=Action.FAIL, reason=names.reason(error, item.source))
    form = header.format if item.format == "keep" else item.format
    lost = () if item.action is Action.COPY else losses(header, form)
    item = replace(item, pages=len(header.pages), megapixels=header.megapixels, losses=lost)
    if strict and lost:
        return replace(item, action=Action.FAIL, reason=f"--strict: {form} cannot keep {', '.join(lost)}")
    return item
