"""Small networks that honour the contract of :mod:`denoiser.models`, each for one purpose."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from denoiser.models.needs import Needs


class Tiny(nn.Module):
    """A two-level U-Net with random weights, 7.5 k of them.

    The way down takes two steps: a single one of 4 x 4 pixels is computed wrongly in bfloat16 by torch 2.13 on
    processors with AMX, which the self-check would notice.
    """

    needs = Needs(channels=3, multiple_of=4, receptive_field=1 + 4 + 1 + 3)

    def __init__(self, channels: int = 16, seed: int = 0) -> None:
        super().__init__()
        self.head = nn.Conv2d(4, channels, 3, padding=1, bias=False)
        self.down = nn.Sequential(
            nn.Conv2d(channels, channels, 2, stride=2, bias=False),
            nn.Conv2d(channels, 2 * channels, 2, stride=2, bias=False),
        )
        self.middle = nn.Conv2d(2 * channels, 2 * channels, 3, padding=1, bias=False)
        self.up = nn.ConvTranspose2d(2 * channels, channels, 4, stride=4, bias=False)
        self.tail = nn.Conv2d(channels, 3, 3, padding=1, bias=False)
        generator = torch.Generator().manual_seed(seed)
        for weight in self.parameters():
            nn.init.kaiming_normal_(weight, generator=generator)
        self.tail.weight.data *= 0.3

    def forward(self, x: Tensor, white: Tensor) -> Tensor:
        x = F.relu(self.head(torch.cat([x, white.expand(-1, 1, *x.shape[2:])], dim=1)))
        return self.tail(F.relu(x + self.up(F.relu(self.middle(F.relu(self.down(x)))))))


class Identity(nn.Module):
    """Finds no noise anywhere."""

    needs = Needs(channels=3, multiple_of=4, receptive_field=0)

    def forward(self, x: Tensor, white: Tensor) -> Tensor:
        return torch.zeros_like(x)


class Hungry(Tiny):
    """Runs out of memory above a number of pixels in a batch, once that is set, and remembers what it was given."""

    def __init__(self, error: type[Exception] = torch.OutOfMemoryError) -> None:
        super().__init__()
        self.most_pixels: float = math.inf
        self.error = error
        self.seen: list[tuple[int, ...]] = []

    def __deepcopy__(self, memo: object) -> Hungry:
        return self  # so that a test arms, and looks at, the network that is run

    def forward(self, x: Tensor, white: Tensor) -> Tensor:
        self.seen.append(tuple(x.shape))
        if x.shape[0] * x.shape[2] * x.shape[3] > self.most_pixels:
            raise self.error("DefaultCPUAllocator: not enough memory: you tried to allocate 64000000000 bytes.")
        return super().forward(x, white)


class Fragile(Tiny):
    """Gives NaN for bright windows in half precision, as an overflow would."""

    def forward(self, x: Tensor, white: Tensor) -> Tensor:
        residual = super().forward(x, white)
        if x.dtype is torch.float32 or x.dtype is torch.float64:
            return residual
        bright = x.amax(dim=(1, 2, 3), keepdim=True) > 5
        return torch.where(bright, torch.full_like(residual, torch.nan), residual)


class Wrong(Tiny):
    """Gives wrong numbers in the dtypes named, as a faulty library would."""

    def __init__(self, dtypes: tuple[torch.dtype, ...]) -> None:
        super().__init__()
        self.dtypes = dtypes

    def forward(self, x: Tensor, white: Tensor) -> Tensor:
        residual = super().forward(x, white)
        return 1.5 * residual if x.dtype in self.dtypes else residual


class Told(nn.Module):
    """Takes a noise level, and calls that level the noise."""

    needs = Needs(channels=3, multiple_of=1, receptive_field=0, takes_sigma=True)

    def forward(self, x: Tensor, white: Tensor, sigma: Tensor) -> Tensor:
        return sigma.expand_as(x)


class Local(nn.Module):
    """A blur of radius ``reach`` that counts next to nothing beyond ``near``: a wide field, mostly unused."""

    def __init__(self, reach: int, near: int) -> None:
        super().__init__()
        self.needs = Needs(channels=3, multiple_of=2, receptive_field=reach)
        side = 2 * reach + 1
        weight = torch.full((1, 1, side, side), 1e-9)
        weight[:, :, reach - near : reach + near + 1, reach - near : reach + near + 1] = 1 / (2 * near + 1) ** 2
        self.register_buffer("weight", weight)
        self.reach = reach

    def forward(self, x: Tensor, white: Tensor) -> Tensor:
        planes = x.flatten(0, 1)[:, None]
        return x - F.conv2d(planes, self.weight, padding=self.reach).reshape(x.shape)
