"""What a benchmark found: scores per picture, rows of means, and the document that keeps both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from statistics import fmean
from typing import Any, Generic, TypeVar

from denoiser.benchmark.pictures import Failure
from denoiser.errors import ExitCode
from denoiser.metrics import Mean, mean_of, psnr_of_mse

SCHEMA = "denoiser.benchmark/1"

BLIND = "no-reference"
"""Name of the protocol that has no truth."""


@dataclass(frozen=True, kw_only=True)
class Timed:
    """One picture and what a method took for it.

    Attributes
    ----------
    picture : str
    megapixels, seconds : float
        Wall time of the method alone; 0 where nothing was computed.
    memory : int or None
        Bytes by which memory grew meanwhile; None where it was not watched. See :mod:`denoiser.benchmark.memory`.
    """

    picture: str
    megapixels: float
    seconds: float
    memory: int | None = None


@dataclass(frozen=True, kw_only=True)
class Score(Timed):
    """One picture restored by one method, compared with the truth.

    Attributes
    ----------
    mse : float
        In units of the full range squared; 0 where the picture equals the truth.
    psnr : float or None
        In dB; None where it is infinite.
    ssim : float or None
        None where the picture is smaller than SSIM's window.
    hole_mse : float or None
        As ``mse``, over the values that the noise replaced; None where it replaced none.
    """

    mse: float
    psnr: float | None
    ssim: float | None
    hole_mse: float | None = None


@dataclass(frozen=True, kw_only=True)
class BlindScore(Timed):
    """One picture restored by one method, judged without the truth; see :mod:`denoiser.benchmark.blind`.

    Attributes
    ----------
    noise : float or None
        Estimated noise level of the result, in 1/255 of full range; None for pictures too small for an estimate.
    autocorrelation : float or None
        Of the residual, root mean square over near pixels: 0 for white noise. None where nothing was removed.
    structure : float or None
        Correlation, -1 to 1, of the residual's local strength with that of edges: 0 where they have nothing in common.
        None where nothing was removed.
    held_out : float or None
        RMS of prediction minus noisy value at held-out pixels, in 1/255 of full range. None where no method
        computed the picture, and for pictures too small to hold out pixels.
    """

    noise: float | None
    autocorrelation: float | None
    structure: float | None
    held_out: float | None


S = TypeVar("S", bound=Timed)


@dataclass(frozen=True)
class _Row(Generic[S]):
    """One method on one kind of noise.

    Attributes
    ----------
    method : str
    kind : str
        ``input`` (the untouched noisy picture), ``classical``, ``model`` or ``restored`` (read from files).
    noise : str
        Specification, or the name of the folder of noisy pictures.
    scores : tuple
    parameters, macs_per_pixel : number or None
        Of networks.
    weights : str
        SHA-256 of a network's file.
    """

    method: str
    kind: str
    noise: str
    scores: tuple[S, ...]
    parameters: int | None = None
    macs_per_pixel: float | None = None
    weights: str = ""

    def mean(self, figure: str) -> Mean | None:
        """Mean over pictures of one field of their scores, without those that have none."""
        return mean_of([value for score in self.scores if (value := getattr(score, figure)) is not None])

    @property
    def megapixels_per_second(self) -> float | None:
        """None where nothing was computed. The picture whose memory was watched counts where there is no other."""
        timed = [score for score in self.scores if score.memory is None] or self.scores
        seconds = sum(score.seconds for score in timed)
        return sum(score.megapixels for score in timed) / seconds if seconds else None

    @property
    def memory(self) -> int | None:
        """Bytes by which memory grew; None where it was not watched."""
        return max((score.memory for score in self.scores if score.memory is not None), default=None)

    def to_json(self) -> dict[str, Any]:
        return {
            "method": self.method,
            "kind": self.kind,
            "noise": self.noise,
            **self.figures(),
            "megapixels_per_second": self.megapixels_per_second,
            "memory": self.memory,
            "parameters": self.parameters,
            "macs_per_pixel": self.macs_per_pixel,
            "weights_sha256": self.weights,
            "scores": [asdict(score) for score in self.scores],
        }

    def figures(self) -> dict[str, Any]:
        """The means, as plain data."""
        raise NotImplementedError


@dataclass(frozen=True)
class Row(_Row[Score]):
    """One method on one kind of noise, compared with the truth."""

    @property
    def psnr(self) -> Mean | None:
        """Mean of the pictures' PSNRs, without those that are infinite."""
        return self.mean("psnr")

    @property
    def ssim(self) -> Mean | None:
        """Mean of the pictures' SSIMs, without pictures that are too small for one."""
        return self.mean("ssim")

    @property
    def hole_psnr(self) -> Mean | None:
        """Mean of the PSNRs over what the noise replaced, without those that are infinite."""
        return mean_of([psnr_of_mse(score.hole_mse) for score in self.scores if score.hole_mse])

    @property
    def filled(self) -> int:
        """How many pictures equal the truth over what the noise replaced, so that this PSNR is infinite."""
        return sum(score.hole_mse == 0 for score in self.scores)

    @property
    def identical(self) -> int:
        """How many pictures equal the truth, so that their PSNR is infinite."""
        return sum(score.psnr is None for score in self.scores)

    @property
    def psnr_of_mean_mse(self) -> float | None:
        """PSNR of the mean of the pictures' mean squared errors; None where it is infinite."""
        error = fmean(score.mse for score in self.scores)
        return psnr_of_mse(error) if error else None

    def figures(self) -> dict[str, Any]:
        return {
            "psnr": _plain(self.psnr),
            "identical": self.identical,
            "psnr_of_mean_mse": self.psnr_of_mean_mse,
            "hole_psnr": _plain(self.hole_psnr),
            "ssim": _plain(self.ssim),
        }


@dataclass(frozen=True)
class BlindRow(_Row[BlindScore]):
    """One method, judged without the truth."""

    def figures(self) -> dict[str, Any]:
        return {figure: _plain(self.mean(figure)) for figure in BLIND_FIGURES}


BLIND_FIGURES = ("noise", "autocorrelation", "structure", "held_out")

AnyRow = Row | BlindRow


def _plain(mean: Mean | None) -> dict[str, Any] | None:
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
    rows : tuple of Row or of BlindRow
        Noise by noise; the noisy input first, then classical methods, then models, then restored pictures.
    failures : tuple of Failure
    gate : Gate or None
    seconds : float
    """

    protocol: dict[str, Any]
    pictures: tuple[Measured, ...]
    rows: tuple[AnyRow, ...]
    failures: tuple[Failure, ...]
    seconds: float
    gate: Gate | None = field(default=None)

    @property
    def blind(self) -> bool:
        """Whether there was no truth."""
        return bool(self.protocol["name"] == BLIND)

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
    """Read rows with truth back; fields that this version does not know are ignored.

    Raises KeyError or TypeError where a field is missing.
    """
    known = {each.name for each in fields(Score)}
    return [
        Row(
            each["method"],
            each["kind"],
            each["noise"],
            tuple(Score(**{key: score[key] for key in known & score.keys()}) for score in each["scores"]),
        )
        for each in documents
    ]
