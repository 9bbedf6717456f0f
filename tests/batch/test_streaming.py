"""A picture larger than the budget: bounded memory, the same pixels, nothing left of a run that was killed."""

from __future__ import annotations

import os
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from denoiser.batch.reading import LEAST_ROWS
from tests.batch.conftest import Runs
from tests.batch.fakes import FakeDenoiser, leftovers, picture, smoothed, write_npy

REPOSITORY = Path(__file__).resolve().parents[2]
MEMORY = 16 << 20
"""The largest picture below holds 24 MB."""

WORKER = """
import resource, sys
from tests.batch import elsewhere
elsewhere.without_torch()
from denoiser.batch import RunOptions, run
from tests.batch.fakes import FakeDenoiser
source, target, seconds = sys.argv[1:]
network = FakeDenoiser(batch=1, seconds=float(seconds))
report = run(source, target, RunOptions(jobs=2, max_memory=16 << 20), denoiser=network)
print(report.totals()["done"], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
sys.exit(report.exit_code)
"""

posix = pytest.mark.skipif(sys.platform == "win32", reason="signals and memory as POSIX has them")


def huge(path: Path, *arguments: object) -> Path:
    """Write a picture by the script that people use to try this out."""
    call = [sys.executable, REPOSITORY / "examples" / "make_huge.py", path, *arguments]
    subprocess.run(list(map(str, call)), check=True, capture_output=True)
    return path


def start(source: Path, target: Path, seconds: float = 0) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", WORKER, str(source), str(target), str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def peak(source: Path, target: Path) -> float:
    """Megabytes that a process takes at most to denoise a file."""
    told, _ = (process := start(source, target)).communicate(timeout=60)
    done, most = map(int, told.split())
    assert (process.returncode, done) == (0, 1)
    return most / (1e6 if sys.platform == "darwin" else 1e3)


def rows_averaged(pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """What the network of these tests makes of a whole 16-bit picture."""
    above, below = np.vstack([pixels[:1], pixels[:-1]]), np.vstack([pixels[1:], pixels[-1:]])
    return np.rint((above.astype(np.float64) + pixels + below) / 3)


def test_the_script_repeats_itself(tmp_path: Path) -> None:
    script = runpy.run_path(str(REPOSITORY / "examples" / "make_huge.py"))
    source = huge(tmp_path / "a.tif", "--width", 700, "--height", 300, "--tile", 256)
    with tifffile.TiffFile(source) as written:
        assert written.is_bigtiff and written.pages.first.tile == (256, 256)
        assert np.array_equal(written.asarray()[256:, 512:], script["make_tile"](256, 512, 256)[:44, :188])


@posix
def test_memory_is_set_by_the_budget(tmp_path: Path) -> None:
    peaks = []
    for height in (600, 4000):
        source = huge(tmp_path / f"{height}.tif", "--width", 3000, "--height", height, "--tile", 256)
        peaks.append(peak(source, tmp_path / "out" / f"{height}.tif"))
    assert peaks[1] < peaks[0] + 6, "20 MB more of picture do not take more memory"
    before, after = (tifffile.imread(folder / "4000.tif") for folder in (tmp_path, tmp_path / "out"))
    assert np.abs(rows_averaged(before) - after).max() <= 1
    with tifffile.TiffFile(tmp_path / "out" / "4000.tif") as written:
        assert written.is_bigtiff and written.pages.first.tile == (256, 256)


@posix
def test_arrays_take_no_more_memory(tmp_path: Path) -> None:
    peaks = []
    for count in (1, 8):
        source = write_npy(tmp_path / f"{count}.npy", np.tile(picture(0, 500, 3000, 1, np.uint16), (count, 1, 1)))
        peaks.append(peak(source, tmp_path / "out" / f"{count}.npy"))
    assert peaks[1] < peaks[0] + 6


@posix
def test_a_killed_run_leaves_nothing_and_the_next_one_completes(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    source = huge(tmp_path / "in" / "a.tif", "--width", 1000, "--height", 2000, "--tile", 256)
    target = tmp_path / "out" / "a.tif"
    process = start(tmp_path / "in", tmp_path / "out", seconds=0.1)
    deadline = time.monotonic() + 30
    while not any(path.stat().st_size > 1 << 20 for path in leftovers(tmp_path / "out")):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not target.exists()
    told, _ = start(tmp_path / "in", tmp_path / "out").communicate(timeout=60)
    assert int(told.split()[0]) == 1
    assert np.abs(rows_averaged(tifffile.imread(source)) - tifffile.imread(target)).max() <= 1
    assert leftovers(tmp_path / "out") == []


def test_context_may_be_many_bands_wide(tmp_path: Path, runs: Runs) -> None:
    pixels = picture(0, 200, 100, 1)
    (tmp_path / "in").mkdir()
    tifffile.imwrite(tmp_path / "in" / "a.tif", pixels[..., 0], tile=(16, 16))
    network = FakeDenoiser(batch=1, context_rows=64)
    assert runs(network, max_memory=200_000).exit_code == 0
    assert max(network.heights) < 64 // 2
    assert np.array_equal(tifffile.imread(tmp_path / "out" / "a.tif"), smoothed(pixels)[..., 0])


def test_what_tiles_take_is_part_of_the_budget(tmp_path: Path, runs: Runs) -> None:
    pixels = picture(0, 1024, 4000, 1)
    (tmp_path / "in").mkdir()
    heights = []
    for side in (512, 32):  # rows of tiles of 2 MB and of 128 kB
        tifffile.imwrite(tmp_path / "in" / "a.tif", pixels[..., 0], tile=(side, side))
        network = FakeDenoiser(batch=1)
        assert runs(network, max_memory=MEMORY, exists="overwrite").exit_code == 0
        heights.append(max(network.heights))
        assert np.array_equal(tifffile.imread(tmp_path / "out" / "a.tif"), smoothed(pixels)[..., 0])
    assert heights[0] < 0.7 * heights[1]


def test_bands_are_smaller_where_the_network_keeps_rows(tmp_path: Path, runs: Runs) -> None:
    pixels = picture(0, 2000, 3000, 1)
    (tmp_path / "in").mkdir()
    tifffile.imwrite(tmp_path / "in" / "a.tif", pixels[..., 0], rowsperstrip=16)
    heights = []
    for keeps in (False, True):
        network = FakeDenoiser(batch=1, keeps=keeps, context_rows=20)
        assert runs(network, max_memory=MEMORY, exists="overwrite").exit_code == 0
        assert np.array_equal(tifffile.imread(tmp_path / "out" / "a.tif"), smoothed(pixels)[..., 0])
        heights.append(max(network.heights))
    assert LEAST_ROWS <= heights[1] < 0.7 * heights[0]
    sheets = {sheet for sheet, _ in network.sheets}
    assert {(sheet.height, sheet.part) for sheet in sheets} == {(2000, 0)} and len(sheets) == 1
    rows = [row for _, row in network.sheets]
    assert rows[0] == 0 and rows == sorted(rows) and len(set(rows)) >= len(rows) - 1
