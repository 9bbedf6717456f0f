"""A tiny network in a weights file, a folder of small pictures, and the program in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.cli.helpers import REPOSITORY, Invoke, Recorder


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
    card = weights.Card("unet", models.config_of(module), name="tiny", purpose="tests", noise="none", licence="CC0")
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    weights.save(path, module, card)
    return path


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Three small pictures, one in a folder of its own."""
    folder = tmp_path / "in"
    (folder / "sub dir").mkdir(parents=True)
    rng = np.random.default_rng(3)
    for name, shape in {"a.png": (24, 31, 3), "b.jpg": (40, 20, 3), "sub dir/ü.png": (9, 17)}.items():
        Image.fromarray(rng.integers(60, 200, shape, dtype=np.uint8)).save(folder / name)
    return folder


@pytest.fixture
def invoke(tmp_path: Path) -> Invoke:
    """Run ``python -m denoiser`` in an empty working directory; stdin, stdout and stderr are pipes."""
    (tmp_path / "work").mkdir(exist_ok=True)

    def call(
        *arguments: object, env: dict[str, str] | None = None, **settings: Any
    ) -> subprocess.CompletedProcess[bytes]:
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), **(env or {})}
        return subprocess.run(
            [sys.executable, "-m", "denoiser", *map(str, arguments)],
            cwd=tmp_path / "work",
            env=environment,
            capture_output=True,
            timeout=120,
            check=False,
            **settings,
        )

    return call


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Recorder:
    """Put a :class:`Recorder` in the place of the batch, in an empty working directory."""
    monkeypatch.chdir(tmp_path)
    recorder = Recorder()
    monkeypatch.setattr("denoiser.batch.run", recorder)
    return recorder
