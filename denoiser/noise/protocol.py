"""The two ways in which a noisy test picture is made from a clean one; every quoted figure names its own."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

PROTOCOLS = ("literature", "file")
"""``literature``: noise neither clipped nor rounded, as papers do. ``file``: the noisy picture clipped and rounded to
its bit depth, which is what users have. They differ by up to 2 dB at sigma 50."""


def noisy_version(clean: NDArray[np.uint8], sigma: float, protocol: str, index: int) -> NDArray[Any]:
    """A clean 8-bit picture with white Gaussian noise, the same every time.

    Parameters
    ----------
    clean : ndarray
        (H, W, C), uint8.
    sigma : float
        In units of 1/255 of full range.
    protocol : {"literature", "file"}
    index : int
        Number of the picture in its set; with sigma it seeds the noise.

    Returns
    -------
    ndarray
        float32 in units of full range, unclipped (``literature``), or uint8 (``file``).
    """
    generator = np.random.default_rng([int(sigma), index])
    noisy = clean + generator.standard_normal(clean.shape) * sigma
    if protocol == "file":
        return np.rint(np.clip(noisy, 0, 255)).astype(np.uint8)
    return (noisy / 255).astype(np.float32)
