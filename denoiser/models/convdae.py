"""Pooling encoder, enlarging decoder, no skips: the basic network of the ConvDAE project (dawnlh, 2020).

Three times 3x3 convolution and pooling to 16 planes at an eighth of the resolution, and back: all that passes is a
twelfth of the picture's values. It blurs; as a first network for one's own kind of picture it trains in minutes.

Taken from the source: layers, kernel and channel counts, ReLU, biases (its code enlarges by nearest neighbours, where
its text speaks of pooling). Changed: three colour planes; enlargement by 2 instead of to sizes fixed in advance, so
that any picture fits; a linear output, because tanh and ReLU bend or cut the picture's values. The dropout that the
source switched off later is left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from denoiser.models.layers import PICTURE_PRECISIONS, ConvReLU, picture_head
from denoiser.models.needs import Needs
from denoiser.models.network import Network
from denoiser.models.reach import Span, radius


@dataclass(frozen=True)
class ConvDAEConfig:
    """Size of a :class:`ConvDAE`.

    Attributes
    ----------
    channels : tuple of int
        Feature channels of the encoder, finest first, one pooling behind each; the decoder mirrors them.
    """

    channels: tuple[int, ...] = (64, 32, 16)

    def __post_init__(self) -> None:
        if not self.channels:
            raise ValueError("an autoencoder needs at least one level")


class ConvDAE(Network):
    """Makes the clean picture from few features at low resolution; see the module's text.

    Parameters
    ----------
    config : ConvDAEConfig
    """

    def __init__(self, config: ConvDAEConfig) -> None:
        super().__init__()
        self.config = config
        coarsest_first = config.channels[::-1]
        self.encoder = nn.ModuleList(ConvReLU(a, b) for a, b in pairwise((3, *config.channels)))
        self.decoder = nn.ModuleList(ConvReLU(a, b) for a, b in pairwise((coarsest_first[0], *coarsest_first)))
        self.tail = picture_head(config.channels[0])

    @property
    def needs(self) -> Needs:
        multiple = 2 ** len(self.config.channels)
        return Needs(
            channels=3,
            multiple_of=multiple,
            receptive_field=radius(self._read, multiple),
            needs_range=True,
            precisions=PICTURE_PRECISIONS,
        )

    def _read(self, span: Span) -> Span:
        span = span.conv()
        for _ in self.config.channels:
            span = span.conv().enlarged()
        for _ in self.config.channels:
            span = span.pooled().conv()
        return span

    def forward(self, x: Tensor, white: Tensor) -> Tensor:
        features = x
        for layer in self.encoder:
            features = F.max_pool2d(layer(features), 2)
        for layer in self.decoder:
            features = layer(F.interpolate(features, scale_factor=2, mode="nearest"))
        estimate: Tensor = self.tail(features)
        return x - estimate
