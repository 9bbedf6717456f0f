"""Layers that several architectures share."""

from __future__ import annotations

from torch import nn


def conv_relu(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """3x3 convolution with bias, then ReLU; weights after He et al. 2015, which keep the signal's size."""
    conv = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1)
    nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
    nn.init.zeros_(conv.bias)  # type: ignore[arg-type]  # there is one
    return nn.Sequential(conv, nn.ReLU(inplace=True))


def transposed(inputs: int, outputs: int, bias: bool = True) -> nn.ConvTranspose2d:
    """3x3 transposed convolution that doubles height and width exactly."""
    conv = nn.ConvTranspose2d(inputs, outputs, 3, stride=2, padding=1, output_padding=1, bias=bias)
    # An output pixel takes 9/4 weights of each input plane on average: a quarter of the kernel's fan.
    nn.init.normal_(conv.weight, std=(2 / (inputs * 9 / 4)) ** 0.5)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return conv


def picture_head(inputs: int) -> nn.Conv2d:
    """3x3 convolution that makes a picture with values in about [0, 1]; a fresh one answers mid-gray."""
    conv = nn.Conv2d(inputs, 3, 3, padding=1)
    nn.init.zeros_(conv.weight)
    nn.init.constant_(conv.bias, 0.5)  # type: ignore[arg-type]  # there is one
    return conv


PICTURE_PRECISIONS = ("fp32", "fp16")
"""For networks that make the picture and not the noise: bf16 has steps of half an 8-bit level near white, and rounds
the very values that are shown."""
