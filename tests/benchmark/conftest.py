"""A tiny network in a weights file."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weights file of a small ``unet``, whose fresh weights change pixels only a little."""
    import torch

    from denoiser import models, weights

    torch.manual_seed(0)
    module = models.build("unet", {"channels": [8, 16], "blocks": [1, 1]})
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(0.3)
    card = weights.Card("unet", models.config_of(module), name="tiny", parameters=1, macs_per_pixel=1.0)
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    weights.save(path, module, card)
    return path
