"""What the Python door makes of values: what users expect is taken, all else is refused by its name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import denoiser
from denoiser.batch import CorruptOptions, EstimateOptions, RunOptions, estimate_files
from denoiser.benchmark import BenchmarkOptions
from denoiser.errors import UsageError
from denoiser.inference import InferenceOptions


@pytest.mark.parametrize(
    ("kind", "name", "value", "expected"),
    [
        (RunOptions, "max_memory", 4e9, 4_000_000_000),
        (RunOptions, "max_files", np.int32(3), 3),
        (RunOptions, "recursive", np.bool_(False), False),
        (RunOptions, "model", Path("a.safetensors"), "a.safetensors"),
        (RunOptions, "report", "page.html", Path("page.html")),
        (RunOptions, "shard", [np.int64(0), 8], (0, 8)),
        (EstimateOptions, "include", "*.png", ("*.png",)),
        (InferenceOptions, "tile", np.int64(256), 256),
        (InferenceOptions, "max_memory", np.int64(10**9), 10**9),
        (BenchmarkOptions, "clean", "photos", Path("photos")),
        (BenchmarkOptions, "noisy", "photos", Path("photos")),
        (BenchmarkOptions, "report", "page.html", Path("page.html")),
        (BenchmarkOptions, "models", "unet", ("unet",)),
        (BenchmarkOptions, "noise", ["stripes"], ("stripes",)),
    ],
)
def test_what_users_expect_is_taken(kind: Any, name: str, value: Any, expected: Any) -> None:
    found = getattr(kind(**{name: value}), name)
    assert found == expected and type(found) is type(expected)


def test_folders_of_restored_pictures_as_text() -> None:
    assert BenchmarkOptions("clean", restored=["a", "b"]).restored == (Path("a"), Path("b"))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "values", "words"),
    [
        (RunOptions, {"max_files": 1.5}, "--max-files 1.5: must be a whole number"),
        (RunOptions, {"verify_tiles": "1"}, "--verify-tiles '1': must be a whole number"),
        (RunOptions, {"quality": 85.5}, "--quality 85.5: must be a whole number"),
        (RunOptions, {"ensemble": True}, "--ensemble True: must be a whole number"),
        (RunOptions, {"max_runtime": "1h"}, "--max-runtime '1h': must be a number"),
        (RunOptions, {"white": "255"}, "--white '255': must be a number"),
        (RunOptions, {"jobs": 1.5}, "--jobs 1.5: must be auto or a whole number from 1"),
        (RunOptions, {"jobs": True}, "--jobs True: must be auto or a whole number from 1"),
        (RunOptions, {"suffix": 5}, "--suffix 5: must be text"),
        (RunOptions, {"device": None}, "--device None: must be text"),
        (RunOptions, {"include": (5,)}, "--include 5: must be text"),
        (RunOptions, {"events": 5}, "--events 5: must be a path"),
        (RunOptions, {"dry_run": "no"}, "--dry-run 'no': must be True or False"),
        (CorruptOptions, {"noise": 5}, "--noise 5: must be text"),
        (CorruptOptions, {"noise": "stripes", "seed": 0.5}, "--seed 0.5: must be a whole number"),
        (EstimateOptions, {"white": "255"}, "--white '255': must be a number"),
        (InferenceOptions, {"tile": 256.5}, "--tile 256.5: must be auto or none or a whole number from 1"),
        (InferenceOptions, {"device": 5}, "--device 5: must be text"),
        (BenchmarkOptions, {"clean": b"photos"}, "--clean b'photos': must be a path"),
        (BenchmarkOptions, {"crop": 1.5}, "--crop 1.5: must be a whole number"),
        (BenchmarkOptions, {"models": "none", "ensemble": 3}, "--ensemble 3: must be one of 1, 2, 4, 8"),
        (BenchmarkOptions, {"models": "none", "precision": "fp8"}, "--precision 'fp8': must be one of"),
    ],
)
def test_all_else_is_refused_by_its_name(kind: Any, values: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError) as error:
        kind(**values)
    assert str(error.value).startswith(words)


@pytest.mark.parametrize("inputs", [b"a.png", 5, ["a.png", None]])
def test_inputs_that_are_no_paths(inputs: Any, tmp_path: Path) -> None:
    options = CorruptOptions(noise="stripes")
    for job in (
        lambda: denoiser.run(inputs, tmp_path),
        lambda: denoiser.corrupt_files(inputs, tmp_path, options),
        lambda: estimate_files(inputs),
    ):
        with pytest.raises(UsageError, match=r"INPUT .*: must be a path"):
            job()
    for output in (b"out", None):
        with pytest.raises(UsageError, match=r"OUT .*: must be a path"):
            denoiser.run("a.png", output)  # type: ignore[arg-type]


def test_the_values_of_a_benchmark_are_checked_before_torch_is_loaded() -> None:
    command = ["benchmark", "--model", "none", "--ensemble", "3"]
    script = f"""
import sys
from denoiser.cli.main import main
assert main({command!r}) == 2
assert "torch" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.endswith("error: --ensemble 3: must be one of 1, 2, 4, 8\n")
