"""Batches of noisy crops, made on the device."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from denoiser.noise import Mixture
from denoiser.training.store import Crops

LUMA = (0.299, 0.587, 0.114)
"""Weights of R, G, B in gray (ITU-R BT.601)."""


class TorchRandom:
    """A :class:`denoiser.noise.Random` of tensors on the generator's device."""

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator

    def normal(self, shape: tuple[int, ...]) -> Tensor:
        return torch.randn(shape, generator=self.generator, device=self.generator.device)

    def uniform(self, shape: tuple[int, ...]) -> Tensor:
        return torch.rand(shape, generator=self.generator, device=self.generator.device)

    def poisson(self, mean: Tensor) -> Tensor:
        if mean.device.type == "mps":  # which has no such operator
            seed = int(torch.randint(2**31, (1,), generator=self.generator, device=mean.device))
            return torch.poisson(mean.cpu(), torch.Generator().manual_seed(seed)).to(mean.device)
        return torch.poisson(mean, generator=self.generator)

    def where(self, chosen: Tensor, value: Tensor | float, x: Tensor) -> Tensor:
        return torch.where(chosen, value, x)

    def array(self, values: NDArray[Any]) -> Tensor:
        return torch.from_numpy(values).to(self.generator.device)

    def zeros(self, shape: tuple[int, ...]) -> Tensor:
        return torch.zeros(shape, device=self.generator.device)

    def power(self, x: Tensor, exponent: Tensor | float) -> Tensor:
        return (x.log() * exponent).exp()  # on a CPU in a fifth of the time of torch.pow


def noisy_batch(
    crops: Crops, mixture: Mixture, gray: float, clip: float, generator: np.random.Generator, random: TorchRandom
) -> tuple[Tensor, Tensor, Tensor]:
    """Clean and noisy versions of a batch of crops, and the white level that the network is told.

    Parameters
    ----------
    crops : Crops
        Their values are changed.
    mixture : Mixture
        Each crop gets one of its kinds.
    gray, clip : float
        Shares of crops that become gray, and whose noisy version is clipped and rounded as their files are.
    generator, random
        For the choices (host) and the noise (device).

    Returns
    -------
    clean, noisy : Tensor
        (N, 3, S, S), float32, channels_last.
    white : Tensor
        (N, 1, 1, 1): 1 where clipping is known to happen at 1, else 0.
    """
    clean = crops.values  # (N, S, S, 3)
    count = len(clean)
    noisy = torch.empty_like(clean)
    is_gray = (generator.random(count) < gray) | crops.gray
    kind = generator.choice(len(mixture.kinds), count, p=mixture.weights)
    for index, noise in enumerate(mixture.kinds):
        if len(colour := np.flatnonzero((kind == index) & ~is_gray)):
            noisy[colour] = noise.apply(clean[colour], random)
        if len(chosen := np.flatnonzero((kind == index) & is_gray)):
            # A gray file has one channel: its noise is the same in all three that the network sees.
            single = clean[chosen] @ clean.new_tensor(LUMA)[:, None]  # (n, S, S, 1)
            clean[chosen] = single.expand(-1, -1, -1, 3)
            noisy[chosen] = noise.apply(single, random).expand(-1, -1, -1, 3)
    is_clipped = generator.random(count) < clip
    chosen = np.flatnonzero(is_clipped)
    # What goes below black is of signed numbers, which do not end there.
    least = torch.where(clean[chosen].amin((1, 2, 3), keepdim=True) < 0, -1.0, 0.0)
    clipped, step = noisy[chosen].clamp(max=1).maximum(least), crops.step[chosen]
    noisy[chosen] = torch.where(step > 0, (clipped / step).round() * step, clipped)
    # The level is dropped now and then from clipped crops (floats made from 8-bit files), and told for some
    # unclipped ones (a file whose range is hardly used): the network must use it, not lean on it.
    draw = generator.random(count)
    told = torch.from_numpy(np.where(is_clipped, draw > 0.1, draw > 0.7).astype(np.float32)).to(clean.device)
    return clean.permute(0, 3, 1, 2), noisy.permute(0, 3, 1, 2), told.reshape(-1, 1, 1, 1)
