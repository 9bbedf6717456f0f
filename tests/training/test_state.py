"""Networks with more state than parameters: running statistics, dropout and drawn codes survive a stop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from denoiser import models, weights
from denoiser.models import Network
from denoiser.training import TrainOptions, train
from denoiser.training.checkpoint import Counters, averaged_state, load_checkpoint, save_checkpoint

NARROW: dict[str, dict[str, Any]] = {"dcdae": {"width": 4, "dropout": 0.5}, "vdae": {"channels": (8, 16), "code": 4}}


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "clean"
    folder.mkdir()
    generator = np.random.default_rng(0)
    for index in range(2):
        Image.fromarray(generator.integers(0, 256, (40, 48, 3)).astype(np.uint8)).save(folder / f"{index}.png")
    return folder


def start(name: str, folder: Path) -> Path:
    """A weights file of a network that trains in milliseconds."""
    torch.manual_seed(0)
    module = models.build(name, NARROW[name])
    weights.save(folder / f"{name}.safetensors", module, weights.Card(name, models.config_of(module)))
    return folder / f"{name}.safetensors"


class StopAfter:
    """Asks for the end after so many steps, as a signal would."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def __call__(self) -> bool:
        self.left -= 1
        return self.left < 0


@pytest.mark.parametrize("name", sorted(NARROW))
def test_a_resumed_run_equals_an_undisturbed_one(name: str, pictures: Path, tmp_path: Path) -> None:
    init = str(start(name, tmp_path))

    def run(out: str, resume: bool = False, stop: int = 99) -> dict[str, torch.Tensor]:
        torch.rand(stop)  # whatever else draws from torch's global state must not matter
        options = TrainOptions(
            data=pictures,
            out=tmp_path / out,
            init=init,
            max_steps=9,
            batch=2,
            crops=(32,),
            precision="fp32",
            resume=resume,
        )
        return load_file(train(options, should_stop=StopAfter(stop)).model)

    whole = run("whole")
    stopped = run("parts", stop=5)
    resumed = run("parts", resume=True)
    assert all(torch.allclose(whole[key], resumed[key], rtol=0, atol=1e-6) for key in whole)
    assert not all(torch.allclose(whole[key], stopped[key], rtol=0, atol=1e-6) for key in whole)
    if name == "dcdae":
        assert int(whole["scale1.1.num_batches_tracked"]) == 9
        assert whole["scale1.1.running_mean"].any(), "the exported network has no statistics"


def test_checkpoints_hold_all_state_and_its_average(tmp_path: Path) -> None:
    def with_state(fill: float) -> tuple[Network, list[torch.Tensor], torch.optim.Optimizer]:
        module = models.build("dcdae", NARROW["dcdae"])
        for value in module.state_dict().values():
            value.fill_(fill)
        average = [torch.full_like(value, fill / 2) for value in averaged_state(module).values()]
        return module, average, torch.optim.AdamW(module.parameters())

    path = tmp_path / "checkpoint.safetensors"
    save_checkpoint(path, *with_state(6.0), Counters(step=3))
    module, average, optimizer = with_state(1.0)
    assert load_checkpoint(path, module, average, optimizer).step == 3
    assert all((value == 6).all() for value in module.state_dict().values())
    assert all((mean == 3).all() for mean in average)
    assert len(average) == sum(value.is_floating_point() for value in module.state_dict().values())
