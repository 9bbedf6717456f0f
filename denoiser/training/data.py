"""Training pictures in memory, and batches of noisy crops cut from them on the device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from denoiser.noise import Mixture

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
        return torch.poisson(mean, generator=self.generator)

    def where(self, chosen: Tensor, value: Tensor | float, x: Tensor) -> Tensor:
        return torch.where(chosen, value, x)

    def array(self, values: NDArray[Any]) -> Tensor:
        return torch.from_numpy(values).to(self.generator.device)


class PictureStore:
    """All training pictures as one flat tensor of 8-bit pixels, so that a batch of crops is one gather.

    Parameters
    ----------
    pictures : sequence of ndarray
        uint8, (H, W, 3) each.
    device : torch.device
        Where the pixels are kept and the crops come out.
    """

    def __init__(self, pictures: Sequence[NDArray[np.uint8]], device: torch.device) -> None:
        self.shapes = np.array([picture.shape[:2] for picture in pictures], dtype=np.int64)  # (P, 2)
        areas = self.shapes.prod(axis=1)
        self.offsets = np.concatenate([[0], np.cumsum(areas)[:-1]])
        # Large pictures are drawn as often as their area says: every pixel is equally likely.
        self.probabilities = areas / areas.sum()
        self.pixels = torch.empty((int(areas.sum()), 3), dtype=torch.uint8, device=device)
        for offset, picture in zip(self.offsets, pictures, strict=True):
            flat = torch.from_numpy(np.ascontiguousarray(picture).reshape(-1, 3))
            self.pixels[offset : offset + len(flat)] = flat.to(device)

    def crops(self, generator: np.random.Generator, count: int, size: int) -> Tensor:
        """Random square crops under random flips and rotations, (count, size, size, 3), uint8."""
        picture = generator.choice(len(self.shapes), count, p=self.probabilities)
        height, width = self.shapes[picture, 0], self.shapes[picture, 1]
        top = generator.integers(0, height - size + 1)
        left = generator.integers(0, width - size + 1)
        flips = generator.integers(0, 8, count)
        device = self.pixels.device
        along = torch.arange(size, device=device)

        def column(values: NDArray[Any]) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(values, dtype=np.int64)).to(device)[:, None]

        # The eight symmetries of the square are index arithmetic: mirrored rows, mirrored columns, swapped axes.
        rows = torch.where(column(flips & 1) > 0, size - 1 - along, along) + column(top)  # (N, S)
        columns = torch.where(column(flips & 2) > 0, size - 1 - along, along) + column(left)
        rows, columns = (rows * column(width))[:, :, None], columns[:, None, :]
        index = column(self.offsets[picture])[:, :, None] + rows + columns  # (N, S, S)
        swap = (column(flips & 4) > 0)[:, :, None]
        index = torch.where(swap, index.transpose(1, 2), index)
        return self.pixels[index.reshape(-1)].reshape(count, size, size, 3)


def noisy_batch(
    crops: Tensor, mixture: Mixture, gray: float, clip: float, generator: np.random.Generator, random: TorchRandom
) -> tuple[Tensor, Tensor, Tensor]:
    """Clean and noisy versions of a batch of crops, and the white level that the network is told.

    Parameters
    ----------
    crops : Tensor
        (N, S, S, 3), uint8.
    mixture : Mixture
        Each crop gets one of its kinds.
    gray, clip : float
        Shares of crops that become gray, and whose noisy version is clipped and rounded to 8 bit.
    generator, random
        For the choices (host) and the noise (device).

    Returns
    -------
    clean, noisy : Tensor
        (N, 3, S, S), float32, channels_last.
    white : Tensor
        (N, 1, 1, 1): 1 where clipping is known to happen at 1, else 0.
    """
    count = len(crops)
    clean = crops.float().div_(255)  # (N, S, S, 3)
    noisy = torch.empty_like(clean)
    is_gray = generator.random(count) < gray
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
    noisy[chosen] = noisy[chosen].clamp(0, 1).mul_(255).round_().div_(255)
    # The level is dropped now and then from clipped crops (floats made from 8-bit files), and told for some
    # unclipped ones (a file whose range is hardly used): the network must use it, not lean on it.
    draw = generator.random(count)
    told = torch.from_numpy(np.where(is_clipped, draw > 0.1, draw > 0.7).astype(np.float32)).to(clean.device)
    return clean.permute(0, 3, 1, 2), noisy.permute(0, 3, 1, 2), told.reshape(-1, 1, 1, 1)
