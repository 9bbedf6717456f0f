"""The door: help and usage are quick, errors are sentences, exit codes are those of the contract."""

from __future__ import annotations

import ctypes
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from denoiser import errors
from denoiser.cli.main import COMMANDS, GROUPS, build_app, main
from denoiser.errors import ExitCode
from denoiser.tuning import MALLOC_SETTINGS
from tests.cli.helpers import REPOSITORY, Invoke, Recorder

HEAVY = ("torch", "numpy", "PIL", "tifffile", "imagecodecs", "skimage", "scipy")

LOOK = """
import sys
from denoiser.cli.main import main
code = main(sys.argv[1:])
print("loaded:", *[name for name in {heavy} if name in sys.modules])
sys.exit(code)
"""


def loaded_by(*arguments: str) -> tuple[int, str]:
    """Exit code of a command in a fresh process, and the heavy modules that it imported."""
    done = subprocess.run(
        [sys.executable, "-c", LOOK.format(heavy=HEAVY), *arguments],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout.rpartition("loaded:")[2].strip()


@pytest.mark.parametrize("arguments", [("--help",), ("run", "--help"), ("models", "--help"), ("models", "list", "-h")])
def test_help_imports_nothing_heavy(arguments: tuple[str, ...]) -> None:
    assert loaded_by(*arguments) == (ExitCode.OK, "")


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("runn",),
        ("run",),
        ("run", "in", "out", "--unknown"),
        ("run", "in", "out", "--strength", "strong"),
        ("run", "in", "out", "--max-memory", "lots"),
        ("run", "in", "out", "--strength", "2"),
        ("run", "in", "out", "--exists", "maybe"),
        ("run", "in", "out", "--quality", "0"),
        ("run", "in", "out", "--tile", "big"),
        ("run", "in", "-", "--json"),
    ],
)
def test_usage_errors_import_nothing_heavy(arguments: tuple[str, ...]) -> None:
    assert loaded_by(*arguments) == (ExitCode.USAGE, "")


@pytest.mark.skipif(sys.platform != "linux", reason="settings of glibc")
def test_the_allocator_takes_its_settings() -> None:
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        pytest.skip("another C library than glibc")
    code = "import ctypes, sys; sys.exit(not all(ctypes.CDLL(None).mallopt(*each) for each in {}))"
    assert subprocess.run([sys.executable, "-c", code.format(list(MALLOC_SETTINGS.items()))]).returncode == 0


def test_help_explains_every_command_and_option() -> None:
    result = CliRunner().invoke(build_app(), ["--help"])
    assert result.exit_code == 0
    assert set(COMMANDS) | set(GROUPS) <= set(result.stdout.split())
    declared = typer.main.get_group(build_app()).commands
    for name in COMMANDS:
        text = CliRunner().invoke(build_app(), [name, "--help"]).stdout
        options = re.findall(r"^  (?:-\w, )?(--[\w-]+)[^\n]*(?:\n {10,}[^\n]+)*", text, re.M)
        named = {each.opts[0] for each in declared[name].params if each.opts[0].startswith("--")}
        assert named and named <= set(options)
        for option in options:
            at = text.index(f"{option} ")
            assert len(text[at : at + 200].split("  ", 1)[1].strip()) > 10, f"{name} {option} has no help"


def test_readme_documents_every_command_and_option() -> None:
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    for name in [*COMMANDS, *GROUPS]:
        assert f"`denoiser {name}" in readme, name
    text = CliRunner().invoke(build_app(), ["run", "--help"]).stdout
    for option in re.findall(r"^  (?:-\w, )?(--[\w-]+)", text, re.M):
        assert option in readme or option == "--help", option


def test_readme_has_the_exit_codes() -> None:
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    table = readme[readme.index("### Exit codes") :]
    for code in set(ExitCode) - {ExitCode.GATE}:
        assert re.search(rf"^\|[^|]*\b{code.value}\b", table, re.M), code


def test_version_names_what_it_stands_on(invoke: Invoke) -> None:
    done = invoke("--version")
    assert done.returncode == ExitCode.OK
    for word in ("denoiser 0.", "torch ", "Pillow ", "tifffile ", "devices: cpu"):
        assert word in done.stdout.decode()


def test_without_arguments_help_goes_to_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    assert main([]) == ExitCode.USAGE
    out, err = capfd.readouterr()
    assert out == ""
    assert "Usage: denoiser" in err
    assert "error" not in err.partition("Exit codes")[0]


def test_usage_errors_say_what_is_wrong_and_where_to_look(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "in", "out", "--strenght", "1"]) == ExitCode.USAGE
    out, err = capfd.readouterr()
    assert out == ""
    assert "--strength" in err
    assert "denoiser run --help" in err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script(invoke: Invoke, shell: str) -> None:
    done = invoke("--show-completion", shell, env={"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"})
    assert done.returncode == ExitCode.OK, done.stderr
    assert b"_DENOISER_COMPLETE" in done.stdout


def test_completion_offers_words(invoke: Invoke) -> None:
    env = {"_DENOISER_COMPLETE": "complete_bash", "COMP_WORDS": "denoiser run --exists ", "COMP_CWORD": "3"}
    assert invoke(env=env).stdout.decode().split() == ["skip", "overwrite", "rename", "error"]


ERRORS = [
    errors.InputError,
    errors.UsageError,
    errors.NothingToDoError,
    errors.UnavailableError,
    errors.OutputError,
    errors.LockedError,
]


@pytest.mark.parametrize("error", ERRORS)
def test_errors_become_a_sentence_and_their_code(
    recorder: Recorder, capfd: pytest.CaptureFixture[str], error: type[errors.DenoiserError]
) -> None:
    recorder.raises = error("a.png: is a picture of nothing")
    assert main(["run", "in", "out"]) == error.exit_code
    out, err = capfd.readouterr()
    assert (out, err) == ("", "error: a.png: is a picture of nothing\n")


def test_a_defect_shows_no_traceback_unless_asked(recorder: Recorder, capfd: pytest.CaptureFixture[str]) -> None:
    recorder.raises = ZeroDivisionError("division by zero")
    assert main(["run", "in", "out"]) == ExitCode.SOME_FAILED
    err = capfd.readouterr().err
    assert "Traceback" not in err
    assert "ZeroDivisionError" in err
    assert "--debug" in err
    assert main(["run", "in", "out", "--debug"]) == ExitCode.SOME_FAILED
    assert "Traceback" in capfd.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="a directory in use stays there")
def test_a_working_directory_that_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert main(["run", "in", "out"]) == ExitCode.USAGE
    assert capfd.readouterr().err == "error: the working directory has been deleted; change to one that exists\n"


def test_ctrl_c_before_the_work_begins(recorder: Recorder) -> None:
    recorder.raises = KeyboardInterrupt()
    assert main(["run", "in", "out"]) == ExitCode.INTERRUPTED


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["models", "list"]])
def test_a_full_disk_behind_stdout_is_told(arguments: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "denoiser", *arguments], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == ExitCode.OUTPUT
    assert done.stderr.startswith("error: stdout cannot be written") and len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("arguments", [["models", "show", "nobody"], ["doctor", "--model", "nobody"]])
def test_every_command_shows_where_it_failed(arguments: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert main([*arguments, "--debug"]) == ExitCode.UNAVAILABLE
    told = capfd.readouterr().err
    assert "Traceback" in told and "nobody" in told


def test_variables_that_are_nearly_an_option_are_told(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in ("DENOISER_STRENGHT", "DENOISER_MAX_MEMORY", "DENOISER_NIGHTLY_LOG", "DENOISER_"):
        monkeypatch.setenv(name, "1")
    assert main(["models", "list", "--json"]) == ExitCode.OK
    assert capfd.readouterr().err == (
        "warning: the variable DENOISER_STRENGHT is no option's; did you mean DENOISER_STRENGTH?\n"
    )
