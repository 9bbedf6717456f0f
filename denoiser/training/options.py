"""What a training run is told, validated before anything is read."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from denoiser.errors import UsageError
from denoiser.settings import settle

DEFAULT_ARCH = "unet"
DEFAULT_NOISE = ("gaussian:0-75@3", "poisson-gaussian:gain=0.0001-0.03,read=0-10@1")
DEFAULT_GRAY = 0.15
DEFAULT_CLIP = 0.5
MOST_REDUCED = 16.0
SELF_SUPERVISED = ("mask", "blind-spot", "neighbours")
OPTIMIZERS = ("muon", "adamw")


@dataclass(frozen=True)
class TrainOptions:
    """Settings of :func:`denoiser.training.train`.

    Attributes
    ----------
    data : Path
        Folder of clean pictures, searched recursively; of noisy ones with ``self_supervised``.
    out : Path
        Folder for ``model.safetensors``, the checkpoint, ``metrics.jsonl``, ``curves.png`` and ``samples.png``.
    noisy : Path, optional
        Folder with the noisy partners of ``data``, under the same relative names. Noise is then not made.
    self_supervised : {'', 'mask', 'blind-spot', 'neighbours'}
        How to learn from noisy pictures alone; see :mod:`denoiser.training.objectives`.
    val : Path, optional
        Folder of clean pictures to validate on; the best state on them becomes the model. Without it
        and ``val_split`` the last state does.
    val_noisy : Path, optional
        Folder with the noisy partners of ``val``, for pairs and self-supervision.
    val_split : int, optional
        Hold out every so manieth picture of ``data`` for validation.
    val_every, checkpoint_every : float
        Seconds of training between validations, and between checkpoints.
    patience : int, optional
        End after so many validations in a row without a better score.
    arch : str, optional
        Architecture to train; None for that of ``init``, else ``unet``.
    arch_config : tuple of str
        Its settings where they are not the defaults, such as ``blocks=1,1,4``.
    init : str, optional
        Bundled name or weights file to start from.
    init_optimizer : bool
        Whether the optimiser, too, goes on from where that of ``init`` was, by the checkpoint beside the weights file.
    noise : tuple of str
        Weighted mixture of noise specifications; empty for the default, see :attr:`mixture`.
    gray, clip : float, optional
        Shares of crops made gray, and of noisy crops clipped and rounded as files are; None for the defaults.
    patterns : float, optional
        Share of crops laid over with a regular fine pattern, see :mod:`denoiser.training.patterns`; None for none.
    reduced : tuple of float
        Factors by which further copies of the clean pictures are made smaller.
    black, white : float, optional
        Values of black and white in the files' units; by default those of their containers. Floats are 0 to 1.
    max_time : float, optional
        Seconds of training, those before a resume counted in.
    max_steps : int, optional
        Optimiser steps. Whichever limit comes first ends the run and shapes the schedule.
    batch : int
        Crops per step.
    crops : tuple of int
        Sides of the square crops, in pixels; each but the first takes over for a later part of the run.
    lr : float
        Peak learning rate.
    optimizer : {'muon', 'adamw'}
        See :mod:`denoiser.training.muon`.
    tensorboard : bool
        Whether loss, scores and samples are also written for TensorBoard, into ``out/tensorboard``.
    name, purpose, data_note, noise_note, command : str
        For the model card.
    """

    data: Path
    out: Path
    noisy: Path | None = None
    self_supervised: str = ""
    val: Path | None = None
    val_noisy: Path | None = None
    val_split: int | None = None
    val_every: float = 300.0
    patience: int | None = None
    checkpoint_every: float = 120.0
    arch: str | None = None
    arch_config: tuple[str, ...] = ()
    init: str | None = None
    init_optimizer: bool = False
    noise: tuple[str, ...] = ()
    gray: float | None = None
    clip: float | None = None
    patterns: float | None = None
    reduced: tuple[float, ...] = ()
    black: float | None = None
    white: float | None = None
    max_time: float | None = None
    max_steps: int | None = None
    batch: int = 8
    crops: tuple[int, ...] = (64, 96, 128)
    lr: float = 1e-3
    optimizer: str = "muon"
    seed: int = 0
    device: str = "auto"
    precision: str = "auto"
    resume: bool = False
    tensorboard: bool = False
    name: str = ""
    purpose: str = ""
    command: str = ""
    data_note: str = ""
    noise_note: str = ""

    def __post_init__(self) -> None:
        settle(self)
        self._check_data()
        self._check_length()
        if self.batch < 1:
            raise UsageError(f"--batch must be at least 1, not {self.batch}")
        if not self.crops or min(self.crops) < 16:
            raise UsageError("--crop must be at least 16 pixels")
        if not all(0 <= share <= 1 for share in (self.gray or 0, self.clip or 0, self.patterns or 0)):
            raise UsageError("--gray, --clip and --patterns are shares between 0 and 1")
        if not all(1 < factor <= MOST_REDUCED for factor in self.reduced):
            raise UsageError(f"--reduced makes pictures smaller: by a factor above 1, {MOST_REDUCED:g} at most")
        if not 0 <= self.seed < 2**63:
            raise UsageError(f"--seed must be a whole number from 0 to 2^63 - 1, not {self.seed}")
        if not 0 < self.lr < math.inf:
            raise UsageError(f"--lr must be above 0, not {self.lr}")
        if self.optimizer not in OPTIMIZERS:
            raise UsageError(f"--optimizer {self.optimizer!r}: there are {', '.join(OPTIMIZERS)}")
        if self.precision not in ("auto", "fp32", "bf16"):
            raise UsageError(f"--precision {self.precision!r}: training knows auto, fp32 and bf16")
        if self.patience is not None and not (self.val or self.val_split):
            raise UsageError("--patience needs pictures to validate on: add --val DIR or --val-split 10")
        if self.init_optimizer and not self.init:
            raise UsageError(
                "--init-optimizer goes on from the run of a weights file: add --init RUN/model.safetensors"
            )

    def _check_length(self) -> None:
        if self.max_time is None and self.max_steps is None:
            raise UsageError("say how long to train: --max-time 30m or --max-steps 20000")
        if self.max_time is not None and not 0 < self.max_time < math.inf:
            raise UsageError(f"--max-time must be above 0 seconds, not {self.max_time:g}")
        if self.max_steps is not None and self.max_steps < 0:
            raise UsageError(f"--max-steps must be at least 0, not {self.max_steps}")

    def _check_data(self) -> None:
        if self.self_supervised and self.self_supervised not in SELF_SUPERVISED:
            raise UsageError(f"--self-supervised {self.self_supervised!r}: there are {', '.join(SELF_SUPERVISED)}")
        if self.self_supervised and self.noisy:
            raise UsageError("--noisy gives pairs, --self-supervised learns from noisy pictures alone: choose one")
        if self.noisy and self.noisy.resolve() == self.data.resolve():
            raise UsageError(
                "--noisy gives the pictures of DATA: from those nothing is to be learned; name their partners"
            )
        made = [
            name for name in ("noise", "gray", "clip", "patterns", "reduced") if getattr(self, name) not in (None, ())
        ]
        if made and not self.is_synthetic:
            raise UsageError(
                f"--{made[0]} is about noise that is made; with --noisy or --self-supervised pictures have their own"
            )
        if self.val and self.val_split is not None:
            raise UsageError("--val and --val-split both choose pictures to validate on: give one")
        if self.val_split is not None and self.val_split < 2:
            raise UsageError(f"--val-split must be at least 2, not {self.val_split}: 10 holds out every tenth picture")
        if self.val_noisy and (self.is_synthetic or not self.val):
            raise UsageError("--val-noisy holds the partners of --val, for --noisy or --self-supervised")
        if self.noisy and self.val and not self.val_noisy:
            raise UsageError("--val with --noisy needs the noisy partners too: add --val-noisy DIR, or use --val-split")
        for folder in filter(None, (self.data, self.noisy)):
            if any(folder.resolve().is_relative_to(held) for held in self.held_out):
                raise UsageError(
                    f"{folder}: --val gives the same pictures, which would tell nothing of others; give other ones, or "
                    "choose --val-split to hold out some of these"
                )

    @property
    def held_out(self) -> tuple[Path, ...]:
        """Folders to validate on; what of them lies in those to learn from is left out there."""
        return tuple(folder.resolve() for folder in (self.val, self.val_noisy) if folder)

    @property
    def is_synthetic(self) -> bool:
        """Whether noise is made on clean pictures."""
        return not self.noisy and not self.self_supervised

    @property
    def mixture(self) -> tuple[str, ...]:
        """The noise specifications in force."""
        return self.noise or DEFAULT_NOISE

    @property
    def way(self) -> str:
        """The options that say what is learned from; none for clean pictures."""
        return f"--self-supervised {self.self_supervised}" if self.self_supervised else "--noisy" if self.noisy else ""

    @property
    def drawn(self) -> str:
        """What noise is made, and what is drawn by which seed, in words."""
        noise = f"noise {' | '.join(self.mixture)}, " if self.is_synthetic else ""
        return f"{noise}seed {self.seed}"

    @property
    def gray_share(self) -> float:
        """The share of gray crops in force."""
        return DEFAULT_GRAY if self.gray is None else self.gray

    @property
    def clip_share(self) -> float:
        """The share of clipped crops in force."""
        return DEFAULT_CLIP if self.clip is None else self.clip
