"""The mean of what a network makes of a picture turned and mirrored."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from denoiser import models
from denoiser.batch.options import ENSEMBLES
from denoiser.errors import UsageError
from denoiser.inference import Denoiser, InferenceOptions
from denoiser.models.ensemble import VIEWS, Ensemble


@pytest.fixture(scope="module")
def network() -> Any:
    torch.manual_seed(0)
    module = models.build("unet", {"channels": [8, 16], "blocks": [1, 1]})
    with torch.no_grad():
        for parameter in module.parameters():
            if not parameter.any():  # the last layers, which would change nothing
                parameter.normal_(0, 0.05)
    return module


def denoiser(network: Any, count: int, **options: Any) -> Denoiser:
    return Denoiser(network, None, InferenceOptions(device="cpu", precision="fp32", ensemble=count, **options))


def noise(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).random(shape, np.float32)


def turned(picture: NDArray[Any], view: tuple[int, bool], back: bool = False) -> NDArray[Any]:
    turns, mirrored = view
    if back:
        picture = np.rot90(picture, -turns)
        return picture[:, ::-1] if mirrored else picture
    return np.rot90(picture[:, ::-1] if mirrored else picture, turns)


@pytest.mark.parametrize("count", VIEWS)
@pytest.mark.parametrize("channels", [1, 3])
def test_it_is_the_mean_of_the_views(network: Any, count: int, channels: int) -> None:
    picture, plain = noise(48, 64, channels), denoiser(network, 1)
    views = [turned(plain.denoise(np.ascontiguousarray(turned(picture, v))), v, back=True) for v in VIEWS[count]]
    assert len({view.tobytes() for view in views}) == count
    np.testing.assert_allclose(denoiser(network, count).denoise(picture), np.mean(views, axis=0), atol=2e-6)


def test_eight_views_have_no_direction(network: Any) -> None:
    picture, ensemble = noise(64, 48, 3), denoiser(network, 8)
    for view in VIEWS[8]:
        made = ensemble.denoise(np.ascontiguousarray(turned(picture, view)))
        np.testing.assert_allclose(turned(made, view, back=True), ensemble.denoise(picture), atol=2e-6)


@pytest.mark.parametrize("count", [2, 8])
def test_tiled_equals_untiled(network: Any, count: int) -> None:
    picture = noise(203, 158, 3)
    tiled, whole = (denoiser(network, count, tile=tile, halo="exact") for tile in (96, "none"))
    np.testing.assert_allclose(tiled.denoise(picture), whole.denoise(picture), atol=1e-5)


def test_it_goes_by_windows_and_says_so(network: Any) -> None:
    assert network.needs.flows and not Ensemble(network, 2).needs.flows
    assert denoiser(network, 4).describe()["ensemble"] == 4
    assert "ensemble" not in denoiser(network, 1).describe()


def test_half_precision_is_added_up_in_full(network: Any) -> None:
    x = torch.rand(1, 3, 16, 16).bfloat16()
    module = Ensemble(network, 2).bfloat16()
    made = module(x, torch.ones(1, 1, 1, 1, dtype=torch.bfloat16))
    network.float()
    assert made.dtype is torch.float32


def test_other_numbers_are_refused() -> None:
    assert tuple(VIEWS) == ENSEMBLES
    for count in (0, 3, 16):
        with pytest.raises(UsageError, match="1, 2, 4, 8"):
            InferenceOptions(ensemble=count)
