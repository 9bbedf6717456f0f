"""Small pictures and a network that trains in milliseconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from denoiser.training import TrainOptions


def waves(index: int, height: int = 64, width: int = 72) -> NDArray[np.float64]:
    """A smooth colour picture, values 0.1 to 0.9."""
    y, x = np.mgrid[:height, :width] / 16
    planes = [np.sin(x * (1 + channel / 3) + index) * np.cos(y + channel) for channel in range(3)]
    return 0.5 + 0.4 * np.stack(planes, -1)


def write(path: Path, values: NDArray[Any], dtype: Any = np.uint8) -> None:
    """A picture in the format that the suffix says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if np.issubdtype(dtype, np.integer):
        values = np.rint(values.clip(0, 1) * np.iinfo(dtype).max)
    stored = values.astype(dtype)
    if path.suffix == ".npy":
        np.save(path, stored)
    elif path.suffix == ".tif":
        tifffile.imwrite(path, stored, photometric="rgb" if stored.shape[-1] == 3 else "minisblack")
    else:
        Image.fromarray(stored).save(path)


def noisy(values: NDArray[Any], sigma: float = 25 / 255, seed: int = 0) -> NDArray[Any]:
    return values + np.random.default_rng(seed).normal(size=values.shape) * sigma


def options(data: Path, out: Path, init: str, **changed: Any) -> TrainOptions:
    """Quick settings, some of them changed."""
    settings = {"batch": 2, "crops": (32,), "precision": "fp32", "max_steps": 4, "init": init}
    return TrainOptions(data=data, out=out, **{**settings, **changed})


class Notes:
    """A Progress that remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []

    def start(self, files: int, megapixels: float, what: str) -> None: ...

    def advance(self, files: int = 0, megapixels: float = 0.0) -> None: ...

    def note(self, message: str, level: str = "info") -> None:
        self.told.append((level, message))

    def finish(self) -> None: ...
