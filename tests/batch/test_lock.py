from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from denoiser.batch.lock import Lock
from denoiser.errors import ExitCode, LockedError, OutputError

HOLDER = """
import sys
from pathlib import Path
from denoiser.batch.lock import Lock
with Lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def hold(root: Path) -> subprocess.Popen[str]:
    repository = Path(__file__).resolve().parents[2]
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(repository)},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_process_is_refused_and_told_by_whom(tmp_path: Path) -> None:
    with hold(tmp_path) as process:
        with pytest.raises(LockedError, match=rf"{tmp_path.name}.*process {process.pid} .*--no-lock") as caught:
            Lock(tmp_path).__enter__()
        assert caught.value.exit_code is ExitCode.LOCKED
        process.communicate("")
    with Lock(tmp_path):
        pass


@pytest.mark.skipif(sys.platform == "win32", reason="signals as POSIX has them")
def test_a_killed_process_leaves_no_lock(tmp_path: Path) -> None:
    process = hold(tmp_path)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert (tmp_path / ".denoiser" / "lock").exists()
    with Lock(tmp_path):
        pass


def test_shares_stand_side_by_side_and_against_a_run_over_all(tmp_path: Path) -> None:
    with Lock(tmp_path, "1of2"), Lock(tmp_path, "2of2"):
        with pytest.raises(LockedError):
            Lock(tmp_path, "2of2").__enter__()
        if sys.platform != "win32":
            with pytest.raises(LockedError):
                Lock(tmp_path).__enter__()
    with Lock(tmp_path), pytest.raises(LockedError):
        Lock(tmp_path).__enter__()


def test_a_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="file"):
        Lock(tmp_path / "file" / "out").__enter__()


@pytest.mark.skipif(sys.platform == "win32", reason="flock is POSIX")
def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(file: int, shared: bool) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr("denoiser.batch.lock._acquire", flock)
    with pytest.raises(OutputError, match="--no-lock"):
        Lock(tmp_path).__enter__()
