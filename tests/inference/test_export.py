"""Models as ONNX: another program gets the same numbers from them, for any size."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from denoiser import models, weights
from denoiser.cli.main import main
from denoiser.errors import ExitCode
from denoiser.inference import export


@pytest.fixture
def needs_onnx() -> None:
    pytest.importorskip("onnxscript")


def weights_file(name: str, config: dict[str, Any], folder: Path) -> Path:
    torch.manual_seed(0)
    module = models.build(name, config)
    for parameter in module.parameters():
        if parameter.dim() > 1:
            nn.init.normal_(parameter, std=(1 / parameter[0].numel()) ** 0.5)
    path = folder / f"{name}.safetensors"
    weights.save(path, module, weights.Card(name, models.config_of(module), name=f"small {name}"))
    return path


@pytest.mark.slow
@pytest.mark.usefixtures("needs_onnx")
@pytest.mark.parametrize(
    ("name", "config"),
    [("unet", {"channels": (8, 16), "blocks": (1, 1)}), ("vdae", {"channels": (8, 16)})],
)
def test_onnx_gives_what_the_network_gives(
    name: str, config: dict[str, Any], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    runtime = pytest.importorskip("onnxruntime")
    path = weights_file(name, config, tmp_path)
    file = tmp_path / "new folder" / "model.onnx"
    assert main(["models", "export", str(path), "--onnx", str(file), "--json"]) == ExitCode.OK
    told = json.loads(capfd.readouterr().out)
    assert told["schema"] == "denoiser.export/1"
    assert [each.name for each in file.parent.iterdir()] == ["model.onnx"]
    session = runtime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    assert [each.name for each in session.get_inputs()] == told["inputs"]
    assert weights.Card.from_json(session.get_modelmeta().custom_metadata_map[weights.CARD_KEY]).name == f"small {name}"
    module: Any = weights.load(path)[0]
    multiple = told["multiple_of"]
    for count, rows, columns in ((1, 5, 3), (3, 1, 4)):
        noisy, white = torch.rand(count, 3, rows * multiple, columns * multiple), torch.ones(count, 1, 1, 1)
        # An input that the network does not use is there all the same.
        found = session.run(None, {"noisy": noisy.numpy(), "white": white.numpy()})
        with torch.inference_mode():
            expected = [noisy - module(noisy, white)]
            if module.needs.states_uncertainty:
                expected.append(module.uncertainty(noisy, white))
        assert len(found) == len(expected) == len(told["outputs"])
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(one, other.numpy(), rtol=0, atol=1e-5)


def test_missing_packages_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(export, "PACKAGES", ("onnx_that_is_not_there",))
    path = weights_file("dae", {"channels": (8, 8)}, tmp_path)
    assert main(["models", "export", str(path), "--onnx", str(tmp_path / "a.onnx")]) == ExitCode.UNAVAILABLE
    assert "pip install 'image-denoiser[onnx]'" in capfd.readouterr().err


@pytest.mark.parametrize("name", ["dae.safetensors", "-"])
def test_weights_are_not_replaced_by_onnx(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    path = weights_file("dae", {"channels": (8, 8)}, tmp_path)
    before = path.read_bytes()
    assert main(["models", "export", path.name, "--onnx", name]) == ExitCode.USAGE
    assert f"--onnx {name}" in capfd.readouterr().err
    assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == {path.name: before}


@pytest.mark.usefixtures("needs_onnx")
def test_export_goes_wrong(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "export", "no-such-model", "--onnx", str(tmp_path / "a.onnx")]) == ExitCode.UNAVAILABLE
    assert main(["models", "export", "unet"]) == ExitCode.USAGE
    capfd.readouterr()

    class Program:
        model = type("Model", (), {"metadata_props": {}})()

        def save(self, path: Path) -> None:
            path.write_bytes(b"half")
            raise OSError(28, "No space left on device")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export, "_program", lambda *arguments: Program())
        path = weights_file("dae", {"channels": (8, 8)}, tmp_path)
        assert main(["models", "export", str(path), "--onnx", str(tmp_path / "a.onnx")]) == ExitCode.OUTPUT
    assert "a.onnx" in capfd.readouterr().err
    assert not list(tmp_path.glob("*a.onnx*"))
