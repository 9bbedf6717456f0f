"""Too little room is told before the start, with figures."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from denoiser.batch import room
from denoiser.errors import OutputError
from tests.batch.conftest import Runs
from tests.batch.fakes import tree, write_png


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Ten pictures, which take 14 kB and a disk that is told by ``free``."""
    for index in range(10):
        write_png(tmp_path / "in" / f"{index}.png", index)
    return tmp_path


def give(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    asked: list[Path] = []
    monkeypatch.setattr(room.shutil, "disk_usage", lambda path: (asked.append(path), SimpleNamespace(free=free))[1])


def test_surely_too_little(folder: Path, runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    give(monkeypatch, 100)
    with pytest.raises(OutputError, match=r"0\.0 MB are free at .*out, and the outputs of 10 files will take about"):
        runs()
    assert tree(folder / "out") == {}
    # Where a part is welcome, or cannot be told beforehand, it is a warning.
    assert runs(max_runtime=1000.0).exit_code == 0


def test_a_file_that_claims_more_than_it_holds_stops_nobody(
    folder: Path, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    give(monkeypatch, 10**9)
    with (folder / "in" / "damaged.tif").open("wb") as file:
        file.truncate(10**13)
    report = runs()
    assert report.exit_code == 1
    assert report.totals()["done"] == 10


def test_perhaps_too_little(folder: Path, runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    size = sum(path.stat().st_size for path in (folder / "in").iterdir())
    notes: list[str] = []
    listener = SimpleNamespace(
        start=lambda *_: None,
        advance=lambda **_: None,
        note=lambda message, level="info": notes.append(message) if level == "warning" else None,
        finish=lambda: None,
    )
    give(monkeypatch, size // 2)
    assert runs(progress=listener, max_files=4).exit_code == 6, "four files fit"
    assert notes == []
    (folder / "out" / ".denoiser" / "lock").unlink()
    shutil.rmtree(folder / "out")
    assert runs(progress=listener).exit_code == 0
    assert len(notes) == 1 and "the disk may run full" in notes[0]


def test_nothing_to_do_needs_no_room(folder: Path, runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    assert runs().exit_code == 0
    give(monkeypatch, 0)
    assert runs().exit_code == 0
