"""How fast a network is on its device, measured."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from denoiser.inference import devices
from denoiser.inference.batching import Piece

if TYPE_CHECKING:
    from denoiser.inference.denoiser import Denoiser

SECONDS = 0.3
"""How long a trial must take to tell the network's speed."""
LARGEST_SIDE = 1024


def megapixels_per_second(denoiser: Denoiser) -> float:
    """Speed of the network alone, measured on noise; the second of two equal trials counts.

    Every processor gets a picture of its own, as in a run over many.
    """
    side, count = 256, devices.computing() if denoiser.device.type == "cpu" else 1
    while True:
        noise = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
        piece = Piece(noise, scale=1 / 255, white=1.0)
        for _ in range(2):
            begun = time.monotonic()
            for _result in denoiser.stream([piece] * count):
                pass
            seconds = time.monotonic() - begun
        if seconds > SECONDS or side >= LARGEST_SIDE:
            return count * side * side / 1e6 / max(seconds, 1e-9)
        side *= 2
