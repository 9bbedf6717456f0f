"""Runs over OME-Zarr: a directory is one picture, which appears whole under its name or not at all."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr

from denoiser.batch import CorruptOptions, Destination, RunOptions, corrupt_files, folders, make_plan, run
from denoiser.batch.discover import Rules, discover
from denoiser.batch.estimation import estimate_files
from denoiser.batch.manifest import Manifest, Stamp, content_hash
from denoiser.batch.plan import share_out
from denoiser.benchmark import pictures
from denoiser.benchmark.options import BenchmarkOptions
from denoiser.errors import UsageError
from tests.batch.conftest import Runs
from tests.batch.fakes import FakeDenoiser, leftovers, picture, tree, write_png
from tests.batch.test_streaming import REPOSITORY, WORKER, posix, rows_averaged, start
from tests.images.test_zarr import chunk_files, documents, read_level, stack, write_store


def noisy(path: Path, planes: int = 2, height: int = 50, width: int = 40, seed: int = 0, **layout: Any) -> np.ndarray:
    """Write a store of noisy gradients, (C, H, W); give its pixels."""
    full = np.stack([picture(seed + number, height, width, 1, np.uint16)[..., 0] for number in range(planes)])
    write_store(path, full, **{"levels": 2, "chunks": (1, 32, 32), **layout})
    return full


def smoothed(full: np.ndarray) -> np.ndarray:
    """What the network of these tests makes of each plane."""
    return np.stack([rows_averaged(plane) for plane in full])


def statuses(report: Any) -> dict[str, str]:
    return {result.source.name: str(result.status) for result in report.files}


def test_a_tree_with_stores(tmp_path: Path, runs: Runs) -> None:
    full = noisy(tmp_path / "in" / "a" / "x.ome.zarr")
    noisy(tmp_path / "in" / "y.zarr", planes=1, version=3, shards=(1, 32, 32))
    write_png(tmp_path / "in" / "z.png", 0)
    write_png(tmp_path / "in" / "y.zarr" / "labels" / "thumbnail.png", 0)
    report = runs()
    assert statuses(report) == {"x.ome.zarr": "done", "y.zarr": "done", "z.png": "done"}
    assert [result.pages for result in report.files] == [2, 1, 1]
    for place in ("a/x.ome.zarr", "y.zarr"):
        assert documents(tmp_path / "out" / place) == documents(tmp_path / "in" / place)
    assert np.abs(read_level(tmp_path / "out" / "a" / "x.ome.zarr") - smoothed(full)).max() <= 1
    assert (tmp_path / "out" / "y.zarr" / "labels" / "thumbnail.png").read_bytes()[:4] == b"\x89PNG"
    assert leftovers(tmp_path / "out") == []
    assert set(statuses(runs()).values()) == {"skipped"}


def test_what_counts_as_a_change(tmp_path: Path, runs: Runs) -> None:
    source, target = tmp_path / "in" / "x.zarr", tmp_path / "out" / "x.zarr"
    noisy(source)
    assert statuses(runs()) == {"x.zarr": "done"}
    chunk = chunk_files(source / "0")[3]
    os.utime(chunk)
    assert statuses(runs()) == {"x.zarr": "skipped"}, "the same bytes with a new time"
    shutil.copyfile(chunk_files(source / "0")[4], chunk)
    before = read_level(target)
    assert statuses(runs()) == {"x.zarr": "done"}, "one chunk is another one"
    assert not np.array_equal(read_level(target), before)
    chunk_files(target / "0")[0].write_bytes(b"edited by others, with another size")
    report = runs(strength=0.5)
    assert statuses(report) == {"x.zarr": "skipped"} and "left alone" in report.files[0].warnings[0]
    assert statuses(runs(exists="overwrite")) == {"x.zarr": "done"}
    assert leftovers(tmp_path / "out") == []
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [".denoiser", "x.zarr"]


def test_strength_0_copies(tmp_path: Path, runs: Runs) -> None:
    noisy(tmp_path / "in" / "x.zarr", version=3)
    assert statuses(runs(strength=0)) == {"x.zarr": "copied"}
    assert tree(tmp_path / "out") == tree(tmp_path / "in")
    full = noisy(tmp_path / "in" / "x.zarr")
    assert statuses(runs(strength=0, format="tiff", output=tmp_path / "tif")) == {"x.zarr": "done"}
    assert np.array_equal(tifffile.imread(tmp_path / "tif" / "x.tif"), full)


@pytest.mark.parametrize("slash", ["", "/"])
def test_one_store_to_a_name(tmp_path: Path, slash: str) -> None:
    full = noisy(tmp_path / "x.ome.zarr")
    noisy(tmp_path / "there.zarr", planes=5, seed=9)
    network: Any = FakeDenoiser()
    for name in ("new.zarr", "there.zarr"):
        report = run(
            f"{tmp_path}/x.ome.zarr", f"{tmp_path}/{name}{slash}", RunOptions(exists="overwrite"), None, network
        )
        assert statuses(report) == {"x.ome.zarr": "done"}
        assert np.abs(read_level(tmp_path / name) - smoothed(full)).max() <= 1
    report = run(tmp_path / "x.ome.zarr", tmp_path / "x.tif", RunOptions(max_memory=1 << 28), None, network)
    assert report.files[0].losses == ("reduced versions", "OME-NGFF metadata")
    assert np.abs(tifffile.imread(tmp_path / "x.tif") - smoothed(full)).max() <= 1
    report = run(write_png(tmp_path / "a.png", 0), tmp_path / "a.zarr", None, None, network)
    assert "not written as OME-Zarr" in report.files[0].reason and not (tmp_path / "a.zarr").exists()


@pytest.mark.parametrize("exists", ["skip", "overwrite", "rename", "error"])
def test_a_store_is_there_already(tmp_path: Path, runs: Runs, exists: str) -> None:
    full = noisy(tmp_path / "in" / "x.ome.zarr")
    noisy(tmp_path / "out" / "x.ome.zarr", planes=5, seed=9)
    before = tree(tmp_path / "out")
    if exists == "error":
        with pytest.raises(UsageError, match="exist already"):
            runs(exists=exists)
        return
    report = runs(exists=exists)
    made = {"skip": None, "overwrite": "x.ome.zarr", "rename": "x-1.ome.zarr"}[exists]
    if made is None:
        assert "not made by this program" in report.files[0].warnings[0]
    else:
        assert np.abs(read_level(tmp_path / "out" / made) - smoothed(full)).max() <= 1
    if exists != "overwrite":
        assert before.items() <= tree(tmp_path / "out").items()
    assert leftovers(tmp_path / "out") == []


def test_what_is_no_store_is_never_replaced(tmp_path: Path, runs: Runs) -> None:
    noisy(tmp_path / "in" / "x.zarr")
    noisy(tmp_path / "in" / "y.zarr")
    write_png(tmp_path / "out" / "x.zarr" / "mine.png", 0)
    (tmp_path / "out" / "y.zarr").write_bytes(b"mine")
    before = tree(tmp_path / "out")
    report = runs(exists="overwrite")
    assert statuses(report) == {"x.zarr": "failed", "y.zarr": "failed"}
    assert [result.reason for result in report.files] == [
        "a directory that is no Zarr store is where its output x.zarr should be",
        "a file is where its output y.zarr should be",
    ]
    assert tree(tmp_path / "out") == before


def test_a_replacement_that_fails_puts_the_old_one_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, target, aside = (tmp_path / name for name in ("made", "target", "aside"))
    for path in (made, target):
        path.mkdir()
        (path / "content").write_text(path.name)

    def fail(*names: object) -> None:
        raise OSError(28, "no space")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="no space"):
        patch.setattr(os, "replace", fail)
        folders.replace(made, target, lambda: aside)
    assert (target / "content").read_text() == "target" and not aside.exists()
    folders.replace(made, target, lambda: aside)
    assert (target / "content").read_text() == "made" and [path.name for path in tmp_path.iterdir()] == ["target"]


def test_damage_fails_one_store(tmp_path: Path, runs: Runs) -> None:
    noisy(tmp_path / "in" / "bad.zarr")
    noisy(tmp_path / "in" / "good.zarr")
    noisy(tmp_path / "in" / "sparse.zarr")
    name = chunk_files(tmp_path / "in" / "bad.zarr" / "0")[-1]
    name.write_bytes(name.read_bytes()[:-9])
    chunk_files(tmp_path / "in" / "sparse.zarr" / "0")[0].unlink()
    report = runs()
    assert statuses(report) == {"bad.zarr": "failed", "good.zarr": "done", "sparse.zarr": "done"}
    assert report.exit_code == 1
    assert report.files[0].reason == f"its chunk 0/{name.name} is damaged or cut short; copy it again from its source"
    assert report.files[2].warnings[0].startswith("1 of 8 chunks of 0 are not there, the first is 0/0.0.0;")
    assert leftovers(tmp_path / "out") == [] and not (tmp_path / "out" / "bad.zarr").exists()
    assert runs(strength=0, output=tmp_path / "copies").exit_code == 1, "a copy is no better"


def test_min_age_looks_at_the_newest_chunk(tmp_path: Path, runs: Runs) -> None:
    noisy(tmp_path / "in" / "x.zarr")
    for file in folders.files(tmp_path / "in"):
        os.utime(file, (1e9, 1e9))
    chunk = chunk_files(tmp_path / "in" / "x.zarr")[5]
    os.utime(chunk)
    assert "--min-age" in runs(min_age=60).files[0].reason
    os.utime(chunk, (1e9, 1e9))
    assert statuses(runs(min_age=60)) == {"x.zarr": "done"}


def test_shares_are_even_in_bytes(tmp_path: Path) -> None:
    for number, planes in enumerate((1, 40, 1, 40)):
        noisy(tmp_path / "in" / f"{number}.zarr", planes=planes, levels=1, chunks=(40, 50, 40))
    out = tmp_path / "out"
    items = make_plan([tmp_path / "in"], Destination(out), RunOptions(), "", Manifest(out)).items
    assert items[0].stamp.size < items[1].stamp.size
    for share in range(2):
        mine = [int(item.source.stem) for item in share_out(items, share, 2)]
        assert sum(number % 2 for number in mine) == 1


def test_stamps_and_hashes_of_directories(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    for name, time_ns in (("1", 10**18), ("b/2", 2 * 10**18)):
        (tmp_path / "a" / name).write_text(name)
        os.utime(tmp_path / "a" / name, ns=(time_ns, time_ns))
    assert Stamp.at(tmp_path / "a") == Stamp(4, 2 * 10**18)
    assert Stamp.at(tmp_path / "a" / "1") == Stamp(1, 10**18)
    before = content_hash(tmp_path / "a")
    (tmp_path / "a" / "b" / "2").rename(tmp_path / "a" / "2")
    assert content_hash(tmp_path / "a") != before
    (tmp_path / "a" / "b").rmdir()
    folders.sync(tmp_path / "a")
    folders.remove(tmp_path / "a")
    folders.remove(tmp_path / "a")
    assert not any(tmp_path.iterdir())


def test_stores_among_the_arguments(tmp_path: Path) -> None:
    for place in ("a/x.zarr", "a/b/y.ome.zarr"):
        write_store(tmp_path / place, stack((20, 30)))
    write_png(tmp_path / "a" / "z.png", 0)

    def places(argument: str, **rules: Any) -> list[str]:
        found = discover([f"{tmp_path}/{argument}"], Rules(**rules))
        assert not any(each.failure for each in found.files)
        return [each.relative for each in found.files]

    assert places("a") == ["b/y.ome.zarr", "x.zarr", "z.png"]
    assert places("a/x.zarr/") == ["x.zarr"]
    assert places("a/*.zarr") == ["x.zarr"]
    assert places("a/**") == ["b/y.ome.zarr", "x.zarr", "z.png"]
    assert places("**/*.zarr") == ["a/b/y.ome.zarr", "a/x.zarr"]
    assert places("a", include=("*.zarr",)) == ["b/y.ome.zarr", "x.zarr"]
    assert places("a", exclude=("*.zarr",)) == ["z.png"]
    assert places("a", recursive=False) == ["x.zarr", "z.png"]
    assert discover([tmp_path / "a" / "x.zarr"], Rules()).single


def test_outputs_that_cannot_be(tmp_path: Path, runs: Runs) -> None:
    noisy(tmp_path / "in" / "x.zarr")
    with pytest.raises(UsageError, match="lies inside this input"):
        runs(output=tmp_path / "in" / "x.zarr" / "out")
    with pytest.raises(UsageError, match="names a file"):
        runs(output=tmp_path / "out.zarr")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]
    assert runs(output="memory://store/out").files[0].reason.startswith("OME-Zarr is neither read from stores")


def large(path: Path, height: int, shards: tuple[int, ...] | None) -> Path:
    """A store of one plane of 8 kB a row."""
    group = zarr.open_group(path, mode="w", zarr_format=3)
    axes = [{"name": name, "type": "space"} for name in "zyx"]
    group.attrs["ome"] = {"version": "0.5", "multiscales": [{"axes": axes, "datasets": [{"path": "0"}]}]}
    layout: dict[str, Any] = {"chunks": (1, 256, 1024), "shards": shards, "compressors": None}
    array = group.create_array("0", shape=(1, height, 4096), dtype="u2", **layout)
    array[...] = np.tile(np.arange(4096, dtype="u2") * 15, (1, height, 1))
    return path


def peak(source: Path, target: Path) -> float:
    """Megabytes that a process takes at most to denoise a store.

    Started by a small process: on Linux a peak counts the memory of the process that it was forked from.
    """
    launch = "import subprocess, sys; sys.exit(subprocess.call(sys.argv[1:]))"
    command = [sys.executable, "-c", launch, sys.executable, "-c", WORKER, source, target, "0"]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(list(map(str, command)), env=environment, capture_output=True, text=True, check=True)
    return int(done.stdout.split()[1]) / (1e6 if sys.platform == "darwin" else 1e3)


@posix
@pytest.mark.parametrize("shards", [pytest.param(None, marks=pytest.mark.slow), (1, 512, 2048)])
def test_memory_is_set_by_the_budget(tmp_path: Path, shards: tuple[int, ...] | None) -> None:
    peaks = []
    for height in (512, 3072):
        source, target = large(tmp_path / f"{height}.zarr", height, shards), tmp_path / "out" / f"{height}.zarr"
        peaks.append(peak(source, target))
        assert np.array_equal(read_level(target)[0, -1], np.arange(4096) * 15)
    assert peaks[1] < peaks[0] + 13, "21 MB more of picture do not take more memory"


@posix
def test_a_killed_run_leaves_nothing_and_the_next_one_completes(tmp_path: Path) -> None:
    full = noisy(tmp_path / "in" / "x.zarr", planes=20, levels=1)
    target = tmp_path / "out" / "x.zarr"
    process = start(tmp_path / "in", tmp_path / "out", seconds=0.1)
    deadline = time.monotonic() + 30
    while not any(len(chunk_files(path)) > 8 for path in leftovers(tmp_path / "out")):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not target.exists() and leftovers(tmp_path / "out")
    told, _ = start(tmp_path / "in", tmp_path / "out").communicate(timeout=60)
    assert int(told.split()[0]) == 1
    assert np.abs(read_level(target) - smoothed(full)).max() <= 1
    assert leftovers(tmp_path / "out") == []


def test_other_commands(tmp_path: Path) -> None:
    full = noisy(tmp_path / "in" / "x.zarr", height=128, width=128, chunks=(1, 64, 64))
    report = corrupt_files(tmp_path / "in", tmp_path / "out", CorruptOptions(noise="gaussian:25"))
    assert report.exit_code == 0 and 24 < report.files[0].checks["sigma"] < 26
    changed = read_level(tmp_path / "out" / "x.zarr") - full.astype(float)
    assert 24 < changed.std() / 257 < 26
    floats = corrupt_files(tmp_path / "in", tmp_path / "tif", CorruptOptions(noise="gaussian:25", float=True))
    assert floats.exit_code == 0 and tifffile.imread(tmp_path / "tif" / "x.tif").dtype == np.float32
    (found,) = estimate_files(tmp_path / "in").files
    assert (found.count, len(found.pages), found.failure) == (2, 2, "")
    for clean in (tmp_path / "in", tmp_path / "in" / "x.zarr"):
        subjects, failures = pictures.find(BenchmarkOptions(clean=clean))
        assert len(subjects) == 2 and not failures
