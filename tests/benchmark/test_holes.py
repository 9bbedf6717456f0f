"""Noise that replaces values: which ones, how well they are filled, and figures over them alone."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from denoiser.benchmark import BenchmarkOptions, benchmark, holes, methods, tables
from denoiser.benchmark.filters import fill
from denoiser.noise import NumpyRandom, parse

RNG = np.random.default_rng(0)
PICTURE: NDArray[np.float32] = (0.1 + 0.75 * RNG.random((24, 30, 3))).astype(np.float32)
"""Values that no kind writes: neither 0 nor 0.9 nor 1, and 0.5 on no pixel exactly."""

SPECS = (
    "stripes",
    "stripes:thickness=3,direction=columns",
    "blocks:number=3",
    "mask",
    "salt-pepper:0.2",
    "hot-pixels:0.05,value=0.9",
)


@pytest.mark.parametrize("spec", SPECS)
def test_the_hole_is_what_changed(spec: str) -> None:
    noisy, hole = holes.apply(parse(spec), PICTURE, np.random.default_rng([7]))
    assert hole is not None and 0 < hole.mean() < 1
    np.testing.assert_array_equal(hole, noisy != PICTURE)


def test_survivors_that_are_scaled_are_not_in_the_hole() -> None:
    noisy, hole = holes.apply(parse("mask:scale=yes"), PICTURE, np.random.default_rng([7]))
    np.testing.assert_array_equal(hole, noisy == 0)


@pytest.mark.parametrize(
    "spec", ["gaussian:25+stripes", "poisson:3+stripes", "stripes+poisson:3+gaussian:5", "stripes+blocks"]
)
def test_chains_give_the_same_bytes_as_ever(spec: str) -> None:
    noisy, hole = holes.apply(parse(spec), PICTURE, np.random.default_rng([7]))
    expected = parse(spec).apply(PICTURE[None], NumpyRandom(np.random.default_rng([7])))[0]
    np.testing.assert_array_equal(noisy, expected)
    assert hole is not None
    rows = np.flatnonzero(hole.all(axis=(1, 2)))
    assert len(rows) >= round(24 * 10 / 28)


def test_noise_that_replaces_nothing_has_no_hole() -> None:
    assert holes.apply(parse("poisson:0.5+jpeg"), PICTURE, np.random.default_rng([7]))[1] is None
    assert not holes.makes_holes("events") and holes.makes_holes("gaussian:5+mask")


def test_a_plane_is_filled_exactly_and_nothing_else_is_touched() -> None:
    y, x = np.mgrid[:40, :40]
    plane = np.stack([0.2 + 0.01 * x, 0.3 + 0.005 * y, 0.5 + 0 * x], axis=2)
    for hole in (
        np.zeros((40, 40, 3), bool),
        np.broadcast_to(RNG.random((40, 40, 1)) < 0.3, (40, 40, 3)),
        RNG.random((40, 40, 3)) < 0.3,
    ):
        hole = hole.copy()
        hole[0], hole[-1] = False, False
        filled = fill(np.where(hole, 0.0, plane), hole)
        np.testing.assert_array_equal(filled[~hole], plane[~hole])
        np.testing.assert_allclose(filled, plane, atol=0.01)
    everything = np.ones((40, 40, 3), bool)
    np.testing.assert_array_equal(fill(plane, everything), plane)


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    y, x = np.mgrid[:40, :48]
    waves = np.stack([128 + 60 * np.sin(x / 9 + c) * np.cos(y / 8) for c in range(3)], 2)
    (tmp_path / "clean").mkdir()
    Image.fromarray(np.rint(waves).astype(np.uint8)).save(tmp_path / "clean" / "a.png")
    Image.fromarray(np.rint(waves[:, :, 0]).astype(np.uint8)).save(tmp_path / "clean" / "g.png")
    return tmp_path / "clean"


def test_psnr_in_the_hole_by_hand(clean: Path) -> None:
    result = benchmark(
        BenchmarkOptions(clean, noise=("stripes:0.25,colour=1",), models=("none",), classical=("median",))
    )
    for picture, path in zip(("a.png", "g.png"), sorted(clean.iterdir()), strict=True):
        truth = np.asarray(Image.open(path)) / 255
        noisy = next(row for row in result.rows if row.kind == "input")
        score = next(score for score in noisy.scores if score.picture == picture)  # type: ignore[union-attr]
        # All of the error lies in a quarter of the rows, which were made white.
        assert score.hole_mse == pytest.approx(4 * score.mse)  # type: ignore[union-attr]
        assert score.hole_mse == pytest.approx(np.mean((1 - truth) ** 2), rel=0.2)  # type: ignore[union-attr]


def test_biharmonic_runs_where_there_is_a_hole_and_is_best_there(clean: Path) -> None:
    options = BenchmarkOptions(clean, noise=("gaussian:25", "mask"), models=("none",))
    assert "biharmonic" in methods._default_classical(options)
    assert "biharmonic" not in methods._default_classical(replace(options, noise=()))
    result = benchmark(replace(options, classical=("median", "biharmonic")))
    names = {noise: [row.method for row in rows] for noise, rows in tables.by_noise(result).items()}
    assert "biharmonic" not in names["gaussian:25"] and "biharmonic" in names["mask"]
    inside = {row.method: row.hole_psnr.mean for row in result.rows if row.noise == "mask"}  # type: ignore[union-attr]
    assert max(inside, key=lambda name: inside[name]) == "biharmonic"
    assert inside["biharmonic"] > 30 > inside["noisy input"]
    assert "over the values that the noise replaced" in result.protocol["statement"]
    rows = list(csv.DictReader(io.StringIO(tables.comma_separated(result))))
    assert float(rows[-1]["hole_psnr_mean"]) == pytest.approx(inside["biharmonic"]) and rows[0]["hole_psnr_mean"] == ""
    assert "in the hole" in tables.markdown(result, "mean")


def test_without_holes_there_is_no_such_column(clean: Path) -> None:
    result = benchmark(BenchmarkOptions(clean, noise=("gaussian:25",), models=("none",), classical=("median",)))
    assert "in the hole" not in [column.heading for column in tables.columns(result, "both")]
    assert all(row.to_json()["hole_psnr"] is None for row in result.rows)
