"""What each bundled model makes of one small picture, against a stored result.

After weights were replaced: ``python -m tests.test_golden`` writes the stored results anew; look at them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import denoiser
from denoiser import weights
from denoiser.metrics import psnr

FOLDER = Path(__file__).parent / "golden"


def scene() -> NDArray[np.uint8]:
    """Edges, a gradient and a fine grid, in colour, 72 x 104 pixels."""
    y, x = np.mgrid[:72, :104]
    picture = np.stack([x * 2 + 20, y * 3 + 10, 220 - x], axis=-1)
    picture[(x - 30) ** 2 + (y - 36) ** 2 < 400] = (230, 60, 40)
    picture[20:50, 60:96] = np.where(((x // 3 + y // 3) % 2 == 0)[20:50, 60:96, None], 240, 15)
    return picture.clip(0, 255).astype(np.uint8)


def noisy() -> NDArray[np.uint8]:
    noise = np.random.default_rng(7).normal(0, 25, scene().shape)
    return np.rint(np.clip(scene() + noise, 0, 255)).astype(np.uint8)


def restored(name: str) -> NDArray[Any]:
    # fp32: the one precision that every machine computes.
    return denoiser.load(name, device="cpu", precision="fp32").denoise(noisy())


@pytest.mark.parametrize("name", sorted(weights.bundled()))
def test_bundled_model_gives_the_stored_result(name: str) -> None:
    result = restored(name)
    stored = np.asarray(Image.open(FOLDER / f"{name}.png"))
    difference = np.abs(result.astype(int) - stored)
    assert difference.max() <= 1, f"largest difference {difference.max()}, {np.count_nonzero(difference)} values differ"
    assert psnr(scene(), result, 255) > psnr(scene(), noisy(), 255) + 4


if __name__ == "__main__":
    for name in weights.bundled():
        Image.fromarray(restored(name)).save(FOLDER / f"{name}.png")
