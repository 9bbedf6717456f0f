"""Folders of pictures: every format and depth as stored, pairs that belong together, errors that name the file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from denoiser.errors import InputError, NothingToDoError, UsageError
from denoiser.inference import devices
from denoiser.progress import Silent
from denoiser.training.folder import Picture, Reading, load_pairs, load_pictures, reduced
from denoiser.training.store import PictureStore
from tests.training.helpers import Notes, noisy, waves, write

ANY = Reading()


def test_formats_and_depths_are_held_as_stored(tmp_path: Path) -> None:
    write(tmp_path / "a.png", waves(0))
    write(tmp_path / "b" / "gray.png", waves(1)[..., 0])
    write(tmp_path / "c.tif", waves(2), np.uint16)
    write(tmp_path / "d.npy", waves(3), np.float32)
    tifffile.imwrite(tmp_path / "stack.tif", np.full((3, 40, 50), 7, np.uint8), photometric="minisblack")
    write(tmp_path / ".hidden.png", waves(0))
    pictures = load_pictures(tmp_path, 1, ANY, Silent())
    kinds = [(Path(p.name).name, p.pixels.dtype.name, p.pixels.shape[2], p.white, p.step > 0) for p in pictures]
    assert kinds == [
        ("a.png", "uint8", 3, 1.0, True),
        ("gray.png", "uint8", 1, 1.0, True),
        ("c.tif", "uint16", 3, 1.0, True),
        ("d.npy", "float32", 3, 0.0, False),
        *((f"stack.tif[{page}]", "uint8", 1, 1.0, True) for page in range(3)),
    ]
    for index, picture in zip((0, 2, 3), (pictures[0], pictures[2], pictures[3]), strict=True):
        assert np.abs(picture.values - waves(index)).max() <= 0.5 / 255 + 1e-6
    assert np.abs(pictures[2].values - waves(2)).max() <= 0.5 / 65535 + 1e-6


@pytest.mark.parametrize("dtypes", [("u1", "u1"), ("u1", "u2"), ("u2", "u2"), ("u1", "f4"), ("u2", "f4")])
def test_a_store_of_mixed_depths_gives_back_the_pixels(tmp_path: Path, dtypes: tuple[str, str]) -> None:
    for index, dtype in enumerate(dtypes):
        write(tmp_path / f"{index}.npy", waves(index, 48, 48), np.dtype(dtype))
    write(tmp_path / "gray.npy", waves(2, 48, 48)[..., 0], np.dtype(dtypes[0]))
    pictures = load_pictures(tmp_path, 1, ANY, Silent())
    store = PictureStore(pictures, torch.device("cpu"))
    places = store.places(np.random.default_rng(0), 60, 48)
    crops = store.crops(places)
    seen = set()
    for which, crop, step, gray in zip(places.picture, crops.values, crops.step, crops.gray, strict=True):
        picture = pictures[which]
        assert np.allclose(crop.mean(dim=(0, 1)), picture.values.mean(axis=(0, 1)), atol=1e-5)
        assert float(crop.max()) == pytest.approx(float(picture.values.max()), abs=1e-6)
        assert (float(step), bool(gray)) == (pytest.approx(picture.step), picture.pixels.shape[2] == 1)
        seen.add(int(which))
    assert seen == {0, 1, 2}


def test_small_pictures_are_named_and_left_out(tmp_path: Path) -> None:
    write(tmp_path / "large.png", waves(0))
    write(tmp_path / "small.png", waves(0, 30, 90))
    notes = Notes()
    assert len(load_pictures(tmp_path, 32, ANY, notes)) == 1
    assert any(level == "warning" and "small.png" in text for level, text in notes.told)


@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
def test_smaller_copies_are_those_of_pillow_at_every_depth(tmp_path: Path, dtype: str) -> None:
    write(tmp_path / "a.npy", waves(0, 96, 60), np.dtype(dtype))
    write(tmp_path / "small.npy", waves(1, 30, 40)[..., :1], np.dtype(dtype))
    pictures = load_pictures(tmp_path, 1, ANY, Silent())
    (copy,) = reduced(pictures, 1.5, 32)
    assert (copy.pixels.shape, copy.pixels.dtype) == ((64, 40, 3), np.dtype(dtype))
    assert (copy.scale, copy.step, copy.white) == (pictures[0].scale, pictures[0].step, pictures[0].white)
    eight = Image.fromarray(np.rint(pictures[0].values.clip(0, 1) * 255).astype(np.uint8))
    expected = np.asarray(eight.resize((40, 64), Image.Resampling.LANCZOS)) / 255
    assert np.abs(copy.values - expected).max() < 2 / 255  # Pillow rounds 8 bit between rows and columns
    assert reduced(pictures, 1.5, 1)[1].pixels.shape == (20, 27, 1)


def test_pictures_that_a_run_draws_are_not_learned_from(tmp_path: Path) -> None:
    write(tmp_path / "a.png", waves(0))
    write(tmp_path / "run" / "samples.png", waves(1))
    assert len(load_pictures(tmp_path, 1, ANY, Silent())) == 2
    (tmp_path / "run" / "metrics.jsonl").touch()
    assert len(load_pictures(tmp_path, 1, ANY, Silent())) == 1


def test_floats_beyond_the_range_need_white(tmp_path: Path) -> None:
    write(tmp_path / "a.npy", waves(0) * 4000, np.float32)
    with pytest.raises(InputError, match=r"a\.npy.*--white"):
        load_pictures(tmp_path, 1, ANY, Silent())
    (picture,) = load_pictures(tmp_path, 1, Reading(white=4000.0), Silent())
    assert np.allclose(picture.values, waves(0), atol=1e-5)


def test_unusable_folders_are_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such folder"):
        load_pictures(tmp_path / "nowhere", 1, ANY, Silent())
    with pytest.raises(NothingToDoError, match=r"no picture in it.*\.png"):
        load_pictures(tmp_path, 1, ANY, Silent())
    (tmp_path / "broken.tif").write_bytes(b"II*\0nonsense")
    with pytest.raises(InputError, match=r"broken\.tif.*take it away"):
        load_pictures(tmp_path, 1, ANY, Silent())


def test_pairs_meet_by_name_whatever_the_suffix(tmp_path: Path) -> None:
    for index in range(3):
        write(tmp_path / "clean" / "sub" / f"{index}.png", waves(index))
        write(tmp_path / "noisy" / "sub" / f"{index}.tif", noisy(waves(index)), np.uint16)
    clean, noisy_ones = load_pairs(tmp_path / "clean", tmp_path / "noisy", 1, ANY, Silent())
    assert len(clean) == 3
    for one, other in zip(clean, noisy_ones, strict=True):
        assert Path(one.name).stem == Path(other.name).stem
        assert 0.05 < np.std(one.values - other.values) < 0.12


def test_floats_beside_integers_are_in_their_units(tmp_path: Path) -> None:
    write(tmp_path / "clean" / "a.png", waves(0))
    write(tmp_path / "noisy" / "a.npy", noisy(waves(0)) * 255, np.float32)
    for reading in (ANY, Reading(white=255.0)):
        (clean,), (other,) = load_pairs(tmp_path / "clean", tmp_path / "noisy", 1, reading, Silent())
        assert np.std(clean.values - other.values) == pytest.approx(25 / 255, rel=0.05)
        assert (clean.white, other.white) == (1.0, float(reading.white is not None)), "nobody has clipped the floats"


def test_pairs_that_do_not_match_are_told(tmp_path: Path) -> None:
    clean, partners = tmp_path / "clean", tmp_path / "noisy"
    write(clean / "a.png", waves(0))
    partners.mkdir()
    with pytest.raises(InputError, match=r"clean.a\.png: no partner"):
        load_pairs(clean, partners, 1, ANY, Silent())
    write(partners / "a.png", waves(0, 40, 50))
    with pytest.raises(InputError, match="50 x 40 colour and 72 x 64 colour"):
        load_pairs(clean, partners, 1, ANY, Silent())
    write(partners / "a.png", waves(0)[..., 0])
    with pytest.raises(InputError, match="gray and 72 x 64 colour"):
        load_pairs(clean, partners, 1, ANY, Silent())
    write(partners / "a.png", waves(0))
    write(partners / "b.png", waves(0))
    with pytest.raises(InputError, match=r"noisy.b\.png: no partner"):
        load_pairs(clean, partners, 1, ANY, Silent())


def test_gray_pictures_take_one_channel_and_give_three(tmp_path: Path) -> None:
    gray, colour = (Picture("a", np.full((40, 40, count), 51, np.uint8), 1 / 255, 1 / 255, 1.0) for count in (1, 3))
    for pictures, channels in (([gray, gray], 1), ([gray, colour], 3)):
        store = PictureStore(pictures, torch.device("cpu"))
        assert store.pixels.shape == (3200, channels)
        values = store.crops(store.places(np.random.default_rng(0), 4, 16)).values
        assert values.shape == (4, 16, 16, 3) and torch.allclose(values, torch.tensor(0.2))


def test_pictures_that_do_not_fit_are_told_before_memory_runs_out(monkeypatch: pytest.MonkeyPatch) -> None:
    picture = Picture("a", np.zeros((100, 100, 3), np.uint8), 1 / 255, 1 / 255, 1.0)
    monkeypatch.setattr(devices, "free_memory", lambda device: 20_000)
    with pytest.raises(InputError, match="more than is free"):
        PictureStore([picture], torch.device("cpu"))


def test_pictures_that_a_device_has_no_room_for_stay_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The device is one without memory, so that it cannot have been taken."""
    picture = Picture("a", np.zeros((100, 100, 3), np.uint8), 1 / 255, 1 / 255, 1.0)
    meta = torch.device("meta")
    monkeypatch.setattr(devices, "free_memory", lambda device: 40_000 if device == meta else 1 << 30)
    store = PictureStore([picture], meta)
    assert store.pixels.device.type == "cpu"
    assert store.crops(store.places(np.random.default_rng(0), 2, 16)).values.device == meta
