"""Estimates against noise whose parameters are known, on photographs."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import denoiser
from denoiser.estimate import MODELS, Advice, ChannelNoise, Estimate, Strip, choose, estimate, quality_of, windows
from denoiser.estimate.model import clipped_moments
from denoiser.estimate.rule import Rule
from denoiser.images import Page
from denoiser.images.samples import sample_paths
from denoiser.noise import NumpyRandom, parse
from denoiser.selection import Rows, advise, estimate_page

Picture = NDArray[np.float32]

UNET, PHOTO = MODELS


@cache
def photographs() -> tuple[Picture, ...]:
    """The six photographs that come with scikit-image, three of them gray, at most 384 x 384, with sides of 8 n."""
    found = []
    for path in sample_paths():
        pixels = np.asarray(Image.open(path), np.float32)[:384, :384] / 255
        height, width = (size // 8 * 8 for size in pixels.shape[:2])
        found.append(pixels.reshape(*pixels.shape[:2], -1)[:height, :width])
    return tuple(found)


def noisy(clean: Picture, noise: str, steps: int = 255, seed: int = 0) -> Picture:
    """The picture as in a file of so many steps, or as unclipped floats (0)."""
    values = parse(noise).apply(clean[None], NumpyRandom(np.random.default_rng(seed)))[0]
    return np.asarray(np.rint(values.clip(0, 1) * steps) / steps if steps else values, np.float32)


def measured(picture: Picture, steps: int = 255) -> Estimate:
    return estimate([picture], clips=steps > 0, step=1 / steps if steps else 0.0)


def looked_at(picture: Picture) -> Advice:
    """What ``--model auto`` makes of it as an 8-bit file, of which it sees a part."""
    stored = np.rint(picture * 255).astype(np.uint8)
    return advise(Rows(Page(*stored.shape, stored.dtype), lambda start, stop: stored[start:stop]))


def all_of(noise: str, steps: int = 255, colour: bool | None = None) -> list[Estimate]:
    """Estimates of the photographs: of all, or of those in colour or in gray."""
    chosen = [each for each in photographs() if colour is None or (each.shape[2] == 3) == colour]
    return [measured(noisy(clean, noise, steps, seed), steps) for seed, clean in enumerate(chosen)]


def sigmas(found: Sequence[Estimate]) -> list[float]:
    values = [each.sigma for each in found]
    assert all(value is not None for value in values)
    return [value for value in values if value is not None]


@pytest.mark.parametrize("steps", [255, 65535, 0], ids=["8 bit", "16 bit", "float"])
@pytest.mark.parametrize("colour", [False, True], ids=["gray", "colour"])
@pytest.mark.parametrize("sigma", [10, 25, 75])
def test_sigma_is_that_before_clipping_within_5_percent(sigma: int, colour: bool, steps: int) -> None:
    assert np.mean(sigmas(all_of(f"gaussian:{sigma}", steps, colour))) == pytest.approx(sigma, rel=0.05)


@pytest.mark.parametrize("dtype", ["uint16", "uint32", "int16", "int32"])
@pytest.mark.parametrize(("level", "sigma"), [(60, 20), (30, 20), (400, 100)])
def test_faint_noise_of_wide_integers_is_that_before_clipping(dtype: str, level: int, sigma: int) -> None:
    values = np.random.default_rng(0).normal(level, sigma, (256, 256, 1)).clip(0).round().astype(dtype)
    rows = Rows(Page(256, 256, 1, values.dtype), lambda start, stop: values[start:stop])
    limits = np.iinfo(dtype)
    found = estimate_page(rows).sigma
    # Signed integers do not end at 0: that these values do is noise as any other.
    assert found is not None
    assert found / 255 * (limits.max - limits.min) == pytest.approx(sigma, rel=0.05 if limits.min == 0 else 0.1)


def test_low_noise_is_hardly_overestimated_where_some_of_the_picture_is_flat() -> None:
    """Gravel, the last of the photographs, has fine texture everywhere: it reads as noise that is not white."""
    *flat_somewhere, gravel = photographs()
    for seed, clean in enumerate(flat_somewhere):
        assert sigmas([measured(noisy(clean, "gaussian:5", seed=seed))])[0] == pytest.approx(5, rel=0.05)
    assert measured(noisy(gravel, "gaussian:5")).kind == "correlated"


@pytest.mark.parametrize(("gain", "read"), [(0.01, 4), (0.03, 0), (0.0, 12)])
def test_gain_and_read_noise(gain: float, read: float) -> None:
    ramp = np.tile(np.linspace(0.02, 0.98, 512, dtype=np.float32), (512, 1))[:, :, None]
    for steps in (255, 0):
        (channel,) = measured(
            noisy(ramp, f"poisson-gaussian:gain={max(gain, 1e-9)},read={read}", steps), steps
        ).channels
        assert channel.gain == pytest.approx(gain, rel=0.1, abs=2e-4)
        assert channel.read == pytest.approx(read, rel=0.1, abs=3)
        assert channel.sigma == pytest.approx(255 * np.sqrt(gain / 2 + (read / 255) ** 2), rel=0.03)


def test_white_noise_is_white_and_filtered_noise_is_not() -> None:
    for noise in ("gaussian:10", "gaussian:50", "poisson:100", "poisson-gaussian:gain=0.01,read=4"):
        assert {each.kind for each in all_of(noise)} == {"white"}, noise
    for noise in ("correlated:sigma=10,length=0.6", "correlated:sigma=10,length=1", "correlated:sigma=25"):
        assert {each.kind for each in all_of(noise)} == {"correlated"}, noise


@pytest.mark.parametrize("length", [0.5, 1.0])
def test_correlation_of_neighbours_is_that_of_the_filter(length: float) -> None:
    flat = np.full((512, 512, 1), 0.5, np.float32)
    (channel,) = measured(noisy(flat, f"correlated:sigma=20,length={length}", 0), 0).channels
    lags = np.exp(-0.5 * (np.arange(-9, 10) / length) ** 2)
    truth = (lags[1:] * lags[:-1]).sum() / (lags**2).sum()  # of the sampled kernel, which is what noise went through
    assert channel.horizontal == pytest.approx(truth, abs=0.08)
    assert channel.vertical == pytest.approx(truth, abs=0.08)
    assert channel.sigma == pytest.approx(20, rel=0.1)


def test_direction_of_correlation_is_told() -> None:
    values = np.random.default_rng(1).normal(0.5, 0.05, (256, 257, 1)).astype(np.float32)
    (channel,) = measured((values[:, 1:] + values[:, :-1]) / 2, 0).channels
    assert channel.horizontal == pytest.approx(0.5, abs=0.05)
    assert channel.vertical == pytest.approx(0, abs=0.05)


def mosaic(clean: Picture, sigma: float, seed: int) -> Picture:
    """Noise on a Bayer mosaic, each colour interpolated from its photosites: what a camera does first."""
    from scipy.ndimage import convolve

    noise = np.random.default_rng(seed).normal(0, sigma / 255, clean.shape).astype(np.float32)
    rows, columns = np.indices(clean.shape[:2])
    site = rows % 2 + columns % 2  # 0 red, 1 green, 2 blue
    taps = np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]], np.float32) / 4
    greens = np.array([[0, 1, 0], [1, 4, 1], [0, 1, 0]], np.float32) / 4
    made = [convolve(noise[:, :, c] * (site == c), greens if c == 1 else taps, mode="wrap") for c in range(3)]
    return np.asarray(np.rint((clean + np.stack(made, axis=2)).clip(0, 1) * 255) / 255, np.float32)


def test_demosaiced_noise_is_correlated_and_for_the_photo_model() -> None:
    for seed, clean in enumerate(each for each in photographs() if each.shape[2] == 3):
        for sigma in (4, 12, 40):
            found = measured(mosaic(clean, sigma, seed))
            assert (found.kind, choose(found).model) == ("correlated", PHOTO)


def test_the_choice_on_a_mixed_set_is_nearly_always_right() -> None:
    """Right is the network whose result is nearer to the clean picture; ``fit_auto.py --measure`` counts many more."""
    networks = [denoiser.load(name, device="cpu") for name in MODELS]
    white = ("gaussian:4", "gaussian:15", "gaussian:60", "poisson:50", "poisson:1000")
    photo = ("correlated:sigma=8,length=0.6", "correlated:sigma=20,length=1", "camera:iso=1600", "camera:iso=6400")
    right, lost = [], []
    for noise in (*white, *photo):
        for seed, clean in enumerate(each for each in photographs() if each.shape[2] == 3):
            picture = noisy(clean, noise, seed=seed)
            errors = [np.mean((network.denoise(picture, white=1.0) - clean) ** 2) for network in networks]
            chosen = errors[MODELS.index(looked_at(picture).model)]
            right.append(chosen < 1.005 * min(errors))
            lost.append(10 * np.log10(chosen / min(errors)))
    assert len(right) == 27 and np.mean(right) >= 0.9 and np.mean(lost) < 0.05


def test_each_choice_says_why() -> None:
    flat = np.full((128, 128, 3), 0.5, np.float32)
    white, smooth = measured(noisy(flat, "gaussian:10")), measured(noisy(flat, "correlated:sigma=10,length=1"))
    assert (choose(white).model, choose(smooth).model) == MODELS
    for found in (white, smooth):
        assert f"(sigma {found.sigma:.3g}, correlation of neighbours " in choose(found).reason
    assert "white" in choose(white).reason and "neighbours (" in choose(smooth).reason
    assert choose(measured(np.ones((128, 128, 3), np.float32))) == Advice(UNET, "its noise cannot be measured")
    assert choose(Estimate(())) == Advice(UNET, "its noise cannot be measured")


def test_the_reason_describes_the_noise_and_says_where_the_spectrum_decided(monkeypatch: pytest.MonkeyPatch) -> None:
    flat = np.full((128, 128, 3), 0.5, np.float32)
    channel = ChannelNoise(5.0, 0.0, 5.0, 0.0, 0.0, 1.0)
    white = replace(measured(noisy(flat, "gaussian:5")), channels=(channel,) * 3, shared=0.0, grid=0.0)
    faint = replace(channel, sigma=0.5)
    described = {
        "hardly any noise": replace(white, channels=(faint,) * 3),
        "correlated between neighbours": replace(white, channels=(replace(channel, rolloff=0.2),) * 3),
        "correlated between colours": replace(white, shared=0.9),
        "blocks of JPEG": replace(white, grid=0.2),
        "noise is white": white,
    }
    for score, plain in ((-1.0, {"noise is white"}), (1.0, set(described) - {"noise is white", "hardly any noise"})):
        monkeypatch.setattr(Rule, "score", lambda self, estimate, score=score: score)
        for words, found in described.items():
            advice = choose(found)
            assert advice.model == MODELS[score > 0] and words in advice.reason
            closer = "its spectrum is closer to that of " + ("a camera's file" if score > 0 else "white noise")
            assert (closer in advice.reason) == (words not in plain)


def test_gray_in_three_equal_channels_counts_as_gray() -> None:
    """Scanners and converters store gray so, where independent noise would be shared by all colours."""
    for noise, model in (("gaussian:15", UNET), ("correlated:sigma=15,length=1", PHOTO)):
        for seed, clean in enumerate(each for each in photographs() if each.shape[2] == 1):
            gray = measured(noisy(clean, noise, seed=seed))
            repeated = measured(np.repeat(noisy(clean, noise, seed=seed), 3, axis=2))
            assert np.array_equal(repeated.spectra, gray.spectra)
            assert choose(repeated).model == choose(gray).model == model
            assert "colours" not in choose(repeated).reason


def test_jpeg_shows_its_grid_wherever_it_begins() -> None:
    clean = photographs()[0]
    for quality, offset in ((40, 0), (60, 3)):
        coded = noisy(clean, f"jpeg:{quality}")[offset:, offset + 2 :]
        assert measured(coded).grid > 0.05 > measured(clean).grid
    assert measured(noisy(clean, "gaussian:20")).grid < 0.05


@pytest.mark.parametrize("quality", [10, 50, 75, 92, 100])
def test_quality_is_read_from_the_tables_of_libjpeg(quality: int, tmp_path: Any) -> None:
    path = tmp_path / "a.jpg"
    Image.new("RGB", (16, 16)).save(path, quality=quality)
    with Image.open(path) as image:
        assert quality_of(image.quantization[0]) == quality  # type: ignore[attr-defined]


@pytest.mark.parametrize("shape", [(1, 1, 1), (7, 300, 1), (8, 8, 3), (0, 5, 3)])
def test_too_small_a_picture_has_no_estimate(shape: tuple[int, ...]) -> None:
    found = measured(np.full(shape, 0.5, np.float32))
    assert (found.channels, found.sigma, found.kind) == ((), None, "unknown")


def test_small_pictures_have_one() -> None:
    picture = noisy(np.full((28, 28, 1), 0.5, np.float32), "gaussian:20")
    assert sigmas([measured(picture)])[0] == pytest.approx(20, rel=0.2)


@pytest.mark.parametrize("value", [0.0, 0.4, 1.0])
def test_constant_pictures(value: float) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = measured(np.full((64, 64, 3), value, np.float32))
    assert found.sigma in (None, 0.0)
    assert found.kind in ("unknown", "none")


def test_saturated_parts_and_frames_do_not_count() -> None:
    picture = noisy(np.full((256, 256, 1), 0.4, np.float32), "gaussian:20")
    picture[:64] = 1
    picture[-32:] = 0
    picture[:, :40] = 0.25
    assert sigmas([measured(picture)])[0] == pytest.approx(20, rel=0.05)


def test_missing_pixels_do_not_count() -> None:
    picture = noisy(np.full((256, 256, 3), 0.5, np.float32), "gaussian:20", 0)
    picture[40:60, 100:180] = np.nan
    assert sigmas([measured(picture, 0)])[0] == pytest.approx(20, rel=0.05)
    assert measured(np.full((64, 64, 1), np.nan, np.float32), 0).channels == ()


def test_negative_and_large_floats() -> None:
    picture = np.random.default_rng(0).normal(0, 500, (256, 256, 1)).astype(np.float32)
    assert sigmas([measured(picture, 0)])[0] == pytest.approx(255 * 500, rel=0.05)
    assert sigmas([measured(picture * np.float32(1e11), 0)])[0] == pytest.approx(255 * 5e13, rel=0.05)
    for beyond in (1e17, 1e34):
        assert measured(picture * np.float32(beyond), 0).sigma is None


def test_the_same_picture_has_the_same_estimate() -> None:
    picture = noisy(photographs()[0], "gaussian:10")
    assert measured(picture) == measured(picture.copy())


@pytest.mark.parametrize("level", [0, 1])
def test_a_frame_does_not_decide(level: int) -> None:
    for picture in [each for each in photographs() if each.shape[2] == 3]:
        for noise, model in (("camera:iso=6400,smooth=0.5,jpeg=0", "unet-photo"), ("gaussian:20", "unet")):
            framed = np.full((picture.shape[0] + 128, picture.shape[1] + 128, 3), level, np.float32)
            framed[64:-64, 64:-64] = noisy(picture, noise)
            assert looked_at(framed).model == model, noise


def test_noise_that_does_not_grow_along_a_line() -> None:
    random = np.random.default_rng(0)
    light = np.tile(np.linspace(0.1, 0.9, 512), (512, 1))
    for deviation in ((30 - 28 * light) / 255, np.sqrt(0.004 * (1 - light)), 0.1 * light):
        values = light + random.normal(0, 1, light.shape) * deviation
        picture = (np.rint(values.clip(0, 1) * 255) / 255).astype(np.float32)[:, :, None]
        true = 255 * np.sqrt(np.mean(deviation**2))
        assert measured(picture).sigma == pytest.approx(true, rel=0.15)


def test_one_edge_is_no_grid() -> None:
    picture = np.full((256, 256, 1), 60.0)
    picture[203:] = 180
    picture[:, 91:] += 20
    noise = np.random.default_rng(0).normal(0, 5, picture.shape)
    assert measured((np.rint(picture + noise) / 255).astype(np.float32)).grid == 0


@pytest.mark.parametrize("signal", [0.0, 0.1, 0.5, 0.97])
@pytest.mark.parametrize("sigma", [0.02, 0.1, 0.4])
def test_moments_of_clipped_noise(signal: float, sigma: float) -> None:
    drawn = np.random.default_rng(2).normal(signal, sigma, 400_000).clip(0, 1)
    mean, deviation = clipped_moments(np.array([signal]), np.array([sigma]))
    assert mean[0] == pytest.approx(drawn.mean(), abs=2e-3)
    assert deviation[0] == pytest.approx(drawn.std(), rel=1e-2)


@pytest.mark.parametrize(
    ("height", "width"), [(1, 1), (512, 512), (3000, 4000), (64, 100_000), (40_000, 40), (20_000, 30_000), (9, 10**7)]
)
def test_samples_are_bounded_spread_and_on_the_grid(height: int, width: int) -> None:
    pixels = 100_000
    strips = windows(height, width, pixels)
    assert strips == windows(height, width, pixels)
    assert 0 < sum(strip.pixels for strip in strips) <= pixels
    for strip in strips:
        assert 0 <= strip.start < strip.stop <= height and strip.start % 8 == 0
        assert all(0 <= left < right <= width and left % 8 == 0 for left, right in strip.columns)
    corners = [(strip.start, left) for strip in strips for left, _ in strip.columns]
    assert len(set(corners)) == len(corners)
    if height * width > pixels:
        assert sum(strip.pixels for strip in strips) >= min(pixels, height * width) / 8
        for parts, length in (([(s.start, s.stop) for s in strips], height), (strips[0].columns, width)):
            middles = [(start + stop) / 2 for start, stop in parts]
            expected = [(2 * i + 1) * length / len(parts) / 2 for i in range(len(parts))]
            assert middles == pytest.approx(expected, abs=8.5), "in the middles of equal parts"
    else:
        assert strips == [Strip(0, height, ((0, width),))]
