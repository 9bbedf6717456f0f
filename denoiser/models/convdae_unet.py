"""Pooling encoder, transposed convolutions, concatenated skips: the U-shaped one of the ConvDAE project (dawnlh, 2020).

As :mod:`denoiser.models.convdae_long`, but every level of the decoder also sees the encoder's features from before
pooling, so that detail need not pass through an eighth of the resolution.

Taken from the source (its first published version, for pictures of 28 x 28): layers, channel counts, ReLU, transposed
convolutions without bias or activation, all three skips. Its later version cuts the outermost skip for training without
clean pictures, where it would let the noise through. Changed: three colour planes; the last but one layer keeps all its
planes where the source narrows to a single ReLU plane per colour, whose output cannot recover once it is zero; a linear
output, because tanh and ReLU bend or cut the picture's values; no dropout.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from denoiser.models.layers import PICTURE_PRECISIONS, ConvReLU, picture_head, transposed
from denoiser.models.needs import Needs
from denoiser.models.network import Network
from denoiser.models.reach import Span, radius


@dataclass(frozen=True)
class ConvDAEUNetConfig:
    """Size of a :class:`ConvDAEUNet`.

    Attributes
    ----------
    channels : tuple of int
        Feature channels at full, half and quarter resolution.
    middle : int
        Feature channels at an eighth of the resolution.
    """

    channels: tuple[int, int, int] = (32, 64, 64)
    middle: int = 128


class ConvDAEUNet(Network):
    """Makes the clean picture from features of all resolutions; see the module's text.

    Parameters
    ----------
    config : ConvDAEUNetConfig
    """

    def __init__(self, config: ConvDAEUNetConfig) -> None:
        super().__init__()
        self.config = config
        fine, half, quarter = config.channels
        self.encoder = nn.ModuleList([ConvReLU(3, fine), ConvReLU(fine, half), ConvReLU(half, quarter)])
        self.middle = nn.Sequential(ConvReLU(quarter, config.middle), ConvReLU(config.middle, quarter))
        self.up = nn.ModuleList(
            [
                transposed(quarter, quarter, bias=False),
                transposed(quarter, half, bias=False),
                transposed(fine, fine, bias=False),
            ]
        )
        self.decoder = nn.ModuleList(
            [ConvReLU(2 * quarter, quarter), ConvReLU(2 * half, fine), ConvReLU(2 * fine, fine)]
        )
        self.tail = picture_head(fine)

    @property
    def needs(self) -> Needs:
        return Needs(
            channels=3,
            multiple_of=8,
            receptive_field=radius(_read, stride=8),
            needs_range=True,
            precisions=PICTURE_PRECISIONS,
        )

    def forward(self, x: Tensor, white: Tensor) -> Tensor:
        features, skips = x, []
        for layer in self.encoder:
            skips.append(layer(features))
            features = F.max_pool2d(skips[-1], 2)
        features = self.middle(features)  # (N, C, H/8, W/8)
        for up, layer in zip(self.up, self.decoder, strict=True):
            features = layer(torch.cat([up(features), skips.pop()], dim=1))
        estimate: Tensor = self.tail(features)
        return x - estimate


def _read(span: Span) -> Span:
    # The way through the coarsest level is the longest and begins with all that a skip reads: skips add nothing.
    span = span.conv()
    for _ in range(3):
        span = span.conv().transposed()
    span = span.conv(times=2)
    for _ in range(3):
        span = span.pooled().conv()
    return span
