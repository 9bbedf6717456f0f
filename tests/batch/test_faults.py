"""Outputs that cannot be written: exit code 5, nothing damaged, the next run does the rest."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from denoiser.batch import Report, Stop, writing
from denoiser.batch.manifest import Manifest, Stamp
from denoiser.errors import ExitCode, OutputError
from tests.batch.fakes import FakeDenoiser, leftovers, tree, write_png

Runs = Callable[..., Report]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for index in range(16):
        write_png(tmp_path / "in" / f"{index:02}.png", index, 60, 50)
    return tmp_path / "in"


@pytest.fixture
def undisturbed(folder: Path, tmp_path: Path, runs: Runs) -> dict[str, bytes]:
    runs(output=tmp_path / "undisturbed")
    return tree(tmp_path / "undisturbed")


def assert_nothing_damaged(out: Path, expected: dict[str, bytes]) -> None:
    made = tree(out)
    assert leftovers(out) == []
    assert made.items() <= expected.items()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES])
@pytest.mark.parametrize("where", ["save", "sync", "manifest", "rename"])
def test_a_full_disk_stops_the_run(
    folder: Path,
    tmp_path: Path,
    runs: Runs,
    undisturbed: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
    code: int,
    where: str,
) -> None:
    calls = 0

    def full_after(count: int, function: Any) -> Any:
        def call(*arguments: Any, **named: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls > count:
                if where == "save":
                    arguments[0].write_bytes(b"half")
                raise OSError(code, os.strerror(code))
            return function(*arguments, **named)

        return call

    with monkeypatch.context() as patch:
        if where == "save":
            patch.setattr(writing, "save", full_after(5, writing.save))
        elif where == "sync":
            patch.setattr(writing, "_sync", full_after(5, writing._sync))
        elif where == "manifest":
            patch.setattr("denoiser.batch.manifest.os.write", full_after(5, os.write))
        else:
            patch.setattr(writing.os, "replace", full_after(5, os.replace))
        report = runs()
    assert report.exit_code is ExitCode.OUTPUT
    assert os.strerror(code) in report.message
    assert report.totals()["done"] <= 5
    assert report.totals()["left"] > 0
    assert_nothing_damaged(tmp_path / "out", undisturbed)
    report = runs()
    assert report.exit_code is ExitCode.OK
    assert tree(tmp_path / "out") == undisturbed


def test_every_name_has_its_manifest_line_before_and_is_synced(
    folder: Path, tmp_path: Path, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace, sync, synced = os.replace, writing._sync, set()

    def watched(source: Path, target: Path) -> None:
        if target.suffix == ".png":
            stamp = Stamp.of(source.stat())
            entry, certain = Manifest(tmp_path / "out").current(target.name, stamp)
            assert entry is not None
            assert certain
            assert source in synced
        replace(source, target)

    def remembered(path: Path) -> Stamp:
        synced.add(path)
        return sync(path)

    monkeypatch.setattr(writing, "_sync", remembered)
    monkeypatch.setattr(writing.os, "replace", watched)
    assert runs().totals()["done"] == 16


def test_an_error_of_one_output_fails_that_file(
    folder: Path, tmp_path: Path, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = writing.save

    def too_long(path: Path, *rest: Any) -> None:
        if "03.png" in path.name:
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
        save(path, *rest)

    monkeypatch.setattr(writing, "save", too_long)
    report = runs()
    assert [result.source.name for result in report.failures] == ["03.png"]
    assert report.exit_code is ExitCode.SOME_FAILED


@pytest.mark.parametrize("side", ["output", "residual"])
def test_a_writer_that_breaks_fails_its_file_and_nobody_waits_for_it(
    folder: Path, tmp_path: Path, runs: Runs, monkeypatch: pytest.MonkeyPatch, side: str
) -> None:
    save = writing.save

    def broken(path: Path, like: Any, pages: Any, target: Any) -> None:
        if "03.png" in path.name and (target.format == "tiff") == (side == "residual"):
            raise ValueError("a defect")
        save(path, like, pages, target)

    monkeypatch.setattr(writing, "save", broken)
    report = runs(save_residual=tmp_path / "res", max_memory=60_000)
    assert [result.source.name for result in report.failures] == ["03.png"]
    assert "ValueError: a defect" in report.failures[0].reason
    assert len(tree(tmp_path / "out")) == len(tree(tmp_path / "res")) == 15
    assert leftovers(tmp_path) == []


def test_a_residual_that_cannot_be_written_stops_the_run(folder: Path, tmp_path: Path, runs: Runs) -> None:
    (tmp_path / "file").write_text("in the way")
    report = runs(save_residual=tmp_path / "file" / "res")
    assert report.exit_code is ExitCode.OUTPUT
    assert tree(tmp_path / "out") == {}
    assert leftovers(tmp_path) == []


def test_an_output_below_a_file(folder: Path, tmp_path: Path, runs: Runs) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="file"):
        runs(output=tmp_path / "file" / "out")
    assert runs(output=tmp_path / "sound").exit_code is ExitCode.OK
    assert (tmp_path / "file").read_text() == "in the way"


def test_a_file_where_a_folder_of_the_output_should_be(tmp_path: Path, runs: Runs) -> None:
    write_png(tmp_path / "in" / "sub" / "a.png", 1)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "sub").write_text("in the way")
    report = runs()
    assert report.exit_code is ExitCode.OUTPUT
    assert str(tmp_path / "out" / "sub") in report.message


def test_events_that_cannot_be_written_stop_the_run(folder: Path, tmp_path: Path, runs: Runs) -> None:
    with pytest.raises(OutputError, match="events"):
        runs(events=tmp_path / "in" / "00.png" / "events")
    if Path("/dev/full").exists():
        report = runs(events=Path("/dev/full"))
        assert report.exit_code is ExitCode.OUTPUT


def test_a_stop_while_writers_are_busy_ends_soon(
    folder: Path, tmp_path: Path, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop, save = Stop(), writing.save

    def slow(path: Path, *rest: Any) -> None:
        stop.request(ExitCode.TERMINATED)
        save(path, *rest)

    monkeypatch.setattr(writing, "save", slow)
    report = runs(FakeDenoiser(batch=1), stop=stop, jobs=1)
    assert report.exit_code is ExitCode.TERMINATED
    assert report.totals()["done"] <= 1


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 kB, where the tests may mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)]
    if sys.platform != "linux" or os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("needs the right to mount a file system")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_disk_that_is_really_full(folder: Path, runs: Runs, small_disk: Path, undisturbed: dict[str, bytes]) -> None:
    assert sum(map(len, undisturbed.values())) > 64 * 1024
    report = runs(output=small_disk / "out")
    assert report.exit_code is ExitCode.OUTPUT
    assert "No space left" in report.message
    assert 0 < report.totals()["done"] < 16
    assert_nothing_damaged(small_disk / "out", undisturbed)
    subprocess.run(["mount", "-o", "remount,size=4m", str(small_disk)], check=True)
    assert runs(output=small_disk / "out").exit_code is ExitCode.OK
    assert tree(small_disk / "out") == undisturbed


def test_a_disk_that_is_really_read_only(
    folder: Path, runs: Runs, small_disk: Path, undisturbed: dict[str, bytes]
) -> None:
    runs(output=small_disk / "out", max_files=2)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    for output in (small_disk / "out", small_disk / "fresh"):
        with pytest.raises(OutputError, match="Read-only"):
            runs(output=output)
    assert_nothing_damaged(small_disk / "out", undisturbed)
    assert len(tree(small_disk / "out")) == 2
