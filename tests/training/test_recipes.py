"""Every bundled recipe learns, whatever its architecture; bad input is answered with a remedy."""

from __future__ import annotations

import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch

from denoiser import models, weights
from denoiser.cli import recipes
from denoiser.cli.main import main
from denoiser.errors import ExitCode
from denoiser.models import Network
from denoiser.noise import NumpyRandom, parse
from tests.training.helpers import noisy, waves, write

RECIPES = recipes.bundled()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four clean pictures."""
    folder = tmp_path_factory.mktemp("clean")
    for index in range(4):
        write(folder / f"{index}.png", waves(index))
    return folder


def error(module: Network | None, spec: str) -> float:
    """Root mean square error on two pictures with a recipe's noise, the same for every network, and for None."""
    clean = np.stack([waves(index, 64, 64) for index in (1, 2)]).astype(np.float32)
    seen = parse(spec).apply(clean, NumpyRandom(np.random.default_rng(0))).clip(0, 1)
    with torch.inference_mode():
        x = torch.from_numpy(np.asarray(seen, np.float32)).permute(0, 3, 1, 2)
        estimate = x - module.eval()(x, torch.ones(2, 1, 1, 1)) if module is not None else x
    return float(np.sqrt(np.mean((estimate.permute(0, 2, 3, 1).numpy() - clean) ** 2)))


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_thirty_steps_of_every_recipe_lower_the_loss(name: str, folder: Path, tmp_path: Path) -> None:
    recipe = tomllib.loads(RECIPES[name].read_text(encoding="utf-8"))["train"]
    torch.manual_seed(0)
    before = weights.load(recipe["init"])[0] if "init" in recipe else models.build(recipe["arch"])
    size = ["--crop", "16", "--batch", "1"] if recipe.get("arch") == "rednet" else ["--crop", "32", "--batch", "2"]
    run = ["--max-steps", "30", *size, "--precision", "fp32", "--out", str(tmp_path), "-q"]
    assert main(["train", str(folder), "--recipe", name, *run]) == ExitCode.OK
    after, card = weights.load(tmp_path / "model.safetensors")
    assert type(after) is type(before)
    specs = [spec.split("@")[0] for spec in recipe["noise"]]
    assert all(spec in card.noise for spec in specs)
    # What starts from good weights need not become better in thirty steps, but must restore pictures still.
    limit = error(None, specs[0]) if "init" in recipe else error(before, specs[0])
    assert error(after, specs[0]) < limit


def test_gray_and_colour_are_mixed(tmp_path: Path) -> None:
    write(tmp_path / "mixed" / "colour.png", waves(0))
    write(tmp_path / "mixed" / "gray.png", waves(1)[..., 0])
    run = ["--arch", "dae", "--max-steps", "2", "--crop", "32", "--batch", "4", "--out", str(tmp_path / "out"), "-q"]
    assert main(["train", str(tmp_path / "mixed"), *run]) == ExitCode.OK


@pytest.mark.parametrize(
    ("case", "code", "words"),
    [
        ("empty folder", ExitCode.NOTHING_TO_DO, ("no picture in it", "looked for")),
        ("small pictures", ExitCode.NOTHING_TO_DO, ("smaller than the largest crop", "--crop")),
        ("no partner", ExitCode.SOME_FAILED, ("lonely.png", "no partner", "take this file away")),
        ("unequal sizes", ExitCode.SOME_FAILED, ("0.png", "72 x 64", "crop them alike")),
        ("pickle", ExitCode.UNAVAILABLE, ("start.pt", "pickle", "convert the file")),
    ],
)
def test_bad_input_is_answered_with_a_remedy(
    case: str, code: ExitCode, words: tuple[str, ...], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    clean, partners = tmp_path / "clean", tmp_path / "noisy"
    write(clean / "0.png", waves(0))
    write(partners / "0.png", noisy(waves(0)))
    run = ["--arch", "dae", "--max-steps", "1", "--batch", "1", "--crop", "32", "--out", str(tmp_path / "out")]
    arguments = [str(clean), "--noisy", str(partners)]
    if case == "empty folder":
        (tmp_path / "empty").mkdir()
        arguments = [str(tmp_path / "empty")]
    elif case == "small pictures":
        write(tmp_path / "small" / "a.png", waves(0, 20, 90))
        arguments = [str(tmp_path / "small")]
    elif case == "no partner":
        write(clean / "lonely.png", waves(1))
    elif case == "unequal sizes":
        write(partners / "0.png", waves(0, 40, 50))
    elif case == "pickle":
        torch.save({"weight": torch.from_numpy(np.zeros(3))}, tmp_path / "start.pt")
        arguments += ["--init", str(tmp_path / "start.pt")]
    assert main(["train", *arguments, *run]) == code
    told = capfd.readouterr().err
    assert "Traceback" not in told
    assert all(word in told for word in words), told
    assert not (tmp_path / "out" / "model.safetensors").exists()


def test_a_wrong_value_is_blamed_on_the_recipe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = tmp_path / "mine.toml"
    recipe.write_text('[train]\nmax-steps = "three"\n')
    assert main(["train", str(tmp_path), "--recipe", str(recipe)]) == ExitCode.USAGE
    assert f"{recipe}: Invalid value for '--max-steps'" in capsys.readouterr().err
