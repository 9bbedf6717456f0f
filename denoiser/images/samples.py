"""The photographs that come with scikit-image and may be used freely, for trying things out."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from denoiser.errors import UnavailableError

NAMES = ("astronaut.png", "brick.png", "camera.png", "chelsea.png", "coffee.png", "gravel.png")
"""Public domain (astronaut) or CC0, lossless, in every scikit-image package since 0.18; camera, brick and gravel are
gray."""


def sample_paths() -> list[Path]:
    """Where the sample photographs lie on this machine. Importing scikit-image is not needed.

    Raises
    ------
    UnavailableError
        If scikit-image, or its data, is not installed.
    """
    spec = find_spec("skimage")
    folder = Path(spec.origin).parent / "data" if spec is not None and spec.origin else Path()
    paths = [folder / name for name in NAMES]
    if spec is None or not all(path.is_file() for path in paths):
        raise UnavailableError("the sample pictures of scikit-image were not found; pip install scikit-image")
    return paths
