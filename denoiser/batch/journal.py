"""What a store remembers of runs: manifests chunk by chunk, and the outputs that a chunk is about to write."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

from denoiser.batch.manifest import Manifest
from denoiser.batch.names import STATE
from denoiser.batch.stores import Store


@dataclass(frozen=True)
class Staged:
    """A place in a store and the local folder that stands for it."""

    store: Store
    folder: Path

    def relative(self, path: Path) -> str:
        """Place in the store of a staged file."""
        return "" if path == self.folder else path.relative_to(self.folder).as_posix()


class Journal:
    """What a store knows of the outputs in it.

    Parameters
    ----------
    output : Staged
    manifest : Manifest
        The local one, which all lines are appended to.
    left : dict
        Name of a file of pending outputs that a dead run left -> those that no manifest tells of. They are pending
        until they are made, by whatever run.
    """

    def __init__(self, output: Staged, manifest: Manifest, left: Mapping[str, set[str]]) -> None:
        self.output = output
        self.manifest = manifest
        self.left = {name: set(places) for name, places in left.items()}
        self.name = manifest.path.stem  # manifest or manifest-0of3
        self.token = f"{os.urandom(4).hex()}"
        self.written = -1
        """Bytes of the manifest that the store has; known once it is open, for then it may be compacted."""
        self.number = 0

    @property
    def _pending(self) -> str:
        return self.name.replace("manifest", "pending") + ".json"

    def begin(self, places: Sequence[str]) -> None:
        """Say which outputs are about to be written."""
        if self.written < 0:
            self.written = self.manifest.path.stat().st_size
        self._put_pending(self._pending, {*places, *self.left.get(self._pending, ())})

    def end(self, made: Set[str]) -> None:
        """Say what has been written since; these are what the chunk made."""
        lines = self.manifest.path.read_bytes()
        if len(lines) > self.written:
            self._put(f"{self.name}-{self.token}-{self.number:06}.jsonl", lines[self.written :])
            self.written = len(lines)
            self.number += 1
        self._forget(self._pending, made)

    def close(self) -> None:
        """Make one manifest of this share's."""
        store = self.output.store
        parts = sorted(self.manifest.folder.glob(f"{self.name}-*-??????.jsonl"))  # those of runs before
        lines = b"".join(path.read_bytes() for path in (*parts, self.manifest.path))
        self._put(self.manifest.path.name, lines)
        made = [f"{self.name}-{self.token}-{number:06}.jsonl" for number in range(self.number)]
        for name in (*(path.name for path in parts), *made):
            store.remove(f"{STATE}/{name}")

    def forget_others(self, made: Set[str]) -> None:
        """A run over all files, which has made these, is done with what dead shares had pending, too."""
        for name in self.left if self.name == "manifest" else ():
            self._forget(name, made)

    def _forget(self, name: str, made: Set[str]) -> None:
        remaining = self.left.get(name, set()) - made
        if remaining:
            self._put_pending(name, remaining)
        else:
            self.output.store.remove(f"{STATE}/{name}")
        self.left[name] = remaining

    def _put_pending(self, name: str, places: Set[str]) -> None:
        self._put(name, json.dumps(sorted(places)).encode())

    def _put(self, name: str, content: bytes) -> None:
        path = self.output.folder.parent / "journal"
        path.write_bytes(content)
        self.output.store.put(path, f"{STATE}/{name}")
