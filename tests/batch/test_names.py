from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from denoiser.batch import names

NAMES = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1).filter(
    lambda name: name not in (".", "..") and len(name.encode()) <= 255
)


@given(NAMES, st.sampled_from(["", "1of4", "file", "free"]))
def test_a_temporary_name_fits_and_tells_whose_it_is(name: str, share: str) -> None:
    temporary = names.temporary(Path("folder") / name, share)
    assert len(os.fsencode(temporary.name)) <= 255
    assert temporary.parent == Path("folder")
    assert names.temporary_share(temporary.name) == share
    assert names.is_hidden(temporary.name)


@given(NAMES)
def test_other_names_are_nobodys(name: str) -> None:
    assert names.temporary_share(name) is None
    assert names.temporary_share(f".{name}.denoiser-tmp") is None or "-" in name


def test_a_temporary_name_of_a_file_that_is_no_utf8() -> None:
    name = os.fsdecode(b"caf\xe9.png")
    assert "\udce9" not in names.temporary(Path(name), "").name
    assert names.shown(name) == "caf\\udce9.png"


@given(NAMES)
def test_stem_and_suffix_make_the_name(name: str) -> None:
    assert "".join(names.split_name(name)) == name


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("a.png", ("a", ".png")),
        ("a.b.tiff", ("a.b", ".tiff")),
        ("a.ome.tif", ("a", ".ome.tif")),
        ("A.OME.TIFF", ("A", ".OME.TIFF")),
        ("a.ome.png", ("a.ome", ".png")),
        ("plain", ("plain", "")),
    ],
)
def test_suffixes(name: str, parts: tuple[str, str]) -> None:
    assert names.split_name(name) == parts


def test_what_collides() -> None:
    composed, decomposed = "caf\u00e9.png", "cafe\u0301.png"
    assert names.collision_key(composed, False) == names.collision_key(decomposed, False)
    assert names.collision_key("A.png", False) != names.collision_key("a.png", False)
    assert names.collision_key("A.png", True) == names.collision_key("a.png", True)
