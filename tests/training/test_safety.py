"""What keeps runs from harm: others in the folder, other pictures at a resume, weights that explode, wrong types."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from denoiser import models, weights
from denoiser.batch import CorruptOptions, corrupt_files
from denoiser.cli.main import main
from denoiser.errors import DenoiserError, LockedError, UsageError
from denoiser.lock import Lock, NoLocksError
from denoiser.training import TrainOptions, train
from denoiser.training.checkpoint import load_checkpoint
from denoiser.training.learner import Learner
from denoiser.training.lessons import as_told
from denoiser.training.validate import score
from tests.training.helpers import Notes, noisy, options, waves, write


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders ``data``, ``val`` and ``other`` of clean pictures."""
    folder = tmp_path_factory.mktemp("folders")
    for number, name in enumerate(("data", "val", "other")):
        for index in range(3):
            write(folder / name / f"{index}.png", waves(3 * number + index))
    return folder


def counters_of(chosen: TrainOptions) -> Any:
    learner = Learner.start(chosen, torch.device("cpu"), torch.float32)
    return load_checkpoint(chosen.out / "checkpoint.safetensors", learner.module, learner.average, learner.optimizer)


def test_other_pictures_to_validate_on_choose_the_best_anew(folders: Path, start: str, tmp_path: Path) -> None:
    common: dict[str, Any] = {"data": folders / "data", "out": tmp_path / "run", "init": start, "val_every": 1e-9}
    first = options(**common, val=folders / "val", max_steps=3)
    train(first)
    before = counters_of(first)
    assert before.measure

    same, told = options(**common, val=folders / "val", max_steps=4, resume=True), Notes()
    train(same, told)
    assert counters_of(same).best >= before.best and not [m for level, m in told.told if "chosen anew" in m]

    for changed in ({"val": folders / "other"}, {"val": folders / "other", "noise": ("stripes",)}):
        again, told = options(**common, **changed, max_steps=counters_of(first).step + 1, resume=True), Notes()
        then = counters_of(first)
        train(again, told)
        assert [level for level, message in told.told if "chosen anew" in message] == ["warning"]
        now = counters_of(again)
        assert now.measure != then.measure
        lines = map(json.loads, (again.out / "metrics.jsonl").read_text().splitlines())
        scores = [score(line["psnr"]) for line in lines if "psnr" in line and line["step"] > then.step]
        assert now.best == pytest.approx(max(scores)) and scores


def test_a_folder_takes_one_run_at_a_time(folders: Path, start: str, tmp_path: Path) -> None:
    chosen = options(folders / "data", tmp_path / "run", start)
    with Lock(chosen.out), pytest.raises(LockedError, match=r"another run is writing there.*give another --out"):
        train(chosen)
    assert not (chosen.out / "model.safetensors").exists()
    assert train(chosen).model.is_file()


def test_a_run_that_ended_while_pictures_were_read_is_kept(
    folders: Path, start: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = options(folders / "data", tmp_path / "run", start)

    class Slow(Lock):
        def __enter__(self) -> Lock:
            (chosen.out / "model.safetensors").write_bytes(b"another run's")
            return super().__enter__()

    chosen.out.mkdir()
    monkeypatch.setattr("denoiser.training.loop.Lock", Slow)
    with pytest.raises(UsageError, match="holds a run already"):
        train(chosen)
    assert (chosen.out / "model.safetensors").read_bytes() == b"another run's"


def test_file_systems_without_locks_are_trained_on(
    folders: Path, start: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Unlockable(Lock):
        def __enter__(self) -> Lock:
            raise NoLocksError("trained: its file system has no locks (not supported); give --no-lock")

    monkeypatch.setattr("denoiser.training.loop.Lock", Unlockable)
    told = Notes()
    train(options(folders / "data", tmp_path / "run", start), told)
    assert [m for level, m in told.told if level == "warning"] == [
        "trained: its file system has no locks (not supported); let no other run write there"
    ]


def test_a_checkpoint_never_holds_exploded_weights(
    folders: Path, start: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = options(folders / "data", tmp_path / "run", start, max_steps=2)
    train(good)
    kept = (good.out / "checkpoint.safetensors").read_bytes()
    after = Learner.follow

    def explode(self: Learner) -> None:
        after(self)
        with torch.no_grad():
            next(iter(self.parameters)).fill_(float("inf"))

    monkeypatch.setattr(Learner, "follow", explode)
    bad = options(folders / "data", tmp_path / "run", start, max_steps=3, resume=True)
    with pytest.raises(DenoiserError, match=r"weights became too large .* diverged; .*--resume --lr"):
        train(bad)
    assert (good.out / "checkpoint.safetensors").read_bytes() == kept


def test_a_likelihood_below_zero_is_no_obstacle(folders: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    for index in range(3):
        write(tmp_path / "noisy" / f"{index}.png", noisy(waves(index), seed=index))
    kind: Any = type(models.build("vdae", {}))
    own = kind.objective
    chosen = options(
        tmp_path / "noisy", tmp_path / "run", "", arch="vdae", self_supervised="mask", val_split=3, max_steps=2
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kind, "objective", lambda *arguments: own(*arguments) - 100)
        train(chosen)
    rows = [json.loads(line) for line in (chosen.out / "metrics.jsonl").read_text().splitlines()]
    assert any(row.get("loss", 0) < 0 for row in rows) and any("psnr" in row for row in rows)
    with Image.open(chosen.out / "curves.png") as curves:
        left = np.asarray(curves.convert("RGB"))[:, : curves.width // 2].astype(int)
    assert (left[..., 2] - left[..., 0] > 80).sum() > 10, "the curve of the loss is drawn"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"batch": "8"}, "--batch '8': must be a whole number"),
        ({"batch": True}, "--batch True: must be a whole number"),
        ({"lr": "fast"}, "--lr 'fast': must be a number"),
        ({"crops": ("64",)}, "--crops '64': must be a whole number"),
        ({"noise": (25,)}, "--noise 25: must be text"),
        ({"max_time": "30m"}, "--max-time '30m': must be a number"),
        ({"data": 3}, "--data 3: must be a path"),
        ({"data": "s3://bucket/photos"}, "--data s3://bucket/photos: names an object store"),
        ({"white": [4095]}, "--white [4095]: must be a number"),
    ],
)
def test_wrong_types_are_told(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        TrainOptions(**{"data": "a", "out": "b", "max_steps": 1, **wrong})
    assert message in str(caught.value)


def test_a_resumed_run_learns_what_it_has_learned_before(folders: Path, start: str, tmp_path: Path) -> None:
    common: dict[str, Any] = {"data": folders / "data", "out": tmp_path / "run", "init": start}
    train(options(**common, self_supervised="neighbours", max_steps=1))
    with pytest.raises(UsageError, match="is a run with --self-supervised neighbours; give --resume the same options"):
        train(options(**common, max_steps=2, resume=True))
    assert train(options(**common, self_supervised="neighbours", max_steps=2, resume=True)).steps == 2

    common["out"] = tmp_path / "made"
    train(options(**common, noise=("stripes",), max_steps=1))
    told = Notes()
    train(options(**common, noise=("stripes",), max_steps=2, resume=True), told)
    assert not [message for level, message in told.told if level == "warning"]
    train(options(**common, noise=("mask",), seed=5, max_steps=3, resume=True), told)
    assert ("warning", "goes on with noise mask, seed 5; until here it was noise stripes, seed 0") in told.told


def test_lists_and_numbers_of_numpy_are_as_good() -> None:
    given: Any = {"max_steps": np.int64(3), "crops": [64, 96], "init": Path("x.safetensors"), "noise": "stripes"}
    chosen = TrainOptions(Path("a"), Path("b"), **given)
    assert (chosen.max_steps, chosen.crops, chosen.init) == (3, (64, 96), "x.safetensors")
    assert chosen.noise == ("stripes",)


def test_values_that_fill_little_of_their_files_are_told(start: str, tmp_path: Path) -> None:
    for index in range(2):
        write(tmp_path / "dim" / f"{index}.tif", waves(index) / 16, np.uint16)
        write(tmp_path / "full" / f"{index}.tif", waves(index), np.uint16)
        write(tmp_path / "dark" / f"{index}.png", waves(index) / 16)
    warned = {}
    runs = (("dim", None, ""), ("dim", None, "neighbours"), ("full", None, ""), ("dark", None, ""), ("dim", 4095.0, ""))
    for name, white, way in runs:
        told = Notes()
        chosen: dict[str, Any] = {"white": white, "max_steps": 1, "self_supervised": way}
        train(options(tmp_path / name, tmp_path / f"{name}{white}{way}", start, **chosen), told)
        warned[name, white, way] = [m for level, m in told.told if level == "warning" and "--white" in m]
    made = warned.pop(("dim", None, ""))[0]
    assert "noise is made in parts of that range; give the value of white, such as --white 4095" in made
    assert "scores and samples are in parts of that range" in warned.pop(("dim", None, "neighbours"))[0]
    assert not any(warned.values())


def test_of_several_processes_one_gives_the_document(
    folders: Path, start: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["train", str(folders / "data"), "--init", start, "--crop", "32", "--max-steps", "0", "--json", "--out"]
    for rank in (0, 1):
        monkeypatch.setenv("RANK", str(rank))
        assert main([*command, str(tmp_path / str(rank))]) == 0
        assert bool(capsys.readouterr().out) == (rank == 0)


def test_a_recipe_that_makes_noise_is_blamed_by_its_name(
    folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["train", str(folders / "data"), "--recipe", "unet", "--out", str(tmp_path / "run")]
    assert main([*arguments, "--self-supervised", "neighbours"]) == 2
    assert (
        "--recipe unet makes noise on clean pictures (its noise), --self-supervised makes none"
        in capsys.readouterr().err
    )
    assert main([*arguments, "--noise", "gaussian:25", "--noisy", str(folders / "val")]) == 2
    assert "--noisy makes none" in capsys.readouterr().err  # the recipe also sets gray, clip and more


def test_the_process_that_fails_tells_why_and_the_other_only_that(folders: Path, start: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "denoiser"]
    command += ["train", str(folders / "data"), "--val", str(tmp_path / "missing"), "--init", start, "--batch", "2"]
    done = subprocess.run(
        [*command, "--crop", "32", "--max-steps", "2", "--device", "cpu", "--out", str(tmp_path / "run")],
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert f"{tmp_path / 'missing'}: no such folder of pictures" in done.stderr
    assert "unexpected" not in done.stderr and "gloo" not in done.stderr.lower()


def test_what_corrupt_tells_of_noisy_pictures_is_used(start: str, tmp_path: Path) -> None:
    for index in range(3):
        write(tmp_path / "clean" / f"{index}.tif", waves(index) / 16, np.uint16)
    made = CorruptOptions(noise="gaussian:20", white=4095)
    corrupt_files([tmp_path / "clean"], tmp_path / "noisy", made)
    pairs = options(tmp_path / "clean", tmp_path / "run", start, noisy=tmp_path / "noisy")
    told = Notes()
    chosen = as_told(pairs, told)
    assert (chosen.black, chosen.white, chosen.noise_note) == (0, 4095, "gaussian:20")
    assert [level for level, _ in told.told] == ["info"]
    assert as_told(options(tmp_path / "clean", tmp_path / "run", start), told).white is None
    train(pairs)
    _, card = weights.load(tmp_path / "run" / "model.safetensors")
    assert card.noise.endswith("pairs of noisy and clean pictures it learned from: gaussian:20")

    spoilt = CorruptOptions(noise="gaussian:20+correlated:5", exists="overwrite")
    corrupt_files([tmp_path / "clean"], tmp_path / "noisy", spoilt)
    alone = options(tmp_path / "noisy", tmp_path / "alone", start, self_supervised="blind-spot")
    assert as_told(alone, told).white is None
    level, message = told.told[-1]
    assert level == "warning" and "blind-spot takes noise that is not independent" in message
    count = len(told.told)
    as_told(replace(alone, self_supervised="mask"), told)
    assert len(told.told) == count
