"""What was made, from which input, with which weights and options: the memory between runs.

``OUT/.denoiser/manifest.jsonl`` holds one JSON line per output. A line is appended after the temporary
file is synced and *before* it is renamed, with the temporary file's size and time, which renaming keeps.
So after a kill at any moment every output of this program has a line that matches it; a line that
matches nothing on disk says nothing. A later line does not disprove an earlier one: which of a target's
lines speaks is decided by the file that is there.

Each share of a sharded run appends to its own file; all are read.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from denoiser.batch import folders
from denoiser.batch.names import STATE, shown
from denoiser.errors import OutputError

VERSION = 1
SYNC_SECONDS = 5.0
"""How long appended lines may wait for their fsync. After a power cut, outputs of that span may be taken for
files that this program did not make: they are left alone with a warning, nothing is lost."""
_CHUNK = 1 << 17
"""Bytes that are hashed at once."""
STALE_LINES = 1000
"""The file is rewritten when it holds more than this many lines over twice its targets."""
GRANULARITIES = (100, 1_000, 1_000_000, 10_000_000, 1_000_000_000, 2_000_000_000)
"""Steps in ns to which file systems cut times (NTFS, HFS+, SMB, exFAT, ext3, FAT)."""


@dataclass(frozen=True)
class Stamp:
    """Size in bytes and time of change in ns of a file; of a directory as :func:`folders.measure`."""

    size: int
    mtime_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> Stamp:
        return cls(status.st_size, status.st_mtime_ns)

    @classmethod
    def at(cls, path: Path) -> Stamp:
        """The stamp of what is at a path, or OSError."""
        return cls(*folders.measure(path))

    def matches(self, now: Stamp) -> bool:
        """Whether ``now`` is this stamp, perhaps after a file system has cut its time."""
        if self.size != now.size:
            return False
        return self.mtime_ns == now.mtime_ns or any(
            self.mtime_ns - self.mtime_ns % g == now.mtime_ns for g in GRANULARITIES
        )


@dataclass(frozen=True)
class Entry:
    """One output that was made.

    Attributes
    ----------
    target : str
        Path below the output directory, with slashes.
    source : Stamp
    content : str
        BLAKE2b-128 of the input's bytes, in hex.
    output : Stamp
    key : str
        Hash of the options that decide an output's bytes.
    residual : Stamp or None
        The residual that was written with it.
    figures : dict or None
        What was measured on the way and is to be known later, plain values by name.
    uncertainty : Stamp or None
        The uncertainty that was written with it.
    """

    target: str
    source: Stamp
    content: str
    output: Stamp
    key: str
    residual: Stamp | None = None
    figures: dict[str, Any] | None = None
    uncertainty: Stamp | None = None

    def line(self) -> bytes:
        record: dict[str, Any] = {
            "v": VERSION,
            "target": self.target,
            "source": [self.source.size, self.source.mtime_ns],
            "content": self.content,
            "output": [self.output.size, self.output.mtime_ns],
            "key": self.key,
            "residual": [self.residual.size, self.residual.mtime_ns] if self.residual else None,
        }
        if self.figures:
            record["figures"] = self.figures
        if self.uncertainty:
            record["uncertainty"] = [self.uncertainty.size, self.uncertainty.mtime_ns]
        return json.dumps(record, separators=(",", ":")).encode() + b"\n"

    @classmethod
    def parse(cls, line: bytes) -> Entry | None:
        """The entry of a line; None where it is torn, or from a later version."""
        try:
            record: dict[str, Any] = json.loads(line)
            if record["v"] != VERSION:
                return None
            residual, uncertainty = record["residual"], record.get("uncertainty")
            return cls(
                target=_text(record["target"]),
                source=_stamp(record["source"]),
                content=_text(record["content"]),
                output=_stamp(record["output"]),
                key=_text(record["key"]),
                residual=_stamp(residual) if residual else None,
                figures=record.get("figures"),
                uncertainty=_stamp(uncertainty) if uncertainty else None,
            )
        except (ValueError, KeyError, TypeError, RecursionError):
            return None


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _stamp(value: Any) -> Stamp:
    size, mtime_ns = value
    if not (isinstance(size, int) and isinstance(mtime_ns, int)):
        raise TypeError(f"{value!r} is no size and time")
    return Stamp(size, mtime_ns)


def content_hash(path: Path) -> str:
    """BLAKE2b-128 of a file's bytes, in hex; of a directory's files with their names and bytes."""
    return fingerprint(path)[0]


def fingerprint(path: Path) -> tuple[str, Stamp]:
    """As :func:`content_hash`, and the stamp from then on."""
    found = hashlib.blake2b(digest_size=16)
    try:
        with path.open("rb", buffering=0) as stream:
            while chunk := stream.read(_CHUNK):
                found.update(chunk)
            return found.hexdigest(), Stamp.of(os.fstat(stream.fileno()))
    except (IsADirectoryError, PermissionError):  # what Windows says of a directory
        if not path.is_dir():
            raise
        lines = (f"{file.relative_to(path).as_posix()}\0{content_hash(file)}\n" for file in folders.files(path))
        found.update("".join(lines).encode("utf-8", "surrogateescape"))
    return found.hexdigest(), Stamp.at(path)


class Manifest:
    """All entries below one output directory, and the file that new ones go to.

    Parameters
    ----------
    root : Path
        The output directory.
    share : str
        Name of the share whose file is appended to, empty for a run over all files.
    read : bool
        Whether to read what is there. Who only appends does not need to.
    """

    def __init__(self, root: Path, share: str = "", read: bool = True) -> None:
        self.root = root
        self.folder = root / STATE
        self.path = self.folder / (f"manifest-{share}.jsonl" if share else "manifest.jsonl")
        self.entries: dict[str, list[Entry]] = {}
        self._own: list[Entry] = []
        self._own_lines = 0
        self._seen: tuple[tuple[str, Stamp], ...] = ()
        self._file: int | None = None
        self._lock = threading.Lock()
        self._synced = 0.0
        self._torn = False
        """Whether the last line was cut short."""
        if read:
            self.load()

    def load(self) -> None:
        """Read all manifests of the directory again."""
        self.entries, self._own, self._own_lines = {}, [], 0
        self._seen = self._snapshot()
        for name, _ in self._seen:
            try:
                lines = (self.folder / name).read_bytes().splitlines()
            except OSError as error:
                raise OutputError(f"{shown(self.folder / name)}: cannot be read ({error.strerror})") from error
            entries = [entry for entry in map(Entry.parse, lines) if entry]
            for entry in entries:
                self.entries.setdefault(entry.target, []).append(entry)
            if name == self.path.name:
                self._own, self._own_lines = entries, len(lines)

    def changed(self) -> bool:
        """Whether another run has written since :meth:`load`."""
        return self._snapshot() != self._seen

    def _snapshot(self) -> tuple[tuple[str, Stamp], ...]:
        try:
            found = [(e.name, Stamp.of(e.stat())) for e in os.scandir(self.folder) if _is_manifest(e.name)]
        except (FileNotFoundError, NotADirectoryError):
            return ()
        except OSError as error:
            raise OutputError(f"{shown(self.folder)}: cannot be read ({error.strerror})") from error
        return tuple(sorted(found, key=lambda pair: (pair[1].mtime_ns, pair[0])))

    def current(self, target: str, output: Stamp) -> tuple[Entry | None, bool]:
        """The entry that speaks for the file that is there.

        Returns
        -------
        entry : Entry or None
            None: this program made no such file.
        certain : bool
            False where only the size agrees, because the output directory was copied without its
            times, or the file was edited.
        """
        entries = self.entries.get(target, ())
        for entry in reversed(entries):
            if entry.output.matches(output):
                return entry, True
        for entry in reversed(entries):
            if entry.output.size == output.size:
                return entry, False
        return None, False

    def open(self, compact: bool = True) -> None:
        """Get ready to append; rewrite the file first where most of it is stale.

        Raises
        ------
        OutputError
            If the directory cannot be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if compact and self._own_lines > STALE_LINES + 2 * len({entry.target for entry in self._own}):
                self._compact()
            self._file = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
            if _is_torn(self._file):
                os.write(self._file, b"\n")
        except OSError as error:
            raise OutputError(f"{shown(self.path)}: cannot be written ({error.strerror})") from error

    def append(self, entry: Entry) -> None:
        """Add one line in one write. Called from any thread.

        Raises
        ------
        OSError
            If the line could not be written whole.
        """
        with self._lock:
            if self._file is None:
                raise RuntimeError("the manifest is not open")
            # Other threads may find room after a full disk: their lines must not be part of one that was cut short.
            line = b"\n" * self._torn + entry.line()
            if (written := os.write(self._file, line)) != len(line):
                # A short write is how a full disk begins.
                self._torn = self._torn or written > 0
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
            self._torn = False
            if time.monotonic() - self._synced > SYNC_SECONDS:
                os.fsync(self._file)
                self._synced = time.monotonic()

    def fold(self, others: Iterable[Path]) -> None:
        """Take over the lines of other manifests of this directory, one line per target, and remove these files.

        Nobody writes to them any more. They go when their lines are on the disk here, so a kill loses none.

        Raises
        ------
        OSError
            If a file cannot be read or removed, or a line could not be written whole.
        """
        others = list(others)
        lines = [line for path in others for line in path.read_bytes().splitlines()]
        for entry in _speaking(self.root, [entry for entry in map(Entry.parse, lines) if entry]):
            self.append(entry)
        if self._file is not None:
            os.fsync(self._file)
        for path in others:
            path.unlink()

    def close(self) -> None:
        """Sync and close."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                os.fsync(self._file)
            os.close(self._file)
            self._file = None

    def _compact(self) -> None:
        """Keep of each target the entry that matches the file that is there; in one atomic step."""
        kept = _speaking(self.root, self._own)
        fresh = self.path.with_name(self.path.name + ".new")
        with fresh.open("wb") as stream:
            stream.writelines(entry.line() for entry in kept)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(fresh, self.path)
        self._own, self._own_lines = kept, len(kept)


def _speaking(root: Path, entries: Iterable[Entry]) -> list[Entry]:
    by_target: dict[str, list[Entry]] = {}
    for entry in entries:
        by_target.setdefault(entry.target, []).append(entry)
    kept = []
    for target, candidates in by_target.items():
        try:
            now = Stamp.at(root / target)
        except OSError:
            continue
        exact = [entry for entry in candidates if entry.output.matches(now)]
        kept.extend(exact[-1:] or candidates[-1:])
    return kept


def _is_manifest(name: str) -> bool:
    return name.startswith("manifest") and name.endswith(".jsonl")


def _is_torn(file: int) -> bool:
    """Whether the last line was cut off by a kill."""
    end = os.lseek(file, 0, os.SEEK_END)
    if end == 0:
        return False
    os.lseek(file, end - 1, os.SEEK_SET)
    return os.read(file, 1) != b"\n"
