"""What a benchmark found: scores per picture, rows of means, and the document that keeps both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from statistics import fmean
from typing import Any

from denoiser.benchmark.pictures import Failure
from denoiser.errors import ExitCode
from denoiser.metrics import Mean, mean_of, psnr_of_mse

SCHEMA = "denoiser.benchmark/1"


@dataclass(frozen=True)
class Score:
    """One picture restored by one method.

    Attributes
    ----------
    picture : str
    mse : float
        In units of the full range squared; 0 where the picture equals the truth.
    psnr : float or None
        In dB; None where it is infinite.
    ssim : float or None
        None where the picture is smaller than SSIM's window.
    megapixels, seconds : float
        Wall time of the method alone; 0 where nothing was computed.
    """

    picture: str
    mse: float
    psnr: float | None
    ssim: float | None
    megapixels: float
    seconds: float


@dataclass(frozen=True)
class Row:
    """One method on one kind of noise.

    Attributes
    ----------
    method : str
    kind : str
        ``input`` (the untouched noisy picture), ``classical``, ``model`` or ``restored`` (read from files).
    noise : str
        Specification, or the name of the folder of noisy pictures.
    scores : tuple of Score
    parameters, macs_per_pixel : number or None
        Of networks.
    weights : str
        SHA-256 of a network's file.
    """

    method: str
    kind: str
    noise: str
    scores: tuple[Score, ...]
    parameters: int | None = None
    macs_per_pixel: float | None = None
    weights: str = ""

    @property
    def psnr(self) -> Mean | None:
        """Mean of the pictures' PSNRs, without those that are infinite."""
        return mean_of([score.psnr for score in self.scores if score.psnr is not None])

    @property
    def ssim(self) -> Mean | None:
        """Mean of the pictures' SSIMs, without pictures that are too small for one."""
        return mean_of([score.ssim for score in self.scores if score.ssim is not None])

    @property
    def identical(self) -> int:
        """How many pictures equal the truth, so that their PSNR is infinite."""
        return sum(score.psnr is None for score in self.scores)

    @property
    def psnr_of_mean_mse(self) -> float | None:
        """PSNR of the mean of the pictures' mean squared errors; None where it is infinite."""
        error = fmean(score.mse for score in self.scores)
        return psnr_of_mse(error) if error else None

    @property
    def megapixels_per_second(self) -> float | None:
        """None where nothing was computed."""
        seconds = sum(score.seconds for score in self.scores)
        return sum(score.megapixels for score in self.scores) / seconds if seconds else None

    def to_json(self) -> dict[str, Any]:
        return {
            "method": self.method,
            "kind": self.kind,
            "noise": self.noise,
            "psnr": _mean(self.psnr),
            "identical": self.identical,
            "psnr_of_mean_mse": self.psnr_of_mean_mse,
            "ssim": _mean(self.ssim),
            "megapixels_per_second": self.megapixels_per_second,
            "parameters": self.parameters,
            "macs_per_pixel": self.macs_per_pixel,
            "weights_sha256": self.weights,
            "scores": [asdict(score) for score in self.scores],
        }


def _mean(mean: Mean | None) -> dict[str, Any] | None:
    return asdict(mean) if mean is not None else None


@dataclass(frozen=True)
class Measured:
    """A picture that was measured: what decides whether two benchmarks measured the same."""

    name: str
    height: int
    width: int
    channels: int
    dtype: str
    data_range: float
    sha256: str
    """Of the truth, and of the noisy picture where it came from a file."""


@dataclass(frozen=True)
class Fall:
    """A picture whose PSNR fell by more than the gate allows; ``now`` is None where it was not measured again."""

    picture: str
    before: float | None
    now: float | None


@dataclass(frozen=True)
class Comparison:
    """One row against the row of the baseline, picture by picture.

    Attributes
    ----------
    method, against, noise : str
    drop : Mean or None
        Mean over pictures of (PSNR before - PSNR now) in dB, with its 95% paired t-interval. None where a picture
        lost an infinite PSNR.
    falls : tuple of Fall
        Pictures that fell by more than ``max_drop`` or are missing, the worst first.
    worse : bool
        Whether the mean drop exceeds ``max_drop``, or a picture is missing.
    """

    method: str
    against: str
    noise: str
    drop: Mean | None
    falls: tuple[Fall, ...]
    worse: bool


@dataclass(frozen=True)
class Gate:
    """The comparison with a baseline."""

    baseline: str
    max_drop: float
    comparisons: tuple[Comparison, ...]

    @property
    def failed(self) -> bool:
        return any(comparison.worse for comparison in self.comparisons)


@dataclass(frozen=True)
class Result:
    """Everything that a benchmark found.

    Attributes
    ----------
    protocol : dict
        How it was measured, as plain data; see :func:`denoiser.benchmark.protocol.describe`.
    pictures : tuple of Measured
    rows : tuple of Row
        Noise by noise; the noisy input first, then classical methods, then models, then restored pictures.
    failures : tuple of Failure
    gate : Gate or None
    seconds : float
    """

    protocol: dict[str, Any]
    pictures: tuple[Measured, ...]
    rows: tuple[Row, ...]
    failures: tuple[Failure, ...]
    seconds: float
    gate: Gate | None = field(default=None)

    @property
    def exit_code(self) -> ExitCode:
        if self.gate is not None and self.gate.failed:
            return ExitCode.GATE
        return ExitCode.SOME_FAILED if self.failures else ExitCode.OK

    def to_json(self) -> dict[str, Any]:
        """The document of ``--json``, which ``--baseline`` reads. Holds no NaN or infinity."""
        return {
            "schema": SCHEMA,
            "protocol": self.protocol,
            "seconds": round(self.seconds, 2),
            "pictures": [asdict(picture) for picture in self.pictures],
            "rows": [row.to_json() for row in self.rows],
            "failures": [asdict(failure) for failure in self.failures],
            "gate": {**asdict(self.gate), "failed": self.gate.failed} if self.gate is not None else None,
        }


def rows_from_json(documents: Sequence[dict[str, Any]]) -> list[Row]:
    """Read rows back. Raises KeyError or TypeError where a field is missing."""
    return [
        Row(each["method"], each["kind"], each["noise"], tuple(Score(**score) for score in each["scores"]))
        for each in documents
    ]
