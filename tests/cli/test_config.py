"""Where options come from: the command line beats the environment, which beats the file."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from denoiser.cli import config
from denoiser.cli.main import main
from denoiser.errors import ExitCode
from tests.cli.helpers import Recorder


def write(text: str, name: str = config.FILE) -> None:
    Path(name).write_text(text, encoding="utf-8")


def test_precedence(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(["run", "in", "out"]) == ExitCode.OK
    assert recorder.options.strength == 1.0
    write("[run]\nstrength = 0.25\n")
    main(["run", "in", "out"])
    assert recorder.options.strength == 0.25
    monkeypatch.setenv("DENOISER_STRENGTH", "0.5")
    main(["run", "in", "out"])
    assert recorder.options.strength == 0.5
    main(["run", "in", "out", "--strength", "0.75"])
    assert recorder.options.strength == 0.75


def test_every_kind_of_value(recorder: Recorder) -> None:
    write(
        "[run]\n"
        'model = "other"\nmax-memory = "2GiB"\nmin_age = 30\ntile = 512\nrecursive = false\nno-lock = true\n'
        'exclude = ["*_preview.jpg", "two words"]\nshard = "2/3"\nsave-residual = "res"\n'
    )
    assert main(["run", "in", "out"]) == ExitCode.OK
    options = recorder.options
    assert (options.model, options.max_memory, options.min_age, options.tile) == ("other", 2 * 2**30, 30.0, 512)
    assert (options.recursive, options.lock, options.shard) == (False, False, (2, 3))
    assert options.exclude == ("*_preview.jpg", "two words")
    assert options.save_residual == Path("res")


def test_a_named_file_replaces_that_of_the_working_directory(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("[run]\nstrength = 0.25\n")
    write("[run]\nsuffix = '_x'\n", "other.toml")
    main(["run", "in", "out", "--config", "other.toml"])
    assert (recorder.options.strength, recorder.options.suffix) == (1.0, "_x")
    monkeypatch.setenv("DENOISER_CONFIG", "other.toml")
    main(["run", "in", "out"])
    assert (recorder.options.strength, recorder.options.suffix) == (1.0, "_x")


def test_environment(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"MAX_RUNTIME": "2h", "NO_LOCK": "1", "EXCLUDE": "a b", "MODEL": ""}.items():
        monkeypatch.setenv(f"DENOISER_{name}", value)
    assert main(["run", "in", "out"]) == ExitCode.OK
    options = recorder.options
    assert (options.max_runtime, options.lock, options.exclude, options.model) == (7200.0, False, ("a", "b"), "auto")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[run]\nstrenght = 1\n", ("strenght", "did you mean 'strength'")),
        ("[run]\nwhatever-this-is = 1\n", ("whatever-this-is", "known are")),
        ("[rum]\nstrength = 1\n", ("[rum]", "did you mean 'run'")),
        ("strength = 1\n", ("'strength'", "outside a table")),
        ("[run]\nstrength = 'strong'\n", ("--strength", "valid number")),
        ("[run]\nmax-runtime = 'long'\n", ("--max-runtime", "not a duration")),
        ("[run]\nstrength = 3\n", ("--strength", "0 to 1")),
        ("[run]\nstrict = 'yes'\n", ("'strict'", "true or false")),
        ("[run]\nmodel = true\n", ("'model'", "a value")),
        ("[run]\nexclude = 'a'\n", ("'exclude'", "a list")),
        ("[run]\nmodel = ['a']\n", ("'model'", "one value")),
        ("[run]\nconfig = 'x'\n", ("'config'",)),
        ("[run\n", ("not a TOML file",)),
    ],
)
def test_mistakes_are_named(
    recorder: Recorder, capfd: pytest.CaptureFixture[str], text: str, words: tuple[str, ...]
) -> None:
    write(text)
    assert main(["run", "in", "out"]) == ExitCode.USAGE
    error = capfd.readouterr().err
    for word in words:
        assert word in error
    assert recorder.options is None, "nothing may be begun"


def test_mistakes_name_the_file_or_the_variable(
    recorder: Recorder, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write("[run]\nstrength = 'strong'\n")
    main(["run", "in", "out"])
    assert "denoiser.toml" in capfd.readouterr().err
    monkeypatch.setenv("DENOISER_STRENGTH", "weak")
    main(["run", "in", "out"])
    assert "DENOISER_STRENGTH" in capfd.readouterr().err


def test_a_named_file_must_exist(recorder: Recorder, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "in", "out", "--config", "none.toml"]) == ExitCode.USAGE
    assert "none.toml" in capfd.readouterr().err


@given(st.text(st.characters(codec="utf-8"), max_size=40))
def test_any_text_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    """No text makes the reader fail in another way than by a sentence about the file."""
    from denoiser.errors import UsageError

    path = tmp_path_factory.mktemp("toml") / "x.toml"
    path.write_text(text, encoding="utf-8", newline="")
    try:
        tables = config._read(path, "run")
    except UsageError as error:
        assert str(path) in str(error)
    else:
        assert all(isinstance(table, dict) for table in tables.values())
