"""The script that fits the rule for ``--model auto``."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter, median_filter

from denoiser.estimate import MODELS
from denoiser.estimate.rule import PATH

SCRIPT = Path(__file__).resolve().parents[2] / "examples" / "fit_auto.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fit_auto", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["fit_auto"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


class Filter:
    """Stands for a network."""

    def __init__(self, apply: Any) -> None:
        self.apply = apply

    def denoise(self, picture: Any) -> Any:
        return self.apply(picture)


def test_a_logistic_regression_finds_the_boundary(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(script, "PULL", 1.0)
    values = np.random.default_rng(0).normal(size=(4000, 2))
    likely = 1 / (1 + np.exp(-(3 * values[:, 0] - values[:, 1] + 0.5)))
    second = np.random.default_rng(1).random(4000) < likely
    weight, bias = script.logistic(values, second, np.ones(4000))
    assert (*weight, bias) == pytest.approx((3, -1, 0.5), abs=0.2)


def test_the_fitted_rule_tells_pictures_apart(script: ModuleType, tmp_path: Path) -> None:
    """Of two filters one blurs, which is right for noise, and one does nothing, which is right for clean pictures."""
    ramp = np.tile(np.linspace(40, 200, 512), (512, 1))
    Image.fromarray(np.stack([ramp, ramp.T, ramp[:, ::-1]], axis=2).round().astype(np.uint8)).save(tmp_path / "a.png")
    networks = [Filter(lambda x: x), Filter(lambda x: gaussian_filter(x, (2, 2, 0)[: x.ndim]))]
    clean = np.asarray(Image.open(tmp_path / "a.png"))
    examples = [
        script.example(networks, script.Draft(clean[:128, :128], noise, seed))
        for seed in range(6)
        for noise in ("gaussian:20", "correlated:sigma=20,length=1", "gaussian:0.1")
    ]
    rule = script.fitted(examples)
    right = [(rule.score(each.estimate) > 0) == (each.gain > 0) for each in examples]
    assert {each.gain > 0 for each in examples} == {True, False} and np.mean(right) >= 0.9


def test_a_small_fit_makes_both_rules_and_a_table(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(script, "HELD_OUT", ("gaussian:15", "camera:iso=1600", "clean"))
    monkeypatch.setattr(script, "HELD_OUT_SIDE", 128)
    texture = np.random.default_rng(0).integers(0, 256, (400, 420, 3), dtype=np.uint8)
    Image.fromarray(median_filter(texture, (9, 9, 1))).save(tmp_path / "a.png")
    networks = [Filter(lambda x: x), Filter(lambda x: gaussian_filter(x, (1, 1, 0)[: x.ndim]))]
    works = [script.for_the_fit(tmp_path, number) for number in range(16)]
    document = script.fit(script.example(networks, work) for work in works)
    assert sum(document["fitted"]["pictures"].values()) == 16 and document["fitted"]["seed"] == script.SEED
    assert set(document["rules"]) == {"colour", "gray"}
    seen = [script.example(networks, script.held_out(tmp_path, number)) for number in range(3)]
    assert [each.kind for each in seen] == list(script.HELD_OUT)
    summary = script.summary(seen)
    assert summary["knowing"] >= max(summary[name] for name in ("auto", *MODELS)) and 0 <= summary["right"] <= 1
    assert len("\n".join(script.table(seen)).splitlines()) == 2 + len(script.HELD_OUT) + 2


def test_the_script_measures_the_rule_that_is_there(tmp_path: Path) -> None:
    texture = np.random.default_rng(0).integers(0, 256, (96, 96, 3), dtype=np.uint8)
    Image.fromarray(median_filter(texture, (5, 5, 1))).save(tmp_path / "a.png")
    before = PATH.read_bytes()
    command = [sys.executable, str(SCRIPT), str(tmp_path), str(tmp_path), "--measure", "--jobs", "2"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert PATH.read_bytes() == before
    rows = [line for line in done.stdout.splitlines() if line.startswith("| all |")]
    assert len(rows) == 2, "as they are, and with something around them"
    for row in rows:
        *psnrs, right = (cell.strip(" %") for cell in row.strip("|").split("|")[1:])
        unet, photo, auto, knowing = map(float, psnrs)
        assert min(unet, photo) <= auto <= knowing and 0 <= int(right) <= 100


def test_what_is_laid_around_pictures(script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shares = [script.around(100, 120, np.random.default_rng(seed)).mean() for seed in range(60)]
    assert min(shares) > 0 and max(shares) < 0.85
    monkeypatch.setattr(script, "FRAMED", 1)
    Image.fromarray(np.full((400, 420, 3), 90, np.uint8)).save(tmp_path / "a.png")
    drafts = [script.for_the_fit(tmp_path, number) for number in range(40)]
    over = [draft for draft in drafts if draft.bare is not None]
    assert 0 < len(over) < len(drafts)
    for draft in over:
        assert np.ptp(script.noisy(draft)[draft.bare]) == 0
