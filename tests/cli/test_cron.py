"""What a scheduler expects: little to say, and nothing needed from the environment."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from denoiser.cli.main import main
from denoiser.errors import ExitCode
from tests.batch.fakes import tree
from tests.cli.helpers import start

NOWHERE = Path("/proc")
"""A working directory in which even root cannot write."""


@pytest.mark.skipif(os.name == "nt", reason="cron is of POSIX")
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
