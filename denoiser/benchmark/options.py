"""What a caller may choose about a benchmark."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from denoiser.benchmark.holes import makes_holes
from denoiser.errors import UsageError
from denoiser.noise import PROTOCOLS, parse
from denoiser.settings import ENSEMBLES, PRECISIONS, check_range, one_of, settle, within

NONE = "none"

NOISE = ("gaussian:15", "gaussian:25", "gaussian:50")
"""The levels at which most papers report."""

BIHARMONIC = "biharmonic"

CLASSICAL = ("median", "bilateral", "tv", "wavelet", "nlm", "opencv", BIHARMONIC, "bm3d")
"""Classical methods by the names that ``classical`` takes."""

MOST_DROP = 1000.0
"""In dB; JSON knows no infinity."""

DEFAULT_CLASSICAL = ("median", "bilateral", "tv", "wavelet", "nlm")
"""OpenCV, no dependency, is added where it is installed; ``biharmonic`` where the noise replaces values. ``bm3d`` is
left out: it takes a minute per megapixel."""


@dataclass(frozen=True)
class BenchmarkOptions:
    """What is measured, on which pictures, and how.

    Four ways: clean pictures alone (``noise`` is added to them), ``noisy`` and ``clean`` pairs, ``restored`` pictures
    that anybody made, scored against ``clean``, and ``noisy`` pictures alone, whose truth nobody knows. ``restored``
    goes with ``noisy`` as well.

    Attributes
    ----------
    clean : Path or None
        Folder of clean pictures, or one file; None takes the sample photographs inside scikit-image, where ``noisy``
        is None, too.
    noisy : Path or None
        Folder of noisy pictures, or one file, with the names of the clean ones where there are any.
    restored : tuple of Path
        Folders of restored pictures with the same names; each gives a row.
    noise : tuple of str
        Specifications of the noise to add; ``NOISE`` where none is given.
    models : tuple of str
        Bundled names, ``auto`` or ``.safetensors`` files; all bundled ones where none is given; ``none`` for no model.
    classical : tuple of str
        Of ``CLASSICAL``; those of ``DEFAULT_CLASSICAL`` and what it says where none is given; ``none`` for none.
    protocol : {"file", "literature"}
        Whether the noise that is added is clipped and rounded as in a file.
    seed : int
        Of the noise that is added.
    crop : int or None
        Measure the central part of each picture, at most so many pixels wide and high. None: whole pictures, and
        192 for the samples.
    white, black : float or None
        Stored values of white and black; integers default to the limits of their type, floats need ``white``.
    device, precision : str
    ensemble : int
        As for ``denoiser run``.
    baseline : Path or None
        The JSON document of an earlier benchmark to compare with, picture by picture.
    max_drop : float
        By how many dB a row's mean PSNR may lie below the baseline's.
    report : Path or None
        Also write an HTML page there.

    Raises
    ------
    UsageError
        If a value has no meaning or two contradict each other.
    """

    clean: Path | None = None
    noisy: Path | None = None
    restored: tuple[Path, ...] = ()
    noise: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    classical: tuple[str, ...] = ()
    protocol: str = "file"
    seed: int = 0
    crop: int | None = None
    white: float | None = None
    black: float | None = None
    device: str = "auto"
    precision: str = "auto"
    ensemble: int = 1
    baseline: Path | None = None
    max_drop: float = 0.05
    report: Path | None = None

    def __post_init__(self) -> None:
        settle(self)
        one_of("--protocol", self.protocol, PROTOCOLS)
        one_of("--precision", self.precision, PRECISIONS)
        one_of("--ensemble", self.ensemble, ENSEMBLES)
        if unknown := set(self.classical) - {*CLASSICAL, NONE}:
            raise UsageError(
                f"no classical method is called {', '.join(sorted(unknown))}; there are {', '.join(CLASSICAL)}, {NONE}"
            )
        for words in (self.models, self.classical):
            if NONE in words and len(words) > 1:
                raise UsageError(f"{NONE!r} stands alone, not beside {', '.join(w for w in words if w != NONE)}")
        within("--crop", self.crop, 1)
        within("--seed", self.seed, 0)
        within("--max-drop", self.max_drop, 0, MOST_DROP)
        check_range(self.white, self.black)
        self._check_ways()
        for spec in self.noise:
            parse(spec)
            if self.noise.count(spec) > 1:
                raise UsageError(f"--noise {spec}: named more than once")
        if BIHARMONIC in self.classical and not any(map(makes_holes, self.specs)):
            raise UsageError(f"{BIHARMONIC} fills holes: name a --noise that makes some, such as stripes or mask")

    def _check_ways(self) -> None:
        if not self.paired:
            return
        if self.clean is None and self.noisy is None:
            raise UsageError(
                "--restored is scored against the truth, or against the noisy pictures: name a folder with --clean "
                "or --noisy"
            )
        if self.blind and self.baseline is not None:
            raise UsageError("--baseline compares PSNRs, which need the truth: name its folder with --clean")
        if self.noise:
            raise UsageError("--noise is added to clean pictures; with --noisy or --restored there is none to add")
        if self.noisy is None and (self.models or self.classical):
            raise UsageError("models and classical methods need noisy pictures: add --noisy DIR, or leave them out")

    @property
    def blind(self) -> bool:
        """Whether there is no truth."""
        return self.clean is None and self.noisy is not None

    @property
    def paired(self) -> bool:
        """Whether the noisy or restored pictures are files, too."""
        return self.noisy is not None or bool(self.restored)

    @property
    def specs(self) -> tuple[str, ...]:
        """The noise that is added; none for pairs."""
        return () if self.paired else self.noise or NOISE
