"""Kinds of corruption and the grammar that names them. Never imports torch."""

from __future__ import annotations

from denoiser.noise.base import Noise, NumpyRandom, Random, Range
from denoiser.noise.grain import Gaussian, PoissonGaussian
from denoiser.noise.kinds import KINDS, Chain, parts
from denoiser.noise.protocol import PROTOCOLS, noisy_version
from denoiser.noise.spec import Mixture, explain, parse, parse_mixture

__all__ = [
    "KINDS",
    "PROTOCOLS",
    "Chain",
    "Gaussian",
    "Mixture",
    "Noise",
    "NumpyRandom",
    "PoissonGaussian",
    "Random",
    "Range",
    "explain",
    "noisy_version",
    "parse",
    "parse_mixture",
    "parts",
]
