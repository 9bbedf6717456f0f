"""JPEG in arithmetic against libjpeg."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from skimage import data

from denoiser.noise import NumpyRandom, parse
from denoiser.noise.camera_jpeg import recoded
from denoiser.training.data import TorchRandom

RANDOM = NumpyRandom(np.random.default_rng(0))


def column(*values: float) -> NDArray[np.float32]:
    """One number per picture."""
    return np.array(values, dtype=np.float32).reshape(-1, 1, 1, 1)


def photographs() -> NDArray[np.uint8]:
    """(2, 173, 150, 3): neither side fills the last block."""
    return np.stack([data.astronaut()[20:193, 150:300], data.chelsea()[60:233, 100:250]])


def by_libjpeg(picture: NDArray[np.uint8], quality: int, subsampling: int) -> NDArray[np.uint8]:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=quality, subsampling=subsampling)
    return np.asarray(Image.open(buffer))


@pytest.mark.parametrize("subsampling", [0, 2])
@pytest.mark.parametrize("quality", [30, 70, 85, 98])
def test_it_is_what_libjpeg_makes(quality: int, subsampling: int) -> None:
    """Mean difference below half a level, damage within 2%; libjpeg's integer transforms round elsewhere."""
    for picture in photographs():
        expected = by_libjpeg(picture, quality, subsampling).astype(np.float64)
        planes = picture.transpose(2, 0, 1)[None].astype(np.float32)
        made = recoded(planes, column(quality), column(subsampling / 2), (0, 0), RANDOM)[0].transpose(1, 2, 0)
        assert np.abs(made - expected).mean() < 0.5
        assert (np.abs(made - expected) > 3).mean() < 0.02
        damage = [((each - picture) ** 2).mean() ** 0.5 for each in (made, expected)]
        assert damage[0] == pytest.approx(damage[1], rel=0.02)


def test_gray_is_what_libjpeg_makes() -> None:
    gray = photographs()[0, :, :, 1]
    made = recoded(gray[None, None].astype(np.float32), column(80), column(1), (0, 0), RANDOM)[0, 0]
    assert np.abs(made - by_libjpeg(gray, 80, 0)).mean() < 0.3


def test_pictures_of_a_batch_have_their_own_quality_and_colour() -> None:
    planes = photographs()[[0, 1, 0]].transpose(0, 3, 1, 2).astype(np.float32)
    qualities, halves = (75.0, 95.0, 40.0), (1.0, 0.0, 0.0)
    together = recoded(planes, column(*qualities), column(*halves), (0, 0), RANDOM)
    for index in range(3):
        alone = recoded(planes[index : index + 1], column(qualities[index]), column(halves[index]), (0, 0), RANDOM)
        assert np.abs(together[index] - alone[0]).mean() < 0.01


def test_blocks_begin_where_the_grid_says() -> None:
    planes = photographs()[:1].transpose(0, 3, 1, 2).astype(np.float32)
    for corner in ((0, 0), (3, 5)):
        made = recoded(planes, column(5), column(1), corner, RANDOM)[0, 0]
        steps = np.abs(np.diff(made, axis=0)).mean(axis=1)  # at quality 5 the edges of blocks stand out
        assert int(np.array([steps[phase::8].mean() for phase in range(8)]).argmax()) == (7 - corner[0]) % 8


def test_the_share_of_compressed_pictures() -> None:
    x = (photographs()[[0] * 60, :48, :48] / 255).astype(np.float32)
    for library in ("numpy", "torch"):
        camera = parse("camera:iso=0.001,jpeg=0.4,quality=70")
        if library == "numpy":
            made = camera.apply(x, NumpyRandom(np.random.default_rng(0)))
        else:
            made = camera.apply(torch.from_numpy(x), TorchRandom(torch.Generator().manual_seed(0))).numpy()
        changed = np.abs(made - x).max(axis=(1, 2, 3)) > 1 / 255
        assert 0.2 < changed.mean() < 0.6
        assert np.abs(made * 255 - (made * 255).round()).max() < 1e-3
