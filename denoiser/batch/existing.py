"""What is there already: which outputs are finished, which are made again, which are left alone."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from denoiser.batch import names
from denoiser.batch.items import Action, Destination, Item
from denoiser.batch.manifest import Entry, Manifest, Stamp, content_hash
from denoiser.batch.names import shown
from denoiser.batch.options import BatchOptions
from denoiser.errors import UsageError
from denoiser.images import holds_group


class Decider:
    """Decides about items whose targets may exist, by ``options.exists`` and the manifest.

    Parameters
    ----------
    destination : Destination
    options : BatchOptions
    key : str
        Hash of the options that decide an output's bytes.
    manifest : Manifest
        Of ``destination.root``.
    """

    def __init__(self, destination: Destination, options: BatchOptions, key: str, manifest: Manifest) -> None:
        self.root = destination.root
        self.options = options
        self.key = key
        self.manifest = manifest
        self.now = time.time()
        self.planned: set[Path] = set()

    def decide(self, items: Sequence[Item]) -> list[Item]:
        """The items with what becomes of them.

        Raises
        ------
        UsageError
            If ``exists`` is ``error`` and some do.
        """
        self.planned = {path for item in items for path in item.outputs}
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
        if there and (wrong := _of_another_kind(item, item.target, there)):
            return replace(item, action=Action.FAIL, reason=f"{wrong} is where its output {item.place} should be")
        if there or item.target.is_symlink() or any(path.exists() for path in item.beside.values()):
            item = self._existing(item, Stamp.at(item.target) if there else None)
        return self._ripe(item) if item.works else item

    def _ripe(self, item: Item) -> Item:
        age = self.now - item.stamp.mtime_ns / 1e9
        if abs(age) < self.options.min_age:  # clocks of file servers may be ahead
            when = f"{age:.0f} s ago" if age >= 0 else f"{-age:.0f} s from now, by its time,"
            return _skip(item, f"changed {when} and may still be written; the next run does it (--min-age)")
        return item

    def _existing(self, item: Item, there: Stamp | None) -> Item:
        if self.options.exists == "rename":
            return self._renamed(item)
        item = replace(item, replaces=True)
        if self.options.exists != "skip":
            return item
        entry, certain = self.manifest.current(item.place, there) if there else (None, False)
        if entry is None and there is None and item.place in self.manifest.entries:
            return item  # the output was removed, what lies beside it is ours
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
        for kind, path in item.beside.items():
            if not _is_there(path, getattr(entry, kind)):
                return f"its {kind} is missing"
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
            beside = {kind: path.with_name(f"{target.name}.tif") for kind, path in item.beside.items()}
            wanted = {target, *beside.values()}
            if not wanted & self.planned and not any(os.path.lexists(path) for path in wanted):
                self.planned |= wanted
                residual, uncertainty = beside.get("residual"), beside.get("uncertainty")
                return replace(item, place=place, target=target, residual=residual, uncertainty=uncertainty)


def _of_another_kind(item: Item, target: Path, there: os.stat_result) -> str:
    """What is at an output's name that cannot be replaced by it, because one of both is a directory; else empty."""
    if not stat.S_ISDIR(there.st_mode):
        return "a file" if item.is_folder else ""
    if not item.is_folder:
        return "a directory"
    return "" if holds_group(target) else "a directory that is no Zarr store"


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
