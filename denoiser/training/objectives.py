"""What a network is taught: how a batch is made, and what its loss is. One is chosen per run.

=============  ==========================  =========================================================
objective      pictures                    what the network sees, and what it must tell
=============  ==========================  =========================================================
Synthetic      clean                       clean + noise of a mixture; the clean picture
Pairs          noisy and clean             the noisy picture; the clean one
Mask           noisy alone                 the picture with pixels dropped; the picture
BlindSpot      noisy alone                 some pixels replaced by a neighbour; those pixels as they were
Neighbours     noisy alone                 every second pixel; the pixels beside them
=============  ==========================  =========================================================
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from denoiser.models import Network
from denoiser.noise import Mixture
from denoiser.training.data import TorchRandom, noisy_batch
from denoiser.training.patterns import lay_patterns
from denoiser.training.store import PictureStore

DROPPED = 0.3
"""Mean share of pixels that :class:`Mask` drops, as in the masking autoencoder that it follows."""
BLIND = 0.05
"""Share of pixels that :class:`BlindSpot` replaces: few, so that their neighbourhoods stay whole."""
REACH = 2
"""A replacing pixel lies at most so many rows and columns away: the 5 x 5 window of Krull et al."""
CONSISTENCY = 1.0
"""Weight of the second term of :class:`Neighbours`."""


@dataclass(frozen=True, eq=False)
class Batch:
    """Crops as a network takes them.

    Attributes
    ----------
    noisy, target : Tensor
        (N, 3, S, S), float32.
    white : Tensor
        (N, 1, 1, 1), as for :meth:`denoiser.models.Network.forward`.
    where : Tensor
        (N, 1, S, S): 1 where the target counts, or one value for all pixels, (N, 1, 1, 1).
    cells : Tensor
        (N, S / 2, S / 2), which two pixels of each cell :class:`Neighbours` takes; (N, 0) for others.
    """

    noisy: Tensor
    target: Tensor
    white: Tensor
    where: Tensor
    cells: Tensor

    def part(self, which: slice) -> Batch:
        """Some of the samples."""
        return Batch(self.noisy[which], self.target[which], self.white[which], self.where[which], self.cells[which])


class Objective(Protocol):
    """One way to teach."""

    def draw(self, count: int, size: int, host: np.random.Generator, random: TorchRandom) -> Batch:
        """A batch of crops; choices come from ``host``, pixels' random numbers from ``random``."""
        ...

    def loss(self, module: Network, batch: Batch) -> Tensor:
        """A scalar."""
        ...

    def distance(self, module: Network, batch: Batch) -> Tensor:
        """How far the prediction is off, a scalar above 0: the loss, unless the architecture has its own."""
        ...


def root_mean_square(error: Tensor, where: Tensor | float = 1.0) -> Tensor:
    """Mean over crops of the root of the mean squared error.

    PSNR counts the logarithm of a picture's squared error; plain MSE counts it linearly, which lets the noisiest
    crops of a batch drown the rest. The root lies between. Measured from one state over 600 equal steps, change in
    PSNR against the root of L1 (literature 15/50, file 15/50): RMSE +0.04/+0.07/+0.01/+0.21, L1 0/+0.02/-0.02/+0.19,
    MSE -0.10/0/-0.07/+0.49 dB. Losses that favour weak noise are slow to learn that clipping shifts the mean.

    Parameters
    ----------
    error : Tensor
        (N, C, H, W).
    where : Tensor
        (N, 1, H, W), weights of the pixels; one value per crop weighs nothing.
    """
    square = error.square()
    if isinstance(where, Tensor) and where.shape[2:] == error.shape[2:]:
        mean = (square * where).sum(dim=(1, 2, 3)) / (where.sum(dim=(1, 2, 3)) * error.shape[1]).clamp(min=1)
    else:
        mean = square.mean(dim=(1, 2, 3))
    # The small addend keeps the slope finite where a crop is already right.
    return mean.add(1e-6).sqrt().mean()


class _Restoring:
    """The loss of those that show one picture and ask for another: the architecture's own where it has one."""

    def loss(self, module: Network, batch: Batch) -> Tensor:
        own = module.objective(batch.noisy, batch.white, batch.target)
        return self.distance(module, batch) if own is None else own

    def distance(self, module: Network, batch: Batch) -> Tensor:
        return root_mean_square(batch.noisy - module(batch.noisy, batch.white).float() - batch.target)


@dataclass(frozen=True)
class Synthetic(_Restoring):
    """Clean pictures, noise of a mixture made anew for every crop.

    Attributes
    ----------
    gray, clip, patterns : float
        Shares of crops made gray, clipped and rounded as files are, and laid over with a regular fine pattern.
    """

    store: PictureStore
    mixture: Mixture
    gray: float
    clip: float
    patterns: float = 0.0

    def draw(self, count: int, size: int, host: np.random.Generator, random: TorchRandom) -> Batch:
        crops = self.store.crops(self.store.places(host, count, size))
        if self.patterns:
            lay_patterns(crops, self.patterns, host)
        clean, noisy, white = noisy_batch(crops, self.mixture, self.gray, self.clip, host, random)
        return _everywhere(noisy, clean, white)


@dataclass(frozen=True)
class Pairs(_Restoring):
    """Noisy pictures and clean ones of the same sizes, in the same order."""

    noisy: PictureStore
    clean: PictureStore

    def draw(self, count: int, size: int, host: np.random.Generator, random: TorchRandom) -> Batch:
        places = self.clean.places(host, count, size)
        noisy, clean = self.noisy.crops(places), self.clean.crops(places)
        return _everywhere(_channels_first(noisy.values), _channels_first(clean.values), noisy.white)


@dataclass(frozen=True)
class Mask(_Restoring):
    """The masking autoencoder: pixels of the input are dropped, the target is the noisy picture, everywhere.

    Dropout on the input with survivors divided by 1 - p, as in the source, but with a p of its own for each crop, from
    none to twice that of the source: behind a maximum pooling a network that has only seen brightened survivors makes
    whole pictures too dark. What cannot be told from the surroundings is lost in a bottleneck. A network with a
    connection around its bottleneck can hand every surviving pixel through, noise and all.
    """

    store: PictureStore

    def draw(self, count: int, size: int, host: np.random.Generator, random: TorchRandom) -> Batch:
        crops = self.store.crops(self.store.places(host, count, size))
        picture = _channels_first(crops.values)
        dropped = 2 * DROPPED * random.uniform((count, 1, 1, 1))
        kept = random.uniform((count, 1, size, size)) >= dropped
        return _everywhere(picture * kept / (1 - dropped), picture, crops.white)


class _Hiding:
    """The loss of those that ask for pixels that the network does not see: how far the prediction is off."""

    def loss(self, module: Network, batch: Batch) -> Tensor:
        return self.distance(module, batch)

    def distance(self, module: Network, batch: Batch) -> Tensor:
        raise NotImplementedError


@dataclass(frozen=True)
class BlindSpot(_Hiding):
    """Noise2Void (Krull, Buchholz, Jug 2019): pixels are replaced by a neighbour, and the loss looks at those alone.

    A network cannot tell which pixels were replaced, so it learns to predict each from its surroundings. It needs noise
    that is independent from pixel to pixel.
    """

    store: PictureStore

    def draw(self, count: int, size: int, host: np.random.Generator, random: TorchRandom) -> Batch:
        crops = self.store.crops(self.store.places(host, count, size))
        picture = _channels_first(crops.values)
        side = 2 * REACH + 1
        # Every offset of the window but its middle, equally likely.
        choice = (random.uniform((count, size, size)) * (side**2 - 1)).long().clamp(max=side**2 - 2)
        choice = choice + (choice >= side**2 // 2)
        along = torch.arange(size, device=picture.device)
        rows = _inside(along[:, None], choice // side - REACH, size)  # (N, S, S)
        columns = _inside(along, choice % side - REACH, size)
        index = (rows * size + columns).reshape(count, 1, -1).expand(-1, 3, -1)
        neighbour = picture.flatten(2).gather(2, index).view_as(picture)
        where = (random.uniform((count, 1, size, size)) < BLIND).float()
        noisy = torch.where(where > 0, neighbour, picture)
        return Batch(noisy, picture, crops.white, where, crops.white.new_empty(count, 0))

    def distance(self, module: Network, batch: Batch) -> Tensor:
        estimate = batch.noisy - module(batch.noisy, batch.white).float()
        return root_mean_square(estimate - batch.target, batch.where)


@dataclass(frozen=True)
class Neighbours(_Hiding):
    """Neighbor2Neighbor (Huang et al. 2021): two thinned pictures of one, noise differs, content hardly does.

    From each cell of 2 x 2 pixels two that touch are drawn, one for the input, one for the target. The second term
    (eq. 7) takes away what the shift of the content by one pixel would blur. It needs noise that is independent from
    pixel to pixel.
    """

    store: PictureStore

    def draw(self, count: int, size: int, host: np.random.Generator, random: TorchRandom) -> Batch:
        crops = self.store.crops(self.store.places(host, count, size))
        picture = _channels_first(crops.values)
        cells = (random.uniform((count, size // 2, size // 2)) * 8).long().clamp(max=7)
        return Batch(picture, picture, crops.white, torch.ones_like(crops.white), cells)

    def distance(self, module: Network, batch: Batch) -> Tensor:
        one, other = _thinned(batch.noisy, batch.cells)
        # First: autocast keeps the weights of the first pass, in older versions of torch without their gradients.
        error = one - module(one, batch.white).float() - other
        with torch.no_grad():
            whole = batch.noisy - module(batch.noisy, batch.white).float()
        smooth_one, smooth_other = _thinned(whole, batch.cells)
        gap = error - (smooth_one - smooth_other)
        # Both terms under one root: the crop's squared error of the paper.
        return root_mean_square(torch.cat([error, CONSISTENCY**0.5 * gap], dim=1))


SELF_SUPERVISED: dict[str, type[Mask] | type[BlindSpot] | type[Neighbours]] = {
    "mask": Mask,
    "blind-spot": BlindSpot,
    "neighbours": Neighbours,
}
"""Ways to learn from noisy pictures alone."""


def _everywhere(noisy: Tensor, target: Tensor, white: Tensor) -> Batch:
    return Batch(noisy, target, white, torch.ones_like(white), white.new_empty(len(white), 0))


def _channels_first(values: Tensor) -> Tensor:
    """(N, S, S, 3) -> (N, 3, S, S), channels_last in memory."""
    return values.permute(0, 3, 1, 2)


def _inside(start: Tensor, step: Tensor, size: int) -> Tensor:
    """``start + step``, or ``start - step`` where that lies outside 0 to size - 1; mirrored, it could be ``start``."""
    end = start + step
    return torch.where((end < 0) | (end >= size), start - step, end)


def _thinned(picture: Tensor, cells: Tensor) -> tuple[Tensor, Tensor]:
    """Two pixels of every 2 x 2 cell that touch.

    Parameters
    ----------
    picture : Tensor
        (N, C, S, S).
    cells : Tensor
        (N, S / 2, S / 2), 0 to 7: which of the eight ordered pairs.
    """
    count, channels, height, width = picture.shape
    grid = picture.reshape(count, channels, height // 2, 2, width // 2, 2).permute(0, 1, 2, 4, 3, 5).flatten(4)
    # Corners of a cell in reading order; each touches two others.
    first = cells // 2
    second = torch.where(cells % 2 == 0, first ^ 1, first ^ 2)
    index = torch.stack([first, second], dim=-1)[:, None].expand(-1, channels, -1, -1, -1)  # (N, C, S/2, S/2, 2)
    one, other = grid.gather(4, index).unbind(dim=-1)
    return one, other
