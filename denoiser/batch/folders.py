"""Inputs and outputs that may be directories (OME-Zarr): looked at, made lasting, replaced and removed as one thing.

Every function takes a file as well, and asks the system no more about it than it must: a batch of small pictures
spends much of its time there.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

_FILE = os.O_RDWR | getattr(os, "O_BINARY", 0)
"""Windows syncs only what is open for writing."""


def files(path: Path) -> list[Path]:
    """The files of a directory with all below it, sorted; a file alone.

    Raises
    ------
    OSError
        If a directory cannot be read.
    """
    if not path.is_dir():
        return [path]
    return sorted(Path(entry.path) for entry in _entries(path) if not entry.is_dir())


def measure(path: Path) -> tuple[int, int]:
    """Size in bytes and time of the last change in ns; of a directory those of its files: the sum, the newest.

    A file that takes the place of another one of the same size with an older time is not noticed.

    Raises
    ------
    OSError
        If it cannot be examined.
    """
    status = path.stat()
    if not stat.S_ISDIR(status.st_mode):
        return status.st_size, status.st_mtime_ns
    found = [entry.stat() for entry in _entries(path) if not entry.is_dir()]
    newest = max((each.st_mtime_ns for each in found), default=status.st_mtime_ns)
    return sum(each.st_size for each in found), newest


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    """All that lies below a directory, each directory before what is in it."""
    waiting = [str(folder)]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.is_dir():
                    waiting.append(entry.path)
                yield entry


def sync(path: Path) -> tuple[int, int]:
    """Bring all bytes, and the names in a directory, to the disk; what :func:`measure` says from then on."""
    try:
        status = _sync(path, _FILE)
    except (IsADirectoryError, PermissionError):  # what Windows says of a directory
        if not path.is_dir():
            raise
    else:
        return status.st_size, status.st_mtime_ns
    for file in files(path):
        _sync(file, _FILE)
    if os.name != "nt":
        for folder in (path, *(Path(entry.path) for entry in _entries(path) if entry.is_dir())):
            _sync(folder, os.O_RDONLY)
    return measure(path)


def _sync(path: Path, flags: int) -> os.stat_result:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
        return os.fstat(descriptor)
    finally:
        os.close(descriptor)


def replace(made: Path, target: Path, aside: Callable[[], Path]) -> None:
    """Give what was made its name.

    No system call replaces a directory that is not empty. It is moved aside and removed when the new one has its
    name; after a kill in between there is none under that name, and the next run makes it anew.

    Parameters
    ----------
    made, target : Path
    aside : callable
        Gives a temporary name.
    """
    try:
        os.replace(made, target)
    except OSError:
        if not (made.is_dir() and target.is_dir()):
            raise
    else:
        return
    away = aside()
    target.rename(away)
    try:
        os.replace(made, target)
    except OSError:
        away.rename(target)
        raise
    with suppress(OSError):  # else the next run removes it
        remove(away)


def remove(path: Path) -> None:
    """Remove a file, or a directory with all below it, if it is there."""
    try:
        path.unlink()
    except FileNotFoundError:
        pass
    except OSError:
        if not path.is_dir() or path.is_symlink():
            raise
        shutil.rmtree(path)
