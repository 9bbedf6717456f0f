"""Training: data on the device, the loop, checkpoints."""

from __future__ import annotations

from denoiser.training.loop import TrainResult, train
from denoiser.training.options import TrainOptions

__all__ = ["TrainOptions", "TrainResult", "train"]
