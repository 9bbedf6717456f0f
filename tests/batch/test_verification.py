"""``--verify-tiles`` finds what cutting does to a picture, and only that."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from denoiser.batch import Report, RunOptions
from denoiser.batch.verification import SIDE
from denoiser.errors import UsageError
from tests.batch.conftest import Runs
from tests.batch.fakes import FakeDenoiser, picture, write_npy, write_png

MEMORY = 1 << 20


class WholeDenoiser(FakeDenoiser):
    """Can also do a piece as one window, with a row of context as its full halo."""

    full_halo = 4

    def cuts(self, height: int, width: int) -> bool:
        return False

    def whole(self, piece: Any) -> NDArray[np.float32]:
        return self._one(piece)


def verified(runs: Runs, network: FakeDenoiser, **options: Any) -> Any:
    report = runs(network, verify_tiles=5, max_memory=MEMORY, exists="overwrite", **options)
    assert report.exit_code == 0
    assert report.verification is not None
    return report.verification


@pytest.mark.parametrize("dtype", ["u2", "f4"])
def test_bands_with_context_are_as_good_as_the_whole(tmp_path: Path, runs: Runs, dtype: str) -> None:
    for name in ("a", "b"):
        array = picture(ord(name), 900, 200, 1, dtype)
        array[300:310, 20:40] = np.nan if dtype == "f4" else 0
        write_npy(tmp_path / "in" / f"{name}.npy", array)
    found = verified(runs, WholeDenoiser(batch=1))
    assert (found.windows, found.pictures) == (5, 2)
    assert found.own < 1e-6 * (65535 if dtype == "u2" else 1)
    assert (found.largest is None) == (dtype == "f4")
    assert "5 windows of 128 x 128" in found.sentence()


def test_a_seam_is_found(tmp_path: Path, runs: Runs) -> None:
    pixels = picture(1, 900, 200, 1, np.uint16)
    write_npy(tmp_path / "in" / "a.npy", pixels)
    network = WholeDenoiser(batch=1, context_rows=0)
    found = verified(runs, network)
    assert len(network.heights) - 5 > 900 // SIDE, "every window lies across a seam"
    assert found.largest is not None and found.largest > 1
    assert found.own == pytest.approx(found.largest * 65535 / 255)
    assert found.source == tmp_path / "in" / "a.npy"
    # The row of the window that is named holds the difference that is told.
    seen = np.load(tmp_path / "out" / "a.npy").astype(float)
    exact = pixels.astype(float)
    padded = np.pad(exact, ((1, 1), (0, 0), (0, 0)), mode="edge")
    exact = (padded[:-2] + padded[1:-1] + padded[2:]) / 3
    window = np.s_[found.row : found.row + SIDE, found.column : found.column + SIDE]
    assert np.abs(seen - exact)[window].max() == pytest.approx(found.own, abs=1)


def test_the_same_windows_whatever_the_order_and_the_threads(tmp_path: Path, runs: Runs) -> None:
    for seed in range(4):
        write_npy(tmp_path / "in" / f"{seed}.npy", picture(seed, 700, 150, 3))
    network = WholeDenoiser(batch=1, context_rows=0)
    first = verified(runs, network, jobs=1)
    assert first == verified(runs, network, jobs=4)
    assert first.pictures == 4


def test_nothing_to_verify(tmp_path: Path, runs: Runs) -> None:
    write_png(tmp_path / "in" / "a.png", 0)
    report: Report = runs(WholeDenoiser(), verify_tiles=3)
    assert report.verification is not None
    assert report.verification.sentence() == "nothing to verify: no picture was computed in parts"
    again = runs(WholeDenoiser(), verify_tiles=3)  # all is done: no network at all
    assert json.loads(json.dumps(again.to_json()))["verification"]["windows"] == 0
    assert runs(WholeDenoiser()).verification is None


def test_failed_and_vanished_files_are_left_out(tmp_path: Path, runs: Runs) -> None:
    write_npy(tmp_path / "in" / "good.npy", picture(0, 700, 150, 3))
    write_npy(tmp_path / "in" / "flat.npy", picture(1, 700, 150, 3))
    network = WholeDenoiser(batch=1, spoils=lambda values: values * 0 if values.mean() > 0.6 else values)
    write_npy(tmp_path / "in" / "flat.npy", np.clip(picture(1, 700, 150, 3).astype(int) + 90, 0, 255).astype(np.uint8))
    report = runs(network, verify_tiles=4, max_memory=MEMORY)
    assert [result.source.stem for result in report.failures] == ["flat"]
    assert report.verification is not None
    assert report.verification.pictures == 1
    assert report.verification.source is not None and report.verification.source.stem == "good"


def test_the_number_is_bounded() -> None:
    with pytest.raises(UsageError, match="--verify-tiles 1001: must be from 0 to 1000"):
        RunOptions(verify_tiles=1001)


def test_one_process_alone_can_verify() -> None:
    with pytest.raises(UsageError, match="works in one process"):
        RunOptions(verify_tiles=3, backend="dask")
