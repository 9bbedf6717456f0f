"""Batch normalisation folded into the convolution before it."""

from __future__ import annotations

import copy
from typing import TypeVar

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

Module = TypeVar("Module", bound=nn.Module)


def fold_batchnorm(module: Module) -> Module:
    """A network that gives the same results without batch normalisation, for use and not for training.

    In use a batch normalisation is a fixed scale and shift of each plane; the convolution before it can
    do both, in fewer passes over memory and without a loss of digits between the two.

    Parameters
    ----------
    module : torch.nn.Module
        Not changed. Every ``BatchNorm2d`` that follows a ``Conv2d`` or ``ConvTranspose2d`` in an
        ``nn.Sequential`` is folded.

    Returns
    -------
    torch.nn.Module
        The same object where there is nothing to fold; else a copy in evaluation mode.
    """
    if not any(isinstance(layer, nn.BatchNorm2d) for layer in module.modules()):
        return module
    folded = copy.deepcopy(module).eval()
    for sequence in [layer for layer in folded.modules() if isinstance(layer, nn.Sequential)]:
        for index in range(len(sequence) - 1):
            conv, norm = sequence[index], sequence[index + 1]
            if isinstance(conv, nn.Conv2d | nn.ConvTranspose2d) and isinstance(norm, nn.BatchNorm2d):
                sequence[index] = fuse_conv_bn_eval(conv, norm, transpose=isinstance(conv, nn.ConvTranspose2d))
                sequence[index + 1] = nn.Identity()
    return folded
