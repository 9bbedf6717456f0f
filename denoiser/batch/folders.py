"""Inputs and outputs that may be directories (OME-Zarr): looked at, made lasting, replaced and removed as one thing.

Every function takes a file as well.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path


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
    if not path.is_dir():
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


def sync(path: Path) -> None:
    """Bring all bytes, and the names in a directory, to the disk."""
    folders = [path, *(Path(entry.path) for entry in _entries(path) if entry.is_dir())] if path.is_dir() else []
    for file in files(path):
        # Windows syncs only what is open for writing.
        _sync(file, os.O_RDWR | getattr(os, "O_BINARY", 0))
    if os.name != "nt":
        for folder in folders:
            _sync(folder, os.O_RDONLY)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace(made: Path, target: Path, aside: Path) -> None:
    """Give what was made its name.

    No system call replaces a directory that is not empty. It is moved aside and removed when the new one has its
    name; after a kill in between there is none under that name, and the next run makes it anew.

    Parameters
    ----------
    made, target : Path
    aside : Path
        A temporary name.
    """
    if not (made.is_dir() and target.is_dir()):
        os.replace(made, target)
        return
    target.rename(aside)
    try:
        os.replace(made, target)
    except OSError:
        aside.rename(target)
        raise
    with suppress(OSError):  # else the next run removes it
        remove(aside)


def remove(path: Path) -> None:
    """Remove a file, or a directory with all below it, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
