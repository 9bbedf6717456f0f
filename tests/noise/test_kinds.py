"""Every noise kind: its measured statistics against its formula, and NumPy against torch."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from denoiser.errors import UsageError
from denoiser.noise import KINDS, Chain, NumpyRandom, explain, parse
from denoiser.training.data import TorchRandom

LIBRARIES = ("numpy", "torch")


def corrupted(spec: str, x: NDArray[np.float32], library: str, seed: int = 0) -> NDArray[np.float32]:
    """Pictures with noise made by one of the libraries."""
    noise = parse(spec)
    if library == "numpy":
        made = noise.apply(x, NumpyRandom(np.random.default_rng(seed)))
    else:
        made = noise.apply(torch.from_numpy(x), TorchRandom(torch.Generator().manual_seed(seed))).numpy()
    assert made.shape == x.shape
    assert made.dtype == np.float32
    return made


def flat(level: float, count: int = 2, side: int = 128, channels: int = 3) -> NDArray[np.float32]:
    return np.full((count, side, side, channels), level, dtype=np.float32)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("name", KINDS)
def test_same_seed_same_noise_and_the_input_is_left_alone(name: str, library: str) -> None:
    x = np.random.default_rng(1).random((2, 17, 30, 3), dtype=np.float32)
    before = x.copy()
    one, two = corrupted(name, x, library), corrupted(name, x, library)
    assert np.array_equal(one, two)
    assert np.array_equal(x, before)
    assert not np.array_equal(one, x)
    assert name == "jpeg" or not np.array_equal(one, corrupted(name, x, library, seed=1))
    assert corrupted(name, x[:, :1, :1, :1], library).shape == (2, 1, 1, 1)


# 98,304 samples each: the standard error of a variance is 0.5%, that of a mean 0.003 deviations.
@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("level", [0.1, 0.6])
@pytest.mark.parametrize(
    ("spec", "variance"),
    [
        ("gaussian:15", lambda x: (15 / 255) ** 2),
        ("poisson:50", lambda x: x / 50),
        ("poisson-gaussian:0.02,4", lambda x: 0.02 * x + (4 / 255) ** 2),
        ("speckle:0.04", lambda x: 0.04 * x**2),
        ("correlated:20,length=1", lambda x: (20 / 255) ** 2),
    ],
)
def test_mean_and_variance_against_intensity(
    spec: str, variance: Callable[[float], float], level: float, library: str
) -> None:
    made = corrupted(spec, flat(level), library).astype(np.float64)
    # Neighbours that correlate are worth fewer samples: 4 pi length^2 = 12.6 pixels count once.
    tolerance = 4 if spec.startswith("correlated") else 1
    assert made.var() == pytest.approx(variance(level), rel=0.025 * tolerance)
    assert abs(made.mean() - level) < 0.015 * tolerance * variance(level) ** 0.5


@pytest.mark.parametrize("library", LIBRARIES)
def test_poisson_counts_photons(library: str) -> None:
    counts = corrupted("poisson:20", flat(0.2), library) * 20
    assert np.abs(counts - counts.round()).max() < 1e-5
    assert (counts == 0).mean() == pytest.approx(math.exp(-4), rel=0.1)


@pytest.mark.parametrize("library", LIBRARIES)
def test_blind_gaussian_draws_exponential_levels(library: str) -> None:
    levels = corrupted("gaussian-blind", flat(0.5, count=1500, side=12), library).std(axis=(1, 2, 3)) * 255
    # 1,500 draws: the standard error of the mean is 2.6%, that of the median the same.
    assert levels.mean() == pytest.approx(38.25, rel=0.1)
    assert np.median(levels) == pytest.approx(38.25 * math.log(2), rel=0.12)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("length", [1.0, 2.5])
def test_correlation_falls_off_as_stated(length: float, library: str) -> None:
    noise = corrupted(f"correlated:25,length={length}", flat(0.0, count=4, channels=1, side=192), library)[..., 0]
    for distance in (1, 2, 4):
        expected = math.exp(-(distance**2) / (4 * length**2))
        along_rows = np.mean(noise[:, :, distance:] * noise[:, :, :-distance]) / noise.var()
        along_columns = np.mean(noise[:, distance:] * noise[:, :-distance]) / noise.var()
        assert along_rows == pytest.approx(expected, abs=0.04)
        assert along_columns == pytest.approx(expected, abs=0.04)


@pytest.mark.parametrize("library", LIBRARIES)
def test_banding_moves_whole_rows_and_columns_of_all_channels(library: str) -> None:
    offsets = (corrupted("banding:rows=8,columns=3", flat(0.5, count=4), library) - 0.5) * 255
    assert np.array_equal(offsets[..., 0], offsets[..., 1])
    rows, columns = offsets[..., 0].mean(axis=2), offsets[..., 0].mean(axis=1)
    whole = offsets[..., 0].mean(axis=(1, 2))[:, None, None]
    assert np.abs(offsets[..., 0] - rows[:, :, None] - columns[:, None] + whole).max() < 1e-3
    # 512 rows: the standard error of a deviation is 3%.
    assert rows.std() == pytest.approx(math.hypot(8, 0.3), rel=0.12)
    assert columns.std() == pytest.approx(math.hypot(3, 0.7), rel=0.15)


@pytest.mark.parametrize("library", LIBRARIES)
def test_impulses_have_the_stated_shares(library: str) -> None:
    made = corrupted("salt-pepper:0.2,salt=0.75", flat(0.5), library)
    assert set(np.unique(made)) == {0.0, 0.5, 1.0}
    assert (made == 1).mean() == pytest.approx(0.15, abs=0.005)
    assert (made == 0).mean() == pytest.approx(0.05, abs=0.004)
    hot = corrupted("hot-pixels:0.01,value=0.75", flat(0.5), library)
    assert set(np.unique(hot)) == {0.5, 0.75}
    assert (hot == 0.75).mean() == pytest.approx(0.01, abs=0.0015)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("side", [28, 64])
def test_default_stripes_are_the_classic_ones(side: int, library: str) -> None:
    made = corrupted("stripes", flat(0.7, count=40, side=side), library)
    rows = (made == 0).all(axis=(2, 3))
    assert np.array_equal(rows, (made == 0).any(axis=(2, 3)))
    assert set(rows.sum(axis=1)) == {round(side * 10 / 28)}  # 10 of 28
    assert len({row.tobytes() for row in rows}) == 40
    # Each row is as likely as any other: 40 draws of share 0.36 lie within 5 standard errors.
    assert np.abs(rows.mean(axis=0) - 10 / 28).max() < 5 * (0.36 * 0.64 / 40) ** 0.5


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("thickness", [1, 3, 1000])
def test_stripes_of_all_rows_leave_none(thickness: int, library: str) -> None:
    assert not corrupted(f"stripes:1,thickness={thickness}", flat(0.2, side=40), library).any()


@pytest.mark.parametrize("library", LIBRARIES)
def test_stripes_take_thickness_colour_and_direction(library: str) -> None:
    made = corrupted("stripes:0.5,thickness=4,colour=1,direction=columns", flat(0.2, side=32), library)
    columns = (made == 1).all(axis=(1, 3))
    assert set(columns.sum(axis=1)) == {16}
    groups = columns.reshape(2, 8, 4)
    assert np.array_equal(groups.all(axis=2), groups.any(axis=2))


@pytest.mark.parametrize("library", LIBRARIES)
def test_default_blocks_are_the_classic_ones(library: str) -> None:
    made = corrupted("blocks", flat(0.1, count=200, side=28), library)
    hole = (made == 0.5).all(axis=3)
    assert np.array_equal(hole, (made == 0.5).any(axis=3))
    assert set(hole.sum(axis=(1, 2))) == {100}
    tops = hole.any(axis=2).argmax(axis=1)
    assert {int(count) for count in hole.any(axis=2).sum(axis=1)} == {10}
    assert tops.min() == 0 and tops.max() == 18  # 200 draws miss one of 19 places with probability 2e-5
    several = corrupted("blocks:3,side=0.25,value=1", flat(0.1, count=20, side=40), library)
    assert ((several == 1).all(axis=3).sum(axis=(1, 2)) <= 300).all()
    assert (several == 1).all(axis=3).sum(axis=(1, 2)).max() > 200


@pytest.mark.parametrize("library", LIBRARIES)
def test_mask_drops_whole_pixels_and_may_keep_the_mean(library: str) -> None:
    plain, scaled = (corrupted(spec, flat(0.5), library) for spec in ("mask:0.4", "mask:0.4,scale=yes"))
    dropped = (plain == 0).all(axis=3)
    assert np.array_equal(dropped, (plain == 0).any(axis=3))
    assert dropped.mean() == pytest.approx(0.4, abs=0.015)
    assert set(np.unique(plain)) == {0.0, 0.5}
    assert scaled.mean() == pytest.approx(0.5, abs=0.015)


@pytest.mark.parametrize("library", LIBRARIES)
def test_events_appear_and_vanish_at_the_stated_rates(library: str) -> None:
    spec = "events:spurious=0.1,positive=0.8,missing=0.2"
    empty, fired = corrupted(spec, flat(0.5), library), corrupted(spec, flat(1.0), library)
    assert (empty == 1).mean() == pytest.approx(0.08, abs=0.005)
    assert (empty == 0).mean() == pytest.approx(0.02, abs=0.003)
    assert set(np.unique(fired)) == {0.5, 1.0}
    assert (fired == 0.5).mean() == pytest.approx(0.2, abs=0.006)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_jpeg_is_what_the_encoder_makes_of_it(channels: int) -> None:
    gray = np.random.default_rng(0).random((2, 24, 33, 1), dtype=np.float32)
    x = gray.repeat(channels, axis=3)  # equal channels: JPEG halves the resolution of colour
    fine, coarse = corrupted("jpeg:98", x, "numpy"), corrupted("jpeg:10", x, "numpy")
    assert np.array_equal(coarse, corrupted("jpeg:10", x, "torch"))
    assert np.abs(coarse * 255 - (coarse * 255).round()).max() < 1e-4
    assert ((coarse - x) ** 2).mean() > 4 * ((fine - x) ** 2).mean()


def test_a_chain_applies_its_kinds_in_turn() -> None:
    noise = parse("poisson-gaussian:gain=1e-2,read=4+stripes+jpeg:75")
    assert isinstance(noise, Chain)
    assert [kind.name for kind in noise.kinds] == ["poisson-gaussian", "stripes", "jpeg"]
    made = corrupted("gaussian:50+stripes:0.5", flat(0.5), "numpy")
    assert (made == 0).all(axis=(2, 3)).mean() == 0.5
    assert parse("poisson:1e+3") == parse("poisson:1000")


@pytest.mark.parametrize(
    ("spec", "hint"),
    [
        ("stripe", "did you mean 'stripes'"),
        ("gaussian:25+", r"'gaussian:25\+': a kind is missing"),
        ("gaussian+blok", "did you mean 'blocks'"),
        ("stripes:thicknes=2", "did you mean 'thickness'"),
        ("stripes:thickness=1.5", "a whole number"),
        ("stripes:thickness=0", "at least 1"),
        ("poisson-gaussian:,4", "a parameter is missing beside a comma"),
        ("stripes:direction=up", "rows or columns"),
        ("mask:1.5", "between 0 and 0.999"),
        ("jpeg:0", "between 1 and 100"),
        ("gaussian:5,sigma=6", "given twice"),
        ("gaussian:1e999", "finite"),
        ("gaussian:-3", "a number such as 25"),
    ],
)
def test_wrong_specs_say_what_is_right(spec: str, hint: str) -> None:
    with pytest.raises(UsageError, match=hint):
        parse(spec)


def test_every_kind_explains_itself() -> None:
    rows = explain()
    assert [row["name"] for row in rows] == list(KINDS)
    for row in rows:
        assert len(row["about"]) > 40
        spec = f"{row['name']}:" + ",".join(f"{p['name']}={p['default']}" for p in row["parameters"])
        parse(spec)
        assert all(p["meaning"] for p in row["parameters"])


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(sorted(KINDS)), st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 2, 3]))
def test_any_size_of_picture_is_taken(name: str, height: int, width: int, channels: int) -> None:
    x = np.random.default_rng(0).random((2, height, width, channels), dtype=np.float32)
    made: Any = parse(name).apply(x, NumpyRandom(np.random.default_rng(0)))
    assert made.shape == x.shape
    assert np.isfinite(made).all()


def test_more_photons_than_whole_numbers_count() -> None:
    """Floats in units of their own may be as large; noise then is as good as none, but there is an answer."""
    large = np.full((1, 64, 64, 1), 1e20, np.float32)
    large[0, 0, 0] = 4
    noisy = parse("poisson:1").apply(large, NumpyRandom(np.random.default_rng(0)))
    assert np.isfinite(noisy).all() and noisy[0, 0, 0, 0] < 30
    assert abs(noisy[0, 1:].mean(dtype=np.float64) / 1e20 - 1) < 1e-3
