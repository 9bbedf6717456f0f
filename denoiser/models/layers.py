"""Layers that several architectures share."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ConvReLU(nn.Sequential):
    """3x3 convolution with bias, then ReLU; weights after He et al. 2015, which keep the signal's size."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        conv = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1)
        nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
        nn.init.zeros_(conv.bias)  # type: ignore[arg-type]  # there is one
        super().__init__(conv, nn.ReLU(inplace=True))

    def forward(self, x: Tensor) -> Tensor:
        return relu_of(self[0], x)


def relu_of(conv: nn.Module, x: Tensor, padding: tuple[int, int] | None = None) -> Tensor:
    """``relu(conv(x))``, with another padding where one is given; see :func:`_in_one_pass`."""
    if not _in_one_pass(conv, x):
        return F.relu(convolved(conv, x, padding), inplace=True)
    result: Tensor = torch.ops.mkldnn._convolution_pointwise(
        x, conv.weight, conv.bias, padding or conv.padding, conv.stride, conv.dilation, conv.groups, "relu", [], ""
    )
    return result


def sum_of(
    other: Tensor, conv: nn.Module, x: Tensor, relu: bool = False, padding: tuple[int, int] | None = None
) -> Tensor:
    """``other + conv(x)``, or the ReLU of it, as :func:`relu_of`."""
    if not _in_one_pass(conv, x):
        result = other + convolved(conv, x, padding)
        return F.relu(result, inplace=True) if relu else result
    shape = padding or conv.padding, conv.stride, conv.dilation, conv.groups
    then = "relu" if relu else None
    fused: Tensor = torch.ops.mkldnn._convolution_pointwise.binary(
        x, other, conv.weight, conv.bias, *shape, "add", None, then, [], ""
    )
    return fused


def convolved(conv: nn.Module, x: Tensor, padding: tuple[int, int] | None) -> Tensor:
    """``conv(x)``, with another padding where one is given."""
    result: Tensor
    if padding is None:
        result = conv(x)
    else:
        like: Any = conv
        result = F.conv2d(x, like.weight, like.bias, like.stride, padding, like.dilation, like.groups)
    return result


def _in_one_pass(conv: nn.Module, x: Tensor) -> bool:
    """Whether what follows a convolution can be done while its result is still in the processor's cache.

    These operators of oneDNN are what torch's compiler makes of such pairs on a CPU; they have no gradient. Without
    them each step reads and writes all features once more: a residual block of 48 channels takes 1.5 times as long in
    bf16 and 1.07 times in fp32 (one core with AMX, 640 x 640). A convolution that is watched by hooks is called itself.
    """
    return (
        torch.is_inference_mode_enabled()
        and not torch.is_autocast_enabled("cpu")  # it does not know these operators
        and not conv._forward_hooks
        and x.device.type == "cpu"
        and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        and hasattr(torch.ops.mkldnn, "_convolution_pointwise")
        and (x.dtype == torch.float32 or (x.dtype == torch.bfloat16 and has_fused_bf16()))
    )


@cache
def has_fused_bf16() -> bool:
    """Whether oneDNN computes in bf16 here; on a processor without AVX-512 its operators refuse to."""
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


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
