"""What goes to stdout is one picture, and streams that are full, closed or of another encoding are no defect."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from denoiser.cli.main import main
from denoiser.errors import ExitCode
from tests.cli.helpers import REPOSITORY

NOISE = ("--noise", "gaussian:5")  # corrupt needs no network and starts at once

Shell = Callable[..., subprocess.CompletedProcess[bytes]]


@pytest.fixture
def shell(pictures: Path) -> Shell:
    """Run the program among the pictures with streams that a shell has redirected."""

    def call(redirection: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            ["sh", "-c", f'exec "$0" -m denoiser "$@" {redirection}', sys.executable, *arguments],
            cwd=pictures,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY), **environment},
            capture_output=True,
            timeout=120,
            check=False,
        )

    return call


@pytest.mark.parametrize("argument", [".hidden.png", "sub*/*.png", "@one.txt"])
def test_one_picture_goes_to_stdout(
    pictures: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes], argument: str
) -> None:
    monkeypatch.chdir(pictures)
    Path(".hidden.png").write_bytes(Path("sub dir/ü.png").read_bytes())
    Path("one.txt").write_text("sub dir/ü.png\n", encoding="utf-8")
    assert main(["corrupt", argument, "-", *NOISE]) == ExitCode.OK
    assert Image.open(io.BytesIO(capfdbinary.readouterr().out)).size == (17, 9)


@pytest.mark.parametrize("argument", ["*.*g", "**/*.png", "sub*", "@two.txt", "@folder.txt", "@store.txt"])
def test_several_pictures_do_not(
    pictures: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes], argument: str
) -> None:
    monkeypatch.chdir(pictures)
    Path("cells.zarr").mkdir()
    for name, listed in (("two", "a.png\nb.jpg"), ("folder", "sub dir"), ("store", "cells.zarr")):
        Path(f"{name}.txt").write_text(listed)
    assert main(["corrupt", argument, "-", *NOISE]) == ExitCode.USAGE
    out, err = capfdbinary.readouterr()
    assert out == b""
    assert b"output directory" in err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
@pytest.mark.parametrize(
    "arguments", [("a.png", "-"), ("a.png", "out", "-n"), ("a.png", "out", "--json"), ("--list",), ("--list", "--json")]
)
def test_a_full_disk_behind_stdout(shell: Shell, arguments: tuple[str, ...]) -> None:
    done = shell("> /dev/full", "corrupt", *arguments, *NOISE)
    assert done.returncode == ExitCode.OUTPUT
    assert done.stderr.endswith(b"error: stdout cannot be written (No space left on device)\n")


@pytest.mark.skipif(os.name == "nt", reason="a shell of POSIX")
@pytest.mark.parametrize("redirection", ["2>&-", ">&-", "<&- >&- 2>&-"])
def test_closed_streams_do_not_keep_the_work_from_being_done(shell: Shell, pictures: Path, redirection: str) -> None:
    assert shell(redirection, "corrupt", "a.png", "out", *NOISE).returncode == ExitCode.OK
    assert (pictures / "out" / "a.png").exists()


@pytest.mark.skipif(os.name == "nt", reason="a shell of POSIX")
def test_a_closed_stdin_is_an_empty_one(shell: Shell) -> None:
    done = shell("<&-", "corrupt", "-", "-", *NOISE)
    assert done.returncode == ExitCode.SOME_FAILED
    assert b"stdin: is empty" in done.stderr


def test_json_is_ascii_where_stdout_is(shell: Shell) -> None:
    arguments = ("corrupt", "sub dir", "out", "-n", "--json", *NOISE)
    plain, whole = (shell("", *arguments, PYTHONIOENCODING=encoding).stdout for encoding in ("ascii", "utf-8"))
    assert b"\\u00fc.png" in plain
    assert "ü.png".encode() in whole
    assert json.loads(plain)["files"] == json.loads(whole)["files"]


def test_tables_lose_what_stdout_cannot_say(shell: Shell) -> None:
    done = shell("", "corrupt", "sub dir", "out", "-n", *NOISE, PYTHONIOENCODING="ascii")
    assert done.returncode == ExitCode.OK
    assert b"?.png" in done.stdout
