"""Whole runs: pairs, noisy pictures alone, validation, early stop, what is drawn, recipes."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from denoiser import models, weights
from denoiser.cli import recipes
from denoiser.cli.main import main
from denoiser.errors import OutputError, UnavailableError, UsageError
from denoiser.metrics import psnr
from denoiser.training import Status, TrainOptions, plots, train, validate, watcher
from denoiser.training.checkpoint import STATE_KEY
from denoiser.training.folder import Picture
from denoiser.training.learner import Learner
from denoiser.training.objectives import SELF_SUPERVISED
from denoiser.training.options import DEFAULT_ARCH
from denoiser.training.options import SELF_SUPERVISED as WAYS
from tests.training.helpers import Notes, noisy, options, waves, write


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders ``clean`` and ``noisy`` with six pictures each."""
    folder = tmp_path_factory.mktemp("pictures")
    for index in range(6):
        write(folder / "clean" / f"{index}.png", waves(index))
        write(folder / "noisy" / f"{index}.png", noisy(waves(index), seed=index))
    return folder


def _lines(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("way", ["pairs", "neighbours", "blind-spot"])
def test_learning_from_noisy_pictures_brings_them_closer_to_the_truth(
    pictures: Path, start: str, tmp_path: Path, way: str
) -> None:
    clean, partners = pictures / "clean", pictures / "noisy"
    for folder in (clean, partners):
        shutil.copytree(folder, tmp_path / "val" / folder.name)
    truth = {"val": tmp_path / "val" / "clean", "val_noisy": tmp_path / "val" / "noisy", "lr": 5e-3}
    kind = {"data": clean, "noisy": partners} if way == "pairs" else {"data": partners, "self_supervised": way}
    after = train(options(**kind, out=tmp_path / "after", init=start, max_steps=150, **truth))
    pairs = [[np.array(Image.open(folder / f"{i}.png")) for folder in (clean, partners)] for i in range(6)]
    untouched = np.mean([psnr(one, other, 255) for one, other in pairs])
    assert after.psnr["pairs"]["all"] > untouched + 0.7
    card = weights.load(after.model)[1]
    assert card.psnr == after.psnr
    assert way in card.noise and "gaussian" not in card.noise


def test_mask_teaches_a_bottleneck_and_warns_others(pictures: Path, start: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = models.build("convdae")
    bottleneck = tmp_path / "convdae.safetensors"
    weights.save(bottleneck, module, weights.Card("convdae", models.config_of(module)))
    notes = Notes()
    train(options(pictures / "noisy", tmp_path / "a", str(bottleneck), self_supervised="mask"), notes)
    assert not [text for level, text in notes.told if level == "warning"]
    losses = [line["loss"] for line in _lines(tmp_path / "a") if "loss" in line]
    assert all(np.isfinite(losses))
    train(options(pictures / "noisy", tmp_path / "b", start, self_supervised="mask"), notes)
    assert any(level == "warning" and "neighbours" in text for level, text in notes.told)


def test_without_truth_the_objective_judges(pictures: Path, start: str, tmp_path: Path) -> None:
    result = train(options(pictures / "noisy", tmp_path, start, self_supervised="neighbours", val_split=3))
    assert result.psnr == {} == weights.read_card(result.model).psnr
    (scores,) = [line["psnr"] for line in _lines(tmp_path) if "psnr" in line]
    # The noise of a single pixel against its neighbour's, both sigma 25, under the two terms' mean.
    assert 16 < scores["prediction"]["neighbours"] < 24
    assert Image.open(tmp_path / "samples.png").width < 3 * 72, "there is no clean picture to show"


def test_validation_uses_the_noise_that_is_trained(pictures: Path, start: str, tmp_path: Path) -> None:
    result = train(options(pictures / "clean", tmp_path, start, noise=("stripes", "salt-pepper@2"), val_split=2))
    assert {protocol: set(row) for protocol, row in result.psnr.items()} == {
        "literature": {"stripes", "salt-pepper"},
        "file": {"stripes", "salt-pepper"},
    }


def test_validation_uses_three_levels_of_grain_beside_other_noise(pictures: Path, start: str, tmp_path: Path) -> None:
    mixed = ("gaussian:0-75@3", "poisson", "gaussian:3-40+jpeg:60-98@0.5")
    result = train(options(pictures / "clean", tmp_path, start, noise=mixed, val_split=2))
    assert all(set(row) == {"15", "25", "50", "gaussian:3-40+jpeg:60-98"} for row in result.psnr.values())


def test_floats_are_scored_unclipped(start: str) -> None:
    clean = (2 * waves(0) - 0.5).astype(np.float32)
    pair = [Picture("picture", values.astype(np.float32), 1.0, 0.0, 0.0) for values in (noisy(clean), clean)]
    module = weights.load(start)[0]
    scores, _ = validate.Pairs(pair[:1], pair[1:]).measure(module, torch.device("cpu"), torch.float32)
    restored = validate.restore(module, pair[0].values, 0.0, torch.device("cpu"), torch.float32)
    assert scores["pairs"]["all"] == pytest.approx(psnr(clean, restored, 1.0), abs=1e-3)


def test_a_picture_that_equals_its_truth_does_not_make_the_score_infinite(start: str) -> None:
    empty = Picture("empty", np.zeros((32, 32, 1), np.uint8), 1 / 255, 1 / 255, 1.0)
    scores, _ = validate.Pairs([empty], [empty]).measure(weights.load(start)[0], torch.device("cpu"), torch.float32)
    assert scores["pairs"]["all"] == validate.MOST


def test_held_out_pictures_are_not_trained_on(pictures: Path, start: str, tmp_path: Path) -> None:
    plain = train(options(pictures / "clean", tmp_path / "plain", start))
    split = train(options(pictures / "clean", tmp_path / "split", start, val_split=2))
    one, other = (torch.cat([p.flatten() for p in weights.load(r.model)[0].parameters()]) for r in (plain, split))
    assert not torch.equal(one, other)
    with pytest.raises(UsageError, match="there are 6"):
        train(options(pictures / "clean", tmp_path / "none", start, val_split=7))


def test_a_folder_to_validate_on_is_left_out_of_the_one_to_learn_from(start: str, tmp_path: Path) -> None:
    for kind in ("clean", "noisy"):
        write(tmp_path / kind / "a.png", waves(0))
        write(tmp_path / kind / "val" / "b.png", waves(1))
    notes = Notes()
    train(options(tmp_path / "clean", tmp_path / "out", start, val=tmp_path / "clean" / "val", max_steps=0), notes)
    counts = [text.split(": ")[1] for _, text in notes.told if " pictures, " in text]
    assert counts == ["1 pictures, 0 MP", "1 pictures, 0 MP"]
    folders = {name: tmp_path / kind / "val" for name, kind in (("val", "clean"), ("val_noisy", "noisy"))}
    result = train(options(tmp_path / "clean", tmp_path / "p", start, noisy=tmp_path / "noisy", max_steps=0, **folders))
    assert set(result.psnr) == {"pairs"}


def test_patience_ends_a_run_that_does_not_improve(pictures: Path, start: str, tmp_path: Path) -> None:
    chosen = options(
        pictures / "clean", tmp_path, start, max_steps=10_000, lr=1e-12, val_split=6, val_every=1e-6, patience=2
    )
    result = train(chosen)
    assert result.steps == 3, "one best state, then two that are no better"
    assert [line["step"] for line in _lines(tmp_path) if "psnr" in line] == [1, 2, 3]
    assert weights.read_card(result.model).steps == 1


def test_a_run_that_is_killed_in_its_last_validation_has_a_model(
    pictures: Path, start: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(self: watcher.Watcher) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(watcher.Watcher, "_validate", killed)
    with pytest.raises(KeyboardInterrupt):
        train(options(pictures / "clean", tmp_path, start, max_steps=2, val_split=6))
    assert weights.load(tmp_path / "model.safetensors")[1].steps == 2
    assert (tmp_path / "checkpoint.safetensors").is_file()


def test_smaller_copies_are_learned_from_and_told(pictures: Path, start: str, tmp_path: Path) -> None:
    notes = [
        weights.read_card(train(options(pictures / "clean", tmp_path / name, start, crops=(32,), **more)).model).notes
        for name, more in (("plain", {}), ("more", {"reduced": (1.5, 2.0)}))
    ]
    assert "smaller" not in notes[0] and "copies 1.5 and 2 times smaller" in notes[1]
    one, other = (
        torch.cat([p.flatten() for p in weights.load(tmp_path / name / "model.safetensors")[0].parameters()])
        for name in ("plain", "more")
    )
    assert not torch.equal(one, other)


def test_patterns_are_learned_and_told(pictures: Path, start: str, tmp_path: Path) -> None:
    cards = [
        weights.read_card(train(options(pictures / "clean", tmp_path / str(share), start, patterns=share)).model)
        for share in (None, 0.5)
    ]
    assert "pattern" not in cards[0].noise and "50% with a regular fine pattern" in cards[1].noise
    one, other = (
        torch.cat([p.flatten() for p in weights.load(tmp_path / name / "model.safetensors")[0].parameters()])
        for name in ("None", "0.5")
    )
    assert not torch.equal(one, other)


def test_what_is_seen(pictures: Path, start: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watcher, "LOOK_EVERY", 0.0)
    seen: list[Status] = []
    train(options(pictures / "clean", tmp_path, start, max_steps=2, val_split=6, val_every=1e-6), watch=seen.append)
    steps = [status.step for status in seen]
    assert steps == sorted(steps) and set(steps) == {1, 2}
    assert seen[-1].done == 1.0 and seen[-1].left == 0.0
    assert seen[-1].loss > 0 and seen[-1].crops_per_second > 0
    assert seen[0].score is None and seen[-1].score is not None
    curves, samples = (np.array(Image.open(tmp_path / name).convert("RGB")) for name in ("curves.png", "samples.png"))
    assert curves.std() > 10
    assert samples.shape[0] > 6 * 64, "a row for each protocol and noise level"
    assert samples.shape[1] > 3 * 64, "noisy, restored and clean"


def test_without_matplotlib_a_run_says_so_and_goes_on(
    pictures: Path, start: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    assert not plots.can_draw()
    notes = Notes()
    train(options(pictures / "clean", tmp_path, start, val_split=3), notes)
    assert any("image-denoiser[train]" in text for _, text in notes.told)
    assert not (tmp_path / "curves.png").exists()
    assert (tmp_path / "samples.png").is_file()


def test_tensorboard_gets_what_the_metrics_have(
    pictures: Path, start: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    common: dict[str, Any] = {"val": pictures, "val_every": 1e-9, "tensorboard": True}
    held = {"data": tmp_path / "data", "out": tmp_path / "run", "init": start}
    write(tmp_path / "data" / "a.png", waves(7))
    train(options(**held, **common, max_steps=2))
    train(options(**held, **common, max_steps=3, resume=True))
    events = accumulator.EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    losses = [(row["step"], pytest.approx(row["loss"], rel=1e-6)) for row in rows if "loss" in row]
    assert [(each.step, each.value) for each in events.Scalars("loss")] == losses
    protocol, level = next(
        (name, next(iter(row["psnr"][name]))) for row in rows if "psnr" in row for name in row["psnr"]
    )
    assert [each.step for each in events.Scalars(f"psnr/{protocol}/{level}")] == [1, 2, 3]
    assert [each.step for each in events.Images("samples")] == [1, 2, 3]

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UnavailableError, match=r"image-denoiser\[tensorboard\]"):
        train(options(**{**held, "out": tmp_path / "other"}, tensorboard=True))
    assert not (tmp_path / "other").exists()


def test_what_is_no_model_is_told_by_what_it_is(pictures: Path, start: str, tmp_path: Path) -> None:
    train(options(pictures, tmp_path, start, max_steps=1))
    for path, words in ((tmp_path / "checkpoint.safetensors", "is a checkpoint"), (tmp_path, "name the model")):
        with pytest.raises(UnavailableError, match=words):
            weights.load(path)


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_the_optimiser_goes_on_with_the_weights(pictures: Path, start: str, tmp_path: Path, optimizer: str) -> None:
    before = options(pictures, tmp_path / "before", start, optimizer=optimizer, max_steps=3)
    train(before)
    model = str(tmp_path / "before" / "model.safetensors")
    common: dict[str, Any] = {"optimizer": optimizer, "max_steps": 4}
    cold = options(pictures, tmp_path / "cold", model, **common)
    warm = options(pictures, tmp_path / "warm", model, **common, init_optimizer=True)
    states = {}
    for chosen in (cold, warm):
        learner = Learner.start(chosen, torch.device("cpu"), torch.float32)
        states[chosen.out.name] = learner.optimizer.state_dict()["state"]
        train(chosen)
    assert not any(states["cold"].values()) and all(states["warm"].values())
    moments = load_file(tmp_path / "before" / "checkpoint.safetensors")
    for index, state in states["warm"].items():
        for name, value in state.items():
            assert torch.equal(value.cpu().float(), moments[f"optimizer.{index}.{name}"].float())
    first, second = (load_file(tmp_path / name / "checkpoint.safetensors") for name in ("cold", "warm"))
    assert any(not torch.equal(first[name], second[name]) for name in first if name.startswith("model."))

    other = "adamw" if optimizer == "muon" else "muon"
    with pytest.raises(UsageError, match=f"--optimizer {optimizer}"):
        train(options(pictures, tmp_path / "other", model, optimizer=other, max_steps=1, init_optimizer=True))
    with pytest.raises(UsageError, match="whose folder has its checkpoint"):
        train(options(pictures, tmp_path / "other", start, max_steps=1, init_optimizer=True))
    with pytest.raises(UsageError, match="add --init"):
        TrainOptions(data=pictures, out=tmp_path / "other", max_steps=1, init_optimizer=True)


def test_dim_samples_are_drawn_brighter() -> None:
    picture = waves(0).astype(np.float32) / 100
    noisy_one, same = validate._shown(picture, picture / 2)
    assert noisy_one.max() == pytest.approx(1, abs=0.02) and same.max() == pytest.approx(0.5, abs=0.02)
    (plain,) = validate._shown(picture * 100)
    assert np.array_equal(plain, (picture * 100).clip(0, 1))


def test_resume_drops_the_lines_that_a_kill_left(pictures: Path, start: str, tmp_path: Path) -> None:
    train(options(pictures / "clean", tmp_path, start, max_steps=2))
    with (tmp_path / "metrics.jsonl").open("a") as stream:
        stream.write('{"step": 1, "lo\n[]\n{"step": 9, "loss": 1.0}\n{"step": 10, "lo')
    train(options(pictures / "clean", tmp_path, start, max_steps=4, resume=True))
    steps = [line["step"] for line in _lines(tmp_path)]
    assert steps == sorted(steps) and max(steps) == 4
    with pytest.raises(UsageError, match="no checkpoint to go on from"):
        train(options(pictures / "clean", tmp_path / "new", start, resume=True))


def test_an_output_that_cannot_be_written_is_told(pictures: Path, start: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="file"):
        train(options(pictures / "clean", tmp_path / "file" / "out", start))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"self_supervised": "magic"}, "blind-spot"),
        ({"self_supervised": "mask", "noisy": Path("n")}, "choose one"),
        ({"self_supervised": "mask", "noise": ("gaussian:25",)}, "--noise is about noise that is made"),
        ({"noisy": Path("n"), "gray": 0.0}, "--gray is about"),
        ({"noisy": Path("n"), "reduced": (2.0,)}, "--reduced is about"),
        ({"self_supervised": "mask", "patterns": 0.1}, "--patterns is about"),
        ({"patterns": 1.5}, "between 0 and 1"),
        ({"reduced": (0.5,)}, "above 1, 16 at most"),
        ({"val": Path("v"), "val_split": 5}, "give one"),
        ({"val_split": 1}, "at least 2"),
        ({"val_noisy": Path("v")}, "--val-noisy"),
        ({"noisy": Path("n"), "val": Path("v")}, "--val-noisy"),
        ({"patience": 3}, "--val"),
        ({"val": Path("d")}, "--val-split"),
        ({"data": Path("v/d"), "val": Path("v")}, "--val-split"),
        ({"noisy": Path("n"), "val": Path("v"), "val_noisy": Path("n")}, "--val-split"),
    ],
)
def test_options_that_contradict_each_other_are_told(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        TrainOptions(**{"data": Path("d"), "out": Path("o"), "max_steps": 1, **wrong})


def test_what_is_no_folder_of_pictures_is_told(pictures: Path, start: str, tmp_path: Path) -> None:
    one = next(path for path in pictures.rglob("*") if path.is_file())
    for data, words in ((one, "is one picture; name the folder"), (tmp_path / "missing", "no such folder")):
        with pytest.raises(UsageError, match=words):
            train(options(data, tmp_path / "run", start))
    with pytest.raises(UsageError, match="nothing is to be learned"):
        options(pictures, tmp_path / "run", start, noisy=pictures / ".")


def test_crops_and_losses_must_suit_the_network(pictures: Path, start: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--crop 34 must be a multiple of 4"):
        train(options(pictures / "clean", tmp_path, start, crops=(34,)))
    with pytest.raises(UsageError, match="--crop 36 must be a multiple of 8"):
        train(options(pictures / "noisy", tmp_path, start, crops=(36,), self_supervised="neighbours"))
    with pytest.raises(UsageError, match="its own loss"):
        train(TrainOptions(pictures / "noisy", tmp_path, arch="vdae", max_steps=1, self_supervised="blind-spot"))


def test_the_ways_that_options_know_are_those_that_there_are() -> None:
    assert set(WAYS) == set(SELF_SUPERVISED)


Told = Callable[[list[str]], TrainOptions]


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    """What the command asks of the trainer."""

    def ask(arguments: list[str]) -> TrainOptions:
        asked: list[TrainOptions] = []

        def remember(chosen: TrainOptions, *rest: Any) -> Any:
            asked.append(chosen)
            raise UsageError("enough")

        monkeypatch.setattr("denoiser.training.train", remember)
        assert main(["train", *arguments]) == 2
        (chosen,) = asked
        return chosen

    return ask


def test_a_recipe_stands_below_the_file_the_environment_and_the_command_line(
    told: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    own = tmp_path / "own.toml"
    own.write_text('[train]\nnoise = ["stripes"]\ncrop = [32, 64]\nlr = 0.1\nbatch = 2\nseed = 5\nmax-time = "2m"\n')
    (tmp_path / "denoiser.toml").write_text("[train]\nbatch = 3\nseed = 6\n")
    monkeypatch.setenv("DENOISER_SEED", "7")
    chosen = told(["d", "--recipe", str(own), "--lr", "0.2"])
    assert (chosen.noise, chosen.crops, chosen.max_time) == (("stripes",), (32, 64), 120.0)
    assert (chosen.lr, chosen.batch, chosen.seed) == (0.2, 3, 7)
    (tmp_path / "denoiser.toml").write_text(f"[train]\nrecipe = {json.dumps(str(own))}\n")
    assert told(["d"]).lr == 0.1


@pytest.mark.parametrize("name", sorted(recipes.bundled()))
def test_bundled_recipes_are_complete(told: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    chosen = told(["d", "--recipe", name])
    assert chosen.max_time or chosen.max_steps
    models.build(chosen.arch or DEFAULT_ARCH)


def test_the_recipe_of_the_flagship_says_what_its_card_says(told: Told, tmp_path: Path) -> None:
    chosen, card = told(["d", "--recipe", "unet"]), weights.read_card(weights.bundled()["unet"])
    assert chosen.arch == card.architecture
    assert " | ".join(chosen.noise) in card.noise
    assert chosen.seed == card.seed


def test_recipes_that_are_not_there_are_told(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["train", "d", "--recipe", "nonsense"]) == 2
    assert "unet" in capsys.readouterr().err
    wrong = tmp_path / "wrong.toml"
    wrong.write_text("[train]\nlearning-rate = 1\n")
    assert main(["train", "d", "--recipe", str(wrong)]) == 2
    assert "wrong.toml" in capsys.readouterr().err


def test_a_missing_device_is_an_error(pictures: Path, start: str, tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="cuda:77"):
        train(options(pictures / "clean", tmp_path, start, device="cuda:77"))


def test_checkpoints_of_the_first_format_can_be_resumed(pictures: Path, start: str, tmp_path: Path) -> None:
    train(options(pictures / "clean", tmp_path, start, max_steps=2))
    path = tmp_path / "checkpoint.safetensors"
    # Before there was early stopping nobody counted validations without progress.
    counters = {"step": 2, "seconds": 1.0, "megapixels": 0.1, "best": 20.0}
    save_file(load_file(path), path, metadata={STATE_KEY: json.dumps(counters)})
    assert train(options(pictures / "clean", tmp_path, start, max_steps=3, resume=True)).steps == 3


def test_the_size_of_a_fresh_network_can_be_chosen(pictures: Path, tmp_path: Path) -> None:
    small = ("channels=8,16", "blocks=1,1")
    made = train(options(data=pictures / "clean", out=tmp_path, init=None, arch_config=small, max_steps=2))
    assert models.config_of(weights.load(made.model)[0]) == {"channels": (8, 16), "blocks": (1, 1), "stem": 2}
    again = {"data": pictures / "clean", "out": tmp_path / "again", "init": str(made.model), "max_steps": 1}
    with pytest.raises(UsageError, match="--arch dae: the network of --init is a unet"):
        train(options(**again, arch="dae"))
    with pytest.raises(UsageError, match="another channels"):
        train(options(**again, arch_config=("channels=8,24",)))
    with pytest.raises(UsageError, match="block counts"):
        train(options(**again | {"init": None}, arch_config=("blocks=1,1",)))
    train(options(**again, arch="unet", arch_config=small))
