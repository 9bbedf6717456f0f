"""Integers and floats to network values and back: exact where nothing changes, honest where something does."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from denoiser.errors import UsageError
from denoiser.images.image import Page
from denoiser.images.pixels import FILL_RADIUS, ValueRange, groups, join, split, value_range

DTYPES = ["u1", "u2", "u4", "i1", "i2", "i4", "f2", "f4", "f8"]
dtypes = st.sampled_from([np.dtype(code) for code in DTYPES])
shapes = st.tuples(st.integers(1, 6), st.integers(1, 6), st.integers(1, 5))


def page_of(pixels: np.ndarray, alpha: bool = False, nodata: float | None = None) -> Page:
    return Page(*pixels.shape, pixels.dtype, alpha, nodata)


@st.composite
def stored_pixels(draw: st.DrawFn) -> np.ndarray:
    """Any values of any type, NaN, infinities, -0.0 and subnormals among them."""
    return draw(hnp.arrays(draw(dtypes), draw(shapes)))


@given(stored_pixels(), st.booleans(), st.sampled_from([0.0, 0.3, 1.0]))
@settings(deadline=None, max_examples=300)
def test_identity_gives_back_every_bit(pixels: np.ndarray, alpha: bool, strength: float) -> None:
    alpha = alpha and pixels.shape[2] > 1
    planes, note = split(pixels, page_of(pixels, alpha), value_range(pixels.dtype))
    assert planes.shape == (*pixels.shape[:2], pixels.shape[2] - alpha)
    assert planes.dtype in (np.uint8, np.uint16, np.float32)
    assert np.isfinite(planes).all()
    assert join(note.network_values(), note, strength).tobytes() == pixels.tobytes()


@given(stored_pixels(), st.integers(0, 2**32 - 1))
@settings(deadline=None)
def test_strength_zero_ignores_the_network(pixels: np.ndarray, seed: int) -> None:
    planes, note = split(pixels, page_of(pixels), value_range(pixels.dtype))
    values = np.random.default_rng(seed).normal(size=planes.shape).astype(np.float32)
    assert join(values, note, 0).tobytes() == pixels.tobytes()


@given(st.sampled_from(["u1", "u2", "i1", "i2"]), st.floats(-2, 3, width=32), st.floats(0, 1))
@settings(deadline=None)
def test_small_integers_are_rounded_and_clipped(code: str, value: float, strength: float) -> None:
    """Against the definition in float64."""
    limits = np.iinfo(code)
    pixels = np.full((1, 1, 1), limits.max // 3, code)
    _, note = split(pixels, page_of(pixels), value_range(pixels.dtype))
    span = float(limits.max) - limits.min
    wanted = float(pixels[0, 0, 0]) * (1 - strength) + (np.float64(np.float32(value)) * span + limits.min) * strength
    got = int(join(np.full((1, 1, 1), value, np.float32), note, strength)[0, 0, 0])
    clipped = min(max(wanted, limits.min), limits.max)
    assert abs(got - clipped) <= 0.5 + 2e-6 * span


def test_halves_round_to_even() -> None:
    pixels = np.zeros((1, 4, 1), np.uint8)
    _, note = split(pixels, page_of(pixels), ValueRange(0, 2))
    values = np.array([0.25, 0.75, 1.25, 1.75], np.float32).reshape(1, 4, 1)  # 0.5, 1.5, 2.5, 3.5
    assert join(values, note)[0, :, 0].tolist() == [0, 2, 2, 4]


def test_integers_clip_to_their_container_and_not_to_white() -> None:
    pixels = np.full((1, 3, 1), 4000, np.uint16)
    planes, note = split(pixels, page_of(pixels), value_range(pixels.dtype, white=4095))
    assert planes is not None and np.shares_memory(planes, pixels)
    values = np.array([-1, 1.5, 20], np.float32).reshape(1, 3, 1)
    assert join(values, note)[0, :, 0].tolist() == [0, 6142, 65535]


def test_floats_are_neither_clipped_nor_rounded() -> None:
    pixels = np.array([[[0.25], [7e4]]], np.float32)
    _, note = split(pixels, page_of(pixels), value_range(pixels.dtype))
    values = np.array([[[-3.75], [1.5e6]]], np.float32)
    assert np.array_equal(join(values, note), values)


@pytest.mark.parametrize("code", ["u4", "i4", "f8"])
def test_wide_types_keep_digits_that_float32_lacks(code: str) -> None:
    pixels = np.array([[[16777217], [16777219], [2000000001]]], code)
    _, note = split(pixels, page_of(pixels), ValueRange(0, 2.0**31))
    change = np.float32(2.0**-11)  # 2**20 stored units
    moved = join(note.network_values() + change, note).astype(np.float64)
    assert np.array_equal(moved - pixels, np.full((1, 3, 1), 2.0**20))


def test_ranges_come_from_the_container() -> None:
    assert value_range(np.dtype("u1")) == ValueRange(0, 255)
    assert value_range(np.dtype("u2")) == ValueRange(0, 65535)
    assert value_range(np.dtype("i2")) == ValueRange(-32768, 32767)
    assert value_range(np.dtype("f4")) == ValueRange(0, None)
    assert value_range(np.dtype("u2"), white=4095, black=64) == ValueRange(64, 4095)
    for white, black in ((64, 64), (0, 1), (float("inf"), 0), (1, float("nan"))):
        with pytest.raises(UsageError):
            value_range(np.dtype("f4"), white, black)


def test_networks_that_need_no_range_are_not_told_that_of_a_wide_container() -> None:
    for code in ("u2", "i2", "u4", "i4"):
        found = value_range(np.dtype(code), bounded=False)
        assert found.black == 0 and not found.clips
        assert value_range(np.dtype(code), white=4095, black=64, bounded=False) == ValueRange(64, 4095)
    assert value_range(np.dtype("u1"), bounded=False) == ValueRange(0, 255)
    for black in (-32768, -1000):
        assert value_range(np.dtype("i2"), black=black, bounded=False) == ValueRange(black, 65535 + black, clips=False)
    assert value_range(np.dtype("f4"), bounded=False) == ValueRange(0, None)
    signed = np.array([[[-1000], [0], [2000]]], np.int16)
    _, note = split(signed, page_of(signed), value_range(signed.dtype, bounded=False))
    assert note.network_values()[0, :, 0] * 65535 == pytest.approx([-1000, 0, 2000])
    assert note.white == 0 and np.array_equal(join(note.network_values(), note), signed)


def test_what_the_network_sees() -> None:
    signed = np.array([[[-32768], [0], [32767]]], np.int16)
    _, note = split(signed, page_of(signed), value_range(signed.dtype))
    assert note.network_values()[0, :, 0] == pytest.approx([0, 32768 / 65535, 1])
    assert note.white == 1
    black = np.array([[[64], [2080]]], np.uint16)
    _, note = split(black, page_of(black), value_range(black.dtype, white=4096, black=64))
    assert note.network_values()[0, :, 0] == pytest.approx([0, 0.5])
    floats = np.array([[[3.5]]], np.float32)
    planes, note = split(floats, page_of(floats), value_range(floats.dtype))
    assert (planes is floats or np.shares_memory(planes, floats)) and (note.scale, note.white) == (1, 0)


def test_alpha_stays_out_and_comes_back() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 6, 4), np.uint8)
    planes, note = split(pixels, page_of(pixels, alpha=True), value_range(pixels.dtype))
    assert planes.shape == (5, 6, 3) and np.shares_memory(planes, pixels)
    result = join(np.zeros((5, 6, 3), np.float32), note)
    assert np.array_equal(result[..., 3], pixels[..., 3]) and not result[..., :3].any()


def test_missing_pixels_come_back_and_do_not_spread() -> None:
    pixels = np.full((40, 40, 2), 10.0, np.float64)
    pixels[5:9, 5:30, 0] = np.nan
    pixels[20, 20, 1] = np.inf
    pixels[21, 20, 1] = 1e300  # infinite as float32
    pixels[30, 30] = -9999
    planes, note = split(pixels, page_of(pixels, nodata=-9999), value_range(pixels.dtype))
    assert np.array_equal(planes, np.full((40, 40, 2), 10.0, np.float32))
    result = join(np.full((40, 40, 2), 4, np.float32), note)
    missing = ~(np.abs(pixels) < 1e30) | (pixels == -9999)
    assert np.array_equal(result[missing], pixels[missing], equal_nan=True)
    assert (result[~missing] == 4).all()


def test_no_data_is_compared_in_the_files_own_precision() -> None:
    pixels = np.array([[[1.0], [-3.4e38]]], np.float32)
    _, note = split(pixels, page_of(pixels, nodata=-3.4e38), value_range(pixels.dtype))
    assert note.missing is not None and note.missing[0, :, 0].tolist() == [False, True]


def test_no_data_of_integers() -> None:
    pixels = np.array([[[500], [0], [700]]], np.uint16)
    planes, note = split(pixels, page_of(pixels, nodata=0), value_range(pixels.dtype))
    assert planes[0, :, 0].tolist() == [500, 600, 700]
    assert join(np.ones((1, 3, 1), np.float32), note)[0, :, 0].tolist() == [65535, 0, 65535]


@given(st.integers(0, 2**32 - 1), st.floats(0.05, 0.999), st.integers(0, 70), st.integers(1, 30))
@settings(deadline=None, max_examples=40)
def test_filling_a_band_is_filling_the_page(seed: int, share: float, start: int, height: int) -> None:
    random = np.random.default_rng(seed)
    whole = random.normal(100, 5, (100, 23, 1)).astype(np.float32)
    whole[random.random(whole.shape) < share] = np.nan
    filled, _ = split(whole, page_of(whole), value_range(whole.dtype))
    stop = min(100, start + height)
    first, last = max(0, start - FILL_RADIUS), min(100, stop + FILL_RADIUS)
    band, _ = split(whole[first:last], page_of(whole[first:last]), value_range(whole.dtype))
    assert np.array_equal(band[start - first : stop - first], filled[start:stop])


def test_a_page_of_nothing_but_nan() -> None:
    pixels = np.full((4, 5, 3), np.nan, np.float32)
    planes, note = split(pixels, page_of(pixels), value_range(pixels.dtype))
    assert not planes.any()
    assert np.isnan(join(planes + 1, note)).all()


def test_groups() -> None:
    assert groups(3) == [slice(0, 3)]
    assert groups(1) == [slice(0, 1)]
    assert groups(4) == [slice(i, i + 1) for i in range(4)]


def test_values_of_another_band_are_refused() -> None:
    pixels = np.zeros((4, 5, 3), np.uint8)
    _, note = split(pixels, page_of(pixels), value_range(pixels.dtype))
    with pytest.raises(ValueError, match="shape"):
        join(np.zeros((4, 5, 1), np.float32), note)


@pytest.mark.parametrize(("white", "black", "name"), [(4095.0, None, "white 4095"), (None, -1.0, "black -1")])
def test_a_range_beyond_the_container_is_refused(white: float | None, black: float | None, name: str) -> None:
    with pytest.raises(UsageError, match=f"{name} lies beyond the values of uint8, 0 to 255"):
        value_range(np.dtype(np.uint8), white, black)
    for dtype in (np.int16, np.float32):
        value_range(np.dtype(dtype), white, black)
