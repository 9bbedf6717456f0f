"""``denoiser.load("auto")``: every call gets the network that suits its picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import denoiser
from denoiser.batch.estimation import estimate_files
from denoiser.errors import UsageError
from denoiser.estimate import MODELS
from denoiser.noise import NumpyRandom, parse

UNET, PHOTO = MODELS
KINDS = {UNET: "gaussian:15", PHOTO: "correlated:sigma=15,length=1"}


@pytest.fixture(scope="module")
def auto() -> denoiser.AutoDenoiser:
    return denoiser.load("auto", device="cpu", precision="fp32")


def noisy(kind: str, channels: int = 3, seed: int = 0) -> Any:
    clean = np.full((1, 96, 88, channels), 0.5, np.float32)
    values = parse(kind).apply(clean, NumpyRandom(np.random.default_rng(seed)))[0]
    return np.rint(values.clip(0, 1) * 255).astype(np.uint8)


@pytest.mark.parametrize("model", MODELS)
def test_it_is_the_network_that_suits_the_noise(auto: denoiser.AutoDenoiser, model: str) -> None:
    picture = noisy(KINDS[model])
    assert auto.choose(picture).model == model
    controls: dict[str, float] = {"strength": 0.9, "luma": 0.8, "chroma": 0.7, "detail": 0.1}
    made, expected = auto.denoise(picture, **controls), auto.networks[model].denoise(picture, **controls)
    assert np.array_equal(made, expected)
    other = auto.networks[PHOTO if model == UNET else UNET].denoise(picture, **controls)
    assert not np.array_equal(made, other)


def test_it_chooses_as_for_a_file(auto: denoiser.AutoDenoiser, tmp_path: Path) -> None:
    alpha = np.full((96, 88, 1), 200, np.uint8)
    pictures = {
        "gray.png": noisy(KINDS[PHOTO], channels=1)[:, :, 0],
        "rgba.png": np.concatenate([noisy(KINDS[PHOTO]), alpha], axis=2),
        "small.png": noisy(KINDS[PHOTO])[:40, :40],
    }
    for name, pixels in pictures.items():
        Image.fromarray(pixels).save(tmp_path / name)
    for file in estimate_files(tmp_path).files:
        found, advice = auto.choose(pictures[file.source.name], alpha="rgba" in file.source.name), file.pages[0].advice
        # A run looks less closely, which may show in the figures.
        assert found.model == advice.model and found.reason.split(" (")[0] == advice.reason.split(" (")[0]


def test_a_stack_goes_by_its_first_picture(auto: denoiser.AutoDenoiser) -> None:
    stack = np.stack([noisy(KINDS[PHOTO]), noisy(KINDS[UNET])])
    assert np.array_equal(auto.denoise(stack), auto.networks[PHOTO].denoise(stack))


def test_floats_without_white_scale(auto: denoiser.AutoDenoiser) -> None:
    values = noisy(KINDS[PHOTO]).astype(np.float32) / 255
    assert auto.choose(values).model == UNET
    assert auto.choose(values, white=1.0).model == PHOTO
    np.testing.assert_allclose(auto.denoise(2 * values), 2 * auto.denoise(values), atol=1e-5)


@pytest.mark.parametrize("model", MODELS)
def test_a_dim_page_of_16_bit_is_treated_as_a_bright_one(auto: denoiser.AutoDenoiser, model: str) -> None:
    bright = noisy(KINDS[model]).astype(np.uint16) * 257
    dim = (bright // 160).astype(np.uint16)  # 409 at most
    assert auto.choose(bright).model == auto.choose(dim).model == model
    before, after = (np.std(each.astype(float)) for each in (dim, auto.denoise(dim)))
    assert after < before / 4
    assert "hardly any" not in auto.choose(dim).reason
    assert auto.choose(np.zeros_like(dim)).model == UNET


@pytest.mark.parametrize("model", MODELS)
def test_integers_of_all_types_with_the_same_values_have_the_same_network(
    auto: denoiser.AutoDenoiser, model: str
) -> None:
    picture = noisy(KINDS[model])
    chosen = {auto.choose(picture.astype(dtype)).model for dtype in ("uint8", "uint16", "int16", "uint32", "int32")}
    assert chosen == {model}


def test_nothing_stays_nothing_and_nonsense_is_refused(auto: denoiser.AutoDenoiser) -> None:
    for shape in ((0, 96, 88, 3), (0, 5)):
        assert auto.denoise(np.zeros(shape, np.uint8)).shape == shape
    with pytest.raises(UsageError, match="takes no sigma"):
        auto.denoise(noisy(KINDS[UNET]), sigma=25.0)
    with pytest.raises(UsageError, match="dimensions"):
        auto.choose(np.zeros(5, np.uint8))
