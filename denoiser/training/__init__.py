"""Training: data on the device, the loop, checkpoints."""

from __future__ import annotations

from denoiser.training.loop import TrainResult, train
from denoiser.training.options import TrainOptions
from denoiser.training.watcher import Status

__all__ = ["Status", "TrainOptions", "TrainResult", "train"]
