"""Weights files: round trip, bundled files whole, bad files refused."""

from __future__ import annotations

import hashlib
import stat
from pathlib import Path

import numpy as np
import pytest
import torch

from denoiser import models, weights
from denoiser.errors import UnavailableError
from denoiser.weights import Card


@pytest.fixture
def small_file(tmp_path: Path) -> Path:
    module = models.build("unet", {"channels": [8, 16], "blocks": [1, 1]})
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter)
    card = Card("unet", models.config_of(module), name="small", psnr={"file": {"25": 30.5}})
    weights.save(tmp_path / "small.safetensors", module, card)
    return tmp_path / "small.safetensors"


def test_round_trip(small_file: Path) -> None:
    module, card = weights.load(small_file)
    assert (card.name, card.psnr, module.config.channels) == ("small", {"file": {"25": 30.5}}, (8, 16))
    again = small_file.with_name("again.safetensors")
    weights.save(again, module, card)
    assert weights.file_hash(again) == weights.file_hash(small_file), "the same weights and card give the same bytes"


def test_file_obeys_the_umask(small_file: Path) -> None:
    assert stat.S_IMODE(small_file.stat().st_mode) & 0o044, "group and others may read a model, as any other file"


def test_bundled_files_are_whole_and_say_what_they_are() -> None:
    assert weights.verify() == []
    assert "unet" in weights.bundled()
    for name, path in weights.bundled().items():
        module, card = weights.load(name)
        assert card.name == name
        assert card.parameters == sum(parameter.numel() for parameter in module.parameters())
        assert card.macs_per_pixel == pytest.approx(models.macs_per_pixel(module))
        assert card.receptive_field == module.needs.receptive_field
        assert all([card.purpose, card.noise, card.data, card.licence, card.command, card.psnr, card.steps])
        assert path.stat().st_size < 20_000_000


def test_damage_is_found(small_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = small_file.parent
    (folder / "SHA256SUMS").write_text(f"{weights.file_hash(small_file)}  {small_file.name}\n")
    monkeypatch.setattr(weights, "_folders", lambda: (folder,))
    assert weights.verify() == []
    damaged = bytearray(small_file.read_bytes())
    damaged[-1] ^= 1
    small_file.write_bytes(damaged)
    assert "damaged" in weights.verify()[0]
    with pytest.raises(UnavailableError, match="damaged"):
        weights.load("small")
    small_file.unlink()
    assert "missing" in weights.verify()[0]


def test_unlisted_file_is_found(small_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (small_file.parent / "SHA256SUMS").write_text("")
    monkeypatch.setattr(weights, "_folders", lambda: (small_file.parent,))
    assert "not listed" in weights.verify()[0]


def test_truncated_file_is_refused(small_file: Path) -> None:
    small_file.write_bytes(small_file.read_bytes()[:100])
    with pytest.raises(UnavailableError, match=r"small\.safetensors"):
        weights.load(small_file)


def test_pickle_is_refused_with_the_reason(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.save({"a": torch.zeros(1)}, path)
    with pytest.raises(UnavailableError, match="pickle"):
        weights.load(path)


def test_foreign_safetensors_are_refused(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    path = tmp_path / "other.safetensors"
    save_file({"a": np.zeros(3)}, path)
    with pytest.raises(UnavailableError, match="no model card"):
        weights.load(path)


def test_card_that_does_not_fit_its_tensors(small_file: Path) -> None:
    module, card = weights.load(small_file)
    wrong = Card("unet", {**card.config, "channels": [8, 24]})
    weights.save(small_file, module, wrong)
    with pytest.raises(UnavailableError, match="do not fit"):
        weights.load(small_file)


def test_loading_leaves_the_random_numbers_of_torch_alone(small_file: Path) -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    weights.load(small_file)
    assert torch.equal(torch.rand(3), expected)


def test_unknown_model_lists_the_known() -> None:
    with pytest.raises(UnavailableError, match="unet"):
        weights.resolve("no-such-model")


def test_file_hash_is_sha256(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert weights.file_hash(tmp_path / "a") == hashlib.sha256(b"abc").hexdigest()
