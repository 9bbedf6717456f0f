"""Floats without a declared range, where they count as 0 to 1: what is told of those that are far above."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from denoiser.batch.names import shown
from denoiser.images.image import Pixels

FAR_BEYOND_WHITE = 2.0
"""Above this the user is told so, and nothing else follows."""


def is_far_beyond(pixels: Pixels) -> bool:
    """Whether some value lies far above 1; those that are no numbers do not count."""
    return bool(pixels.max(initial=0, where=np.isfinite(pixels)) > FAR_BEYOND_WHITE)


def warning(path: Path) -> str:
    """What the user is told of such a file."""
    return f"{shown(path)}: holds floats above 1, which is their white here; give --white N where it is another"
