"""Pictures below a folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from denoiser.images import pictures_below


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
    return path


def test_pictures_are_found_by_their_names_and_what_is_hidden_is_not(tmp_path: Path) -> None:
    wanted = [touch(tmp_path / name) for name in ("a.png", "b/c d/e.TIF", "b/ü.npy")]
    (tmp_path / "b" / "store.zarr" / "0").mkdir(parents=True)
    for name in (".a.png", "b/.hidden/a.png", "b/notes.txt", "b/store.zarr/0/x.png"):
        touch(tmp_path / name)
    assert pictures_below(tmp_path) == sorted([*wanted, tmp_path / "b" / "store.zarr"])
    assert pictures_below(tmp_path / "b" / "c d") == [tmp_path / "b" / "c d" / "e.TIF"]


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege there")
def test_links_to_folders_are_followed_and_loops_are_not(tmp_path: Path) -> None:
    touch(tmp_path / "elsewhere" / "deep" / "a.png")
    root = tmp_path / "root"
    root.mkdir()
    for name in ("one", "two"):
        (root / name).symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (tmp_path / "elsewhere" / "deep" / "back").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (root / "self").symlink_to(root, target_is_directory=True)
    (root / "nowhere.png").symlink_to(tmp_path / "missing")
    assert pictures_below(root) == [root / name / "deep" / "a.png" for name in ("one", "two")]
