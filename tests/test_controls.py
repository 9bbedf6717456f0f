"""Luminance, chrominance and detail of a change, compared with another way to compute them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from denoiser.controls import LUMINANCE, REACH, Controls
from denoiser.errors import UsageError

SCALE = 1 / 255


def made(height: int, width: int, channels: int = 3, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """What a network saw, and something near it that it made."""
    random = np.random.default_rng(seed)
    planes = random.integers(0, 256, (height, width, channels), dtype=np.uint8)
    change = random.normal(0, 0.1, planes.shape)
    return (planes * np.float32(SCALE) + change).astype(np.float32), planes


def by_hand(controls: Controls, values: NDArray[np.float32], planes: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The oracle, in float64 and with SciPy's filters."""
    change = values.astype(np.float64) - planes * np.float32(SCALE)
    gray = (change @ LUMINANCE)[..., None] if planes.shape[2] == 3 else change
    kernel = np.array([1, 4, 6, 4, 1]) / 16
    blurred = ndimage.correlate1d(ndimage.correlate1d(gray, kernel, axis=0, mode="nearest"), kernel, 1, mode="nearest")
    taken = controls.luma * (gray - controls.detail * (gray - blurred)) + controls.chroma * (change - gray)
    return np.asarray(planes * np.float32(SCALE) + taken)


SHARE = st.sampled_from([0.0, 0.3, 1.0])


@given(st.integers(1, 40), st.integers(1, 30), st.integers(1, 4), SHARE, SHARE, SHARE)
def test_the_parts_are_those_of_the_formula(
    height: int, width: int, channels: int, luma: float, chroma: float, detail: float
) -> None:
    controls = Controls(1.0, luma, chroma, detail)
    values, planes = made(height, width, channels)
    if controls.overall:
        expected = by_hand(controls, values, planes)
        np.testing.assert_allclose(controls.apply(values, planes, SCALE), expected, atol=1e-6)


def test_pictures_of_many_chunks_are_the_same() -> None:
    controls = Controls(1.0, 0.7, 0.4, 0.5)
    for shape in ((700, 300), (9, 70_000)):
        values, planes = made(*shape)
        expected = by_hand(controls, values, planes)
        np.testing.assert_allclose(controls.apply(values, planes, SCALE), expected, atol=1e-6)


def test_neutral_controls_touch_no_bit_and_need_no_rows() -> None:
    values, planes = made(20, 30)
    before = values.copy()
    for controls in (Controls(), Controls(strength=0.5)):
        assert controls.plain and controls.reach == 0
        assert np.shares_memory(controls.apply(values, planes, SCALE), values)
        np.testing.assert_array_equal(values, before)


@given(st.integers(1, 400), st.integers(0, 400), st.integers(1, 300), st.sampled_from([1, 3]))
def test_a_band_with_the_rows_around_it_is_bit_for_bit_that_of_the_page(
    height: int, start: int, rows: int, channels: int
) -> None:
    controls = Controls(1.0, 0.9, 0.5, 0.7)
    values, planes = made(height, 200, channels)
    whole = controls.apply(values.copy(), planes, SCALE)
    start = min(start, height - 1)
    stop = min(start + rows, height)
    top, bottom = max(0, start - controls.reach), min(height, stop + controls.reach)
    band = controls.apply(values[top:bottom].copy(), planes[top:bottom], SCALE, start - top, bottom - stop)
    np.testing.assert_array_equal(band, whole[start:stop])
    assert controls.reach == REACH


def test_without_luma_luminance_stays_and_without_chroma_colours_stay() -> None:
    values, planes = made(40, 50)
    seen = planes * np.float32(SCALE)
    no_luma = Controls(luma=0).apply(values.copy(), planes, SCALE)
    np.testing.assert_allclose(no_luma @ np.float32(LUMINANCE), seen @ np.float32(LUMINANCE), atol=1e-6)
    no_chroma = Controls(chroma=0).apply(values.copy(), planes, SCALE)
    colours = [each - each[..., 1:2] for each in (no_chroma, seen)]  # differences of channels have no luminance
    np.testing.assert_allclose(colours[0], colours[1], atol=1e-6)


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_chroma_means_nothing_without_three_channels(channels: int) -> None:
    values, planes = made(12, 14, channels)
    np.testing.assert_array_equal(Controls(chroma=0.3).apply(values.copy(), planes, SCALE), values)


@pytest.mark.parametrize(("controls", "overall"), [(Controls(0.4), 0.4), (Controls(0.4, 0, 0), 0), (Controls(0), 0)])
def test_what_gives_back_the_input_is_known_beforehand(controls: Controls, overall: float) -> None:
    assert controls.overall == overall


@pytest.mark.parametrize("name", ["strength", "luma", "chroma", "detail"])
@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_shares_lie_between_0_and_1(name: str, value: float) -> None:
    values: dict[str, Any] = {name: value}
    with pytest.raises(UsageError, match=name):
        Controls(**values)
