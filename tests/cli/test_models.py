"""``denoiser models``: what the cards say, for people and for scripts."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from denoiser import weights
from denoiser.cli.main import main
from denoiser.errors import ExitCode
from tests.cli.test_main import loaded_by


@pytest.fixture
def folder(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of bundled weights with one model and its checksum."""
    folder = tmp_path / "weights"
    folder.mkdir()
    shutil.copy(tiny_model, folder / "tiny.safetensors")
    digest = hashlib.sha256((folder / "tiny.safetensors").read_bytes()).hexdigest()
    (folder / weights.CHECKSUMS).write_text(f"{digest}  tiny.safetensors\n")
    monkeypatch.setattr(weights, "_folders", lambda: (folder,))
    return folder


def test_list_for_people_fits_80_columns(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "list"]) == ExitCode.OK
    out, err = capfd.readouterr()
    assert err == ""
    assert max(map(len, out.splitlines())) <= 80
    for word in ("tiny", "tests", "CC0", "kMAC/px", "MB"):
        assert word in out


def test_list_for_scripts(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "list", "--json"]) == ExitCode.OK
    document = json.loads(capfd.readouterr().out)
    assert document["schema"] == "denoiser.models/1"
    (row,) = document["models"]
    assert row["name"] == "tiny"
    assert row["bytes"] == (folder / "tiny.safetensors").stat().st_size
    assert {
        "purpose",
        "noise",
        "parameters",
        "macs_per_pixel",
        "receptive_field",
        "psnr",
        "licence",
        "data",
        "architecture",
    } <= set(row)


def test_show_a_name_and_a_file(folder: Path, tiny_model: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for what in ("tiny", str(tiny_model)):
        assert main(["models", "show", what]) == ExitCode.OK
        assert "unet" in capfd.readouterr().out
        assert main(["models", "show", what, "--json"]) == ExitCode.OK
        document = json.loads(capfd.readouterr().out)
        assert (document["schema"], document["name"]) == ("denoiser.model/1", "tiny")


def test_show_what_is_not_there(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "show", "big"]) == ExitCode.UNAVAILABLE
    err = capfd.readouterr().err
    assert "'big'" in err
    assert "tiny" in err, "the error names what there is"


def test_verify(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "verify"]) == ExitCode.OK
    assert "tiny" in capfd.readouterr().out
    with (folder / "tiny.safetensors").open("r+b") as stream:
        stream.seek(-1, 2)
        stream.write(b"\x55")
    assert main(["models", "verify"]) == ExitCode.UNAVAILABLE
    assert "tiny.safetensors" in capfd.readouterr().err
    assert main(["models", "verify", "--json"]) == ExitCode.UNAVAILABLE
    document = json.loads(capfd.readouterr().out)
    assert document["schema"] == "denoiser.verify/1"
    assert len(document["problems"]) == 1


def test_no_weights_at_all(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(weights, "_folders", lambda: (tmp_path,))
    for command in ("list", "verify"):
        assert main(["models", command]) == ExitCode.UNAVAILABLE
        assert "install the package again" in capfd.readouterr().err


def test_listing_does_not_import_torch(tiny_model: Path) -> None:
    code, heavy = loaded_by("models", "show", str(tiny_model))
    assert code == ExitCode.OK
    assert "torch" not in heavy.split()
