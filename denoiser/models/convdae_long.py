"""Pooling encoder, transposed convolutions, no skips: the "long" network of the ConvDAE project (dawnlh, 2020).

Three times 3x3 convolution and pooling, two convolutions at an eighth of the resolution, three times transposed
convolution and convolution. The counterpart of :mod:`denoiser.models.convdae_unet` without skips.

Taken from the source (its first published version, for pictures of 28 x 28): layers, channel counts, ReLU, transposed
convolutions without bias or activation. Its later version has kernels as large as an eighth of a fixed picture, which
fit no other size. Changed: three colour planes; the last but one layer keeps all its planes where the source narrows to
a single ReLU plane per colour, whose output cannot recover once it is zero; a linear output, because tanh and ReLU bend
or cut the picture's values; no dropout.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from denoiser.models.layers import PICTURE_PRECISIONS, ConvReLU, picture_head, transposed
from denoiser.models.needs import Needs
from denoiser.models.network import Network
from denoiser.models.reach import Span, radius


@dataclass(frozen=True)
class ConvDAELongConfig:
    """Size of a :class:`ConvDAELong`.

    Attributes
    ----------
    channels : tuple of int
        Feature channels at full, half and quarter resolution.
    middle : int
        Feature channels at an eighth of the resolution.
    """

    channels: tuple[int, int, int] = (32, 64, 64)
    middle: int = 128


class ConvDAELong(Network):
    """Makes the clean picture from features at an eighth of the resolution; see the module's text.

    Parameters
    ----------
    config : ConvDAELongConfig
    """

    def __init__(self, config: ConvDAELongConfig) -> None:
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
        self.decoder = nn.ModuleList([ConvReLU(quarter, quarter), ConvReLU(half, fine), ConvReLU(fine, fine)])
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
        features = x
        for layer in self.encoder:
            features = F.max_pool2d(layer(features), 2)
        features = self.middle(features)  # (N, C, H/8, W/8)
        for up, layer in zip(self.up, self.decoder, strict=True):
            features = layer(up(features))
        estimate: Tensor = self.tail(features)
        return x - estimate


def _read(span: Span) -> Span:
    span = span.conv()
    for _ in range(3):
        span = span.conv().transposed()
    span = span.conv(times=2)
    for _ in range(3):
        span = span.pooled().conv()
    return span
