"""SIGTERM and Ctrl-C wherever they find a process: the exit code, within seconds, and no half file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from denoiser.batch import plan, runner, session, verification, writing
from denoiser.cli.main import main
from tests.batch.fakes import FakeDenoiser, leftovers, tree
from tests.cli.helpers import REPOSITORY, patience, start

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals as POSIX has them")


@pytest.fixture
def ends_soon() -> Iterator[None]:
    """The promise of five seconds."""
    began = time.monotonic()
    yield
    assert time.monotonic() - began < 5 * patience()


def asleep(number: int) -> Callable[..., Any]:
    """Something that takes long, and in which a signal comes."""

    def sleep(*arguments: Any, **more: Any) -> None:
        os.kill(os.getpid(), number)
        time.sleep(60)

    return sleep


MOMENTS: dict[str, tuple[Any, str]] = {
    "hashing the weights": (runner, "_identity"),
    "looking for files": (plan, "discover"),
    "getting the network ready": (runner.RunSession, "_network"),
    "looking at the disk": (session, "check_room"),
    "computing": (FakeDenoiser, "_run"),
    "verifying": (verification.Verifier, "check"),
}


@pytest.mark.usefixtures("ends_soon")
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_signal_is_heard_where_the_work_cannot_look(
    pictures: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    monkeypatch.setattr(FakeDenoiser, "cuts", lambda self, height, width: False, raising=False)
    monkeypatch.setattr(runner.RunSession, "_build", lambda self, precision: FakeDenoiser())
    monkeypatch.setattr(*MOMENTS[moment], asleep(signal.SIGTERM))
    out, metrics = tmp_path / "out", tmp_path / "a.prom"
    options = ("--model", str(tiny_model), "--verify-tiles", "1", "--prometheus", str(metrics))
    assert main(["run", str(pictures), str(out), *options]) == 143
    assert "denoiser_last_run_exit_code" in metrics.read_text(encoding="utf-8")
    assert "} 143\n" in metrics.read_text(encoding="utf-8")
    assert len(tree(out)) == (3 if moment == "verifying" else 0)


@pytest.mark.usefixtures("ends_soon")
def test_a_dry_run_ends_as_well(
    pictures: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "inspect", asleep(signal.SIGTERM))
    assert main(["run", str(pictures), str(tmp_path / "out"), "--dry-run", "--model", str(tiny_model)]) == 143


@pytest.mark.usefixtures("ends_soon")
def test_who_writes_is_not_waited_for_and_its_file_gets_no_name(
    pictures: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    goes_on, save, ended = threading.Event(), writing.save, threading.Semaphore(0)

    def endless(path: Path, *rest: Any) -> None:
        path.touch()
        os.kill(os.getpid(), signal.SIGINT)
        goes_on.wait(60)
        try:
            save(path, *rest)
        finally:
            ended.release()

    monkeypatch.setattr(runner.RunSession, "_build", lambda self, precision: FakeDenoiser())
    monkeypatch.setattr(writing, "save", endless)
    out = tmp_path / "out"
    assert main(["run", str(pictures / "a.png"), str(out) + "/", "--model", str(tiny_model)]) == 130
    assert leftovers(out) == []
    goes_on.set()
    assert ended.acquire(timeout=20)
    time.sleep(0.1)  # for what a writer does with a file that is whole
    assert tree(out) == {}


STUBBORN = """
import hashlib
from denoiser.cli import signals
signals.GUARD_SECONDS = 0.2
with signals.ending():
    while True:
        try:
            print("ready", flush=True)
            hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)  # minutes, in which Python runs no handler
        except BaseException:
            pass  # the signal came before that had begun
"""


@pytest.mark.usefixtures("ends_soon")
def test_the_guard_ends_a_process_that_runs_no_handler() -> None:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    process = subprocess.Popen([sys.executable, "-c", STUBBORN], stdout=subprocess.PIPE, env=environment)
    assert process.stdout is not None and process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGTERM)
    try:
        assert process.wait(timeout=30) == 143
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pictures that keep every command busy for seconds."""
    folder = tmp_path_factory.mktemp("photographs") / "in"
    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 255, (1000, 1200, 3), dtype=np.uint8)
    for index in range(12):
        Image.fromarray(np.roll(noise, index, 0)).save(folder / f"{index:02}.png", compress_level=0)
    return folder


STAGES: dict[str, Callable[[Path], bool]] = {
    "starting": lambda out: True,
    "planned": lambda out: (out / ".denoiser" / "lock").exists(),
    "writing": lambda out: bool(leftovers(out)),
    "between files": lambda out: bool(list(out.glob("*.png"))),
}


@pytest.mark.parametrize("stage", STAGES)
def test_sigterm_ends_a_run_soon(photographs: Path, tmp_path: Path, stage: str) -> None:
    out = tmp_path / "out"
    process = start("run", photographs, out, "--precision", "fp32", "--device", "cpu")
    deadline = time.monotonic() + 60
    while not STAGES[stage](out) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    asked = time.monotonic()
    process.send_signal(signal.SIGTERM)
    told, mail = process.communicate(timeout=60)
    # Before the program has begun there is nobody to turn the signal into an exit code; shells call that 143 as well.
    assert process.returncode in ((-signal.SIGTERM, 143) if stage == "starting" else (143,)), mail
    assert time.monotonic() - asked < 5 * patience()
    assert told == b"" and b"Traceback" not in mail
    assert leftovers(out) == [] if out.exists() else True
    for path in out.glob("*.png"):
        assert np.asarray(Image.open(path)).shape == (1000, 1200, 3)


COMMANDS: dict[str, tuple[object, ...]] = {
    "corrupt": ("corrupt", "IN", "OUT", "--noise", "camera"),
    "benchmark": ("benchmark", "IN", "--model", "rednet", "--classical", "nlm"),
}


@pytest.mark.parametrize("command", ["corrupt", pytest.param("benchmark", marks=pytest.mark.slow)])
def test_sigterm_ends_every_command_at_work(photographs: Path, tmp_path: Path, command: str) -> None:
    out = tmp_path / "out"
    process = start(*({"IN": photographs, "OUT": out}.get(str(word), word) for word in COMMANDS[command]))
    assert process.stderr is not None
    begun = process.stderr.readline()  # what it is about to do
    asked = time.monotonic()
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 143, begun + told
    assert time.monotonic() - asked < 5 * patience()
    assert b"Traceback" not in told
    for path in out.rglob("*.png") if command == "corrupt" else ():
        assert np.asarray(Image.open(path)).shape == (1000, 1200, 3)
