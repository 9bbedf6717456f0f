"""Is there room for the outputs? Asked before the first file is begun, not when the disk is full at night."""

from __future__ import annotations

import shutil
import stat
from collections.abc import Sequence
from pathlib import Path

from denoiser.batch.items import Action, Item
from denoiser.batch.names import shown
from denoiser.errors import OutputError

LEAST_SHARE = 0.2
"""Of an input, what an output in the same format takes at least: what is denoised compresses better, not worse."""


def check_room(work: Sequence[Item], root: Path, partly: bool) -> str:
    """Compare what outputs will take with what is free where they go.

    Parameters
    ----------
    work : sequence of Item
        The files that will be done, all below ``root``.
    root : Path
        The output directory, which may not exist yet.
    partly : bool
        Whether the run may end before all are done, so that too little room is no reason not to begin.

    Returns
    -------
    str
        A warning where it may not do; empty where it will.

    Raises
    ------
    OutputError
        If there is surely too little room.
    """
    expected = sum(item.stamp.size for item in work)
    try:
        free = shutil.disk_usage(_existing(root)).free
    except OSError:
        return ""  # a file system that does not tell
    if free >= expected:
        return ""
    least = 0.0 if partly else sum(_least(item) for item in work)
    figures = f"{_human(free)} are free at {shown(root)}, and the outputs of {len(work):,} files will take about"
    if free < least:
        largest = max(work, key=_least)
        raise OutputError(
            f"{figures} {_human(expected)}, at the very least {_human(least)} ({_human(_least(largest))} of them for "
            f"{shown(largest.source)}); make room, choose another disk, or do a part of them with --max-files"
        )
    return f"{figures} {_human(expected)}; the disk may run full"


def _least(item: Item) -> float:
    if item.action is Action.COPY:
        return item.stamp.size
    return LEAST_SHARE * _stored(item) if item.format == "keep" else 0.0


def _stored(item: Item) -> int:
    """Bytes of an input that are on a disk: a damaged file may claim a size that no disk has."""
    try:
        status = item.source.stat()
    except OSError:
        return 0
    blocks = None if stat.S_ISDIR(status.st_mode) else getattr(status, "st_blocks", None)
    return item.stamp.size if blocks is None else min(item.stamp.size, 512 * blocks)


def _existing(path: Path) -> Path:
    """The nearest directory that exists."""
    return next(each for each in (path.absolute(), *path.absolute().parents) if each.is_dir())


def _human(size: float) -> str:
    return f"{size / 1e9:,.1f} GB" if size >= 1e8 else f"{size / 1e6:,.1f} MB"
