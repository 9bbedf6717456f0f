"""Fresh weights of a small network."""

from __future__ import annotations

import pytest
import torch

from denoiser import models, weights


@pytest.fixture(scope="session")
def start(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A weights file of a network that trains in milliseconds."""
    torch.manual_seed(0)
    module = models.build("unet", {"channels": (8, 16), "blocks": (1, 1)})
    path = tmp_path_factory.mktemp("start") / "start.safetensors"
    weights.save(path, module, weights.Card("unet", models.config_of(module)))
    return str(path)
