"""Convolution - deconvolution at full resolution with symmetric additive skips (Mao, Shen and Yang, NIPS 2016).

"Image restoration using very deep convolutional encoder-decoder networks with symmetric skip connections",
arXiv 1606.08921: ten 3x3 convolutions take the noise apart, ten deconvolutions build its estimate, and every second
deconvolution gets the features of the mirrored convolution added before its ReLU. Nothing is ever made smaller, so
each pixel costs 2.7 million multiplications, more than in any other architecture here.

Taken from the source: depth, 128 filters, where skips begin (before the ReLU) and end, biases, and the residual: the
authors' released network adds the picture to its output. Changed: colour; no sigmoid behind the output, which some
re-implementations have. The deconvolutions, transposed convolutions of stride 1, are computed as the convolutions with
mirrored kernels that they are. The source learns at a rate of 1e-4.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from denoiser.models.layers import relu_of, sum_of
from denoiser.models.needs import Needs
from denoiser.models.network import Network


@dataclass(frozen=True)
class REDNetConfig:
    """Size of a :class:`REDNet`.

    Attributes
    ----------
    channels : int
        Filters of every layer.
    depth : int
        Convolutions, and again deconvolutions; even.
    skips : bool
        Whether features of the encoder are added in the decoder.
    """

    channels: int = 128
    depth: int = 10
    skips: bool = True

    def __post_init__(self) -> None:
        if self.depth < 2 or self.depth % 2:
            raise ValueError(f"the depth must be even and at least 2, not {self.depth}: skips join every second layer")


class REDNet(Network):
    """Estimates the noise in a picture; see the module's text for the design.

    Parameters
    ----------
    config : REDNetConfig
    """

    def __init__(self, config: REDNetConfig) -> None:
        super().__init__()
        self.config = config
        width, depth = config.channels, config.depth
        self.encoder = nn.ModuleList(nn.Conv2d(3 if i == 0 else width, width, 3, padding=1) for i in range(depth))
        self.decoder = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(depth - 1))
        self.tail = nn.Conv2d(width, 3, 3, padding=1)
        for layer in (*self.encoder, *self.decoder):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
        nn.init.zeros_(self.tail.weight)
        nn.init.zeros_(self.tail.bias)  # type: ignore[arg-type]

    @property
    def needs(self) -> Needs:
        return Needs(channels=3, multiple_of=1, receptive_field=2 * self.config.depth, needs_range=True)

    def forward(self, x: Tensor, white: Tensor) -> Tensor:
        skips = []
        for number, layer in enumerate(self.encoder, start=1):
            if self.config.skips and number % 2 == 0 and number < self.config.depth:
                skips.append(layer(x))
                x = F.relu(skips[-1])
            else:
                x = relu_of(layer, x)
        for number, layer in enumerate(self.decoder, start=1):
            skip = self.config.skips and number % 2 == 0
            x = sum_of(skips.pop(), layer, x, relu=True) if skip else relu_of(layer, x)
        residual: Tensor = self.tail(x)
        return residual
