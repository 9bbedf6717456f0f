"""The words of a plan: where outputs go, and what becomes of each input."""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from denoiser.batch.manifest import Entry, Stamp
from denoiser.batch.names import shown
from denoiser.errors import UsageError
from denoiser.images import SUFFIXES, is_store
from denoiser.settings import as_path, on_disk

FOREIGN = frozenset(
    {
        *(".gif", ".ico", ".tga", ".pbm", ".pgm", ".pnm", ".ppm", ".psd", ".xcf", ".svg", ".exr", ".hdr", ".fits"),
        *(".heic", ".heif", ".avif", ".jxl", ".jxr", ".jp2", ".j2k", ".jpx", ".qoi"),
        *(".dng", ".arw", ".cr2", ".cr3", ".nef", ".orf", ".raf", ".rw2"),
    }
)
"""Suffixes of pictures that cannot be written, in lower case."""


class Action(StrEnum):
    """What a run will do with one input."""

    PROCESS = "process"
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
    foreign : bool
        Whether OUT is not there yet and looks like a file of a format that cannot be written.
    """

    root: Path
    file: Path | None = None
    foreign: bool = False

    @classmethod
    def of(cls, output: str | Path) -> Destination:
        """OUT is a file if it is one, or if there is nothing yet and its suffix is an image's. A directory of OME-Zarr
        counts as a file.

        Raises
        ------
        UsageError
            If it is empty, or exists and is neither a directory nor an image by its suffix.
        """
        if not as_path("OUT", output):  # as a path it would be the current directory
            raise UsageError("OUT is empty (a variable that is not set?); the current directory is . (a dot)")
        on_disk("OUT", output)
        path = Path(output)
        if SUFFIXES.get(path.suffix.lower()) != "zarr" and (path.is_dir() or str(output).endswith(("/", os.sep))):
            return cls(path)
        if path.suffix.lower() in SUFFIXES:
            return cls(path.parent, path)
        if path.exists():
            raise UsageError(f"{shown(path)}: the output is a file without an image's suffix, not a directory")
        return cls(path, foreign=path.suffix.lower() in FOREIGN)


@dataclass(frozen=True)
class Item:
    """One input and what becomes of it.

    Attributes
    ----------
    place : str
        The output's path below the output directory, with slashes: its name in the manifest.
    target, residual, uncertainty : Path or None
        Where the output, the residual and the uncertainty go; ``target`` is None for inputs that have none.
    format : str
        Format of the output, or ``keep``.
    relative : str
        The input's path below the argument it was found under, with slashes: what seeds its noise.
    reason : str
        Why it is skipped or fails, or is done again.
    warning : str
        What the user should know though it is no failure.
    replaces : bool
        Whether a file is there that may be replaced.
    refresh : Entry or None
        What the manifest should learn about a finished output: its input's new time.
    pictured : bool
        Whether views of it are kept for a page.
    pages, megapixels, losses
        Known after :func:`inspect` alone.
    """

    source: Path
    place: str
    target: Path | None
    action: Action
    stamp: Stamp
    format: str = "keep"
    relative: str = ""
    reason: str = ""
    warning: str = ""
    residual: Path | None = None
    uncertainty: Path | None = None
    replaces: bool = False
    refresh: Entry | None = None
    pictured: bool = False
    pages: int = 0
    megapixels: float = 0.0
    losses: tuple[str, ...] = ()

    @property
    def outputs(self) -> tuple[Path, ...]:
        """The files that it would write."""
        return tuple(path for path in (self.target, *self.beside.values()) if path is not None)

    @property
    def beside(self) -> dict[str, Path]:
        """The float pictures that are written with the output, by what they are."""
        kinds = {"residual": self.residual, "uncertainty": self.uncertainty}
        return {kind: path for kind, path in kinds.items() if path is not None}

    @property
    def is_folder(self) -> bool:
        """Whether its output is a directory."""
        return self.format in ("keep", "zarr") and is_store(self.source)

    @property
    def works(self) -> bool:
        """Whether there is something to do."""
        return self.action in (Action.PROCESS, Action.COPY)


@dataclass(frozen=True)
class Plan:
    """What a run will do, in bytewise order of the inputs' places.

    Attributes
    ----------
    found : int
        Image files that the inputs hold, over all shares.
    ignored : int
        Files that were passed over.
    made : tuple of Path
        Directories below the inputs that earlier runs have written into.
    """

    items: tuple[Item, ...]
    root: Path
    found: int
    ignored: int
    made: tuple[Path, ...] = ()

    @property
    def work(self) -> tuple[Item, ...]:
        """The items with something to do."""
        return tuple(item for item in self.items if item.works)

    @property
    def megapixels(self) -> float:
        """Megapixels of the work; 0 before :func:`inspect`."""
        return sum(item.megapixels for item in self.work)
