"""``--verify-tiles`` with the bundled network, cut into tiles and bands."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile

from denoiser import weights
from denoiser.cli.main import main
from denoiser.inference import Denoiser, InferenceOptions
from tests.batch.test_streaming import huge


def run(*arguments: object) -> int:
    return main(["run", *map(str, arguments)])


def test_tiles_are_as_good_as_the_whole(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    source = huge(tmp_path / "huge.tif", "--width", 340, "--height", 460, "--tile", 128)
    limits = ("--model", "unet", "--max-memory", "24MiB", "--tile", "256", "--halo", "exact", "--precision", "fp32")
    assert run(source, tmp_path / "out.tif", *limits, "--verify-tiles", 6, "--json") == 0
    out, err = capfd.readouterr()
    found = json.loads(out)["verification"]
    assert (found["windows"], found["pictures"]) == (6, 1)
    assert found["largest_255ths"] < 1e-3
    assert found["largest_own_units"] == pytest.approx(found["largest_255ths"] * 65535 / 255)
    assert found["sentence"] == err.splitlines()[-1]
    # The same by other means: the picture in memory, in one window.
    model = Denoiser(*weights.load("unet"), InferenceOptions(device="cpu", precision="fp32", tile="none"))
    whole = model.denoise(tifffile.imread(source)).astype(int)
    assert np.abs(whole - tifffile.imread(tmp_path / "out.tif")).max() <= 1  # half a unit may fall to either side


def test_too_small_a_halo_shows(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    source = huge(tmp_path / "huge.tif", "--width", 400, "--height", 300, "--tile", 128)
    limits = ("--tile", "64", "--halo", "0", "--precision", "fp32", "--verify-tiles", "2", "--json")
    assert run(source, tmp_path / "out.tif", *limits) == 0
    assert json.loads(capfd.readouterr().out)["verification"]["largest_255ths"] > 0.1


def test_pictures_done_whole(
    pictures: Path, tmp_path: Path, tiny_model: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(pictures, tmp_path / "out", "--model", tiny_model, "--verify-tiles", 4) == 0
    assert capfd.readouterr().err.endswith("nothing to verify: no picture was computed in parts\n")
