"""The camera: statistics of its noise where it is made, the clean path, saturation, NumPy against torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from denoiser.noise import NumpyRandom, parse
from denoiser.noise.camera_colour import CAMERAS, drawn_matrices, exposed, linear, toned
from denoiser.noise.camera_sensor import cell_noise, mosaic_noise, read_variance, smoothed
from denoiser.training.data import TorchRandom

LIBRARIES = ("numpy", "torch")
PLAIN = "gradient=0.5,smooth=0,sharpen=0,chroma=0,shrunk=0,bands=0,contrast=1,exposure=1,jpeg=0"
"""A camera that does nothing but demosaic, balance colours and apply the sRGB curve."""


def shot(spec: str, x: NDArray[np.float32], library: str = "numpy", seed: int = 0) -> NDArray[np.float32]:
    """Pictures taken by a camera."""
    camera = parse(f"camera:{spec}")
    if library == "numpy":
        made = camera.apply(x, NumpyRandom(np.random.default_rng(seed)))
    else:
        made = camera.apply(torch.from_numpy(x), TorchRandom(torch.Generator().manual_seed(seed))).numpy()
    assert made.dtype == np.float32 and made.shape == x.shape
    return made


def flat(level: float, count: int = 2, side: int = 128, channels: int = 3) -> NDArray[np.float32]:
    return np.full((count, side, side, channels), level, dtype=np.float32)


def neighbours(noise: NDArray[np.float32]) -> tuple[float, float]:
    """Correlation with the next pixel of the row and of the column; noise is (N, H, W) of mean 0."""
    power = (noise**2).mean()
    return (noise[:, :, 1:] * noise[:, :, :-1]).mean() / power, (noise[:, 1:] * noise[:, :-1]).mean() / power


def random_pictures(shape: tuple[int, ...]) -> NDArray[np.float32]:
    return (np.random.default_rng(7).integers(0, 256, shape) / 255).astype(np.float32)


class SameNumbers(TorchRandom):
    """NumPy's random numbers, as tensors."""

    def __init__(self, seed: int) -> None:
        super().__init__(torch.Generator())
        self.source = NumpyRandom(np.random.default_rng(seed))

    def normal(self, shape: tuple[int, ...]) -> Any:
        return torch.from_numpy(self.source.normal(shape))

    def uniform(self, shape: tuple[int, ...]) -> Any:
        return torch.from_numpy(self.source.uniform(shape))


@pytest.mark.parametrize("library", LIBRARIES)
def test_variance_is_linear_in_light_with_the_stated_gain(library: str) -> None:
    levels = np.array([0.05, 0.1, 0.2, 0.4, 0.6], dtype=np.float32)
    random = NumpyRandom(np.random.default_rng(0))
    variances = []
    for light in levels:
        pixels = toned(flat(float(light), side=160, channels=1), 1, random)
        made = linear(shot(f"iso=3200,electrons=20000,{PLAIN}", pixels, library), 1, random).astype(np.float64)
        assert made.mean() == pytest.approx(light, abs=3e-4)
        variances.append(made.var())
    # 51,200 samples each: the standard error of a variance is 0.6%.
    gain, read = np.polyfit(levels, variances, 1)
    assert gain == pytest.approx(32 / 20000, rel=0.03)
    assert np.abs(np.array(variances) / (gain * levels + read) - 1).max() < 0.03


def test_read_noise_follows_the_shot_noise_as_fitted() -> None:
    random = NumpyRandom(np.random.default_rng(0))
    for gain in (1e-4, 1e-2):
        logarithms = np.log(read_variance(gain, 20_000, random))
        assert logarithms.mean() == pytest.approx(2.18 * np.log(gain) + 1.20, abs=0.01)
        assert logarithms.std() == pytest.approx(0.26, rel=0.03)


def test_sensitivity_and_cells_set_the_noise_together() -> None:
    gray = flat(0.5, count=8)
    noise = [
        shot(f"iso={iso},electrons={electrons},{PLAIN}", gray).std()
        for iso, electrons in ((400, 5000), (1600, 20000), (1600, 5000))
    ]
    assert noise[1] == pytest.approx(noise[0], rel=0.01)
    assert noise[2] == pytest.approx(2 * noise[0], rel=0.05)


@pytest.mark.parametrize("library", LIBRARIES)
def test_demosaiced_noise_has_the_variance_and_correlation_of_theory(library: str) -> None:
    random: Any = NumpyRandom(np.random.default_rng(0))
    variance: Any = np.ones((6, 3, 164, 164), dtype=np.float32)
    if library == "torch":
        random, variance = TorchRandom(torch.Generator().manual_seed(0)), torch.from_numpy(variance)
    noise = np.asarray(mosaic_noise(variance, 0, 0, random))
    # Bilinear: red and blue are triangles over a lattice of two pixels, green half copied, half a mean of four.
    for channel, power, expected in ((0, 9 / 16, 2 / 3), (1, 5 / 8, 2 / 5), (2, 9 / 16, 2 / 3)):
        assert noise[:, channel].var() == pytest.approx(power, rel=0.03)
        assert neighbours(noise[:, channel]) == pytest.approx((expected, expected), abs=0.02)
    noise = np.asarray(mosaic_noise(variance, 0, 1, random))
    # Malvar, He and Cutler: the mean of the squared weights over the four sites; green is (1 + 36 / 64) / 2.
    red = (1 + 2 * (25 + 32 + 4 + 2 + 0.5) / 64 + (36 + 16 + 9) / 64) / 4
    for channel, power in ((0, red), (1, (1 + 36 / 64) / 2), (2, red)):
        assert noise[:, channel].var() == pytest.approx(power, rel=0.03)
        assert all(0.2 < each < 0.7 for each in neighbours(noise[:, channel]))


def test_the_mosaic_takes_each_colour_from_its_own_sites() -> None:
    random = NumpyRandom(np.random.default_rng(0))
    variance = np.zeros((200, 3, 8, 8), dtype=np.float32)
    variance[:, 0] = 1  # only red photosites are noisy: one in four, its place drawn for each picture
    noise = mosaic_noise(variance, 0, 0, random)
    assert noise[:, 1:].any() == np.False_
    sites = (noise[:, 0, :2, :2] ** 2).reshape(200, 4).argmax(axis=1)
    assert set(sites) == {0, 1, 2, 3}


def test_halved_pictures_have_white_noise_and_half_the_green() -> None:
    noise = cell_noise(np.ones((4, 3, 128, 128), np.float32), np.float32(0), NumpyRandom(np.random.default_rng(0)))
    assert noise.var(axis=(0, 2, 3)) == pytest.approx([1, 0.5, 1], rel=0.03)
    assert neighbours(noise[:, 0]) == pytest.approx((0, 0), abs=0.02)


def test_smoothing_and_sharpening_move_luma_and_chroma_apart() -> None:
    noise = np.random.default_rng(0).standard_normal((4, 3, 206, 206), dtype=np.float32)
    weights = np.array([0.299, 0.587, 0.114]).reshape(1, 3, 1, 1)

    def parts(*amounts: float) -> tuple[float, float]:
        planes = smoothed(noise, *np.array(amounts, dtype=np.float32))
        light = (planes * weights).sum(axis=1, keepdims=True)
        return float(light.std()), float((planes - light).std())

    plain = noise[:, :, 7:-7, 7:-7]
    assert np.allclose(smoothed(noise, *np.float32([0, 1, 0, 0, 1])), plain, atol=1e-6)
    luma, chroma = parts(0, 0, 0, 0, 0)
    # The binomial filter and its dilation have weights 1, 2, 3, 4, 3, 2, 1, whose squares sum to 44 / 256; with the
    # next dilation they are 1 to 8 and back, with squares of 344 / 4096.
    wide, widest = 44 / 256, 344 / 4096
    assert parts(0, 0, 0, 1, 0) == (pytest.approx(luma, rel=1e-3), pytest.approx(wide * chroma, rel=0.03))
    assert parts(0, 0, 0, 1, 1) == (pytest.approx(luma, rel=1e-3), pytest.approx(widest * chroma, rel=0.04))
    # The binomial filter alone keeps (3 / 8)^2 of the power of white noise, and 1 / 4 of the pixel itself.
    assert parts(1, 0, 0, 0, 0) == (pytest.approx(3 / 8 * luma, rel=0.02), pytest.approx(chroma, rel=1e-3))
    assert parts(1, 1, 0, 0, 0)[0] == pytest.approx(wide * luma, rel=0.03)
    assert parts(1, 2, 0, 0, 0)[0] == pytest.approx(widest * luma, rel=0.04)
    gain = (1.5**2 - 2 * 1.5 * 0.5 / 4 + 0.25 * (3 / 8) ** 2) ** 0.5
    assert parts(0, 0, 0.5, 0, 0)[0] == pytest.approx(gain * luma, rel=0.02)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_without_noise_and_compression_the_picture_stays(channels: int, library: str) -> None:
    x = random_pictures((3, 33, 40, channels))
    assert np.abs(shot("iso=0.001,jpeg=0", x, library) - x).max() < 1e-6
    assert np.abs(shot("iso=0.001,jpeg=1,quality=100,subsampling=0", x, library) - x).max() < 5.1 / 255


def test_tone_curve_and_its_inverse() -> None:
    random = NumpyRandom(np.random.default_rng(0))
    x = np.linspace(0, 1, 4097, dtype=np.float32)
    for contrast in (1, 1.5, 3):
        assert np.abs(toned(linear(x, contrast, random), contrast, random) - x).max() < 2e-6
        assert np.all(np.diff(toned(x, contrast, random)) >= 0)
    srgb = np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)
    assert np.abs(linear(x, 1, random) - srgb).max() < 1e-6
    half = np.array([0.5 - 1e-3, 0.5 + 1e-3], dtype=np.float32)
    slope = np.diff(toned(linear(half, 1, random), 1.5, random)) / 2e-3
    assert slope == pytest.approx(1.5, rel=0.01)


def test_gray_stays_gray_in_every_camera() -> None:
    assert CAMERAS.sum(axis=2) == pytest.approx(np.ones((4, 3)), abs=1e-6)
    there, back = drawn_matrices(50, NumpyRandom(np.random.default_rng(0)))
    assert there.sum(axis=2) == pytest.approx(np.ones((50, 3)), abs=1e-5)
    assert back.sum(axis=2) == pytest.approx(np.ones((50, 3)), abs=1e-5)
    assert np.abs(back @ there - np.eye(3)).max() < 0.5
    assert there.std(axis=0).max() > 0.02


def test_highlights_reach_the_sensors_white() -> None:
    gains = np.array([2.4, 1.2, 2.0], dtype=np.float32).reshape(1, 3, 1, 1)
    light = np.linspace(0, 1, 101, dtype=np.float32).reshape(1, 1, 1, 101).repeat(3, axis=1)
    seen = exposed(light, gains)
    assert seen[0, :, 0, 50] == pytest.approx(0.5 / gains.ravel(), rel=1e-5)
    assert seen[0, :, 0, 100] == pytest.approx(1)
    assert np.all(np.diff(seen[0, :, 0], axis=1) > 0)


@pytest.mark.parametrize("channels", [1, 3])
def test_white_stays_white_and_black_is_only_lifted(channels: int) -> None:
    spec = "iso=6400,electrons=20000,jpeg=0,shrunk=0,exposure=1.3"
    assert shot(spec, flat(1.0, channels=channels)).min() > 0.999
    black = shot(spec, flat(0.0, count=4, channels=channels))
    assert black.min() == 0
    assert 0.3 < (black == 0).mean() < 0.8  # the negative half, and what rounds to 0
    assert 0.5 < (black * 255).mean() < 20


def test_colours_do_not_drift() -> None:
    # The sRGB curve is concave, so noise darkens: by half its second derivative times the variance.
    for level in (0.25, 0.5, 0.75):
        x = flat(level, count=6)
        assert np.abs((shot("iso=1600,electrons=30000,jpeg=0", x) - x).mean(axis=(0, 1, 2))).max() < 1 / 255


def test_offsets_of_rows_and_columns_grow_with_the_read_noise() -> None:
    gray = flat(0.2, side=192)

    def stripes(spec: str) -> tuple[float, float]:
        made = shot(f"iso=25600,electrons=20000,{spec}", gray)[..., 1]
        return float(made.mean(axis=2).std()), float(made.mean(axis=1).std())

    without, with_bands = stripes(PLAIN), stripes(PLAIN.replace("bands=0", "bands=1"))
    rows, columns = ((b**2 - a**2) ** 0.5 for a, b in zip(without, with_bands, strict=True))
    assert rows > 2.5 * without[0]
    assert rows == pytest.approx(2 * columns, rel=0.2)


def test_each_picture_draws_its_own_camera() -> None:
    levels = shot("jpeg=0", flat(0.5, count=40, side=32)).std(axis=(1, 2, 3)) * 255
    assert len(set(levels.round(2))) == 40
    assert levels.max() > 4 * levels.min()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("spec", ["iso=800", "iso=6400,jpeg=1,quality=75", "iso=3200,jpeg=1,subsampling=0,grid=corner"])
def test_numpy_and_torch_make_the_same_picture_of_the_same_numbers(spec: str, channels: int) -> None:
    x = random_pictures((4, 45, 38, channels))
    camera = parse(f"camera:{spec}")
    by_numpy = camera.apply(x, NumpyRandom(np.random.default_rng(3)))
    by_torch = camera.apply(torch.from_numpy(x), SameNumbers(3)).numpy()
    # The last bits differ, and with them, now and then, which way a level or a coefficient is rounded.
    assert np.mean(np.abs(by_numpy - by_torch) > 0.5 / 255) < 0.01


def test_numpy_and_torch_agree_in_mean_variance_and_correlation() -> None:
    gray = flat(0.45, count=400, side=24)
    spec = (
        "iso=1600,electrons=20000,bands=0.1,exposure=1.2,red=2,blue=1.7,gradient=1,shrunk=0,smooth=0.3,spread=0,sharpen=0,"
        "chroma=0.5,blotches=0.5,contrast=1.3,jpeg=1,quality=90,subsampling=1,grid=corner"
    )
    samples = []
    for library in LIBRARIES:
        made = shot(spec, gray, library).astype(np.float64)
        luma = made @ [0.299, 0.587, 0.114]
        luma -= luma.mean()
        samples.append((made.mean(), luma.var(), made[..., 0].var(), made[..., 2].var(), *neighbours(luma)))
    # 230,400 samples, of which neighbours share some, and 400 drawn matrices: standard errors below 1%.
    assert samples[0] == pytest.approx(samples[1], rel=0.03)
    assert samples[0][4] == pytest.approx(0.4, abs=0.1)
