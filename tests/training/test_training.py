"""The trainer: it learns, it resumes exactly, it stops well, and its batches are what they claim."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from denoiser import models, weights
from denoiser.errors import DenoiserError, InputError, NothingToDoError, UsageError
from denoiser.noise import parse_mixture
from denoiser.training import TrainOptions, train
from denoiser.training.checkpoint import STATE_KEY
from denoiser.training.data import TorchRandom, noisy_batch
from denoiser.training.folder import Picture
from denoiser.training.store import PictureStore

SMALL = {"channels": (8, 16), "blocks": (1, 1)}


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Six smooth colour pictures of different sizes."""
    folder = tmp_path / "clean pictures"
    folder.mkdir()
    for index in range(6):
        y, x = np.mgrid[: 80 + 8 * index, :96] / 16
        waves = [np.sin(x * (1 + channel / 3) + index) * np.cos(y + channel) for channel in range(3)]
        Image.fromarray((127 + 100 * np.stack(waves, -1)).astype(np.uint8)).save(folder / f"ü {index}.png")
    return folder


@pytest.fixture
def small_start(tmp_path: Path) -> str:
    """Fresh weights of a network that trains in milliseconds."""
    torch.manual_seed(0)
    module = models.build("unet", SMALL)
    weights.save(tmp_path / "start.safetensors", module, weights.Card("unet", models.config_of(module)))
    return str(tmp_path / "start.safetensors")


@pytest.fixture
def options(pictures: Path, small_start: str, tmp_path: Path) -> Callable[..., TrainOptions]:
    def make(out: str, steps: int | None = 12, resume: bool = False, lr: float = 1e-3) -> TrainOptions:
        return TrainOptions(
            data=pictures,
            out=tmp_path / out,
            init=small_start,
            max_steps=steps,
            batch=2,
            crops=(32,),
            precision="fp32",
            resume=resume,
            lr=lr,
        )

    return make


def test_training_lowers_the_loss_and_the_model_runs(
    options: Callable[..., TrainOptions], pictures: Path, tmp_path: Path
) -> None:
    chosen = options("out", steps=250, lr=5e-3)
    shutil.copytree(pictures, tmp_path / "val")
    chosen = replace(chosen, val=tmp_path / "val")
    before = train(replace(chosen, max_steps=0, out=tmp_path / "before"))
    after = train(chosen)
    for protocol, row in after.psnr.items():
        assert row["50"] > before.psnr[protocol]["50"] + 1
    module, card = weights.load(after.model)
    assert (card.architecture, card.steps, card.psnr) == ("unet", 250, after.psnr)
    assert module(torch.rand(1, 3, 32, 32), torch.zeros(1, 1, 1, 1)).any()
    lines = [json.loads(line) for line in (after.model.parent / "metrics.jsonl").read_text().splitlines()]
    assert lines[0]["step"] == 1
    assert "psnr" in lines[-1]


def test_no_steps_keep_the_initial_weights_exactly(options: Callable[..., TrainOptions], small_start: str) -> None:
    result = train(options("out", steps=0))
    assert result.steps == 0
    start, end = load_file(small_start), load_file(result.model)
    assert all(torch.equal(start[key], end[key]) for key in start)


class _StopAfter:
    """Asks for the end after so many steps, as a signal would."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def __call__(self) -> bool:
        self.left -= 1
        return self.left < 0


def test_resumed_run_equals_an_undisturbed_one(options: Callable[..., TrainOptions]) -> None:
    whole = load_file(train(options("whole")).model)
    stopped = train(options("parts"), should_stop=_StopAfter(5))
    assert stopped.steps == 5
    assert stopped.model.is_file(), "a stopped run leaves a usable model"
    resumed = load_file(train(options("parts", resume=True)).model)
    assert all(torch.allclose(whole[key], resumed[key], rtol=0, atol=1e-6) for key in whole)
    # The test can fail: a run that starts over with the stopped weights alone ends elsewhere.
    other = load_file(train(replace(options("other", steps=7), init=str(stopped.model))).model)
    assert not all(torch.allclose(whole[key], other[key], rtol=0, atol=1e-6) for key in whole)


def test_divergence_stops_with_advice(options: Callable[..., TrainOptions]) -> None:
    with pytest.raises(DenoiserError, match="lower learning rate"):
        train(options("out", steps=3000, lr=1e30))


@pytest.mark.slow
def test_terminated_run_leaves_a_model(options: Callable[..., TrainOptions]) -> None:
    chosen = options("out")
    command = [sys.executable, "-m", "denoiser", "train", str(chosen.data), "--out", str(chosen.out), "--init"]
    command += [str(chosen.init), "--max-time", "10m", "--crop", "32", "--batch", "2"]
    process = subprocess.Popen(command)
    deadline = time.monotonic() + 60
    while not (chosen.out / "metrics.jsonl").exists() or not (chosen.out / "metrics.jsonl").read_text():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)
    process.terminate()
    assert process.wait(30) == 143
    weights.load(chosen.out / "model.safetensors")
    assert (chosen.out / "checkpoint.safetensors").is_file()


def _picture(pixels: np.ndarray) -> Picture:
    return Picture("picture", pixels, 1 / 255, 1 / 255, 1.0)


def test_crops_are_symmetries_of_the_pictures() -> None:
    picture = np.arange(40 * 56 * 3, dtype=np.uint32).reshape(40, 56, 3).astype(np.uint8)
    picture[..., 0] = np.arange(40)[:, None]
    picture[..., 1] = np.arange(56)[None, :]
    store = PictureStore([_picture(picture)], torch.device("cpu"))
    places = store.places(np.random.default_rng(0), 200, 16)
    crops = (store.crops(places).values * 255).round().numpy().astype(int)
    seen = set()
    for crop in crops:
        down, right = crop[1, 0] - crop[0, 0], crop[0, 1] - crop[0, 0]
        seen.add((tuple(down[:2]), tuple(right[:2])))
        # Rows and columns of the picture advance by one, each along one axis: nothing is stretched or mixed.
        assert sorted(np.abs([*down[:2], *right[:2]])) == [0, 0, 1, 1]
        rows, columns = crop[..., 0], crop[..., 1]
        assert np.array_equal(crop[..., 2], picture[rows, columns, 2])
    assert len(seen) == 8


def test_batches_are_what_they_claim() -> None:
    store = PictureStore([_picture(np.full((64, 64, 3), (200, 30, 90), np.uint8))], torch.device("cpu"))
    generator, random = np.random.default_rng(0), TorchRandom(torch.Generator().manual_seed(0))
    crops = store.crops(store.places(generator, 64, 32))
    clean, noisy, white = noisy_batch(crops, parse_mixture(["gaussian:25"]), 0.5, 0.5, generator, random)
    assert clean.shape == noisy.shape == (64, 3, 32, 32)
    gray = torch.tensor([bool((picture[0] == picture[1]).all()) for picture in clean])
    assert 10 < gray.sum() < 54
    assert all((picture[0] == picture[2]).all() for picture in noisy[gray]), "a gray picture has one noise"
    assert clean[gray].std(dim=(1, 2, 3)).max() < 1e-6
    levels = noisy * 255
    rounded = torch.tensor([bool((picture - picture.round()).abs().max() < 1e-3) for picture in levels])
    assert 10 < rounded.sum() < 54
    assert noisy[rounded].min() >= 0 and noisy[rounded].max() <= 1
    assert (white[rounded] == 1).float().mean() > 0.7 > (white[~rounded] == 1).float().mean()


def test_bad_input_is_told(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--max-time"):
        TrainOptions(data=pictures, out=tmp_path)
    for wrong in (
        *({"batch": 0}, {"crops": (8,)}, {"gray": 2.0}, {"lr": 0.0}, {"precision": "fp8"}),
        *({"max_steps": -1}, {"max_time": 0.0}, {"max_time": -5.0}, {"max_time": np.inf}, {"max_time": np.nan}),
        *({"seed": -1}, {"seed": 2**63}),
    ):
        with pytest.raises(UsageError):
            TrainOptions(**{"data": pictures, "out": tmp_path, "max_steps": 1, **wrong})  # type: ignore[arg-type]
    assert TrainOptions(data="d", out="o", max_steps=1).data == Path("d")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="no such folder"):
        train(TrainOptions(data=tmp_path / "nowhere", out=tmp_path, max_steps=1))
    with pytest.raises(NothingToDoError, match="smaller than the largest crop"):
        train(TrainOptions(data=pictures, out=tmp_path, max_steps=1, crops=(512,)))
    (pictures / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(InputError, match=r"broken\.png"):
        train(TrainOptions(data=pictures, out=tmp_path, max_steps=1, crops=(32,)))


def test_a_run_is_not_replaced_by_one_that_forgets_to_resume(options: Callable[..., TrainOptions]) -> None:
    chosen = options("out", steps=2)
    before = train(chosen).model.read_bytes()
    with pytest.raises(UsageError, match=r"holds a run already.*--resume"):
        train(replace(chosen, data=Path("nowhere")))
    (chosen.out / "checkpoint.safetensors").unlink()
    with pytest.raises(UsageError, match=r"holds a run already \(model\.safetensors\)"):
        train(chosen)
    assert (chosen.out / "model.safetensors").read_bytes() == before


@pytest.mark.parametrize(("then", "now"), [("adamw", "muon"), ("muon", "adamw")])
def test_resuming_with_another_optimizer_or_architecture_is_told(
    options: Callable[..., TrainOptions], then: str, now: str
) -> None:
    chosen = replace(options("out", steps=2), optimizer=then)
    train(chosen)
    resumed = replace(chosen, max_steps=4, resume=True)
    with pytest.raises(UsageError, match=rf"checkpoint.*give --optimizer {then}"):
        train(replace(resumed, optimizer=now))
    with pytest.raises(UsageError, match=r"checkpoint.*give --arch unet"):
        train(replace(resumed, init=None, arch="dae"))
    with pytest.raises(UsageError, match="give --arch-config channels=8,16 --arch-config blocks=1,1"):
        train(replace(resumed, init=None))
    path = chosen.out / "checkpoint.safetensors"
    with safe_open(path, "pt") as file:
        state = file.metadata()[STATE_KEY]
    save_file(load_file(path), path, metadata={STATE_KEY: state})  # the first format did not name the optimiser
    with pytest.raises(InputError, match="checkpoint"):
        train(replace(resumed, optimizer=now))


def test_damaged_checkpoint_is_told(options: Callable[..., TrainOptions]) -> None:
    chosen = options("out", steps=2)
    train(chosen)
    (chosen.out / "checkpoint.safetensors").write_bytes(b"half a file")
    with pytest.raises(InputError, match=r"checkpoint\.safetensors"):
        train(options("out", steps=4, resume=True))


def test_two_processes_equal_one(options: Callable[..., TrainOptions], tmp_path: Path) -> None:
    chosen = options("one")
    arguments = ["train", str(chosen.data), "--init", str(chosen.init), "--max-steps", "20", "--crop", "32"]
    arguments += ["--batch", "4", "--precision", "fp32", "--out"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    commands = {"one": [sys.executable], "two": torchrun}
    for name, python in commands.items():
        subprocess.run([*python, "-m", "denoiser", *arguments, str(tmp_path / name)], check=True, timeout=120)
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in commands)
    assert all(torch.allclose(one[key], two[key], rtol=0, atol=1e-4) for key in one)
    start = load_file(str(chosen.init))
    assert not all(torch.allclose(start[key], two[key], rtol=0, atol=1e-4) for key in start)
