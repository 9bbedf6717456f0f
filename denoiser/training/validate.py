"""PSNR of a network on clean pictures with synthetic noise, in the two protocols of the benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from denoiser.metrics import psnr
from denoiser.models import Network
from denoiser.noise import PROTOCOLS, noisy_version

SIGMAS = (15, 25, 50)


@torch.inference_mode()
def validate(
    module: Network, pictures: Sequence[NDArray[np.uint8]], device: torch.device, dtype: torch.dtype
) -> dict[str, dict[str, float]]:
    """Mean over pictures of RGB PSNR, output rounded to 8 bit: protocol -> {sigma: dB}."""
    result: dict[str, dict[str, float]] = {}
    multiple = module.needs.multiple_of
    with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
        for protocol in PROTOCOLS:
            white = torch.full((1, 1, 1, 1), float(protocol == "file"), device=device)
            result[protocol] = {}
            for sigma in SIGMAS:
                values = []
                for index, clean in enumerate(pictures):
                    noisy = noisy_version(clean, sigma, protocol, index)
                    x = torch.from_numpy(noisy).to(device)
                    x = (x / 255 if protocol == "file" else x).permute(2, 0, 1)[None]  # (1, 3, H, W)
                    height, width = x.shape[2:]
                    padding = (0, -width % multiple, 0, -height % multiple)
                    residual = module(F.pad(x, padding, mode="replicate"), white)[:, :, :height, :width]
                    estimate = (x - residual.float()).clamp(0, 1).mul(255).round()
                    values.append(psnr(clean, estimate[0].permute(1, 2, 0).cpu().numpy(), 255))
                result[protocol][str(sigma)] = round(mean(values), 4)
    return result


def score(result: dict[str, dict[str, float]]) -> float:
    """One number to choose a checkpoint by: the mean over protocols and noise levels, in dB."""
    return mean(value for row in result.values() for value in row.values())
