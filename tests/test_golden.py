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

GAIN = {"grain": 3.0, "stripes": 6.0}
"""dB that a model must win at least, away from the grid, which the networks without skips cannot keep."""


def scene() -> NDArray[np.uint8]:
    """Edges, a gradient and a fine grid, in colour, 72 x 104 pixels."""
    y, x = np.mgrid[:72, :104]
    picture = np.stack([x * 2 + 20, y * 3 + 10, 220 - x], axis=-1)
    picture[(x - 30) ** 2 + (y - 36) ** 2 < 400] = (230, 60, 40)
    picture[20:50, 60:96] = np.where(((x // 3 + y // 3) % 2 == 0)[20:50, 60:96, None], 240, 15)
    return picture.clip(0, 255).astype(np.uint8)


def read_card(name: str) -> weights.Card:
    return weights.read_card(weights.bundled()[name])


def kind(name: str) -> str:
    """What a model is made for."""
    return "stripes" if "stripes" in read_card(name).noise else "grain"


def noisy(kind: str) -> NDArray[np.uint8]:
    random = np.random.default_rng(7)
    if kind == "stripes":
        picture = scene()
        picture[random.permutation(72)[:26]] = 0
        return picture
    return np.rint(np.clip(scene() + random.normal(0, 50, scene().shape), 0, 255)).astype(np.uint8)


def restored(name: str, precision: str = "fp32") -> NDArray[Any]:
    # fp32: the one precision that every machine computes.
    return denoiser.load(name, device="cpu", precision=precision).denoise(noisy(kind(name)))


def stored(name: str) -> NDArray[np.uint8]:
    return np.asarray(Image.open(FOLDER / f"{name}.png"))


def coarse(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The part without the grid."""
    return picture[:, :52]


@pytest.mark.parametrize("name", sorted(weights.bundled()))
def test_bundled_model_gives_the_stored_result(name: str) -> None:
    result = restored(name)
    difference = np.abs(result.astype(int) - stored(name))
    assert difference.max() <= 1, f"largest difference {difference.max()}, {np.count_nonzero(difference)} values differ"
    before, after = (psnr(coarse(scene()), coarse(each), 255) for each in (noisy(kind(name)), result))
    assert after > before + GAIN[kind(name)]


@pytest.mark.parametrize("name", sorted(weights.bundled()))
def test_the_precision_that_this_machine_chooses_gives_nearly_the_same(name: str) -> None:
    difference = restored(name, "auto").astype(float) - stored(name)
    assert np.sqrt(np.mean(difference**2)) < 0.75
    assert np.abs(difference).max() <= 6


@pytest.mark.parametrize("name", [each for each in weights.bundled() if read_card(each).architecture == "vdae"])
def test_errors_are_larger_where_the_model_is_less_certain(name: str) -> None:
    from scipy.ndimage import uniform_filter
    from scipy.stats import spearmanr
    from skimage.data import astronaut

    clean = astronaut()[:192, 96:288]
    noise = np.random.default_rng(1).normal(0, 25, clean.shape)
    model = denoiser.load(name, device="cpu", precision="fp32")
    seen = np.rint(np.clip(clean + noise, 0, 255)).astype(np.uint8)
    error = np.abs(model.denoise(seen).astype(float) - clean)
    stated = model.uncertainty(seen)
    local = [uniform_filter(plane.mean(axis=2), 7).ravel() for plane in (error, stated)]
    assert spearmanr(*local).statistic > 0.5
    assert 0.5 < np.sqrt(np.mean(error**2) / np.mean(stated**2)) < 2, "deviations are of the size of the errors"


@pytest.mark.parametrize("ensemble", [1, 2])
def test_bf16_does_not_round_pictures_of_16_bits(ensemble: int) -> None:
    clean = 1000 + scene()[:, :, 0].astype(float)
    seen = np.rint(clean + np.random.default_rng(0).normal(0, 20, clean.shape)).astype(np.uint16)
    half, full = (
        denoiser.load("unet", device="cpu", precision=precision, ensemble=ensemble).denoise(seen).astype(float)
        for precision in ("bf16", "fp32")
    )
    assert np.sqrt(np.mean((half - full) ** 2)) < 0.8  # 1.9 where each value is one number


@pytest.mark.parametrize("name", ["unet", "unet-photo"])
def test_narrow_tiles_of_a_photograph_differ_by_less_than_a_step_of_8_bits(name: str) -> None:
    from skimage.data import coffee

    noise = np.random.default_rng(0).normal(0, 5, (320, 320, 3))
    seen = (np.clip(coffee()[:320, :320] + noise, 0, 255) / 255).astype(np.float32)
    whole, tiled = (denoiser.load(name, device="cpu", precision="fp32", tile=tile) for tile in ("none", 192))
    assert tiled.context_rows < whole.context_rows
    assert 255 * np.abs(tiled.denoise(seen) - whole.denoise(seen)).max() < 0.5


def test_every_stored_result_belongs_to_a_model() -> None:
    assert {path.stem for path in FOLDER.glob("*.png")} == set(weights.bundled())


if __name__ == "__main__":
    for name in weights.bundled():
        Image.fromarray(restored(name)).save(FOLDER / f"{name}.png")
