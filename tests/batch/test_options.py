from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from denoiser.batch import RunOptions
from denoiser.errors import UsageError


@pytest.mark.parametrize(
    ("option", "values"),
    [
        ("strength", {"strength": 1.5}),
        ("strength", {"strength": float("nan")}),
        ("exists", {"exists": "maybe"}),
        ("format", {"format": "gif"}),
        ("precision", {"precision": "fp8"}),
        ("tile", {"tile": "big"}),
        ("halo", {"halo": -1}),
        ("batch", {"batch": 0}),
        ("ensemble", {"ensemble": 3}),
        ("jobs", {"jobs": 0}),
        ("quality", {"quality": 0}),
        ("max-memory", {"max_memory": 0}),
        ("max-files", {"max_files": 0}),
        ("max-runtime", {"max_runtime": -1.0}),
        ("min-age", {"min_age": -1.0}),
        ("suffix", {"suffix": "a/b"}),
        ("shard", {"shard": (3, 3)}),
        ("shard", {"shard": (4, 3)}),
        ("shard", {"shard": "0/2"}),
        ("jobs", {"jobs": None}),
        ("max-memory", {"max_memory": "1GiB"}),
        ("luma", {"luma": "1"}),
        ("white", {"white": 1.0, "black": 2.0}),
        ("white", {"white": float("inf")}),
        ("save-residual", {"save_residual": Path("r"), "strength": 0.0}),
        ("save-residual", {"save_residual": Path("r"), "luma": 0.0, "chroma": 0.0}),
        ("luma", {"luma": -0.5}),
        ("chroma", {"chroma": float("nan")}),
        ("detail", {"detail": 2.0}),
    ],
)
def test_a_bad_value_is_refused_by_its_name_on_the_command_line(option: str, values: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=f"--{option}"):
        RunOptions(**values)


def test_numbers_of_numpy_are_as_good() -> None:
    options = RunOptions(white=np.uint16(4095), strength=np.float32(0.5), jobs=np.int64(2))
    assert options.threads == 2
    assert json.dumps(options.to_json())


def test_one_pattern_is_not_taken_apart() -> None:
    assert RunOptions(include="*.jpg", exclude="a*").include == ("*.jpg",)


def test_lists_become_tuples() -> None:
    assert RunOptions(include=["*.png"]).include == ("*.png",)  # type: ignore[arg-type]


CHANGED = {
    "strength": 0.5,
    "luma": 0.5,
    "chroma": 0.5,
    "detail": 0.5,
    "precision": "fp32",
    "halo": 8,
    "ensemble": 4,
    "format": "tiff",
    "quality": 90,
    "white": 4095.0,
    "black": 1.0,
}
SAME = {"device": "cpu", "tile": 64, "batch": 3, "jobs": 1, "max_memory": 10**9, "max_files": 1, "exclude": ("a",)}


@pytest.mark.parametrize("name", CHANGED)
def test_the_key_follows_what_decides_about_pixels(name: str) -> None:
    options = RunOptions()
    assert replace(options, **{name: CHANGED[name]}).key("w") != options.key("w")
    assert options.key("w") != options.key("v")


@pytest.mark.parametrize("name", SAME)
def test_the_key_does_not_follow_how_the_work_is_done(name: str) -> None:
    assert replace(RunOptions(), **{name: SAME[name]}).key("w") == RunOptions().key("w")


def test_options_become_plain_values() -> None:
    plain = RunOptions(save_residual=Path("r"), shard=(1, 2)).to_json()
    assert plain["save_residual"] == "r"
    assert plain["dry_run"] is False
