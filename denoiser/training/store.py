"""Training pictures in memory, and square crops cut from them on the device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from denoiser.errors import InputError
from denoiser.inference import devices
from denoiser.training.folder import Picture

SHARE = 0.5
"""Of a device's free memory that pictures may take: the rest is for the network."""


@dataclass(frozen=True, eq=False)
class Places:
    """Where a batch of crops lies: which pictures, and which of the store's pixels, (N, S, S)."""

    picture: NDArray[np.int64]
    index: Tensor


@dataclass(frozen=True, eq=False)
class Crops:
    """A batch of crops.

    Attributes
    ----------
    values : Tensor
        (N, S, S, 3), float32, in units of the value range.
    step : Tensor
        (N, 1, 1, 1): distance of neighbouring values of the files; 0 for floats.
    white : Tensor
        (N, 1, 1, 1): 1 where the file clips at 1, else 0.
    gray : ndarray
        (N,), bool: cut from a gray picture.
    """

    values: Tensor
    step: Tensor
    white: Tensor
    gray: NDArray[np.bool_]


class PictureStore:
    """All training pictures as one flat tensor of pixels as stored, so that a batch of crops is one gather.

    Parameters
    ----------
    pictures : sequence of Picture
        Gray ones are held as three equal channels where there are others. The tensor has the widest type among them: 8
        or 16 bit, or float32.
    device : torch.device
        Where the crops come out, and where the pixels are kept if they leave enough room there.

    Raises
    ------
    InputError
        If there is no memory for them.
    """

    def __init__(self, pictures: Sequence[Picture], device: torch.device) -> None:
        self.shapes = np.array([picture.pixels.shape[:2] for picture in pictures], dtype=np.int64)  # (P, 2)
        areas = self.shapes.prod(axis=1)
        self.offsets = np.concatenate([[0], np.cumsum(areas)[:-1]])
        # Large pictures are drawn as often as their area says: every pixel is equally likely.
        self.probabilities = areas / areas.sum()
        self.traits = np.array([(picture.scale, picture.step, picture.white) for picture in pictures], np.float32)
        self.gray = np.array([picture.pixels.shape[2] == 1 for picture in pictures])
        held = np.result_type(*(picture.pixels.dtype for picture in pictures))
        # torch computes little with uint16: the same bits travel as int16 and get their sign taken off in crops().
        self.is_wide = held == np.uint16
        dtype = {"uint8": torch.uint8, "uint16": torch.int16}.get(held.name, torch.float32)
        self.device = device
        self.pixels = _room(int(areas.sum()), 1 if self.gray.all() else 3, dtype, device)
        for offset, picture in zip(self.offsets, pictures, strict=True):
            flat = picture.pixels.reshape(-1, picture.pixels.shape[2]).astype(held, copy=False)
            tensor = torch.from_numpy(flat.view(np.int16) if self.is_wide else flat)
            self.pixels[offset : offset + len(flat)] = tensor.to(self.pixels.device)

    def places(self, generator: np.random.Generator, count: int, size: int) -> Places:
        """Random square crops under random flips and rotations."""
        picture = generator.choice(len(self.shapes), count, p=self.probabilities)
        height, width = self.shapes[picture, 0], self.shapes[picture, 1]
        top = generator.integers(0, height - size + 1)
        left = generator.integers(0, width - size + 1)
        flips = generator.integers(0, 8, count)
        along = torch.arange(size, device=self.pixels.device)

        # The eight symmetries of the square are index arithmetic: mirrored rows, mirrored columns, swapped axes.
        rows = torch.where(self._column(flips & 1) > 0, size - 1 - along, along) + self._column(top)  # (N, S)
        columns = torch.where(self._column(flips & 2) > 0, size - 1 - along, along) + self._column(left)
        rows, columns = (rows * self._column(width))[:, :, None], columns[:, None, :]
        index = self._column(self.offsets[picture])[:, :, None] + rows + columns  # (N, S, S)
        swap = (self._column(flips & 4) > 0)[:, :, None]
        return Places(picture, torch.where(swap, index.transpose(1, 2), index))

    def crops(self, places: Places) -> Crops:
        """The pixels at some places. A store of equally large pictures has other pictures' pixels at the same ones."""
        index = places.index.to(self.pixels.device)
        stored = self.pixels[index.reshape(-1)].reshape(*index.shape, -1).to(self.device)
        values = (stored.int() & 0xFFFF).float() if self.is_wide else stored.float()
        traits = torch.from_numpy(self.traits[places.picture]).to(self.device)
        scale, step, white = (trait.reshape(-1, 1, 1, 1) for trait in traits.unbind(dim=1))
        values = values.mul_(scale)
        if values.shape[3] == 1:
            values = values.repeat(1, 1, 1, 3)
        return Crops(values, step, white, self.gray[places.picture])

    def _column(self, values: NDArray[Any]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values, dtype=np.int64)).to(self.pixels.device)[:, None]


def _room(pixels: int, channels: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """A tensor for all pixels: on the device, or in the memory of the CPU where it would leave too little of that."""
    needed = pixels * channels * dtype.itemsize
    host = torch.device("cpu")
    beside = device.type != "cpu" and needed <= SHARE * devices.free_memory(device)
    free = devices.free_memory(host)
    if not beside and needed > free:
        raise InputError(
            f"the pictures take {needed / 1e9:,.1f} GB, more than is free ({free / 1e9:,.1f} GB); give fewer, "
            "or cut them into crops and give some of these"
        )
    return torch.empty((pixels, channels), dtype=dtype, device=device if beside else host)
