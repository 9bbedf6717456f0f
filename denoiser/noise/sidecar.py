"""``corruption.json``: what ``denoiser corrupt`` did to the files of a directory, for those that read them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from denoiser.errors import shown

NAME = "corruption.json"
SCHEMA = "denoiser.corruption/1"

Limits = tuple[float, float]
"""Stored values of black and white."""


@dataclass(frozen=True)
class Told:
    """What a sidecar says of some files.

    Attributes
    ----------
    noises : tuple of str
        The specifications of their noise, each once; an empty one where there is a file that it does not list.
    ranges : tuple of (float, float) or None
        The values of black and white that were declared when the noise was made, each once; None where there is a
        file for which none were.
    """

    noises: tuple[str, ...] = ()
    ranges: tuple[Limits | None, ...] = ()

    @property
    def noise(self) -> str:
        """The one specification, or an empty text."""
        return self.noises[0] if len(self.noises) == 1 else ""

    @property
    def range(self) -> Limits | None:
        """The one range, if all have it."""
        return self.ranges[0] if len(self.ranges) == 1 else None


def read(folder: Path, files: Iterable[Path] | None = None) -> Told:
    """Read the sidecar of a directory.

    Parameters
    ----------
    folder : Path
        The directory, or a file in it.
    files : iterable of Path, optional
        Those that are asked about; all that are listed by default.

    Returns
    -------
    Told
        Empty where there is no sidecar, or one that this version does not understand.
    """
    root = folder if folder.is_dir() else folder.parent
    listed = _listed(root / NAME)
    if not listed:
        return Told()
    names = listed if files is None else (shown(path.relative_to(root).as_posix()) for path in files)
    rows = [listed.get(name, ("", None)) for name in names]
    noises, ranges = (tuple(dict.fromkeys(column)) for column in zip(*rows, strict=True)) if rows else ((), ())
    return Told(noises, ranges)


def _listed(path: Path) -> dict[str, tuple[str, Limits | None]]:
    """Name of a file below the directory -> its noise, and the range that was declared."""
    try:
        document: Any = json.loads(path.read_bytes())
        if document["schema"] != SCHEMA:
            return {}
        return {str(name): _row(about) for name, about in document["files"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def _row(about: Any) -> tuple[str, Limits | None]:
    limits = (float(about["black"]), float(about["white"])) if about.get("declared") else None
    return str(about["noise"]), limits
