"""Progress and notes: short where nobody watches, a bar on a terminal, everything in the log file."""

from __future__ import annotations

import errno
import io
import json
import logging
import os
import re
from pathlib import Path

import pytest
from rich.console import Console

from denoiser.cli import console
from denoiser.cli.bar import Bar
from denoiser.cli.main import main
from denoiser.errors import ExitCode, OutputError
from tests.cli.helpers import Recorder


class Clock:
    """Time that passes when told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_lines_are_few(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    monkeypatch.setattr("time.monotonic", clock)
    with console.talking() as talk:
        talk.start(1000, 500.0, "denoising")
        for _ in range(100):
            clock.now += 1
            talk.advance(1, 0.5)
    lines = capfd.readouterr().err.splitlines()
    assert lines[0] == "denoising: 1,000 files, 500.0 MP"
    assert lines[1] == "denoising: 30 of 1,000 files, 1.0 images/s, 0.50 MP/s, 16 min 10 s left"
    assert len(lines) == 4  # the start, and one after 30, 60 and 90 s


def test_lines_without_a_known_size_go_by_files(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    clock = Clock()
    monkeypatch.setattr("time.monotonic", clock)
    with console.talking() as talk:
        talk.start(10, 0.0, "denoising")
        clock.now += 40
        talk.advance(5, 0.0)
    assert capfd.readouterr().err.splitlines()[1].endswith("40.0 s left")


def test_levels(capfd: pytest.CaptureFixture[str]) -> None:
    def shown(**settings: bool) -> list[str]:
        with console.talking(**settings) as talk:
            for level in ("debug", "info", "warning", "error", "summary"):
                talk.note(f"a {level}", level)
        return capfd.readouterr().err.splitlines()

    assert shown() == ["warning: a warning", "error: a error", "a summary"]
    assert shown(quiet=True) == ["error: a error"]
    assert shown(verbose=True) == ["a debug", "a info", "warning: a warning", "error: a error", "a summary"]


def test_a_flood_of_problems_is_counted(capfd: pytest.CaptureFixture[str]) -> None:
    with console.talking() as talk:
        for number in range(console.PROBLEMS_SHOWN + 7):
            talk.note(f"{number}.png: is damaged", "error")
        talk.finish()
        talk.finish()  # once by the batch, once by the command: told once
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == console.PROBLEMS_SHOWN + 1
    assert lines[-1] == "warning: 7 more warnings and errors; --log-file and --json have them all"


def test_the_log_file_has_times_and_everything(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "night.log"
    for _ in range(2):  # it is appended to
        with pytest.raises(OutputError), console.talking(quiet=True, log_file=path) as talk:
            talk.start(2, 1.0, "denoising")
            talk.note("device cpu", "info")
            talk.note("b.png: is damaged", "error")
            talk.note("too much detail", "debug")
            raise OutputError("the disk is full")
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(lines) == 8
    assert all(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d (INFO|ERROR) ", line) for line in lines)
    assert [line.split(maxsplit=2)[2] for line in lines[:4]] == [
        "denoising: 2 files, 1.0 MP",
        "device cpu",
        "b.png: is damaged",
        "the disk is full",
    ]


def test_a_log_file_that_cannot_be_written(recorder: Recorder, capfd: pytest.CaptureFixture[str]) -> None:
    Path("file").write_text("")
    assert main(["run", "in", "out", "--log-file", "file/night.log"]) == ExitCode.OUTPUT
    assert "file/night.log" in capfd.readouterr().err
    assert recorder.options is None


def test_a_log_file_that_is_full_ends_the_command_when_all_is_done(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    done = []
    monkeypatch.setattr(console, "_open_log", lambda path: Full())
    words = r"night\.log: the log file cannot be written \(No space left on device\)"
    with pytest.raises(OutputError, match=words), console.talking(log_file=Path("night.log")) as talk:
        for name in "ab":
            talk.note(f"{name}.png: is damaged", "error")
            done.append(name)
    assert done == ["a", "b"]
    assert capfd.readouterr().err.splitlines() == ["error: a.png: is damaged", "error: b.png: is damaged"]


def test_the_work_goes_on_when_nobody_can_be_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console.sys, "stderr", Full())
    with console.talking() as talk:
        talk.start(3, 1.0, "denoising")
        talk.note("a.png: is damaged", "error")
    assert main(["run", "nowhere", "out"]) == ExitCode.NOTHING_TO_DO


class Full(io.StringIO):
    """A file on a disk without room."""

    def flush(self) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    close = flush


def test_what_libraries_log_stays_out_of_the_way(capfd: pytest.CaptureFixture[str]) -> None:
    with console.talking():
        logging.getLogger("tifffile").warning("strange tag")
        logging.getLogger("denoiser.batch").warning("our own")
    assert capfd.readouterr().err == "warning: denoiser.batch: our own\n"
    with console.talking(verbose=True):
        logging.getLogger("tifffile").warning("strange tag")
    assert "strange tag" in capfd.readouterr().err


def drawn(width: int, megapixels: float) -> list[str]:
    """The states of a bar on a terminal, without the codes that move the cursor."""
    clock = Clock()
    terminal = Console(file=io.StringIO(), force_terminal=True, width=width, color_system=None, legacy_windows=False)
    bar = Bar(terminal, clock)
    bar.start(1200, megapixels, "denoising")
    for _ in range(30):
        clock.now += 1
        bar.advance(10, megapixels / 120)
    bar.line("b.png: is damaged [not markup]", "error")
    assert bar.progress is not None
    bar.progress.refresh()
    bar.finish()
    assert isinstance(terminal.file, io.StringIO)
    return re.split(r"[\r\n]+", re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", terminal.file.getvalue()))


@pytest.mark.parametrize("width", [80, 120])
def test_the_bar_tells_the_truth_in_one_line(width: int) -> None:
    states = drawn(width, 480.0)
    assert "b.png: is damaged [not markup]" in states
    last = [line for line in states if "denoising" in line][-1]
    assert re.fullmatch(r"denoising \S+ +300/1,200 files  10\.0 images/s  4\.00 MP/s 01:30", last), last
    assert len(last) <= width


def test_the_bar_goes_by_files_where_the_size_is_unknown() -> None:
    last = [line for line in drawn(80, 0.0) if "denoising" in line][-1]
    assert re.fullmatch(r"denoising \S+ +300/1,200 files  10\.0 images/s 01:30", last), last


def test_nothing_but_the_summary_on_stderr_and_nothing_on_stdout(
    recorder: Recorder, capfd: pytest.CaptureFixture[str]
) -> None:
    recorder.notes = [("device cpu", "info")]
    assert main(["run", "in", "out"]) == ExitCode.OK
    out, err = capfd.readouterr()
    assert (out, err) == ("", "1 denoised: 1.5 MP in 2.0 s, 0.75 MP/s\n")
    assert main(["run", "in", "out", "--quiet"]) == ExitCode.OK
    assert capfd.readouterr() == ("", "")


def test_a_broken_end_is_told_even_when_quiet(recorder: Recorder, capfd: pytest.CaptureFixture[str]) -> None:
    recorder.stopped, recorder.message = ExitCode.OUTPUT, "out: the disk is full; make room and start again"
    assert main(["run", "in", "out", "--quiet"]) == ExitCode.OUTPUT
    assert capfd.readouterr().err == f"error: {recorder.message}\n"
    assert main(["run", "in", "out"]) == ExitCode.OUTPUT
    lines = capfd.readouterr().err.splitlines()
    assert lines == [f"error: {recorder.message}", "1 denoised: 1.5 MP in 2.0 s, 0.75 MP/s"]


def test_an_early_end_is_part_of_the_summary(recorder: Recorder, capfd: pytest.CaptureFixture[str]) -> None:
    recorder.stopped, recorder.message = ExitCode.TERMINATED, "terminated; the next run goes on"
    assert main(["run", "in", "out"]) == ExitCode.TERMINATED
    assert capfd.readouterr().err.endswith("0.75 MP/s; terminated; the next run goes on\n")


def test_json_stands_alone_on_stdout(recorder: Recorder, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "in", "out", "--json"]) == ExitCode.OK
    document = json.loads(capfd.readouterr().out)
    assert document["schema"] == "denoiser.run/1"
    assert {"version", "exit_code", "message", "seconds", "options", "engine", "totals", "files"} <= set(document)
    assert {"source", "target", "status", "reason", "warnings", "losses", "checks"} <= set(document["files"][0])


def test_words_for_people() -> None:
    assert [console.count(n, "file") for n in (0, 1, 2000)] == ["0 files", "1 file", "2,000 files"]
    assert [console.duration(s) for s in (3.21, 245, 59.99, 7800)] == ["3.2 s", "4 min 5 s", "60.0 s", "2 h 10 min"]
