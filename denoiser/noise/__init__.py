"""Kinds of corruption and the grammar that names them. Never imports torch."""

from __future__ import annotations

from denoiser.noise.kinds import KINDS, Gaussian, Noise, NumpyRandom, PoissonGaussian, Random, Range
from denoiser.noise.protocol import PROTOCOLS, noisy_version
from denoiser.noise.spec import Mixture, parse, parse_mixture

__all__ = [
    "KINDS",
    "PROTOCOLS",
    "Gaussian",
    "Mixture",
    "Noise",
    "NumpyRandom",
    "PoissonGaussian",
    "Random",
    "Range",
    "noisy_version",
    "parse",
    "parse_mixture",
]
