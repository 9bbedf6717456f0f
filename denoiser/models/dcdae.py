"""Strided U-Net with LeakyReLU, batch normalisation and dropout (after nsarang's deep convolutional denoiser, 2019).

Six convolutions, four of them strided, down to a sixteenth of the resolution; back by four transposed convolutions,
each followed by the encoder's features of the same size, concatenated. The source trains it blind, with a standard
deviation drawn from an exponential distribution.

Taken from the source: the table of layers with kernels of 3 and 5, strides and relative channel counts, all four skips,
LeakyReLU of slope 0.3, orthogonal weights. Changed:

- Three eighths of its width, so that the weights take 4.5 MB instead of 32.
- It estimates the noise instead of the picture behind a sigmoid, so that half precision costs nothing visible.
- Batch normalisation stands between convolution and activation, where it can be folded into the convolution; the
  source has it behind the activation.
- Dropout acts at the narrowest place alone, not in every layer: in front of a batch normalisation it makes the variance
  while training another one than afterwards (Li et al. 2019), which shows as wrong brightness.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from denoiser.models.needs import Needs
from denoiser.models.network import Network
from denoiser.models.reach import Span, radius

SLOPE = 0.3
"""Of the LeakyReLU below zero: the default of Keras, in which the source is written."""


@dataclass(frozen=True)
class DCDAEConfig:
    """Size of a :class:`DCDAE`.

    Attributes
    ----------
    width : int
        Filters at full resolution; the other layers have 2, 4 and 8 times as many. The source has 64.
    dropout : float
        Share of values dropped at the narrowest place while training.
    """

    width: int = 24
    dropout: float = 0.2

    def __post_init__(self) -> None:
        if self.width < 1 or not 0 <= self.dropout < 1:
            raise ValueError(f"width must be at least 1 and dropout a share below 1, not {self.width}, {self.dropout}")


def _block(conv: nn.Conv2d | nn.ConvTranspose2d) -> nn.Sequential:
    nn.init.orthogonal_(conv.weight)
    return nn.Sequential(conv, nn.BatchNorm2d(conv.out_channels), nn.LeakyReLU(SLOPE, inplace=True))


def _conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    # Batch normalisation has a bias of its own.
    return _block(nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False))


def _up(inputs: int, outputs: int) -> nn.Sequential:
    return _block(nn.ConvTranspose2d(inputs, outputs, 3, stride=2, padding=1, output_padding=1, bias=False))


class DCDAE(Network):
    """Estimates the noise in a picture; see the module's text for the design.

    Parameters
    ----------
    config : DCDAEConfig
    """

    def __init__(self, config: DCDAEConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.scale1 = _conv(3, width)
        self.scale2 = _conv(width, width, stride=2)
        self.scale4 = _conv(width, 2 * width, kernel=5, stride=2)
        self.scale8 = nn.Sequential(_conv(2 * width, 2 * width), _conv(2 * width, 4 * width, kernel=5, stride=2))
        self.scale16 = nn.Sequential(_conv(4 * width, 8 * width, stride=2), nn.Dropout(config.dropout))
        self.to_scale8 = _up(8 * width, 8 * width)
        self.to_scale4 = nn.Sequential(_conv(12 * width, 4 * width), _up(4 * width, 2 * width))
        self.to_scale2 = nn.Sequential(_conv(4 * width, 2 * width, kernel=5), _up(2 * width, width))
        self.to_scale1 = nn.Sequential(_conv(2 * width, width, kernel=5), _up(width, width))
        self.tail = nn.Conv2d(2 * width, 3, 3, padding=1)
        nn.init.zeros_(self.tail.weight)
        nn.init.zeros_(self.tail.bias)  # type: ignore[arg-type]  # there is one

    @property
    def needs(self) -> Needs:
        return Needs(channels=3, multiple_of=16, receptive_field=radius(_read, stride=16), needs_range=True)

    def forward(self, x: Tensor, white: Tensor) -> Tensor:
        scale1 = self.scale1(x)
        scale2 = self.scale2(scale1)
        scale4 = self.scale4(scale2)
        scale8 = self.scale8(scale4)
        x = self.to_scale8(self.scale16(scale8))
        x = self.to_scale4(torch.cat([x, scale8], dim=1))
        x = self.to_scale2(torch.cat([x, scale4], dim=1))
        x = self.to_scale1(torch.cat([x, scale2], dim=1))
        residual: Tensor = self.tail(torch.cat([x, scale1], dim=1))
        return residual


def _read(span: Span) -> Span:
    # The way through the narrowest place begins with all that a skip reads: skips add nothing.
    span = span.conv(3).transposed().conv(5).transposed().conv(5).transposed().conv(3).transposed()
    span = span.conv(3, stride=2).conv(5, stride=2).conv(3).conv(5, stride=2).conv(3, stride=2)
    return span.conv(3)
