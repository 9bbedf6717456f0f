"""Noise over directories and arrays: repeatable, recorded, and by the rules of a run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import tifffile
from PIL import Image

import denoiser
from denoiser.batch import CorruptOptions, Report, corrupt, corrupt_files
from denoiser.batch.manifest import Manifest
from denoiser.batch.writing import Writer
from denoiser.errors import ExitCode, OutputError, UsageError
from denoiser.images.samples import sample_paths
from denoiser.noise import KINDS
from denoiser.noise.sidecar import NAME as SIDECAR
from denoiser.noise.sidecar import Told, read
from denoiser.progress import Silent
from tests.batch.fakes import leftovers
from tests.images.compare import assert_same_kind
from tests.images.samples import make_bad_tree, make_tree

Corrupts = Callable[..., Report]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Ten small pictures in two folders, 8 and 16 bit, gray and colour."""
    rng = np.random.default_rng(5)
    for number in range(10):
        place = tmp_path / "in" / f"dir {number % 2}"
        place.mkdir(parents=True, exist_ok=True)
        shape = (20 + number, 31) + (3,) * (number % 3 > 0)
        pixels = rng.integers(60, 200, shape, dtype=np.uint8)
        if number % 5 == 4:
            tifffile.imwrite(place / f"p{number}.tif", pixels.astype(np.uint16) * 257)
        else:
            Image.fromarray(pixels).save(place / f"p{number}.png")
    return tmp_path / "in"


@pytest.fixture
def corrupts(tmp_path: Path) -> Corrupts:
    """Corrupt ``in`` into ``out`` below the test's directory."""

    def call(inputs: Any = None, output: Any = None, **values: Any) -> Report:
        options = CorruptOptions(**{"noise": "gaussian:25", "jobs": 2, "max_memory": 1 << 28, **values})
        return corrupt_files(inputs or tmp_path / "in", output or tmp_path / "out", options)

    return call


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder but the program's own state."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".denoiser" not in path.parts
    }


def sidecar(folder: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((folder / SIDECAR).read_text(encoding="utf-8"))
    return document


def test_same_bytes_with_any_threads_orders_halves_and_memory(folder: Path, tmp_path: Path, corrupts: Corrupts) -> None:
    noise = "poisson-gaussian:gain=0.001-0.1,read=4+stripes+blocks:2"
    corrupts(output=tmp_path / "one", jobs=1, noise=noise)
    expected = contents(tmp_path / "one")
    assert len(expected) == 11
    corrupts(output=tmp_path / "four", jobs=4, noise=noise, max_memory=3_000_000)
    corrupts([folder / "dir 1", folder / "dir 0"], tmp_path / "flat", noise=noise)  # other places, other noise
    for half in (1, 0):
        corrupts(output=tmp_path / "halves", shard=(half, 2), noise=noise)
    corrupts(output=tmp_path / "parts", exclude=["dir 0"], noise=noise)
    corrupts(output=tmp_path / "parts", noise=noise)
    for name in ("four", "halves", "parts"):
        assert contents(tmp_path / name) == expected, name
    assert contents(tmp_path / "flat").keys() != expected.keys()


def test_the_seed_and_the_place_decide_about_the_noise(folder: Path, tmp_path: Path, corrupts: Corrupts) -> None:
    flat = np.full((30, 40), 128, dtype=np.uint8)
    for name in ("a.png", "b.png"):
        Image.fromarray(flat).save(folder / name)
    corrupts(output=tmp_path / "0")
    corrupts(output=tmp_path / "1", seed=1)
    zero, one = contents(tmp_path / "0"), contents(tmp_path / "1")
    assert all(zero[name] != one[name] for name in zero)
    assert zero["a.png"] != zero["b.png"]


def test_every_format_comes_back_as_it_was_and_bad_files_are_named(tmp_path: Path, corrupts: Corrupts) -> None:
    good = make_tree(tmp_path / "in")
    bad = make_bad_tree(tmp_path / "in" / "bad ones")
    report = corrupts(noise="gaussian:10+stripes:0.1+jpeg:90")
    assert report.exit_code is ExitCode.SOME_FAILED
    assert {result.source for result in report.failures} == set(bad)
    for path in good:
        assert_same_kind(path, tmp_path / "out" / path.relative_to(tmp_path / "in"), pixels_equal=False)
    assert set(sidecar(tmp_path / "out")["files"]) == {path.relative_to(tmp_path / "in").as_posix() for path in good}
    assert leftovers(tmp_path) == []


def test_every_format_comes_out_as_float(tmp_path: Path, corrupts: Corrupts) -> None:
    good = make_tree(tmp_path / "in")
    for number, path in enumerate(good):
        path.rename(path.with_name(f"{number} {path.name}"))  # all become .tif: names must differ in their stems
    report = corrupts(output=tmp_path / "floats", float=True, noise="gaussian:10")
    assert report.totals()["done"] == len(good), [(str(result.source), result.reason) for result in report.failures]
    for result in report.files:
        assert result.target is not None and result.target.suffix.lower().startswith(".tif")
        with tifffile.TiffFile(result.target) as made:
            assert {page.dtype for page in made.pages} == {np.dtype(np.float32)}
            assert len(made.pages) == result.pages


def test_the_sidecar_says_what_was_done_to_each_file(folder: Path, tmp_path: Path, corrupts: Corrupts) -> None:
    report = corrupts(noise="gaussian:60", seed=3)
    document = sidecar(tmp_path / "out")
    assert (document["schema"], document["noise"], document["seed"]) == ("denoiser.corruption/1", "gaussian:60", 3)
    assert len(document["files"]) == 10
    for result in report.files:
        assert result.target is not None
        entry = document["files"][result.target.relative_to(tmp_path / "out").as_posix()]
        if result.target.suffix == ".png":
            before = np.asarray(Image.open(result.source)).astype(float)
            change = np.asarray(Image.open(result.target)) - before
            full = 255
        else:
            change = tifffile.imread(result.target).astype(float) - tifffile.imread(result.source)
            full = 65535
        assert entry["white"] == full
        assert entry["sigma"] == pytest.approx(np.sqrt(np.mean(change**2)) * 255 / full, rel=1e-4)
        assert entry["sigma"] < 60  # clipping takes some away
        assert entry["source"] == result.source.relative_to(folder).as_posix()


def test_a_second_run_skips_what_is_done_and_another_noise_does_it_again(
    folder: Path, tmp_path: Path, corrupts: Corrupts
) -> None:
    corrupts()
    before = contents(tmp_path / "out")
    assert corrupts(noise="gaussian:sigma=25").totals()["skipped"] == 10  # the same in other words
    (tmp_path / "out" / SIDECAR).unlink()
    assert corrupts().totals()["skipped"] == 10
    assert contents(tmp_path / "out") == before
    assert corrupts(noise="mask").totals()["done"] == 10
    assert {entry["noise"] for entry in sidecar(tmp_path / "out")["files"].values()} == {"mask"}


def test_float_keeps_what_clipping_and_rounding_lose(tmp_path: Path, corrupts: Corrupts) -> None:
    (tmp_path / "in").mkdir()
    pixels = np.tile(np.array([0, 128, 255], dtype=np.uint8), (64, 20))
    Image.fromarray(pixels).save(tmp_path / "in" / "a.png")
    corrupts()
    corrupts(output=tmp_path / "float", float=True)
    rounded = np.asarray(Image.open(tmp_path / "out" / "a.png"))
    values = tifffile.imread(tmp_path / "float" / "a.tif")
    assert values.min() < -20 and values.max() > 275
    # The same noise: only clipped and rounded.
    assert np.array_equal(np.rint(values.clip(0, 255)), rounded)
    assert sidecar(tmp_path / "float")["files"]["a.tif"]["sigma"] == pytest.approx(25, rel=0.03)
    corrupts(output=tmp_path / "npy", float=True, format="npy")
    assert np.array_equal(np.load(tmp_path / "npy" / "a.npy").reshape(values.shape), values)


def test_alpha_and_missing_pixels_are_left_alone(tmp_path: Path, corrupts: Corrupts) -> None:
    (tmp_path / "in").mkdir()
    rng = np.random.default_rng(0)
    rgba = rng.integers(0, 256, (16, 16, 4), dtype=np.uint8)
    Image.fromarray(rgba).save(tmp_path / "in" / "a.png")
    floats = rng.random((16, 16), dtype=np.float32)
    floats[3, 4], floats[5, 6] = np.nan, np.inf
    tifffile.imwrite(tmp_path / "in" / "b.tif", floats)
    corrupts()
    assert np.array_equal(np.asarray(Image.open(tmp_path / "out" / "a.png"))[..., 3], rgba[..., 3])
    made = tifffile.imread(tmp_path / "out" / "b.tif")
    assert np.isnan(made[3, 4]) and np.isposinf(made[5, 6])
    assert np.isfinite(np.delete(made.ravel(), [3 * 16 + 4, 5 * 16 + 6])).all()
    assert 0 < sidecar(tmp_path / "out")["files"]["b.tif"]["sigma"] < 50


def test_a_page_too_large_for_the_memory_fails_alone(folder: Path, tmp_path: Path, corrupts: Corrupts) -> None:
    tifffile.imwrite(folder / "large.tif", np.zeros((1500, 1500), np.uint8), rowsperstrip=16)
    report = corrupts(max_memory=20_000_000)
    assert [result.source.name for result in report.failures] == ["large.tif"]
    assert "--max-memory" in report.failures[0].reason
    assert report.totals()["done"] == 10


def test_floats_that_look_like_another_range_are_mentioned_once(tmp_path: Path) -> None:
    class Ear(Silent):
        heard: ClassVar[list[str]] = []

        def note(self, message: str, level: str = "info") -> None:
            self.heard.append(f"{level}: {message}")

    (tmp_path / "in").mkdir()
    for name, white in (("a.npy", 4095), ("b.npy", 4095), ("c.npy", 1)):
        np.save(tmp_path / "in" / name, np.linspace(0, white, 600, dtype=np.float32).reshape(20, 30))
    corrupt_files(tmp_path / "in", tmp_path / "out", CorruptOptions(noise="gaussian:25", jobs=1), Ear())
    assert len(Ear.heard) == 1 and "--white" in Ear.heard[0]
    Ear.heard.clear()
    options = CorruptOptions(noise="gaussian:25", jobs=1, white=4095)
    corrupt_files(tmp_path / "in" / "a.npy", tmp_path / "told.npy", options, Ear())
    assert Ear.heard == []
    change = np.load(tmp_path / "told.npy") - np.load(tmp_path / "in" / "a.npy")
    assert change.std() * 255 / 4095 == pytest.approx(25, rel=0.1)


def test_wrong_options_touch_nothing(folder: Path, tmp_path: Path, corrupts: Corrupts) -> None:
    for values, hint in (
        ({"noise": "stripe"}, "did you mean 'stripes'"),
        ({"noise": ""}, "poisson-gaussian"),
        ({"seed": -1}, "--seed"),
        ({"float": True, "format": "png"}, "choose tiff or npy"),
        ({"output": folder}, "overwrite"),
    ):
        with pytest.raises(UsageError, match=hint):
            corrupts(**values)
    assert not (tmp_path / "out").exists()


def test_a_foreign_file_of_the_sidecars_name_is_not_replaced(folder: Path, tmp_path: Path, corrupts: Corrupts) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / SIDECAR).write_text("mine")
    with pytest.raises(UsageError, match="move it away"):
        corrupts()
    assert contents(tmp_path / "out") == {SIDECAR: b"mine"}


def test_a_full_disk_ends_the_run_and_the_next_one_completes_it(
    folder: Path, tmp_path: Path, corrupts: Corrupts, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = Writer._commit
    done: list[str] = []

    def full(self: Writer, job: Any, *rest: Any) -> None:
        if len(done) == 4:
            raise OSError(28, "No space left on device")
        done.append(job.item.place)
        commit(self, job, *rest)

    monkeypatch.setattr(Writer, "_commit", full)
    report = corrupts(jobs=1)
    assert report.exit_code is ExitCode.OUTPUT
    assert leftovers(tmp_path) == []
    monkeypatch.undo()
    again = corrupts(jobs=1)
    assert (again.totals()["skipped"], again.totals()["done"]) == (4, 6)
    corrupts(output=tmp_path / "whole")
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_an_unwritable_sidecar_is_an_error_of_the_output(
    folder: Path, corrupts: Corrupts, monkeypatch: pytest.MonkeyPatch
) -> None:
    from denoiser.batch import corruption

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(corruption.os, "replace", full)
    with pytest.raises(OutputError, match=SIDECAR):
        corruption._replace(folder / SIDECAR, {})
    assert not [path for path in folder.iterdir() if SIDECAR in path.name]


def test_limits_locks_and_dry_runs_are_those_of_run(folder: Path, tmp_path: Path, corrupts: Corrupts) -> None:
    planned = corrupts(dry_run=True)
    assert planned.totals()["planned"] == 10 and not (tmp_path / "out").exists()
    some = corrupts(max_files=3)
    assert some.exit_code is ExitCode.STOPPED
    assert len(sidecar(tmp_path / "out")["files"]) == 3
    assert corrupts().exit_code is ExitCode.OK
    assert corrupts().to_json()["schema"] == "denoiser.corrupt/1"
    (tmp_path / "empty").mkdir()
    assert corrupts(tmp_path / "empty", tmp_path / "none").exit_code is ExitCode.NOTHING_TO_DO


def test_one_file_into_one_file_has_no_sidecar(folder: Path, tmp_path: Path, corrupts: Corrupts) -> None:
    corrupts(folder / "dir 0" / "p0.png", tmp_path / "made.png")
    assert (tmp_path / "made.png").is_file()
    assert not (tmp_path / SIDECAR).exists()


def test_manifests_of_earlier_versions_are_still_read(folder: Path, tmp_path: Path, corrupts: Corrupts) -> None:
    corrupts(max_files=1)
    path = tmp_path / "out" / ".denoiser" / "manifest.jsonl"
    record = json.loads(path.read_text())
    del record["figures"]
    path.write_text(json.dumps(record) + "\n")
    assert len(Manifest(tmp_path / "out").entries) == 1
    assert corrupts().totals()["skipped"] == 1
    assert len(sidecar(tmp_path / "out")["files"]) == 9


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "uint32", "float32", "float64"])
@pytest.mark.parametrize("shape", [(20, 30), (20, 30, 3), (2, 20, 30, 1)])
def test_arrays_keep_their_type_and_shape(shape: tuple[int, ...], dtype: str) -> None:
    kind = np.dtype(dtype).kind
    limits: Any = np.iinfo(dtype) if kind in "iu" else None
    middle = 0.5 if limits is None else (int(limits.max) + int(limits.min)) // 2
    array = np.full(shape, middle, dtype=dtype)
    before = array.copy()
    made = denoiser.corrupt(array, "gaussian:25", seed=1)
    assert made.dtype == array.dtype and made.shape == array.shape
    assert np.array_equal(array, before)
    assert np.array_equal(made, denoiser.corrupt(array, "gaussian:25", seed=1))
    assert not np.array_equal(made, denoiser.corrupt(array, "gaussian:25", seed=2))
    full = 1.0 if limits is None else float(limits.max) - float(limits.min)
    assert (made.astype(float) - middle).std() * 255 / full == pytest.approx(25, rel=0.1)


def test_arrays_of_events_with_declared_values() -> None:
    frames = np.zeros((50, 28, 28, 1), dtype=np.int16)
    made = corrupt(frames, "events:spurious=0.2,positive=0.75", white=1, black=-1)
    assert set(np.unique(made)) == {-1, 0, 1}
    assert (made == 1).mean() == pytest.approx(0.15, abs=0.01)
    with pytest.raises(UsageError, match="no picture"):
        corrupt(np.zeros((2, 0)), "gaussian")
    with pytest.raises(UsageError, match="at least 0"):
        corrupt(frames, "gaussian", seed=-1)
    with pytest.raises(UsageError, match="no picture"):
        corrupt(np.zeros((4, 4), dtype=complex), "gaussian")
    with pytest.raises(UsageError, match="whole number"):
        corrupt(frames, "gaussian", seed=1.5)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"stack of gray pictures or one of 28 channels"):
        corrupt(frames[..., 0], "gaussian")
    with pytest.raises(UsageError, match="no picture"):
        corrupt("a.png", "gaussian")  # type: ignore[arg-type]
    assert corrupt([[0.0, 1.0]], "gaussian").shape == (1, 2)  # type: ignore[arg-type]
    assert corrupt(np.zeros((4, 4), ">u2"), "gaussian").dtype == ">u2"
    with pytest.raises(UsageError, match="no picture"):
        corrupt(np.zeros((4, 4), np.uint64), "gaussian")
    with pytest.raises(UsageError, match="alpha"):
        corrupt(frames, "gaussian", alpha=3)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="besides alpha"):
        corrupt(frames, "gaussian", alpha=True)
    with pytest.raises(UsageError, match="a mask would be lost"):
        corrupt(np.ma.masked_greater(np.arange(256.0).reshape(16, 16), 9), "gaussian")
    with pytest.raises(UsageError, match="noise 5: must be text"):
        corrupt(frames, 5)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="--white 'x': must be a number"):
        corrupt(frames, "gaussian", white="x")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_works_on_gray_16_bit_with_alpha(name: str) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 65536, (96, 80, 2), dtype=np.uint16)
    made = corrupt(pixels, name, alpha=True)
    assert np.array_equal(made[..., 1], pixels[..., 1])
    assert not np.array_equal(made[..., 0], pixels[..., 0])


def test_the_samples_are_there_and_can_be_read() -> None:
    paths = sample_paths()
    assert len(paths) == 6
    assert all(path.stat().st_size > 10_000 and Image.open(path).size[0] >= 400 for path in paths)


@pytest.mark.parametrize(
    ("dtype", "white"), [("f8", None), ("f4", 255.0), ("f2", 255.0), ("u4", None), ("i4", 4095.0), ("i2", None)]
)
def test_what_noise_sets_is_exact_and_what_it_leaves_alone_too(dtype: str, white: float | None) -> None:
    rng = np.random.default_rng(1)
    clean = (rng.random((40, 50, 3)) * 0.8 + 0.1) * (white or (1 if dtype == "f8" else np.iinfo(dtype).max))
    clean = clean.astype(dtype)
    black = 0 if dtype[0] in "fi" else None
    made = corrupt(clean, "mask:0.4", white=white, black=black)
    assert 0.3 < (made == 0).mean() < 0.5
    assert np.array_equal(made[made != 0], clean[made != 0])
    grainy = corrupt(clean, "gaussian:10", white=white, black=black).astype(float) - clean
    assert grainy.std() / (white or (1 if dtype == "f8" else np.iinfo(dtype).max)) == pytest.approx(10 / 255, rel=0.05)


def test_missing_pixels_stay_where_noise_sets_values() -> None:
    clean = np.full((30, 30), 0.5)
    clean[3, 4] = np.nan
    made = corrupt(clean, "salt-pepper:0.9")
    assert np.isnan(made[3, 4]) and np.isnan(made).sum() == 1
    assert set(np.unique(made[~np.isnan(made)])) == {0.0, 0.5, 1.0}


def test_noise_is_not_made_of_the_numbers_that_a_picture_is_made_of() -> None:
    clean = 0.5 + 0.1 * np.random.default_rng(0).standard_normal((64, 64), dtype=np.float32)
    noise = corrupt(clean, "gaussian:25", seed=0) - clean
    assert abs(np.corrcoef(noise.ravel(), clean.ravel())[0, 1]) < 0.06


def test_ranges_that_were_declared_are_marked(folder: Path, tmp_path: Path, corrupts: Corrupts) -> None:
    corrupts(output=tmp_path / "plain")
    corrupts(output=tmp_path / "declared", white=65535.0, include=("*.tif",))
    assert not any(row["declared"] for row in sidecar(tmp_path / "plain")["files"].values())
    assert read(tmp_path / "plain").ranges == (None,)
    told = read(tmp_path / "declared")
    assert (told.noise, told.range) == ("gaussian:25", (0.0, 65535.0))
    assert read(tmp_path / "plain", [tmp_path / "plain" / "other.png"]).noises == ("",)
    assert read(tmp_path) == Told()
    for text in ("", "[]", "{}", '{"schema": "denoiser.corruption/1", "files": {"a.png": 3}}'):
        (tmp_path / "plain" / SIDECAR).write_text(text)
        assert read(tmp_path / "plain") == Told()
