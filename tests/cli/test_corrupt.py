"""``denoiser corrupt`` through its doors."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from denoiser.cli.main import main
from denoiser.errors import ExitCode
from denoiser.noise import KINDS
from tests.cli.helpers import Invoke


def test_without_arguments_the_samples_get_the_noise(tmp_path: Path, invoke: Invoke) -> None:
    done = invoke("corrupt", "--noise", "stripes")
    assert done.returncode == 0, done.stderr
    assert done.stdout == b""
    made = tmp_path / "work" / "corrupted"
    assert len(list(made.glob("*.png"))) == 6
    rows = (np.asarray(Image.open(made / "coffee.png")) == 0).all(axis=(1, 2))
    assert rows.mean() == pytest.approx(10 / 28, abs=0.01)
    assert json.loads((made / "corruption.json").read_bytes())["noise"] == "stripes"


def test_torch_is_not_needed(tmp_path: Path, pictures: Path, invoke: Invoke) -> None:
    (tmp_path / "work" / "torch.py").write_text("raise ImportError('torch was imported')")
    done = invoke("corrupt", pictures, "out", "--noise", "gaussian:25+jpeg:75")
    assert done.returncode == 0, done.stderr
    assert b"3 corrupted" in done.stderr


def test_list_explains_every_kind(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["corrupt", "--list"]) == ExitCode.OK
    shown = capsys.readouterr().out
    assert all(f"{name}\n" in shown for name in KINDS)
    assert "sigma=25" in shown
    assert main(["corrupt", "--list", "--json"]) == ExitCode.OK
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "denoiser.noise/1"
    assert [kind["name"] for kind in document["kinds"]] == list(KINDS)


@pytest.mark.parametrize(
    ("arguments", "code", "hint"),
    [
        (["--noise", "stripe"], ExitCode.USAGE, "did you mean 'stripes'"),
        ([], ExitCode.USAGE, "--list explains"),
        (["--noise", "gaussian", "--seed", "-1"], ExitCode.USAGE, "--seed"),
        (["--noise", "gaussian", "--float", "--format", "jpeg"], ExitCode.USAGE, "tiff or npy"),
        (["--noise", "gaussian", "--preview", "sheet.jpg"], ExitCode.USAGE, ".png"),
        (["--noise", "gaussian", "--preview", "out/sheet.png"], ExitCode.USAGE, "outside"),
        (["--noise", "gaussian", "--include", "*.bmp"], ExitCode.NOTHING_TO_DO, "no readable image"),
        (["--noise", "gaussian", "--max-files", "1"], ExitCode.STOPPED, "--max-files"),
    ],
)
def test_exit_codes(
    arguments: list[str],
    code: ExitCode,
    hint: str,
    pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["corrupt", str(pictures), "out", *arguments]) == code
    assert hint in capsys.readouterr().err
    if code is ExitCode.USAGE:
        assert not Path("out").exists()


def test_a_bad_file_fails_alone(pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (pictures / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    code = main(["corrupt", str(pictures), str(tmp_path / "out"), "--noise", "speckle", "--json"])
    assert code == ExitCode.SOME_FAILED
    told = capsys.readouterr()
    assert "broken.png" in told.err
    document = json.loads(told.out)
    assert document["schema"] == "denoiser.corrupt/1"
    assert (document["totals"]["done"], document["totals"]["failed"]) == (3, 1)
    assert all(row["checks"]["sigma"] > 0 for row in document["files"] if row["status"] == "done")


def test_preview_shows_before_and_after(pictures: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.png"
    arguments = ["corrupt", str(pictures), str(tmp_path / "out"), "--noise", "mask", "-q", "--preview", str(sheet)]
    assert main(arguments) == ExitCode.OK
    shown = np.asarray(Image.open(sheet))
    assert shown.shape[2] == 3
    assert shown.shape[1] > 2 * 192
    before, after = shown[24:200, 8:150], shown[24:200, 208:350]
    assert (after == 0).all(axis=2).sum() > 100 + (before == 0).all(axis=2).sum()
    original = pictures / "a.png"
    held = original.read_bytes()
    arguments[2] = str(tmp_path / "second")
    assert main([*arguments[:-1], str(original)]) == ExitCode.USAGE
    assert original.read_bytes() == held
    assert not (tmp_path / "second").exists()
    assert main([*arguments, "-n"]) == ExitCode.OK
    sheet.unlink()
    assert main([*arguments, "-n"]) == ExitCode.OK
    assert not sheet.exists()


@pytest.mark.parametrize("option", ["--events", "--log-file"])
def test_what_is_told_never_goes_into_a_picture(
    option: str, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    original = pictures / "a.png"
    held = original.read_bytes()
    out = str(tmp_path / "out")
    assert main(["corrupt", str(pictures), out, "--noise", "mask", option, str(original)]) == ExitCode.USAGE
    assert original.read_bytes() == held
    assert f"a.png: is a picture; {option} would damage it" in capsys.readouterr().err


def test_debug_shows_where_a_file_failed(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*arguments: object) -> None:
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr("denoiser.batch.corruption.corrupt_page", broken)
    arguments = ["corrupt", str(pictures / "a.png"), str(tmp_path / "out"), "--noise", "mask"]
    assert main(arguments) == ExitCode.SOME_FAILED
    assert "Traceback" not in capsys.readouterr().err
    assert main([*arguments, "--debug"]) == ExitCode.SOME_FAILED
    told = capsys.readouterr().err
    assert "Traceback" in told and "in broken" in told
    assert "unexpected ZeroDivisionError: a defect" in told


def test_options_from_file_and_environment(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("denoiser.toml").write_text('[corrupt]\nnoise = "gaussian:10"\nseed = 4\nfloat = true\n')
    assert main(["corrupt", str(pictures), "out", "--json", "-n"]) == ExitCode.OK
    options = json.loads(capsys.readouterr().out)["options"]
    assert (options["noise"], options["seed"], options["float"]) == ("gaussian:10", 4, True)
    monkeypatch.setenv("DENOISER_SEED", "5")
    assert main(["corrupt", str(pictures), "out", "--json", "-n"]) == ExitCode.OK
    assert json.loads(capsys.readouterr().out)["options"]["seed"] == 5


def test_one_image_through_stdin_and_stdout(pictures: Path, invoke: Invoke) -> None:
    done = invoke("corrupt", "-", "-", "--noise", "gaussian:30", input=(pictures / "a.png").read_bytes())
    assert done.returncode == 0, done.stderr
    before, after = Image.open(pictures / "a.png"), Image.open(io.BytesIO(done.stdout))
    change = np.asarray(after).astype(float) - np.asarray(before)
    assert change.std() == pytest.approx(30, rel=0.1)
