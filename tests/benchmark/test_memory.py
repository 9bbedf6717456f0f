"""Memory is measured: both ways give the size of what is known to be allocated."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from denoiser.benchmark import BenchmarkOptions, benchmark, memory, tables

MEGABYTES = 48


def allocate() -> str:
    values = np.ones(MEGABYTES * 2**20, np.uint8)  # written to, so that it is resident
    for _ in range(20):
        values += 1
    return "done"


@pytest.mark.parametrize(
    "sampled",
    [True, pytest.param(False, marks=pytest.mark.skipif(sys.platform != "linux", reason="no /proc"))],
)
def test_what_is_allocated_is_measured_every_time(sampled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if sampled:
        monkeypatch.setattr(memory, "_forget_peak", lambda: False)
    for _ in range(2):  # also when the memory was used before
        result, grown = memory.watch(allocate)
        assert result == "done"
        assert grown == pytest.approx(MEGABYTES * 2**20, rel=0.1)


@pytest.mark.skipif(sys.platform != "linux", reason="no /proc")
def test_the_peak_is_that_of_the_work_alone() -> None:
    memory.watch(allocate)
    assert memory.watch(lambda: None)[1] < 2**22


def test_the_largest_picture_is_watched_and_left_out_of_the_speed(tmp_path: Path) -> None:
    for name, side in (("a.png", 32), ("b.png", 64), ("c.png", 64)):
        Image.fromarray(np.full((side, side), 99, np.uint8)).save(tmp_path / name)
    result = benchmark(BenchmarkOptions(tmp_path, noise=("gaussian:25",), models=("none",), classical=("tv",)))
    noisy, tv = result.rows
    assert [score.memory is not None for score in tv.scores] == [False, True, False]
    timed = [tv.scores[0], tv.scores[2]]
    speed = sum(score.megapixels for score in timed) / sum(score.seconds for score in timed)
    assert (tv.megapixels_per_second, tv.memory) == (pytest.approx(speed), tv.scores[1].memory)
    assert (noisy.megapixels_per_second, noisy.memory) == (None, None)
    assert "MB" in [column.heading for column in tables.columns(result, "mean")]
    assert "Memory: by how much" in result.protocol["statement"]
