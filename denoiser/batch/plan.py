"""Inputs -> exactly one output each, decided before any work starts.

Nothing is written here and no pixel is decoded: stat calls, list files, and for a dry run headers. An
input's bytes are read only where its time has changed but not its size, to see whether it is still the
input that its output was made from.
"""

from __future__ import annotations

import heapq
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from denoiser.batch import names
from denoiser.batch.discover import Discovery, Found, Identity, Rules, discover, identities
from denoiser.batch.existing import Decider
from denoiser.batch.items import Action, Destination, Item, Plan
from denoiser.batch.manifest import Manifest, Stamp
from denoiser.batch.names import shown
from denoiser.batch.options import BatchOptions
from denoiser.errors import DenoiserError, UsageError
from denoiser.images import SUFFIXES, is_store, losses, open_source, refusal

FILE_WEIGHT = 64 * 1024
"""What a file costs in a share besides its bytes: opening, syncing, renaming."""


def make_plan(
    inputs: Sequence[str | Path], destination: Destination, options: BatchOptions, key: str, manifest: Manifest
) -> Plan:
    """Decide what becomes of every input.

    Parameters
    ----------
    inputs : sequence of str or Path
        As :func:`denoiser.batch.discover.discover`.
    destination : Destination
    options : BatchOptions
    key : str
        Hash of the options that decide an output's bytes, :meth:`RunOptions.key`.
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
    decided = Decider(destination, options, key, manifest).decide(items)
    readable = sum(not each.failure for each in found.files)
    return Plan(tuple(decided), destination.root, readable, found.ignored, tuple(found.made))


def _rules(inputs: Sequence[str | Path], destination: Destination, options: BatchOptions, manifest: Manifest) -> Rules:
    outputs = [] if destination.file else [destination.root]
    outputs += options.beside.values()
    made: frozenset[Identity] = frozenset()
    root = destination.root.resolve()
    if any(_is_inside(each, root) for each in inputs):
        made = identities(destination.root / target for target in manifest.entries)
    return Rules(options.recursive, options.include, options.exclude, identities(outputs), made)


def _is_inside(path: str | Path, root: Path) -> bool:
    """False as well for links that lead nowhere: the walk says what is wrong with them."""
    try:
        return Path(path).resolve().is_relative_to(root)
    except (OSError, RuntimeError):
        return False


def _check_destination(found: Discovery, destination: Destination, options: BatchOptions) -> None:
    if destination.file and not found.single:
        raise UsageError(
            f"{shown(destination.file)}: the output names a file, but the input is not one file; give a directory"
        )
    if destination.foreign and found.single:
        raise UsageError(
            f"{shown(destination.root)}: a picture cannot be written as {destination.root.suffix}; end the name in "
            f"{', '.join(names.EXTENSIONS.values())}, or in / for a directory"
        )
    if destination.file and options.format not in ("keep", SUFFIXES[destination.file.suffix.lower()]):
        raise UsageError(
            f"{shown(destination.file)}: would be written as {options.format}, which its suffix contradicts; give "
            "another name, or another --format"
        )
    taken = [destination.root.resolve()]
    for kind, folder in options.beside.items():
        if folder.resolve() in taken:
            other = "the output's" if len(taken) == 1 else "those of the output and of --save-residual"
            raise UsageError(f"--save-{kind}: give a directory other than {other}")
        taken.append(folder.resolve())
    for store in (each.path for each in found.files if is_store(each.path)):
        if any(folder.is_relative_to(store.resolve()) for folder in taken):
            raise UsageError(f"{shown(store)}: the output lies inside this input; give another output directory")
    outputs = identities([destination.root])
    for root in found.roots:
        if identities([root]) & outputs and not options.suffix:
            raise UsageError(
                f"{shown(root)}: the output directory is the input directory, so outputs would overwrite inputs; give "
                "another directory, or --suffix to make the names differ"
            )


def _aim(found: Found, destination: Destination, options: BatchOptions) -> Item:
    """Give an input its output."""
    stamp = Stamp(found.size, found.mtime_ns)
    if found.failure:
        return Item(found.path, found.relative, None, Action.FAIL, stamp, reason=found.failure)
    if destination.file:
        place, form = destination.file.name, SUFFIXES[destination.file.suffix.lower()]
    else:
        place, form = _place(found.relative, options), options.format
    keeps = form in ("keep", SUFFIXES.get(found.path.suffix.lower()))
    action = Action.COPY if options.copies and keeps else Action.PROCESS
    beside = {kind: folder / f"{place}.tif" for kind, folder in options.beside.items()}
    return Item(
        found.path,
        place,
        destination.root / place,
        action,
        stamp,
        form,
        found.relative,
        residual=beside.get("residual"),
        uncertainty=beside.get("uncertainty"),
    )


def _place(relative: str, options: BatchOptions) -> str:
    folder, slash, name = relative.rpartition("/")
    stem, suffix = names.split_name(name)
    if options.format not in ("keep", SUFFIXES.get(Path(name).suffix.lower())):
        suffix = names.EXTENSIONS[options.format]
    return f"{folder}{slash}{stem}{options.suffix}{suffix}"


def _check_collisions(items: Sequence[Item], destination: Destination) -> None:
    folds_case = _folds_case(destination.root)
    taken: dict[str, Item] = {}
    for item, path in [(each, path) for each in items for path in each.outputs]:
        other = taken.setdefault(names.collision_key(os.path.normpath(path.absolute()), folds_case), item)
        if other is not item:
            raise UsageError(
                f"{shown(other.source)} and {shown(item.source)} would both be written to {shown(path)}; rename one, "
                "or write them into different directories (or from their common parent directory)"
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
    for path in (path for item in items for path in item.outputs):
        for identity in identities([path]) & sources.keys():
            raise UsageError(
                f"{shown(path)}: the output would overwrite the input {shown(sources[identity])}; give another output "
                "directory, or --suffix"
            )


def share_out(items: Sequence[Item], index: int, count: int) -> list[Item]:
    """Share ``index`` (from 0) of ``count``, in order. Deterministic, disjoint, complete, even in bytes.

    The largest file goes to the share with the least so far, and so on (Graham 1969): no share exceeds
    the best possible by more than a third.
    """
    loads = [(0, share) for share in range(count)]
    mine = []
    by_size = sorted(range(len(items)), key=lambda i: (-items[i].stamp.size, os.fsencode(items[i].place), i))
    for i in by_size:
        load, share = heapq.heappop(loads)
        heapq.heappush(loads, (load + items[i].stamp.size + FILE_WEIGHT, share))
        if share == index:
            mine.append(i)
    return [items[i] for i in sorted(mine)]


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
    if refused := refusal(header, form):
        return replace(item, action=Action.FAIL, reason=refused)
    if strict and lost:
        return replace(item, action=Action.FAIL, reason=f"--strict: {form} cannot keep {', '.join(lost)}")
    return item
