from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from denoiser.batch.names import temporary, temporary_share
from denoiser.batch.writing import remove_leftovers
from denoiser.errors import ExitCode, LockedError, OutputError
from denoiser.lock import Lock, free_share, has_ended

HOLDER = """
import sys
from pathlib import Path
from denoiser.lock import Lock, free_share, has_ended
from denoiser.batch.names import temporary, temporary_share
from denoiser.batch.writing import remove_leftovers
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

    monkeypatch.setattr("denoiser.lock._acquire", flock)
    with pytest.raises(OutputError, match="--no-lock"):
        Lock(tmp_path).__enter__()


def test_runs_without_a_lock_are_known_to_be_over_when_their_process_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = free_share()
    assert not has_ended(mine) and temporary_share(temporary(Path("a.tif"), mine).name) == mine
    with subprocess.Popen([sys.executable, "-c", "pass"]) as process:
        process.wait()
    start, machine, _ = mine.split("_")
    assert has_ended(f"{start}_{machine}_{process.pid}")
    for other in (f"{start}_00000000_{process.pid}", f"{start}_{machine}_x", "1of4", "", start, "file"):
        assert not has_ended(other)


def test_their_temporary_files_are_removed_by_the_next_run(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "pass"]) as process:
        process.wait()
    start, machine, _ = free_share().split("_")
    dead, alive = (
        temporary(tmp_path / "a.npy", f"{start}_{machine}_{process.pid}"),
        temporary(tmp_path / "b", "free_x_1"),
    )
    for path in (dead, alive):
        path.write_bytes(b"half")
    assert remove_leftovers([tmp_path / "c.npy"], None) == 1
    assert sorted(tmp_path.iterdir()) == [alive]


def test_another_number_of_shares_is_another_run(tmp_path: Path) -> None:
    told = r"share 0 of 2 is writing there .* this one is of 3 shares"
    with Lock(tmp_path, "0of2"), Lock(tmp_path, "1of2"), pytest.raises(LockedError, match=told):
        Lock(tmp_path, "0of3").__enter__()
    # Those of before have ended; another share of three may be looking at what they left.
    with (tmp_path / ".denoiser" / "lock-0of2").open("r+b") as left:
        if os.name != "nt":
            import fcntl

            fcntl.flock(left, fcntl.LOCK_SH)
        with Lock(tmp_path, "0of3"), Lock(tmp_path, "1of3"):
            pass
