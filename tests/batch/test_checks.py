from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from denoiser.batch.checks import Checks, Moments

GENERATOR = np.random.default_rng(3)


def judged(before: NDArray[Any], after: NDArray[Any], missing: NDArray[np.bool_] | None = None) -> str:
    checks = Checks.of(before.dtype)
    values = np.nan_to_num(after.astype(np.float32), posinf=0, neginf=0)
    for top in range(0, len(before), 7):
        rows = slice(top, top + 7)
        checks.add(before[rows], after[rows], values[rows], None if missing is None else missing[rows])
    return checks.problem()


def noisy(level: float, sigma: float, dtype: Any = np.uint8, shape: tuple[int, ...] = (40, 30, 3)) -> NDArray[Any]:
    values = GENERATOR.normal(level, sigma, shape)
    if np.dtype(dtype).kind == "f":
        return values.astype(dtype)
    top = np.iinfo(dtype).max
    return (values.clip(0, 1) * top).round().astype(dtype)


def flat(level: float, dtype: Any = np.uint8, shape: tuple[int, ...] = (40, 30, 3)) -> NDArray[Any]:
    return noisy(level, 0, dtype, shape)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_good_results_pass(dtype: Any) -> None:
    assert judged(noisy(0.5, 0.2, dtype), noisy(0.5, 0.01, dtype)) == ""
    assert judged(noisy(0.5, 0.2, dtype), noisy(0.5, 0.2, dtype)) == ""
    # Half of the noise on a black sky is clipped; without the noise all of it is black.
    assert judged(noisy(0, 0.2, dtype), flat(0, dtype)) == "" or dtype is np.float32
    assert judged(noisy(1, 0.1, dtype), noisy(1, 0.005, dtype)) == ""


def test_a_noisy_flat_field_may_come_out_flat() -> None:
    assert judged(noisy(0.5, 2 / 255), flat(0.5)) == ""
    assert judged(noisy(0.01, 2 / 65535, np.uint16), flat(0.01, np.uint16)) == ""


def test_filled_holes_pass() -> None:
    clean = noisy(0.5, 0.1)
    holed = clean * (GENERATOR.random(clean.shape) < 0.3)
    assert judged(holed.astype(np.uint8), clean) == ""


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize(
    ("contrast", "after", "words"),
    [(0.05, 0.0, "mean moved"), (0.05, 1.0, "mean moved"), (0.05, 0.7, "mean moved"), (0.4, 0.5, "one single value")],
)
def test_broken_results_are_found(dtype: Any, contrast: float, after: float, words: str) -> None:
    dark, bright = flat(0.5 - contrast, dtype), flat(0.5 + contrast, dtype)
    before = np.where(np.arange(40)[:, None, None] < 20, dark, bright)
    assert words in judged(before, flat(after, dtype))


def test_a_wide_container_says_nothing_about_the_size_of_values() -> None:
    before = noisy(0.5, 0.2).astype(np.int32)
    assert judged(before, noisy(0.5, 0.01).astype(np.int32)) == ""
    assert "mean moved" in judged(before, before + 671_556)


@pytest.mark.parametrize("size", [1e18, 5e37])
def test_values_near_the_end_of_single_precision_are_judged_as_others(size: float) -> None:
    before = (np.random.default_rng(0).normal(1, 0.1, (96, 96, 3)) * size).astype(np.float32)
    after = np.full_like(before, size)
    checks = Checks.of(before.dtype)
    checks.add(before, after + before * np.float32(1e-3), after)
    assert checks.problem() == ""
    assert checks.before.std == pytest.approx(0.1 * size, rel=0.02)
    checks = Checks.of(before.dtype)
    checks.add(before, np.float32(0.5) * before, after)
    assert "its mean moved" in checks.problem()


def test_growing_clipping_is_found() -> None:
    before = noisy(0.5, 0.15)
    after = np.where(before > 127, 255, 0).astype(np.uint8)
    assert "clipped" in judged(before, after)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_no_numbers_are_found_in_any_band(bad: float) -> None:
    before = noisy(0.5, 0.1)
    values = before.astype(np.float32)
    values[33, 2, 1] = bad
    checks = Checks.of(before.dtype)
    checks.add(before[:20], before[:20], values[:20])
    assert checks.problem() == ""
    checks.add(before[20:], before[20:], values[20:])
    assert "not numbers" in checks.problem()
    assert checks.figures()["finite"] is False


def test_missing_pixels_do_not_count() -> None:
    before = noisy(0.5, 0.1, np.float32)
    before[::3] = -3.4e38
    before[1, 1] = np.nan
    after = before.copy()
    after[1::3] = 0.5
    missing = ~(before > -1)
    assert judged(before, after, missing) == ""
    checks = Checks.of(before.dtype)
    checks.add(before, after, np.zeros_like(before), missing)
    assert checks.figures()["mean_before"] == pytest.approx(0.5, abs=0.02)


def test_a_picture_without_a_single_valid_pixel_passes() -> None:
    empty = np.full((4, 4, 1), np.nan, np.float32)
    assert judged(empty, empty, np.isnan(empty)) == ""


@given(
    st.sampled_from([np.uint8, np.uint16, np.int32, np.float16, np.float32, np.float64]),
    st.lists(st.integers(1, 9), min_size=1, max_size=5),
    st.integers(0, 2**32),
)
def test_moments_are_those_of_the_whole(dtype: Any, bands: list[int], seed: int) -> None:
    generator = np.random.default_rng(seed)
    values = (generator.normal(100, 20, (sum(bands), 6, 2))).astype(dtype)
    moments = Moments()
    for band in np.split(values, np.cumsum(bands)[:-1]):
        moments.add(band)
    exact = values.astype(np.float64)
    assert moments.mean == pytest.approx(exact.mean(), rel=1e-4)
    assert moments.std == pytest.approx(exact.std(), rel=1e-3, abs=1e-3)
    assert (moments.low, moments.high) == (exact.min(), exact.max())


def test_a_small_deviation_on_a_large_mean_survives() -> None:
    values = GENERATOR.normal(50_000, 3, (200, 200, 1)).round().astype(np.uint16)
    moments = Moments()
    moments.add(values)
    assert moments.std == pytest.approx(values.astype(np.float64).std(), rel=1e-3)
