"""The room through its front door, with a network that averages rows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from denoiser.batch import Report, RunOptions, Status, Stop, run
from denoiser.batch.flow import Budget
from denoiser.batch.report import EVENT_SCHEMA, SCHEMA
from denoiser.errors import ExitCode, InputError, LockedError, UnavailableError, UsageError
from tests.batch.fakes import FakeDenoiser, leftovers, picture, smoothed, tree, write_npy, write_png

Runs = Callable[..., Report]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve pictures in a small tree."""
    for index in range(12):
        write_png(tmp_path / "in" / f"dir {index % 3}" / f"p{index:02}.png", index)
    return tmp_path / "in"


class Listener:
    """A Progress that remembers."""

    def __init__(self) -> None:
        self.files = 0
        self.megapixels = 0.0
        self.started: tuple[int, float] = (0, 0.0)
        self.notes: list[tuple[str, str]] = []
        self.finished = False
        self.on_file: Callable[[int], None] = lambda count: None

    def start(self, files: int, megapixels: float, what: str) -> None:
        self.started = (files, megapixels)

    def advance(self, files: int = 0, megapixels: float = 0.0) -> None:
        self.files += files
        self.megapixels += megapixels
        if files:
            self.on_file(self.files)

    def note(self, message: str, level: str = "info") -> None:
        self.notes.append((level, message))

    def finish(self) -> None:
        self.finished = True


def statuses(report: Report) -> list[str]:
    return [str(result.status) for result in report.files]


# The plain way.


def test_a_tree_is_denoised_pixel_by_pixel_as_one_would_by_hand(folder: Path, tmp_path: Path, runs: Runs) -> None:
    listener = Listener()
    report = runs(progress=listener)
    assert report.exit_code is ExitCode.OK
    assert statuses(report) == ["done"] * 12
    assert [result.source for result in report.files] == sorted(folder.rglob("*.png"))
    for source in folder.rglob("*.png"):
        made = np.asarray(Image.open(tmp_path / "out" / source.relative_to(folder)))
        np.testing.assert_array_equal(made, smoothed(np.asarray(Image.open(source))))
    assert leftovers(tmp_path) == []
    assert listener.files == 12
    assert listener.finished
    assert listener.started == (12, pytest.approx(listener.megapixels))
    assert report.megapixels == pytest.approx(12 * 24 * 20 / 1e6)


def test_a_second_run_touches_nothing_and_opens_nothing(
    folder: Path, tmp_path: Path, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs()
    before = {path: path.stat() for path in tmp_path.rglob("*") if path.is_file() and path.name != "lock"}
    opened: list[Any] = []
    for place in ("plan", "intake"):
        monkeypatch.setattr(f"denoiser.batch.{place}.open_source", lambda *args: opened.append(args))
    monkeypatch.setattr("denoiser.batch.existing.content_hash", lambda path: opened.append(path))
    report = runs()
    assert statuses(report) == ["skipped"] * 12
    assert report.exit_code is ExitCode.OK
    assert opened == []
    for path, status in before.items():
        assert (path.stat().st_mtime_ns, path.stat().st_ino) == (status.st_mtime_ns, status.st_ino)


def test_a_second_run_over_a_thousand_files_is_quick_and_needs_no_torch(tmp_path: Path) -> None:
    repository = Path(__file__).resolve().parents[2]
    script = """
import json, os, sys, time
from pathlib import Path
from denoiser.batch import RunOptions, run
from denoiser.batch.manifest import Entry, Manifest, Stamp
root = Path(sys.argv[1])
(root / "model.safetensors").write_bytes(b"weights")
options = RunOptions(model=str(root / "model.safetensors"))
from denoiser import weights
key = options.key(weights.file_hash(root / "model.safetensors"))
(root / "in").mkdir(), (root / "out").mkdir()
manifest = Manifest(root / "out")
manifest.open()
for index in range(1000):
    source, target = root / "in" / f"{index}.png", root / "out" / f"{index}.png"
    source.write_bytes(b"input"), target.write_bytes(b"output")
    stamps = Stamp.of(source.stat()), Stamp.of(target.stat())
    manifest.append(Entry(target.name, stamps[0], "0", stamps[1], key))
manifest.close()
def audit(event, arguments):
    if event == "open" and str(arguments[0]).endswith(".png"):
        raise AssertionError(f"opened {arguments[0]}")
sys.addaudithook(audit)
begun = time.process_time()
report = run(root / "in", root / "out", options)
print(json.dumps([time.process_time() - begun, report.totals()["skipped"], "torch" in sys.modules]))
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        capture_output=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(repository)},
    )
    seconds, skipped, torch = json.loads(done.stdout)
    assert (skipped, torch) == (1000, False)
    assert seconds < 2


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.integers(1, 70),
    st.integers(1, 30),
    st.sampled_from([1, 2, 3, 4]),
    st.sampled_from([np.uint8, np.uint16, np.float32, np.float64, np.int32]),
    st.integers(200, 40_000),
    st.integers(1, 5),
)
def test_bands_are_the_same_as_the_whole(
    tmp_path_factory: pytest.TempPathFactory,
    height: int,
    width: int,
    channels: int,
    dtype: Any,
    memory: int,
    batch: int,
) -> None:
    root = tmp_path_factory.mktemp("bands")
    array = picture(height, height, width, channels, dtype)
    if array.dtype.kind == "f":
        array[::5, ::3] = np.nan
    write_npy(root / "in" / "a.npy", np.stack([array, array[::-1]]))
    whole, cut = FakeDenoiser(batch=batch), FakeDenoiser(batch=batch)
    for name, network, budget in (("whole", whole, 1 << 28), ("cut", cut, memory)):
        given: Any = network
        assert run(root / "in", root / name, RunOptions(max_memory=budget), denoiser=given).exit_code == 0
    assert (root / "whole" / "a.npy").read_bytes() == (root / "cut" / "a.npy").read_bytes()
    if memory < array.nbytes and height > 8:
        assert max(cut.heights) < height
    assert all(rows % 4 == 0 or rows <= height % 4 or rows == height for rows in cut.heights[:1])


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 60), st.sampled_from([".png", ".npy", "bad.png"])), min_size=1, max_size=25),
    st.integers(500, 200_000),
    st.integers(1, 30),
    st.integers(1, 4),
    st.sampled_from([0.0, 1.0]),
)
def test_no_mixture_of_files_threads_and_memory_hangs(
    tmp_path_factory: pytest.TempPathFactory,
    files: list[tuple[int, str]],
    memory: int,
    batch: int,
    jobs: int,
    strength: float,
) -> None:
    root = tmp_path_factory.mktemp("mixture")
    for index, (height, suffix) in enumerate(files):
        path = root / "in" / f"{index}{suffix}"
        if suffix == ".npy":
            write_npy(path, np.stack([picture(index, height)] * 3))
        else:
            write_png(path, index, height)
        if suffix == "bad.png":
            path.write_bytes(path.read_bytes()[:-20])
    options = RunOptions(
        max_memory=memory, jobs=jobs, strength=strength, save_residual=root / "res" if strength else None
    )
    network: Any = FakeDenoiser(batch=batch)
    report = run(root / "in", root / "out", options, denoiser=network)
    failed = {result.source.name for result in report.failures}
    for index, (height, suffix) in enumerate(files):
        too_large = suffix == ".png" and height * 60 > memory // 2
        assert (f"{index}{suffix}" in failed) == (suffix == "bad.png" or too_large)
    assert leftovers(root) == []


@pytest.mark.parametrize("channels", [1, 2, 4, 5])
def test_other_numbers_of_channels_go_one_by_one(tmp_path: Path, runs: Runs, channels: int) -> None:
    import tifffile

    array = picture(1, channels=channels)
    (tmp_path / "in").mkdir()
    tifffile.imwrite(
        tmp_path / "in" / "a.tif",
        array if channels > 1 else array[:, :, 0],
        photometric="minisblack",
        planarconfig="contig",
        extrasamples=["unspecified"] * (channels - 1),
    )
    network = FakeDenoiser()
    assert runs(network).exit_code == 0
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "out" / "a.tif").reshape(array.shape), smoothed(array))
    assert len(network.heights) == channels


def test_alpha_is_never_touched(tmp_path: Path, runs: Runs) -> None:
    array = picture(1, channels=4)
    (tmp_path / "in").mkdir()
    Image.fromarray(array).save(tmp_path / "in" / "a.png")
    assert runs().exit_code == 0
    made = np.asarray(Image.open(tmp_path / "out" / "a.png"))
    np.testing.assert_array_equal(made[..., 3], array[..., 3])
    np.testing.assert_array_equal(made[..., :3], smoothed(array[..., :3]))


def test_memory_is_bounded_by_the_budget_and_not_by_the_picture(tmp_path: Path, runs: Runs) -> None:
    pages = np.stack([picture(seed, 256, 64, 1, np.uint16) for seed in range(40)])
    write_npy(tmp_path / "in" / "stack.npy", pages)
    write_npy(tmp_path / "in" / "tall.npy", picture(0, 20_000, 64, 1, np.uint16))
    network = FakeDenoiser(batch=1)
    memory = 1_000_000
    assert runs(network, max_memory=memory).exit_code == 0
    assert pages.nbytes + 20_000 * 128 > 3 * memory
    assert network.most_held < memory // 4
    assert np.load(tmp_path / "out" / "tall.npy").shape == (20_000, 64, 1)


def test_floats_without_a_range_fail_alone_where_the_network_needs_one(tmp_path: Path, runs: Runs) -> None:
    write_png(tmp_path / "in" / "a.png", 1)
    write_npy(tmp_path / "in" / "b.npy", picture(2, dtype=np.float32))
    report = runs(FakeDenoiser(needs_range=True))
    assert statuses(report) == ["done", "failed"]
    assert "--white" in next(file.reason for file in report.files if file.source.name == "b.npy")
    assert statuses(runs(FakeDenoiser(needs_range=True), white=1.0, output=tmp_path / "told")) == ["done", "done"]
    assert statuses(runs(FakeDenoiser(), output=tmp_path / "other")) == ["done", "done"]
    untouched = runs(FakeDenoiser(needs_range=True), strength=0.0, output=tmp_path / "untouched")
    assert statuses(untouched) == ["copied", "copied"]


def test_a_reader_that_is_slow_to_say_so_does_not_hang_the_run(
    tmp_path: Path, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The network may want the next band before the reader has told that this one is there."""
    satisfied = Budget.satisfied

    def late(budget: Budget, turn: int) -> None:
        time.sleep(0.02)
        satisfied(budget, turn)

    monkeypatch.setattr(Budget, "satisfied", late)
    write_npy(tmp_path / "in" / "a.npy", picture(5, 64, 20, 1, np.uint16))
    stop = Stop()
    timer = threading.Timer(20, stop.request, [ExitCode.INTERRUPTED])
    timer.start()
    assert runs(FakeDenoiser(batch=4), max_memory=2_000, jobs=1, stop=stop).exit_code is ExitCode.OK
    timer.cancel()


def test_a_picture_larger_than_the_budget_passes_alone(tmp_path: Path, runs: Runs) -> None:
    for index in range(4):
        write_png(tmp_path / "in" / f"{index}.png", index, 200, 100)
    report = runs(max_memory=130_000)
    assert statuses(report) == ["done"] * 4


def test_a_picture_that_cannot_be_decoded_within_the_budget_is_refused(tmp_path: Path, runs: Runs) -> None:
    write_png(tmp_path / "in" / "large.png", 1, 300, 300)
    write_png(tmp_path / "in" / "small.png", 1)
    report = runs(max_memory=200_000)
    assert statuses(report) == ["failed", "done"]
    assert "--max-memory" in report.files[0].reason


# Options.


def test_strength_0_copies_byte_for_byte_without_a_network(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"never read as weights")
    options = RunOptions(model=str(tmp_path / "model.safetensors"), strength=0.0)
    report = run(folder, tmp_path / "out", options)
    assert statuses(report) == ["copied"] * 12
    assert report.exit_code is ExitCode.OK
    assert tree(tmp_path / "out") == tree(folder)
    assert statuses(run(folder, tmp_path / "out", options)) == ["skipped"] * 12


def test_strength_0_finds_damaged_files_as_well(folder: Path, tmp_path: Path, runs: Runs) -> None:
    bad = spoil(folder)
    report = runs(strength=0.0, max_memory=20_000)
    assert {result.source.name for result in report.failures} == set(bad)
    assert report.totals()["copied"] == 9


def test_strength_0_with_another_format_keeps_every_pixel(tmp_path: Path, runs: Runs) -> None:
    array = picture(5, 50, 30, 3, np.uint16)
    write_npy(tmp_path / "in" / "a.npy", array)
    write_png(tmp_path / "in" / "b.png", 1)
    assert statuses(runs(strength=0.0, format="npy")) == ["copied", "done"]
    np.testing.assert_array_equal(np.load(tmp_path / "out" / "a.npy"), array)
    np.testing.assert_array_equal(np.load(tmp_path / "out" / "b.npy"), picture(1))


def test_strength_is_a_mixture(tmp_path: Path, runs: Runs) -> None:
    array = picture(5, dtype=np.float32)
    write_npy(tmp_path / "in" / "a.npy", array)
    runs(output=tmp_path / "full")
    runs(output=tmp_path / "half", strength=0.5)
    full, half = np.load(tmp_path / "full" / "a.npy"), np.load(tmp_path / "half" / "a.npy")
    np.testing.assert_allclose(half, (array + full) / 2, rtol=1e-6)


def test_the_residual_is_input_minus_output(tmp_path: Path, runs: Runs) -> None:
    import tifffile

    array = picture(5, dtype=np.uint16)
    write_npy(tmp_path / "in" / "a.npy", array)
    write_png(tmp_path / "in" / "sub" / "b.png", 1)
    residual = tmp_path / "res"
    assert runs(save_residual=residual).exit_code == 0
    made = np.load(tmp_path / "out" / "a.npy")
    difference = tifffile.imread(residual / "a.npy.tif")
    assert difference.dtype == np.float32
    np.testing.assert_array_equal(difference.reshape(array.shape), array.astype(np.float32) - made)
    assert (residual / "sub" / "b.png.tif").exists()
    assert statuses(runs(save_residual=residual)) == ["skipped"] * 2
    (residual / "a.npy.tif").unlink()
    assert statuses(runs(save_residual=residual)) == ["done", "skipped"]
    assert statuses(runs()) == ["skipped"] * 2


def test_residuals_of_large_pictures_come_band_by_band(tmp_path: Path, runs: Runs) -> None:
    import tifffile

    array = picture(5, 4000, 20, 1, np.uint16)
    write_npy(tmp_path / "in" / "a.npy", array)
    assert runs(save_residual=tmp_path / "res", max_memory=200_000).exit_code == 0
    made = np.load(tmp_path / "out" / "a.npy").astype(np.float32)
    difference = tifffile.imread(tmp_path / "res" / "a.npy.tif").reshape(array.shape)
    np.testing.assert_array_equal(difference, array - made)


def test_the_uncertainty_lies_beside_the_output(tmp_path: Path, runs: Runs) -> None:
    import tifffile

    array = picture(5, 900, 20, 4, np.uint16)
    write_npy(tmp_path / "in" / "a.npy", np.stack([array, array[::-1]]))
    floats = picture(6, dtype=np.float32)
    floats[3, 4] = np.nan
    write_npy(tmp_path / "in" / "c.npy", floats * 500)
    write_png(tmp_path / "in" / "sub" / "b.png", 1)
    folders = {"save_uncertainty": tmp_path / "dev", "save_residual": tmp_path / "res"}
    report = runs(white=250.0, max_memory=400_000, **folders)
    assert statuses(report) == ["done"] * 3
    assert report.files[0].uncertainty == tmp_path / "dev" / "a.npy.tif"
    deviation = tifffile.imread(tmp_path / "dev" / "a.npy.tif")
    assert deviation.dtype == np.float32
    expected = np.stack([array, array[::-1]]) / 100
    np.testing.assert_allclose(deviation.reshape(expected.shape), expected, rtol=1e-5)
    deviation = tifffile.imread(tmp_path / "dev" / "c.npy.tif")
    assert np.isnan(deviation[3, 4]).all() and np.isnan(deviation).sum() == 3
    runs(output=tmp_path / "plain", white=250.0)
    assert (tmp_path / "plain" / "a.npy").read_bytes() == (tmp_path / "out" / "a.npy").read_bytes()
    assert statuses(runs(white=250.0, **folders)) == ["skipped"] * 3
    (tmp_path / "dev" / "sub" / "b.png.tif").unlink()
    assert statuses(runs(white=250.0, **folders)) == ["skipped", "skipped", "done"]
    assert statuses(runs(white=250.0, exists="rename", **folders)) == ["done"] * 3
    assert (tmp_path / "dev" / "a-1.npy.tif").exists()
    assert leftovers(tmp_path) == []


def test_uncertainty_of_a_model_that_states_none(folder: Path, tmp_path: Path, runs: Runs) -> None:
    able = FakeDenoiser().needs
    with pytest.raises(UsageError, match="--arch vdae"):
        runs(FakeDenoiser(needs=replace(able, states_uncertainty=False)), save_uncertainty=tmp_path / "dev")
    with pytest.raises(UsageError, match="model unet does not state"):
        run(folder, tmp_path / "out", RunOptions(model="unet", save_uncertainty=tmp_path / "dev"))
    with pytest.raises(UsageError, match="--save-uncertainty"):
        RunOptions(strength=0, save_uncertainty=tmp_path / "dev")
    with pytest.raises(UsageError, match="--save-uncertainty: give a directory other than"):
        runs(save_residual=tmp_path / "both", save_uncertainty=tmp_path / "both")
    assert not (tmp_path / "out").exists()


def test_changed_inputs_and_options_are_done_again(folder: Path, tmp_path: Path, runs: Runs) -> None:
    runs()
    changed = write_png(folder / "dir 0" / "p00.png", 99)
    assert statuses(runs()).count("done") == 1
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out/dir 0/p00.png")), smoothed(picture(99)))
    os.utime(changed, (1, 1))
    assert statuses(runs()) == ["skipped"] * 12
    assert statuses(runs(strength=0.5)) == ["done"] * 12
    assert statuses(runs()) == ["done"] * 12


def test_what_this_program_did_not_make_is_left_alone(folder: Path, tmp_path: Path, runs: Runs) -> None:
    foreign = tmp_path / "out" / "dir 0" / "p00.png"
    foreign.parent.mkdir(parents=True)
    foreign.write_bytes(b"precious")
    listener = Listener()
    report = runs(progress=listener)
    assert statuses(report).count("skipped") == 1
    assert report.exit_code is ExitCode.OK
    assert foreign.read_bytes() == b"precious"
    assert [level for level, _ in listener.notes].count("warning") == 1
    assert statuses(runs(exists="overwrite")) == ["done"] * 12
    assert foreign.read_bytes() != b"precious"


def test_rename_keeps_both(folder: Path, tmp_path: Path, runs: Runs) -> None:
    runs()
    assert statuses(runs(exists="rename")) == ["done"] * 12
    assert len(tree(tmp_path / "out")) == 24


def test_an_output_that_appears_meanwhile_is_not_destroyed(folder: Path, tmp_path: Path, runs: Runs) -> None:
    class Intruder(FakeDenoiser):
        def _run(self, pieces: list[Any]) -> Any:
            for index in range(12):
                path = tmp_path / "out" / f"dir {index % 3}" / f"p{index:02}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(b"precious")
            return super()._run(pieces)

    report = runs(Intruder(batch=99))
    assert statuses(report) == ["failed"] * 12
    assert set(tree(tmp_path / "out").values()) == {b"precious"}
    assert "appeared" in report.files[0].reason


def test_an_input_that_changes_while_it_is_read_is_not_mixed(folder: Path, tmp_path: Path, runs: Runs) -> None:
    class Changer(FakeDenoiser):
        def _run(self, pieces: list[Any]) -> Any:
            write_png(folder / "dir 0" / "p00.png", 77)
            return super()._run(pieces)

    report = runs(Changer(batch=99))
    assert [result.source.name for result in report.failures] == ["p00.png"]
    assert "changed while it was read" in report.failures[0].reason
    assert len(tree(tmp_path / "out")) == 11
    assert statuses(runs()).count("done") == 1


def test_shares_together_make_the_whole(folder: Path, tmp_path: Path, runs: Runs) -> None:
    runs(output=tmp_path / "whole")
    counts = [runs(shard=(index, 3)).totals()["done"] for index in range(3)]
    assert sum(counts) == 12
    assert min(counts) >= 3
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")
    assert statuses(runs()) == ["skipped"] * 12


def test_limits_stop_between_files_and_the_next_run_goes_on(folder: Path, tmp_path: Path, runs: Runs) -> None:
    report = runs(max_files=5)
    assert report.exit_code is ExitCode.STOPPED
    assert (report.totals()["done"], report.totals()["left"]) == (5, 7)
    assert "--max-files" in report.message
    report = runs(max_runtime=0.0)
    assert (report.exit_code, report.totals()["left"]) == (ExitCode.STOPPED, 7)
    assert "--max-runtime" in report.message
    report = runs(max_files=7)
    assert (report.exit_code, report.totals()["done"]) == (ExitCode.OK, 7)


def test_pieces_of_runtime_make_the_whole(folder: Path, tmp_path: Path, runs: Runs) -> None:
    assert runs(output=tmp_path / "whole").exit_code is ExitCode.OK
    codes: list[ExitCode] = []
    while not codes or codes[-1] is ExitCode.STOPPED:
        assert len(codes) < 200
        codes.append(runs(FakeDenoiser(batch=1, seconds=0.05), max_runtime=0.3).exit_code)
    assert codes[-1] is ExitCode.OK and len(codes) > 1
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")


def test_a_running_out_of_time_finishes_what_is_begun(folder: Path, tmp_path: Path, runs: Runs) -> None:
    report = runs(FakeDenoiser(batch=1, seconds=0.1), max_runtime=0.35)
    assert report.exit_code is ExitCode.STOPPED
    assert 1 <= report.totals()["done"] <= 5
    assert leftovers(tmp_path) == []
    assert runs().totals()["done"] == report.totals()["left"]


@pytest.mark.parametrize("code", [ExitCode.INTERRUPTED, ExitCode.TERMINATED])
def test_a_stop_keeps_finished_files_and_leaves_no_trace_of_others(
    folder: Path, tmp_path: Path, runs: Runs, code: ExitCode
) -> None:
    stop, listener = Stop(), Listener()
    listener.on_file = lambda count: stop.request(code) if count == 4 else None
    report = runs(FakeDenoiser(batch=2, seconds=0.02), stop=stop, progress=listener)
    assert report.exit_code is code
    assert report.totals()["left"] > 0
    assert len(tree(tmp_path / "out")) == report.totals()["done"] >= 4
    assert leftovers(tmp_path) == []
    assert runs().totals()["done"] == report.totals()["left"]


def test_a_stop_before_the_start_does_nothing(folder: Path, tmp_path: Path, runs: Runs) -> None:
    stop = Stop()
    stop.request(ExitCode.INTERRUPTED)
    report = runs(stop=stop)
    assert (report.exit_code, report.totals()["left"]) == (ExitCode.INTERRUPTED, 12)


def test_a_keyboard_interrupt_in_the_caller_leaves_no_trace(folder: Path, tmp_path: Path, runs: Runs) -> None:
    class Interrupted(FakeDenoiser):
        def _one(self, piece: Any) -> Any:
            if len(self.heights) == 5:
                raise KeyboardInterrupt
            return super()._one(piece)

    with pytest.raises(KeyboardInterrupt):
        runs(Interrupted(batch=1))
    assert leftovers(tmp_path) == []
    assert runs().exit_code is ExitCode.OK


def test_a_dry_run_writes_nothing_and_tells_everything(folder: Path, tmp_path: Path, runs: Runs) -> None:
    write_npy(folder / "wide.npy", picture(1, dtype=np.uint16))
    (folder / "bad.png").write_bytes(b"text")
    before = tree(tmp_path)
    report = runs(dry_run=True, format="jpeg")
    assert tree(tmp_path) == before
    assert not (tmp_path / "out").exists()
    by_name = {result.source.name: result for result in report.files}
    assert by_name["bad.png"].status is Status.FAILED
    assert by_name["p00.png"].status is Status.PLANNED
    assert by_name["p00.png"].target == tmp_path / "out" / "dir 0" / "p00.jpg"
    assert "16 bit" in by_name["wide.npy"].losses
    assert report.megapixels == pytest.approx(13 * 480 / 1e6)
    assert report.estimate is not None
    assert report.estimate > 0
    assert report.exit_code is ExitCode.SOME_FAILED


def test_strict_fails_what_would_lose_something(folder: Path, tmp_path: Path, runs: Runs) -> None:
    write_npy(folder / "wide.npy", picture(1, dtype=np.uint16))
    for dry in (True, False):
        report = runs(format="webp", strict=True, dry_run=dry)
        assert [result.source.name for result in report.failures][-1] == "wide.npy"
        assert "--strict: webp cannot keep 16 bit" in report.failures[-1].reason
    assert not (tmp_path / "out" / "wide.webp").exists()
    report = runs(format="webp")
    wide = next(result for result in report.files if result.source.name == "wide.npy")
    assert wide.status is Status.DONE
    assert "16 bit" in wide.warnings[0]


def test_what_a_format_cannot_hold_at_all_fails_before_it_is_computed(folder: Path, tmp_path: Path, runs: Runs) -> None:
    write_npy(folder / "stack.npy", np.stack([picture(1), picture(2)]))
    network = FakeDenoiser()
    for dry in (True, False):
        report = runs(network, format="png", dry_run=dry)
        assert [result.source.name for result in report.failures] == ["stack.npy"]
        assert "one page" in report.failures[0].reason
    assert network.heights.count(24) == 12


def test_nothing_to_do(tmp_path: Path, runs: Runs) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "notes.txt").write_text("no image")
    report = runs()
    assert report.exit_code is ExitCode.NOTHING_TO_DO
    assert ".png" in report.message
    assert str(tmp_path / "in") in report.message
    assert not (tmp_path / "out").exists()


def test_one_file_into_a_file(tmp_path: Path) -> None:
    source = write_png(tmp_path / "a.png", 1)
    network: Any = FakeDenoiser()
    for target in ("b.png", "sub/c.png"):
        assert run(source, tmp_path / target, denoiser=network).exit_code == 0
        np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / target)), smoothed(picture(1)))
    report = run(source, tmp_path / "b.png", denoiser=network)
    assert statuses(report) == ["skipped"]
    assert report.output == tmp_path / "b.png"


# Failures.


def spoil(folder: Path) -> dict[str, str]:
    """Spoil three pictures; name -> a word of the reason."""
    good = (folder / "dir 1" / "p01.png").read_bytes()
    (folder / "dir 1" / "p01.png").write_bytes(good[: len(good) // 2])
    (folder / "dir 2" / "p02.png").write_bytes(b"")
    (folder / "dir 0" / "p09.png").write_text("not a picture at all")
    return {"p01.png": "", "p02.png": "empty", "p09.png": "text"}


def test_bad_files_among_good_ones(folder: Path, tmp_path: Path, runs: Runs) -> None:
    bad = spoil(folder)
    listener = Listener()
    report = runs(progress=listener)
    assert report.exit_code is ExitCode.SOME_FAILED
    assert {result.source.name for result in report.failures} == set(bad)
    for result in report.failures:
        assert bad[result.source.name] in result.reason
        assert str(result.source) not in result.reason
        assert any(level == "error" and str(result.source) in text for level, text in listener.notes)
    assert len(tree(tmp_path / "out")) == 9
    assert leftovers(tmp_path) == []
    assert statuses(runs()).count("failed") == 3


def test_a_picture_that_breaks_the_network_fails_alone(folder: Path, tmp_path: Path, runs: Runs) -> None:
    marked = picture(7)
    report = runs(FakeDenoiser(batch=5, fails=lambda piece: np.array_equal(piece.values, marked)))
    assert [result.source.name for result in report.failures] == ["p07.png"]
    assert "RuntimeError: the network broke" in report.failures[0].reason
    assert report.totals()["done"] == 11


def test_a_network_that_never_works_ends_the_run(folder: Path, tmp_path: Path, runs: Runs) -> None:
    class Dead(FakeDenoiser):
        def stream(self, pieces: Any) -> Any:
            raise RuntimeError("no such kernel")
            yield

    report = runs(Dead())
    assert report.exit_code is ExitCode.UNAVAILABLE
    assert "no such kernel" in report.message
    assert tree(tmp_path / "out") == {}


def test_a_device_that_goes_away_ends_the_run(folder: Path, tmp_path: Path, runs: Runs) -> None:
    class Lost(FakeDenoiser):
        def _one(self, piece: Any) -> Any:
            if len(self.heights) >= 6:
                raise UnavailableError("the device is gone")
            return super()._one(piece)

    report = runs(Lost(batch=2))
    assert (report.exit_code, report.message) == (ExitCode.UNAVAILABLE, "the device is gone")
    assert leftovers(tmp_path) == []
    assert report.totals()["done"] + report.totals()["failed"] + report.totals()["left"] == 12


def test_memory_that_runs_out_for_one_file_fails_that_file(
    folder: Path, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    from denoiser.batch import reading

    split = reading.split

    def exhausted(pixels: Any, *rest: Any) -> Any:
        if np.array_equal(pixels, picture(3)):
            raise MemoryError
        return split(pixels, *rest)

    monkeypatch.setattr(reading, "split", exhausted)
    report = runs()
    assert [result.source.name for result in report.failures] == ["p03.png"]
    assert "memory" in report.failures[0].reason


def test_a_band_that_cannot_be_handed_to_the_network_fails_its_file(
    folder: Path, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    from denoiser.batch import pipeline

    pieces_of = pipeline.pieces_of

    def refused(job: Any, band: Any) -> Any:
        if job.item.source.name == "p05.png":
            raise ValueError("no piece")
        return pieces_of(job, band)

    monkeypatch.setattr(pipeline, "pieces_of", refused)
    report = runs()
    assert [result.source.name for result in report.failures] == ["p05.png"]
    assert report.totals()["done"] == 11


@pytest.mark.parametrize(
    ("spoils", "words"),
    [
        (lambda values: values * np.float32(np.nan), "not numbers"),
        (lambda values: values + np.float32(0.6), "mean moved"),
    ],
)
def test_results_that_fail_the_check_are_thrown_away(
    folder: Path, tmp_path: Path, runs: Runs, spoils: Any, words: str
) -> None:
    report = runs(FakeDenoiser(spoils=spoils))
    assert statuses(report) == ["failed"] * 12
    assert words in report.files[0].reason
    assert report.files[0].checks["std_before"] is None or report.files[0].checks["std_before"] >= 0
    assert tree(tmp_path / "out") == {}


def test_half_precision_that_fails_is_done_again_in_fp32(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from denoiser.batch import runner

    built: list[str] = []

    def build(self: Any, precision: str) -> Any:
        built.append(precision)
        if precision == "fp32":
            return FakeDenoiser()
        broken = smoothed(picture(4)) / 255

        def spoils(values: Any) -> Any:
            return values * np.float32(np.nan) if np.abs(values - broken).max() < 0.01 else values

        return FakeDenoiser(precision="bf16", spoils=spoils)

    monkeypatch.setattr(runner.RunSession, "_build", build)
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    listener = Listener()
    options = RunOptions(model=str(tmp_path / "model.safetensors"), max_memory=1 << 28)
    report = run(folder, tmp_path / "out", options, listener)
    assert built == ["auto", "fp32"]
    assert statuses(report) == ["done"] * 12
    assert listener.files == 12
    assert any("fp32" in text for level, text in listener.notes if level == "warning")
    made = np.asarray(Image.open(tmp_path / "out" / "dir 1" / "p04.png"))
    np.testing.assert_array_equal(made, smoothed(picture(4)))


def test_an_unknown_model_is_an_error_before_anything_is_touched(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="nonesuch"):
        run(folder, tmp_path / "out", RunOptions(model="nonesuch"))
    assert not (tmp_path / "out").exists()


def test_a_refused_plan_touches_nothing(folder: Path, tmp_path: Path, runs: Runs) -> None:
    write_png(folder / "dir 0" / "p00.jpg", 1)
    with pytest.raises(UsageError):
        runs(format="tiff")
    assert not (tmp_path / "out").exists()


def test_two_runs_do_not_share_an_output_directory(folder: Path, tmp_path: Path, runs: Runs) -> None:
    class Second(FakeDenoiser):
        raised: Any = None

        def _one(self, piece: Any) -> Any:
            if self.raised is None:
                with pytest.raises(LockedError) as self.raised:
                    runs()
                assert statuses(runs(lock=False)) == ["done"] * 12
            return super()._one(piece)

    network = Second(batch=12)
    report = runs(network)
    assert network.raised.value.exit_code is ExitCode.LOCKED
    # The unlocked run was first: its whole files were not replaced by a run that did not expect them.
    assert statuses(report) == ["failed"] * 12
    assert leftovers(tmp_path) == []


def test_leftovers_of_dead_runs_are_removed_and_those_of_live_ones_kept(
    folder: Path, tmp_path: Path, runs: Runs
) -> None:
    place = tmp_path / "out" / "dir 0"
    place.mkdir(parents=True)
    names = {
        "dead": ".p00.png.all-0123abcd.denoiser-tmp",
        "other share": ".p00.png.1of2-0123abcd.denoiser-tmp",
        "old": ".p00.png.2of2-0123abcd.denoiser-tmp",
        "foreign": ".p00.png.denoiser-tmp",
    }
    for name in names.values():
        (place / name).write_bytes(b"half")
    os.utime(place / names["old"], (time.time() - 10**6,) * 2)
    runs(shard=(0, 2))
    assert {path.name for path in leftovers(tmp_path)} == {names[each] for each in ("dead", "other share", "foreign")}
    runs()  # it has the whole directory, so no share is at work
    assert {path.name for path in leftovers(tmp_path)} == {names["foreign"]}


# The report.


def test_events_are_one_line_per_file(folder: Path, tmp_path: Path, runs: Runs) -> None:
    spoil(folder)
    events = tmp_path / "logs" / "events.jsonl"
    runs(events=events)
    runs(events=events)
    lines = [json.loads(line) for line in events.read_text().splitlines()]
    assert len(lines) == 24
    assert {line["schema"] for line in lines} == {EVENT_SCHEMA}
    assert sorted(line["status"] for line in lines[:12]) == ["done"] * 9 + ["failed"] * 3
    assert [line["status"] for line in lines[12:]].count("skipped") == 9


def test_the_document_is_plain_json(folder: Path, runs: Runs) -> None:
    spoil(folder)
    document = json.loads(json.dumps(runs().to_json(), allow_nan=False))
    assert document["schema"] == SCHEMA
    assert document["exit_code"] == 1
    assert document["exit"] == "some_failed"
    assert document["engine"]["precision"] == "fp32"
    assert document["options"]["strength"] == 1.0
    assert document["totals"]["done"] == 9
    done = next(file for file in document["files"] if file["status"] == "done")
    assert done["checks"]["finite"] is True
    assert done["pages"] == 1
    assert done["seconds"] > 0


def test_names_that_are_no_utf8(tmp_path: Path, runs: Runs) -> None:
    if sys.platform != "linux":
        pytest.skip("such names are possible on Linux alone")
    write_png(tmp_path / "in" / os.fsdecode(b"caf\xe9.png"), 1)
    report = runs()
    assert statuses(report) == ["done"]
    json.dumps(report.to_json(), ensure_ascii=False).encode("utf-8")
    assert statuses(runs()) == ["skipped"]


def test_an_error_of_one_file_names_what_is_wrong() -> None:
    from denoiser.batch.job import explained

    assert str(explained(InputError("x"))) == "x"
    assert "Input/output error" in str(explained(OSError(5, "Input/output error")))
    assert "KeyError" in str(explained(KeyError("k")))
