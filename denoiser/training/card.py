"""The model card of a trained network."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING

import numpy as np
import torch

from denoiser import models
from denoiser.models import Network
from denoiser.weights import Card

if TYPE_CHECKING:
    from denoiser.training.checkpoint import Counters
    from denoiser.training.options import TrainOptions


def make_card(module: Network, options: TrainOptions, counters: Counters, psnr: dict[str, dict[str, float]]) -> Card:
    """Describe a network as it stands."""
    return Card(
        architecture=models.name_of(module),
        config=models.config_of(module),
        name=options.name or models.name_of(module),
        purpose=options.purpose or "denoise pictures like those it was trained on",
        noise=_noise(options),
        parameters=sum(parameter.numel() for parameter in module.parameters()),
        macs_per_pixel=models.macs_per_pixel(module),
        receptive_field=module.needs.receptive_field,
        licence="Apache-2.0",
        data=options.data_note,
        steps=counters.step,
        seed=options.seed,
        command=options.command,
        versions={"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__},
        psnr=psnr,
        notes=_notes(options, counters),
    )


def _notes(options: TrainOptions, counters: Counters) -> str:
    """How long it learned, and from where."""
    learned = f"{counters.megapixels:.0f} megapixels of crops in {counters.seconds / 60:.0f} minutes of training"
    if options.reduced:
        learned += f", of pictures and copies {' and '.join(f'{factor:g}' for factor in options.reduced)} times smaller"
    return f"{learned}, from the weights of {options.init}" if options.init else learned


def _noise(options: TrainOptions) -> str:
    told = f": {options.noise_note}" if options.noise_note else ""
    if options.self_supervised:
        return f"that of the noisy pictures it learned from, without clean ones ({options.self_supervised}){told}"
    if options.noisy:
        return f"that of the pairs of noisy and clean pictures it learned from{told}"
    return (
        " | ".join(options.mixture)
        + f"; {options.gray_share:.0%} gray; {options.clip_share:.0%} clipped and rounded as files are"
        + (f"; {options.patterns:.0%} with a regular fine pattern" if options.patterns else "")
    )
