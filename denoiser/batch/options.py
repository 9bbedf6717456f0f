"""What a user asks of one run over many files."""

from __future__ import annotations

import hashlib
import json
import math
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from denoiser.errors import UsageError

EXISTS = ("skip", "overwrite", "rename", "error")
FORMATS = ("keep", "png", "tiff", "jpeg", "webp", "npy")
PRECISIONS = ("auto", "fp32", "bf16", "fp16")

PIXEL_FIELDS = ("strength", "precision", "halo", "format", "quality", "white", "black")
"""Options that change pixels or container. Tile, batch, device, threads and memory are left out: by the
promise that there are no seams they do not show in a file."""


@dataclass(frozen=True)
class RunOptions:
    """Options of ``denoiser run``, validated.

    Parameters
    ----------
    model : str
        Name of a bundled model, or path of a ``.safetensors`` file made by ``denoiser train``.
    strength : float
        0 (the input, bit for bit) to 1 (the full result).
    device : str
        ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
    precision : str
        ``auto``, ``fp32``, ``bf16``, ``fp16``.
    tile, halo, batch : str or int
        ``auto`` (or ``none`` for tile, ``exact`` for halo), or pixels, pixels, tiles.
    max_memory : int or None
        Budget in bytes for pictures in flight and the network's work together; None is half of the
        memory that is free when the run starts.
    jobs : str or int
        Threads that read and as many that write; ``auto`` goes by the processors, 2 to 8.
    recursive : bool
        Whether directories are read with all that lies below them.
    include, exclude : tuple of str
        Globs. One without a slash is compared with names (for ``exclude`` also those of directories),
        one with a slash with the path below the input directory.
    exists : str
        What to do where the output is there already: ``skip`` what this program made from the same
        input, model and options and leave what it did not make; ``overwrite``; ``rename`` the new
        file; ``error``.
    format : str
        ``keep`` or the format of all outputs.
    suffix : str
        Put after each output's stem: ``_clean`` makes ``a_clean.png`` of ``a.png``.
    quality : int or None
        1 to 100 for lossy formats; None keeps the input's own tables where there are any.
    save_residual : Path or None
        Directory for input minus output, float32 TIFF in the input's units, mirrored like the outputs
        and named ``<output name>.tif``.
    white, black : float or None
        Values of white and black in the file's units where the container's range is not meant.
    dry_run : bool
        Plan only: read headers, write nothing.
    max_runtime : float or None
        Seconds after which no new file is begun.
    max_files : int or None
        Number of files after which no new file is begun; skipped files do not count.
    min_age : float
        Files changed less than so many seconds ago are left for the next run.
    lock : bool
        Whether to refuse to share the output directory with another run.
    strict : bool
        Whether a file fails of which the target format cannot keep something.
    shard : tuple of int or None
        (i, n): share i of n, counted from 0. The shares are disjoint, together
        complete, and even in bytes.
    events : Path or None
        File that gets one JSON line per finished file, as it is finished.

    Raises
    ------
    UsageError
        If a value has no meaning. The message names the option as on the command line.
    """

    model: str = "unet"
    strength: float = 1.0
    device: str = "auto"
    precision: str = "auto"
    tile: str | int = "auto"
    halo: str | int = "auto"
    batch: str | int = "auto"
    max_memory: int | None = None
    jobs: str | int = "auto"
    recursive: bool = True
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    exists: str = "skip"
    format: str = "keep"
    suffix: str = ""
    quality: int | None = None
    save_residual: Path | None = None
    white: float | None = None
    black: float | None = None
    dry_run: bool = False
    max_runtime: float | None = None
    max_files: int | None = None
    min_age: float = 0.0
    lock: bool = True
    strict: bool = False
    shard: tuple[int, int] | None = None
    events: Path | None = None

    def __post_init__(self) -> None:
        for name in ("include", "exclude"):  # a list is as good, and usual from a command line
            object.__setattr__(self, name, tuple(getattr(self, name) or ()))
        for name in ("save_residual", "events"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, Path(getattr(self, name)))
        self._check_words()
        self._check_numbers()
        self._check_range_of_values()
        self._check_shard()
        if {"/", "\\", "\0"} & set(self.suffix):
            raise UsageError(f"--suffix {self.suffix!r}: a suffix is part of a file name, it cannot hold a separator")
        if self.save_residual and self.strength == 0:
            raise UsageError("--save-residual: at --strength 0 input minus output is zero everywhere")

    def _check_words(self) -> None:
        _one_of("--exists", self.exists, EXISTS)
        _one_of("--format", self.format, FORMATS)
        _one_of("--precision", self.precision, PRECISIONS)
        _word_or_count("--tile", self.tile, ("auto", "none"), 1)
        _word_or_count("--halo", self.halo, ("auto", "exact"), 0)
        _word_or_count("--batch", self.batch, ("auto",), 1)
        _word_or_count("--jobs", self.jobs, ("auto",), 1)

    def _check_numbers(self) -> None:
        _within("--strength", self.strength, 0, 1)
        _within("--quality", self.quality, 1, 100)
        _within("--max-memory", self.max_memory, 1)
        _within("--max-runtime", self.max_runtime, 0)
        _within("--max-files", self.max_files, 1)
        _within("--min-age", self.min_age, 0)

    def _check_range_of_values(self) -> None:
        for name in ("white", "black"):
            value = getattr(self, name)
            if value is not None and not math.isfinite(value):
                raise UsageError(f"--{name} {value}: must be a finite number in the units of the files")
        if self.white is not None and self.black is not None and self.white <= self.black:
            raise UsageError(f"--white {self.white:g} must be above --black {self.black:g}")

    def _check_shard(self) -> None:
        if self.shard is None:
            return
        index, count = self.shard
        if not 0 <= index < count:
            raise UsageError(f"--shard {index}/{count}: write i/n with i from 0 to n - 1, for example 0/8")

    @property
    def threads(self) -> int:
        """Number of reading threads, and of writing threads."""
        if isinstance(self.jobs, int):
            return self.jobs
        return min(8, max(2, _processors()))

    @property
    def share(self) -> str:
        """Name of this run's share of the files, part of the names of its manifest and lock; empty for all."""
        return f"{self.shard[0]}of{self.shard[1]}" if self.shard else ""

    def key(self, weights: str) -> str:
        """Hash of everything but the input that decides an output's bytes; ``weights`` is the hash of the weights."""
        parts = {name: getattr(self, name) for name in PIXEL_FIELDS}
        text = json.dumps({"weights": weights, **parts}, sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """Plain values by field name, for reports."""
        return {key: str(value) if isinstance(value, Path) else value for key, value in asdict(self).items()}


def _processors() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _one_of(option: str, value: str, words: tuple[str, ...]) -> None:
    if value not in words:
        raise UsageError(f"{option} {value!r}: must be one of {', '.join(words)}")


def _word_or_count(option: str, value: str | int, words: tuple[str, ...], least: int) -> None:
    if not (value in words if isinstance(value, str) else value >= least):
        raise UsageError(f"{option} {value}: must be {' or '.join(words)} or a whole number from {least}")


def _within(option: str, value: float | None, least: float, most: float = math.inf) -> None:
    if value is not None and not least <= value <= most:
        limits = f"from {least:g} to {most:g}" if math.isfinite(most) else f"at least {least:g}"
        raise UsageError(f"{option} {value:g}: must be {limits}")
