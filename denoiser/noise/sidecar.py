"""``corruption.json``: what ``denoiser corrupt`` did to the files of a directory, for those that read them."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from denoiser.errors import shown

NAME = "corruption.json"
SCHEMA = "denoiser.corruption/1"

Limits = tuple[float, float]
"""Stored values of black and white."""


@dataclass(frozen=True)
class Made:
    """What was done to one file.

    Attributes
    ----------
    noise : str
        The specification; empty where nothing is known.
    seed : int
    source : str
        Path of the input, from which the noise follows with the seed.
    limits : (float, float) or None
        The values of black and white, if they were declared.
    """

    noise: str = ""
    seed: int = 0
    source: str = ""
    limits: Limits | None = None


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
    files : dict
        File that was asked about -> what was done to it.
    """

    noises: tuple[str, ...] = ()
    ranges: tuple[Limits | None, ...] = ()
    files: Mapping[Path, Made] = field(default_factory=dict)

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
    asked = {path: shown(path.relative_to(root).as_posix()) for path in files} if files is not None else {}
    found = {path: listed.get(name, Made()) for path, name in asked.items()}
    rows = listed.values() if files is None else found.values()
    return Told(
        tuple(dict.fromkeys(row.noise for row in rows)), tuple(dict.fromkeys(row.limits for row in rows)), found
    )


def file_generator(seed: int, relative: str, page: int) -> np.random.Generator:
    """Random numbers that belong to one page of one file, wherever and whenever it is done.

    Parameters
    ----------
    relative : str
        Path below the input directory, with slashes; composed and decomposed letters are the same.
    """
    name = unicodedata.normalize("NFC", relative).encode("utf-8", "surrogateescape")
    text = f"{seed}/{page}/".encode() + name
    return np.random.default_rng(int.from_bytes(hashlib.blake2b(text, digest_size=16).digest(), "big"))


def _listed(path: Path) -> dict[str, Made]:
    """Name of a file below the directory -> what was done to it."""
    try:
        document: Any = json.loads(path.read_bytes())
        if document["schema"] != SCHEMA:
            return {}
        return {str(name): _made(about) for name, about in document["files"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def _made(about: Any) -> Made:
    limits = (float(about["black"]), float(about["white"])) if about.get("declared") else None
    return Made(str(about["noise"]), int(about["seed"]), str(about["source"]), limits)
