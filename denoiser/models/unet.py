"""The flagship: a bias-free residual U-Net behind a pixel-unshuffle stem.

Plain 3x3 convolutions on a few dozen channels at half resolution are what CPUs and GPUs run fastest
per multiplication, so nothing here works at full resolution, and there are no norms, gates or
attention. Downsampling is a 2x2 strided convolution, upsampling a 2x2 transposed one, skips are added.

The shape that learns fastest is not the one that becomes best. PSNR of the validation crops at sigma 15/25/50
(literature protocol) after four minutes on one core, and after 90,000 and (in 101 minutes) 67,000 steps:

==================  ==========  ==========  =======  =================  =================
channels            blocks      parameters  kMAC/px  four minutes       in the end
==================  ==========  ==========  =======  =================  =================
48, 80, 128         1, 1, 4     1.62 M      60       33.50/31.06/27.96  34.24/31.77/28.69
64, 64, 64, 128     1, 1, 1, 4  1.77 M      60       33.54/31.06/27.91
64, 64, 128         1, 1, 2     1.00 M      62       33.69/31.22/28.07  34.18/31.71/28.59
==================  ==========  ==========  =======  =================  =================

65 minutes more of two cores, from a lower rate on larger crops, brought the first to 34.29/31.82/28.74, and 24 with
regular patterns over some crops to the same figures, but without wiping such patterns out (``examples/patterns.py``).

Without biases, with ReLU alone, the network is positively homogeneous (Mohan et al. 2020, "Robust and
interpretable blind image denoising via bias-free convolutional neural networks"): f(a x, a w) =
a f(x, w) for a > 0. It therefore needs no guessed value range and generalises over noise levels. It
could not know where the container clips, so the white level enters as a fourth plane: 0 when unknown.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from denoiser.models.layers import relu_of, sum_of
from denoiser.models.needs import Needs
from denoiser.models.network import Network
from denoiser.models.rows import ACROSS, Chain, Edges, Flow, Layer, Part, Run, Scale, convolution, ended, padded


@dataclass(frozen=True)
class UNetConfig:
    """Size of a :class:`UNet`.

    Attributes
    ----------
    channels : tuple of int
        Feature channels at each scale, finest first; the finest runs at 1/stem of full resolution.
    blocks : tuple of int
        Residual blocks per scale, in the encoder and again in the decoder (the coarsest once).
    stem : int
        Factor of the pixel-unshuffle in front.
    """

    channels: tuple[int, ...] = (48, 80, 128)
    blocks: tuple[int, ...] = (1, 1, 4)
    stem: int = 2

    def __post_init__(self) -> None:
        if len(self.channels) != len(self.blocks):
            raise ValueError(f"{len(self.channels)} channel counts, but {len(self.blocks)} block counts")


class ResidualBlock(nn.Module):
    """x + conv(relu(conv(x))), 3x3, no biases."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        # The block starts as the identity: deep stacks then train at full learning rate from step one.
        nn.init.zeros_(self.conv2.weight)

    def forward(self, x: Tensor) -> Tensor:
        return sum_of(x, self.conv2, relu_of(self.conv1, x))

    def rows(self, x: Tensor, edges: Edges) -> Tensor:
        """The same for some rows of a picture; two are lost at each end that is not an edge."""
        inner = ended(relu_of(self.conv1, padded(x, edges), ACROSS), edges)
        own = x[:, :, 0 if edges.top else 2 : x.shape[2] - (0 if edges.bottom else 2)]
        return ended(sum_of(own, self.conv2, padded(inner, edges), padding=ACROSS), edges)


def _blocks(channels: int, count: int) -> nn.Sequential:
    return nn.Sequential(*[ResidualBlock(channels) for _ in range(count)])


def _layers(blocks: nn.Module) -> list[Layer]:
    return [Layer(cast(ResidualBlock, block).rows, 2) for block in blocks.children()]


class UNet(Network):
    """Estimates the noise in a picture; see the module's text for the design.

    Parameters
    ----------
    config : UNetConfig
    """

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        channels, stem = config.channels, config.stem
        steps = list(pairwise(channels))
        self.head = nn.Conv2d(4 * stem**2, channels[0], 3, padding=1, bias=False)
        self.encoder = nn.ModuleList(_blocks(c, n) for c, n in zip(channels[:-1], config.blocks, strict=False))
        self.down = nn.ModuleList(nn.Conv2d(fine, coarse, 2, stride=2, bias=False) for fine, coarse in steps)
        self.middle = _blocks(channels[-1], config.blocks[-1])
        self.up = nn.ModuleList(nn.ConvTranspose2d(coarse, fine, 2, stride=2, bias=False) for fine, coarse in steps)
        self.decoder = nn.ModuleList(_blocks(c, n) for c, n in zip(channels[:-1], config.blocks, strict=False))
        self.tail = nn.Conv2d(channels[0], 3 * stem**2, 3, padding=1, bias=False)
        nn.init.zeros_(self.tail.weight)
        self._is_split = False

    @property
    def needs(self) -> Needs:
        stem, blocks = self.config.stem, self.config.blocks
        coarsest = stem * 2 ** (len(blocks) - 1)
        # Each 3x3 convolution reaches one of its own pixels further; head and tail are two of them.
        reach = 2 * stem + sum(4 * n * stem * 2**i for i, n in enumerate(blocks[:-1])) + 2 * blocks[-1] * coarsest
        return Needs(
            channels=3,
            multiple_of=coarsest,
            receptive_field=reach + coarsest - 1,
            flows=True,
            splits=True,
        )

    def split_input(self) -> None:
        """Take pictures in fp32, each value as what the type of the weights makes of it and what that leaves over."""
        colours = self.needs.channels * self.config.stem**2
        weight = torch.cat([self.head.weight[:, :colours], self.head.weight], dim=1)
        self.head = nn.Conv2d(weight.shape[1], weight.shape[0], 3, padding=1, bias=False)
        self.head.weight = nn.Parameter(weight.detach(), requires_grad=False)
        self._is_split = True

    def forward(self, x: Tensor, white: Tensor) -> Tensor:
        x = self.head(self._planes(x, white))
        skips = []
        for blocks, down in zip(self.encoder, self.down, strict=True):
            x = blocks(x)
            skips.append(x)
            x = down(x)
        x = self.middle(x)
        for blocks, up in zip(reversed(self.decoder), reversed(self.up), strict=True):
            x = blocks(up(x).add_(skips.pop()))
        return F.pixel_shuffle(self.tail(x), self.config.stem)

    def flow(self) -> Flow:
        """A pass down one picture that gives what :meth:`forward` gives, a few rows at a time."""
        head, tail = [convolution(self.head)], [convolution(self.tail)]
        if not self.encoder:
            parts: Part = Run([*head, *_layers(self.middle), *tail])
        else:
            parts = Chain([Run([layer]) for layer in _layers(self.middle)])
        for index in reversed(range(len(self.encoder))):
            finest = index == 0
            encode = Run([*(head if finest else []), *_layers(self.encoder[index])], multiple=2)
            decode = Run([*_layers(self.decoder[index]), *(tail if finest else [])])
            parts = Scale(encode, self.down[index], parts, self.up[index], decode)
        return Flow(self._planes, parts, partial(F.pixel_shuffle, upscale_factor=self.config.stem), len(self.down))

    def _planes(self, x: Tensor, white: Tensor) -> Tensor:
        """What the first convolution sees, (N, 4 s s, H/s, W/s), or (N, 7 s s, H/s, W/s) where the input is split."""
        if self._is_split:
            kept = x.to(white.dtype)
            x = torch.cat([(x - kept).to(white.dtype), kept], dim=1)
        x = torch.cat([x, white.expand(-1, 1, x.shape[2], x.shape[3])], dim=1)
        # pixel_unshuffle drops channels_last; every convolution after it would pay for the reorder.
        return F.pixel_unshuffle(x, self.config.stem).contiguous(memory_format=torch.channels_last)
