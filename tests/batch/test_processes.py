"""A process per device makes what one process makes, with one report. Two CPU processes stand for two GPUs."""

from __future__ import annotations

import json
import multiprocessing
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from denoiser.batch import Report, RunOptions, Status, Stop, page, run
from denoiser.errors import ExitCode, UnavailableError
from denoiser.inference import devices
from tests.batch.fakes import FakeDenoiser, leftovers, tree, write_png

REPOSITORY = Path(__file__).resolve().parents[2]
FILES = 40

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals as POSIX has them")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("devices")
    for index in range(FILES - 1):
        write_png(root / "in" / f"d{index % 3}" / f"{index:02}.png", index, 24 + index)
    (root / "in" / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")
    network: Any = FakeDenoiser()
    run(root / "in", root / "whole", RunOptions(jobs=2, max_memory=1 << 28), denoiser=network)
    return root


@pytest.fixture
def fake_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes that are spawned have the fake network from their start."""
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\nif any('multiprocessing' in word for word in sys.orig_argv):\n"
        "    from tests.batch.elsewhere import install\n    install()\n"
    )
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{REPOSITORY}")


class Watch:
    """Counts what the progress tells, and acts when enough files are done."""

    def __init__(self, files: int = 0, act: Callable[[], None] | None = None) -> None:
        self.wanted, self.act = files, act
        self.files, self.megapixels = 0, 0.0
        self.lock = threading.Lock()

    def start(self, files: int, megapixels: float, what: str) -> None: ...

    def advance(self, files: int = 0, megapixels: float = 0.0) -> None:
        with self.lock:
            self.files += files
            self.megapixels += megapixels
            if self.act and self.files >= self.wanted:
                self.act()
                self.act = None

    def note(self, message: str, level: str = "info") -> None: ...

    def finish(self) -> None: ...


def both(folder: Path, out: str, watch: Watch | None = None, stop: Stop | None = None, **values: Any) -> Report:
    options = RunOptions(model="unet", device="cpu,cpu", jobs=2, max_memory=1 << 28, **values)
    return run(folder / "in", folder / out, options, watch or Watch(), stop=stop)


def test_two_devices_make_the_bytes_of_one(folder: Path, fake_network: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "PICTURES", 5)
    watch = Watch()
    report = both(folder, "two", watch, report=folder / "report.html")
    assert (report.exit_code, report.count(Status.DONE)) == (ExitCode.SOME_FAILED, FILES - 1)
    assert [result.source.name for result in report.failures] == ["torn.png"]
    assert tree(folder / "two") == tree(folder / "whole")
    assert (report.engine["device"], report.engine["processes"]) == ("cpu, cpu", 2)
    assert sum(bool(result.views) for result in report.files) in (4, 5)  # of the whole run
    assert "torn.png" in (folder / "report.html").read_text(encoding="utf-8")
    assert watch.files == FILES
    assert watch.megapixels == pytest.approx(report.megapixels)
    entries = (folder / "two/.denoiser/manifest.jsonl").read_text().splitlines()
    assert sorted(json.loads(line)["target"] for line in entries) == sorted(tree(folder / "whole"))
    assert sorted(path.name for path in (folder / "two/.denoiser").iterdir()) == ["lock", "manifest.jsonl"]


def test_a_process_that_dies_ends_the_run_and_the_next_goes_on(folder: Path, fake_network: None) -> None:
    def kill() -> None:
        multiprocessing.active_children()[0].kill()

    report = both(folder, "died", Watch(6, kill))
    assert report.exit_code is ExitCode.UNAVAILABLE
    assert f"died (exit code {-signal.SIGKILL})" in report.message
    assert 0 < report.count(Status.DONE) < FILES - 1
    assert report.count(Status.LEFT) > 0
    assert leftovers(folder / "died") == []
    assert multiprocessing.active_children() == []
    assert both(folder, "died").exit_code is ExitCode.SOME_FAILED
    assert tree(folder / "died") == tree(folder / "whole")


def test_a_wish_to_stop_reaches_all(folder: Path, fake_network: None) -> None:
    stop = Stop()
    report = both(folder, "stopped", Watch(6, lambda: stop.request(ExitCode.INTERRUPTED)), stop)
    assert report.exit_code is ExitCode.INTERRUPTED
    assert 6 <= report.count(Status.DONE) < FILES - 1
    assert leftovers(folder / "stopped") == []
    began = time.monotonic()
    stop.request(ExitCode.TERMINATED)  # before it begins
    assert both(folder, "stopped", stop=stop).exit_code is ExitCode.INTERRUPTED
    assert time.monotonic() - began < 10


def test_the_end_of_all_processes_at_once_is_the_wish_of_the_first(folder: Path, fake_network: None) -> None:
    stop = Stop()

    def end_all() -> None:
        for process in multiprocessing.active_children():
            process.terminate()
        time.sleep(0.3)
        stop.request(ExitCode.TERMINATED)

    report = both(folder, "ended", Watch(6, end_all), stop)
    assert report.exit_code is ExitCode.TERMINATED
    assert leftovers(folder / "ended") == []


def test_the_devices_of_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnavailableError, match="there is no CUDA device here"):
        devices.expand("cuda:all")
    with pytest.raises(UnavailableError, match="'cuda:7'"):
        devices.expand("cpu,cuda:7")
    assert devices.expand("cpu, cpu") == ["cpu", "cpu"]
    monkeypatch.setattr(devices, "present", lambda: ["cuda:0", "cuda:1", "cpu"])
    assert devices.expand("cuda:all") == ["cuda:0", "cuda:1"]
