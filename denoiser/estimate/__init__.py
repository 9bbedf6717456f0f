"""The noise of a picture, from the picture alone, and which bundled network suits it.

>>> import numpy as np
>>> from denoiser.estimate import choose, estimate
>>> noisy = np.random.default_rng(0).normal(0.5, 10 / 255, (256, 256, 1)).astype(np.float32)
>>> found = estimate([noisy], clips=False)
>>> round(found.sigma), found.kind, choose(found).model
(10, 'white', 'unet')
"""

from __future__ import annotations

from denoiser.estimate.advice import MODELS, WHITE_MODEL, Advice, choose
from denoiser.estimate.core import ChannelNoise, Estimate, estimate
from denoiser.estimate.grid import quality_of
from denoiser.estimate.sample import PIXELS, Strip, few, windows

__all__ = [
    "MODELS",
    "PIXELS",
    "WHITE_MODEL",
    "Advice",
    "ChannelNoise",
    "Estimate",
    "Strip",
    "choose",
    "estimate",
    "few",
    "quality_of",
    "windows",
]
