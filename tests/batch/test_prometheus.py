"""The textfile for the node exporter: whole, well-formed, and honest about failures."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from denoiser.batch.prometheus import Textfile
from denoiser.errors import LockedError, OutputError
from tests.batch.conftest import Runs
from tests.batch.fakes import write_png

LINE = re.compile(
    r'(?P<name>[a-z_]+)\{output="(?P<output>(?:[^"\\]|\\.)*)"(?:,status="(?P<status>[a-z]+)")?\} (?P<value>\S+)'
)


def metrics(path: Path) -> dict[str, float]:
    """All samples by name and status; each name must be described first."""
    found, described = {}, set()
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("# "):
            described.add(line.split()[2])
            continue
        match = LINE.fullmatch(line)
        assert match and match["name"] in described, line
        found[match["name"] + (f" {match['status']}" if match["status"] else "")] = float(match["value"])
    assert path.read_text(encoding="utf-8").endswith("\n")
    return found


def test_a_run_and_a_bad_one_after_it(tmp_path: Path, runs: Runs) -> None:
    for index in range(3):
        write_png(tmp_path / "in" / f"{index}.png", index)
    file = tmp_path / "node" / "denoiser.prom"
    textfile = Textfile(file, 'out "a"')
    textfile.write(runs())
    first = metrics(file)
    assert first["denoiser_last_run_files done"] == 3 and first["denoiser_last_run_exit_code"] == 0
    assert first["denoiser_last_success_timestamp_seconds"] == first["denoiser_last_run_timestamp_seconds"]
    assert first["denoiser_last_run_megapixels"] == pytest.approx(3 * 24 * 20 / 1e6)
    (tmp_path / "in" / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    textfile.write(runs())
    second = metrics(file)
    assert second["denoiser_last_run_exit_code"] == 1
    assert second["denoiser_last_run_files failed"] == 1 and second["denoiser_last_run_files skipped"] == 3
    assert second["denoiser_last_success_timestamp_seconds"] == first["denoiser_last_success_timestamp_seconds"]
    assert [path.name for path in file.parent.iterdir()] == ["denoiser.prom"]


def test_an_error_that_ends_the_job_is_recorded(tmp_path: Path) -> None:
    textfile = Textfile(tmp_path / "a.prom", "out")
    with pytest.raises(LockedError), textfile.recording():
        raise LockedError("another run is writing there")
    assert metrics(tmp_path / "a.prom")["denoiser_last_run_exit_code"] == 7
    # There is something to compare with the time in an alert, although nothing has ever succeeded.
    assert metrics(tmp_path / "a.prom")["denoiser_last_success_timestamp_seconds"] == 0


def test_a_defect_that_ends_the_job_is_recorded(tmp_path: Path) -> None:
    textfile = Textfile(tmp_path / "a.prom", os.fsdecode(b"out\xff"))
    with pytest.raises(ZeroDivisionError), textfile.recording():
        raise ZeroDivisionError
    assert 'exit_code{output="out\\\\udcff"} 1' in (tmp_path / "a.prom").read_text(encoding="utf-8")


def test_nobody_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runs: Runs) -> None:
    monkeypatch.chdir(tmp_path)
    write_png(tmp_path / "in" / "a.png", 0)
    Textfile(None, "out").write(runs())
    assert not list(tmp_path.glob("*.prom"))


def test_a_file_that_cannot_be_written(tmp_path: Path, runs: Runs) -> None:
    write_png(tmp_path / "in" / "a.png", 0)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="the metrics cannot be written"):
        Textfile(tmp_path / "file" / "a.prom", "out").write(runs())
