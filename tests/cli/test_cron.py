"""What a scheduler expects: little to say, nothing needed from the environment, and an end when it is asked for."""

from __future__ import annotations

import io
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from denoiser.cli.main import main
from denoiser.errors import ExitCode
from tests.batch.fakes import leftovers, tree
from tests.cli.helpers import patience, start

posix = pytest.mark.skipif(os.name == "nt", reason="cron and signals as POSIX has them")
NOWHERE = Path("/proc")
"""A working directory in which even root cannot write."""


@posix
@pytest.mark.skipif(not NOWHERE.is_dir(), reason="needs a directory that nobody can write to")
def test_cron(pictures: Path, tiny_model: Path, tmp_path: Path) -> None:
    out, metrics = tmp_path / "out", tmp_path / "denoiser.prom"
    command = ("run", pictures, out, "--model", tiny_model, "--prometheus", metrics)
    process = start(*command, cwd=NOWHERE)
    told, mail = process.communicate(timeout=120)
    assert process.returncode == ExitCode.OK, mail
    assert told == b""
    assert len(mail.splitlines()) <= 2, mail
    assert "denoiser_last_run_exit_code" in metrics.read_text(encoding="utf-8")
    (pictures / "broken.png").write_bytes((pictures / "a.png").read_bytes()[:60])
    process = start(*command, cwd=NOWHERE)
    told, mail = process.communicate(timeout=120)
    assert process.returncode == ExitCode.SOME_FAILED
    assert told == b""
    assert b"broken.png: " in mail and b"3 skipped, 1 failed" in mail and b"Traceback" not in mail


def test_a_list_on_stdin(pictures: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (pictures / "new\nline.png").write_bytes((pictures / "a.png").read_bytes())
    wanted = [pictures / "a.png", pictures / "new\nline.png"]
    data = b"".join(os.fsencode(path) + b"\0" for path in wanted)
    for name, spelling in (("one", ("--from-file", "-")), ("two", ("@-",))):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))
        assert main(["run", *spelling, str(tmp_path / name), "--model", str(tiny_model)]) == ExitCode.OK
        assert set(tree(tmp_path / name)) == {"a.png", "new\nline.png"}
    (tmp_path / "list.txt").write_text(f"{wanted[0]}\n{pictures / 'b.jpg'}\n", encoding="utf-8")
    listed = ["run", "--from-file", str(tmp_path / "list.txt"), str(tmp_path / "three"), "--model", str(tiny_model)]
    assert main(listed) == ExitCode.OK
    assert set(tree(tmp_path / "three")) == {"a.png", "b.jpg"}


def test_lists_that_make_no_sense(pictures: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(tmp_path / "out")]) == ExitCode.USAGE
    assert "INPUT is missing" in capfd.readouterr().err
    assert main(["run", "-", "--from-file", "-", str(tmp_path / "out")]) == ExitCode.USAGE
    assert main(["run", "--from-file", str(tmp_path / "none.txt"), str(tmp_path / "out")]) == ExitCode.USAGE
    assert "none.txt: the list of inputs cannot be read" in capfd.readouterr().err


def test_a_stream_gives_the_bytes_of_a_file(
    pictures: Path,
    tiny_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    model = ("--model", str(tiny_model))
    for name in ("a.png", "b.jpg"):
        assert main(["run", str(pictures / name), str(tmp_path / name), *model]) == ExitCode.OK
        capfdbinary.readouterr()
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO((pictures / name).read_bytes())))
        assert main(["run", "-", "-", *model]) == ExitCode.OK
        assert capfdbinary.readouterr().out == (tmp_path / name).read_bytes()


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures that keep the network busy for a while."""
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


@posix
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
