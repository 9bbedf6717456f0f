"""The small two-level autoencoder of the classic MNIST experiments ("Building autoencoders in Keras", Chollet 2016).

Two times 3x3 convolution and pooling, two times 3x3 convolution and nearest-neighbour enlargement, no skips: 32 values
are left of every 4 x 4 pixels, so that it blurs photographs, and runs fast.

Taken from the source: layers, kernel and channel counts, ReLU, biases. Changed: three colour planes; the output is
linear, because the sigmoid of the source flattens towards black and white and cannot pass values beyond them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from denoiser.models.layers import PICTURE_PRECISIONS, ConvReLU, picture_head
from denoiser.models.needs import Needs
from denoiser.models.network import Network
from denoiser.models.reach import Span, radius


@dataclass(frozen=True)
class DAEConfig:
    """Size of a :class:`DAE`.

    Attributes
    ----------
    channels : tuple of int
        Feature channels at full and at half resolution. The source takes (32, 32) for digits and (64, 32) for faces.
    """

    channels: tuple[int, int] = (32, 32)


class DAE(Network):
    """Makes the clean picture from features at a quarter of the resolution; see the module's text.

    Parameters
    ----------
    config : DAEConfig
    """

    def __init__(self, config: DAEConfig) -> None:
        super().__init__()
        self.config = config
        fine, coarse = config.channels
        self.encoder = nn.Sequential(ConvReLU(3, fine), nn.MaxPool2d(2), ConvReLU(fine, coarse), nn.MaxPool2d(2))
        self.middle = ConvReLU(coarse, coarse)
        self.decoder = ConvReLU(coarse, fine)
        self.tail = picture_head(fine)

    @property
    def needs(self) -> Needs:
        return Needs(
            channels=3,
            multiple_of=4,
            receptive_field=radius(_read, stride=4),
            needs_range=True,
            precisions=PICTURE_PRECISIONS,
        )

    def forward(self, x: Tensor, white: Tensor) -> Tensor:
        features = self.middle(self.encoder(x))  # (N, C, H/4, W/4)
        features = self.decoder(F.interpolate(features, scale_factor=2, mode="nearest"))
        estimate: Tensor = self.tail(F.interpolate(features, scale_factor=2, mode="nearest"))
        return x - estimate


def _read(span: Span) -> Span:
    span = span.conv().enlarged().conv().enlarged()
    return span.conv().pooled().conv().pooled().conv()
