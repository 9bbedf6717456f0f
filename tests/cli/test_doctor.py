"""``denoiser doctor``: facts and advice on stdout, an exit code that a monitor can use."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from denoiser import weights
from denoiser.cli.main import main
from denoiser.errors import ExitCode


def test_a_page_for_people(tiny_model: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--model", str(tiny_model), "--device", "cpu"]) == ExitCode.OK
    out, err = capfd.readouterr()
    assert err == ""
    for words in ("torch", "devices", "cpu (", "processors compute", "GiB free", "MP/s", "(chosen)", "advice: "):
        assert words in out


def test_the_same_as_json(tiny_model: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--model", str(tiny_model), "--device", "cpu", "--json"]) == ExitCode.OK
    found = json.loads(capfd.readouterr().out)
    assert found["schema"] == "denoiser.doctor/1"
    assert found["problems"] == [] and found["model"] == "tiny"
    assert {trial["precision"] for trial in found["trials"]} >= {"fp32"}
    assert found["machine"]["devices"]["cpu"] > 0


def test_the_model_of_denoiser_toml(
    tiny_model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("denoiser.toml").write_text(f'[doctor]\nmodel = "{tiny_model.as_posix()}"\n')
    assert main(["doctor", "--device", "cpu", "--json"]) == ExitCode.OK
    assert json.loads(capfd.readouterr().out)["model"] == "tiny"


def test_both_networks_of_auto(
    tiny_model: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "names", lambda model: (str(tiny_model),) * 2 if model == "auto" else ())
    monkeypatch.setenv("DENOISER_MODEL", "auto")
    assert main(["doctor", "--device", "cpu", "--json"]) == ExitCode.OK
    found = json.loads(capfd.readouterr().out)
    assert found["problems"] == [] and found["model"] == "tiny, tiny"
    tried = [trial["precision"] for trial in found["trials"]]
    assert tried == tried[: len(tried) // 2] * 2
    assert {trial["model"] for trial in found["trials"]} == {"tiny"}
    assert main(["doctor", "--device", "cpu"]) == ExitCode.OK
    assert "tiny, fp32" in capfd.readouterr().out


def test_damaged_weights(tiny_model: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "verify", lambda: ["unet.safetensors: its checksum is wrong"])
    assert main(["doctor", "--model", str(tiny_model), "--device", "cpu"]) == ExitCode.UNAVAILABLE
    assert "problem: unet.safetensors: its checksum is wrong" in capfd.readouterr().out


def test_a_device_that_is_not_there(tiny_model: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--model", str(tiny_model), "--device", "cuda:7"]) == ExitCode.UNAVAILABLE
    assert "cuda:7" in capfd.readouterr().err
