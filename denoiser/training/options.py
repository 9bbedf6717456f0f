"""What a training run is told, validated before anything is read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from denoiser.errors import UsageError

DEFAULT_NOISE = ("gaussian:0-75@3", "poisson-gaussian:gain=0.0001-0.03,read=0-10@1")


@dataclass(frozen=True)
class TrainOptions:
    """Settings of :func:`denoiser.training.train`.

    Attributes
    ----------
    data : Path
        Folder of clean pictures, searched recursively.
    out : Path
        Folder for ``model.safetensors``, the checkpoint and ``metrics.jsonl``.
    val : Path, optional
        Folder of clean pictures to validate on; the best state on them becomes the model. Without it
        the last state does.
    arch : str
        Architecture to train.
    init : str, optional
        Bundled name or weights file to start from; its architecture is taken over.
    noise : tuple of str
        Weighted mixture of noise specifications.
    max_time : float, optional
        Seconds of training, those before a resume counted in.
    max_steps : int, optional
        Optimiser steps. Whichever limit comes first ends the run and shapes the schedule.
    batch : int
        Crops per step.
    crops : tuple of int
        Sides of the square crops, in pixels; each but the first takes over for a later part of the run.
    lr : float
        Peak learning rate of AdamW.
    gray : float
        Share of crops made gray.
    clip : float
        Share of noisy crops clipped and rounded to 8 bit, as files are.
    """

    data: Path
    out: Path
    val: Path | None = None
    arch: str = "unet"
    init: str | None = None
    noise: tuple[str, ...] = DEFAULT_NOISE
    max_time: float | None = None
    max_steps: int | None = None
    batch: int = 8
    crops: tuple[int, ...] = (64, 96, 128)
    lr: float = 1e-3
    gray: float = 0.15
    clip: float = 0.5
    seed: int = 0
    device: str = "auto"
    precision: str = "auto"
    val_every: float = 300.0
    checkpoint_every: float = 120.0
    resume: bool = False
    name: str = ""
    command: str = ""
    data_note: str = ""

    def __post_init__(self) -> None:
        if self.max_time is None and self.max_steps is None:
            raise UsageError("say how long to train: --max-time 30m or --max-steps 20000")
        if self.batch < 1:
            raise UsageError(f"--batch must be at least 1, not {self.batch}")
        if not self.crops or min(self.crops) < 16:
            raise UsageError("--crop must be at least 16 pixels")
        if not 0 <= self.gray <= 1 or not 0 <= self.clip <= 1:
            raise UsageError("--gray and --clip are shares between 0 and 1")
        if self.lr <= 0:
            raise UsageError(f"--lr must be above 0, not {self.lr}")
        if self.precision not in ("auto", "fp32", "bf16"):
            raise UsageError(f"--precision {self.precision!r}: training knows auto, fp32 and bf16")
