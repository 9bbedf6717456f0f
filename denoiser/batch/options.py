"""What a user asks of one job over many files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from denoiser.errors import UsageError
from denoiser.machine import processors
from denoiser.settings import ENSEMBLES, PRECISIONS, check_range, one_of, plain, settle, within, word_or_count

if TYPE_CHECKING:
    from denoiser.controls import Controls

MOST_VERIFIED = 1000
"""Windows that ``--verify-tiles`` keeps in memory at most."""

EXISTS = ("skip", "overwrite", "rename", "error")
FORMATS = ("keep", "png", "tiff", "jpeg", "webp", "npy")
BACKENDS = ("local", "dask")
ALL_GPUS = "cuda:all"

PIXEL_FIELDS = ("strength", "precision", "halo", "format", "quality", "white", "black")
"""Options that change pixels or container, besides :data:`NEUTRAL`. Tile, batch, device, threads and memory are
left out: by the promise that there are no seams they do not show in a file."""

CONTROLS = {"luma": 1.0, "chroma": 1.0, "detail": 0.0}
"""Options of :class:`denoiser.controls.Controls` besides the strength, with their neutral values."""

NEUTRAL = {**CONTROLS, "ensemble": 1}
"""Options that came later and change pixels unless they have these values."""


@dataclass(frozen=True)
class BatchOptions:
    """What every job over many files can be asked: which files, in which format, within which limits.

    Parameters
    ----------
    max_memory : int or None
        Budget in bytes for pictures in flight and the work on them together; None is half of the
        memory that is free when the run starts.
    jobs : str or int
        Threads that read and as many that write; ``auto`` goes by the processors.
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

    max_memory: int | None = None
    jobs: str | int = "auto"
    recursive: bool = True
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    exists: str = "skip"
    format: str = "keep"
    suffix: str = ""
    quality: int | None = None
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
        settle(self)
        one_of("--exists", self.exists, EXISTS)
        one_of("--format", self.format, FORMATS)
        word_or_count("--jobs", self.jobs, ("auto",), 1)
        within("--quality", self.quality, 1, 100)
        within("--max-memory", self.max_memory, 1)
        within("--max-runtime", self.max_runtime, 0)
        within("--max-files", self.max_files, 1)
        within("--min-age", self.min_age, 0)
        check_range(self.white, self.black)
        self._check_shard()
        if {"/", "\\", "\0"} & set(self.suffix):
            raise UsageError(f"--suffix {self.suffix!r}: a suffix is part of a file name, it cannot hold a separator")

    def _check_shard(self) -> None:
        if self.shard is None:
            return
        shard = tuple(map(plain, self.shard)) if isinstance(self.shard, tuple | list) else ()
        if list(map(type, shard)) != [int, int]:
            raise UsageError(f"--shard {self.shard!r}: must be two whole numbers, for example (0, 8)")
        object.__setattr__(self, "shard", shard)
        index, count = shard
        if not 0 <= index < count:
            raise UsageError(f"--shard {index}/{count}: write i/n with i from 0 to n - 1, for example 0/8")

    @property
    def copies(self) -> bool:
        """Whether files whose format is kept are copied as they are."""
        return False

    @property
    def beside(self) -> dict[str, Path]:
        """Directories of the float pictures that are written with each output, by what they are."""
        return {}

    @property
    def samples(self) -> bool:
        """Whether the middle of each file is looked at for a report."""
        return False

    @property
    def threads(self) -> int:
        """Number of reading threads, and of writing threads."""
        if isinstance(self.jobs, int):
            return self.jobs
        return min(8, max(2, processors()))

    @property
    def share(self) -> str:
        """Name of this run's share of the files, part of the names of its manifest and lock; empty for all."""
        return f"{self.shard[0]}of{self.shard[1]}" if self.shard else ""

    def to_json(self) -> dict[str, Any]:
        """Plain values by field name, for reports."""
        return {key: str(value) if isinstance(value, Path) else value for key, value in asdict(self).items()}


@dataclass(frozen=True)
class RunOptions(BatchOptions):
    """Options of ``denoiser run``, validated. Besides those of :class:`BatchOptions`:

    Parameters
    ----------
    model : str
        Name of a bundled model, or path of a ``.safetensors`` file made by ``denoiser train``.
        ``auto`` chooses one of two bundled models for each file by its noise, see :mod:`denoiser.batch.auto`.
    strength : float
        0 (the input, bit for bit) to 1 (the full result).
    luma, chroma : float
        0 to 1: strengths for what changes the luminance, and for what changes the colours alone. At 0 and 0 the
        input comes back, bit for bit. Chroma has no effect on pictures of another number of colours than three.
    detail : float
        0 to 1: share of the fine part of the luminance's change that is given back.
    report : Path or None
        File that gets the report when all is done: ``.html``, a page with pictures before and after, or ``.json``, the
        document of :meth:`denoiser.batch.Report.to_json`. A dry run writes none.
    device : str
        ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``. ``cuda:all`` is every GPU of this machine, and names with
        commas between them are several devices: one process each.
    precision : str
        ``auto``, ``fp32``, ``bf16``, ``fp16``.
    tile, halo, batch : str or int
        ``auto`` (or ``none`` for tile, ``exact`` for halo), or pixels, pixels, tiles.
    ensemble : int
        1, 2, 4 or 8: the mean of so many results, of the picture turned and mirrored; it takes as many times as long.
    verify_tiles : int
        Number of windows of pictures computed in parts that are computed again with a full halo, to be compared.
    save_residual : Path or None
        Directory for input minus output, float32 TIFF in the input's units, mirrored like the outputs
        and named ``<output name>.tif``.
    save_uncertainty : Path or None
        Directory for the standard deviations of the error that the model states of the values at full strength,
        float32 TIFF as the residual.
    backend : str
        ``local``: this machine. ``dask``: the worker processes of a Dask cluster.
    scheduler : str or None
        Address of a running Dask scheduler, or path of its scheduler file (``.json``); None starts worker processes
        on this machine.

    Raises
    ------
    UsageError
        If a value has no meaning. The message names the option as on the command line.
    """

    model: str = "auto"
    strength: float = 1.0
    device: str = "auto"
    precision: str = "auto"
    tile: str | int = "auto"
    halo: str | int = "auto"
    batch: str | int = "auto"
    ensemble: int = 1
    verify_tiles: int = 0
    save_residual: Path | None = None
    save_uncertainty: Path | None = None
    luma: float = 1.0
    chroma: float = 1.0
    detail: float = 0.0
    report: Path | None = None
    backend: str = "local"
    scheduler: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("--precision", self.precision, PRECISIONS)
        word_or_count("--tile", self.tile, ("auto", "none"), 1)
        word_or_count("--halo", self.halo, ("auto", "exact"), 0)
        word_or_count("--batch", self.batch, ("auto",), 1)
        one_of("--ensemble", self.ensemble, ENSEMBLES)
        within("--verify-tiles", self.verify_tiles, 0, MOST_VERIFIED)
        for name in ("strength", *CONTROLS):
            within(f"--{name}", getattr(self, name), 0, 1)
        if self.save_residual and self.copies:
            raise UsageError("--save-residual: at --strength 0 input minus output is zero everywhere")
        if self.save_uncertainty and self.copies:
            raise UsageError("--save-uncertainty: at --strength 0 nothing is estimated")
        self._check_backend()

    def _check_backend(self) -> None:
        one_of("--backend", self.backend, BACKENDS)
        if self.scheduler is not None and self.backend != "dask":
            raise UsageError(f"--scheduler {self.scheduler}: belongs to --backend dask, give both")
        if self.backend == "dask" and self._several_devices:
            raise UsageError(
                f"--device {self.device}: with --backend dask each worker has one device; start a worker per GPU, each "
                "with its own CUDA_VISIBLE_DEVICES, and give --device cuda"
            )
        if self.verify_tiles and self.spreads:
            raise UsageError("--verify-tiles: works in one process; give one --device, and no --backend dask")

    @property
    def _several_devices(self) -> bool:
        return self.device == ALL_GPUS or "," in self.device

    @property
    def spreads(self) -> bool:
        """Whether other processes than this one do the work."""
        return self.backend == "dask" or (self._several_devices and not self.copies)

    @property
    def copies(self) -> bool:
        return self.controls.overall == 0

    @property
    def samples(self) -> bool:
        return self.report is not None

    @property
    def controls(self) -> Controls:
        """How much of what the network changes is taken."""
        from denoiser.controls import Controls

        return Controls(self.strength, self.luma, self.chroma, self.detail)

    @property
    def beside(self) -> dict[str, Path]:
        folders = {"residual": self.save_residual, "uncertainty": self.save_uncertainty}
        return {kind: folder for kind, folder in folders.items() if folder is not None}

    def key(self, weights: str) -> str:
        """Hash of everything but the input that decides an output's bytes; ``weights`` is the hash of the weights."""
        parts = {name: getattr(self, name) for name in PIXEL_FIELDS}
        # What is neutral is left out: outputs from before there were these options are still what would be made.
        parts |= {name: value for name, neutral in NEUTRAL.items() if (value := getattr(self, name)) != neutral}
        return digest({"weights": weights, **parts})


@dataclass(frozen=True)
class CorruptOptions(BatchOptions):
    """Options of ``denoiser corrupt``, validated. Besides those of :class:`BatchOptions`:

    Parameters
    ----------
    noise : str
        What is done to the pictures, such as ``gaussian:25`` or ``poisson-gaussian:gain=0.01,read=4+jpeg:75``.
    seed : int
        With a file's path below the input it seeds the file's noise.
    float : bool
        Whether outputs are float32 (TIFF, or .npy with that ``format``) in the input's units, neither clipped
        nor rounded.
    sidecar : bool
        Whether ``corruption.json`` is written into an output directory.

    Raises
    ------
    UsageError
        If a value has no meaning. The message names the option as on the command line.
    """

    noise: str = ""
    seed: int = 0
    float: bool = False
    sidecar: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.noise.strip():
            from denoiser.noise import KINDS

            raise UsageError(
                f"--noise: say what is to be done, for example --noise gaussian:25; there are {', '.join(KINDS)} "
                "(denoiser corrupt --list explains them)"
            )
        self.key()  # a wrong specification is an error at once
        within("--seed", self.seed, 0)
        if not self.float:
            return
        if self.format not in ("keep", "tiff", "npy"):
            raise UsageError(f"--float: {self.format} cannot hold floating-point values; choose tiff or npy")
        object.__setattr__(self, "format", "npy" if self.format == "npy" else "tiff")

    @property
    def threads(self) -> int:
        """As many as there are processors: those that write make the noise."""
        return self.jobs if isinstance(self.jobs, int) else max(2, processors())

    def key(self) -> str:
        """Hash of everything but the input that decides an output's bytes."""
        from denoiser.noise import parse

        names = ("seed", "float", "format", "quality", "white", "black")
        return digest({"noise": repr(parse(self.noise)), **{name: getattr(self, name) for name in names}})


def digest(parts: Mapping[str, Any]) -> str:
    """Hash of plain values by name."""
    text = json.dumps(parts, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
