"""``--luma``, ``--chroma`` and ``--detail`` over files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from denoiser.batch import Report, RunOptions, run
from denoiser.controls import LUMINANCE
from tests.batch.fakes import FakeDenoiser, picture, smoothed, tree, write_npy, write_png

Runs = Callable[..., Report]


def statuses(report: Report) -> list[str]:
    return [str(result.status) for result in report.files]


@settings(max_examples=12)
@given(
    st.integers(1, 70),
    st.sampled_from([1, 3, 4]),
    st.sampled_from([np.uint8, np.float32, np.float64, np.int32]),
    st.integers(200, 40_000),
)
def test_bands_are_the_same_as_the_whole(
    tmp_path_factory: pytest.TempPathFactory, height: int, channels: int, dtype: Any, memory: int
) -> None:
    root = tmp_path_factory.mktemp("bands")
    array = picture(height, height, 17, channels, dtype)
    if array.dtype.kind == "f":
        array[::5, ::3] = np.nan
    write_npy(root / "in" / "a.npy", np.stack([array, array[::-1]]))
    for name, budget in (("whole", 1 << 28), ("cut", memory)):
        network: Any = FakeDenoiser()
        options = RunOptions(max_memory=budget, luma=0.8, chroma=0.5, detail=0.6)
        assert run(root / "in", root / name, options, denoiser=network).exit_code == 0
    assert max(network.heights) < height or memory > 400 * height or height <= 16
    assert (root / "whole" / "a.npy").read_bytes() == (root / "cut" / "a.npy").read_bytes()


def test_neutral_values_change_no_byte(tmp_path: Path, runs: Runs) -> None:
    write_png(tmp_path / "in" / "a.png", 1)
    write_npy(tmp_path / "in" / "b.npy", picture(2, dtype=np.float32))
    runs(output=tmp_path / "plain")
    assert statuses(runs(output=tmp_path / "plain", luma=1.0, chroma=1.0, detail=0.0)) == ["skipped"] * 2
    assert statuses(runs(output=tmp_path / "plain", luma=0.5)) == ["done"] * 2
    pixels = np.asarray(Image.open(tmp_path / "in" / "a.png"))
    runs(output=tmp_path / "given", luma=1.0, chroma=1.0, detail=0.0)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "given" / "a.png")), smoothed(pixels))


def test_no_luma_and_no_chroma_copy_the_input(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"never read as weights")
    for index in range(3):
        write_png(tmp_path / "in" / f"{index}.png", index)
    Image.fromarray(picture(1)).save(tmp_path / "in" / "a.jpg")
    options = RunOptions(model=str(tmp_path / "model.safetensors"), luma=0.0, chroma=0.0)
    assert statuses(run(tmp_path / "in", tmp_path / "out", options)) == ["copied"] * 4
    assert tree(tmp_path / "out") == tree(tmp_path / "in")


def test_gray_pictures_have_no_chroma(tmp_path: Path, runs: Runs) -> None:
    write_npy(tmp_path / "in" / "a.npy", picture(2, channels=1, dtype=np.uint16))
    runs(output=tmp_path / "plain")
    runs(output=tmp_path / "out", chroma=0.0)
    np.testing.assert_array_equal(np.load(tmp_path / "out" / "a.npy"), np.load(tmp_path / "plain" / "a.npy"))
    runs(output=tmp_path / "still", luma=0.0)
    np.testing.assert_array_equal(np.load(tmp_path / "still" / "a.npy"), np.load(tmp_path / "in" / "a.npy"))


def parts(pixels: NDArray[Any]) -> tuple[float, float]:
    """Deviation of luminance and of colour (red minus green) in a flat picture."""
    values = pixels.astype(np.float64)
    return float((values @ LUMINANCE).std()), float((values[..., 0] - values[..., 1]).std())


def test_coloured_noise_falls_while_grain_stays(tmp_path: Path, runs: Runs) -> None:
    noise = np.random.default_rng(0).normal(0, 20, (96, 96, 3))
    array = np.rint(128 + noise).astype(np.uint8)
    write_npy(tmp_path / "in" / "a.npy", array)
    runs(luma=0.0)
    (grain, colour), (grain_after, colour_after) = parts(array), parts(np.load(tmp_path / "out" / "a.npy"))
    assert grain_after == pytest.approx(grain, rel=0.01)
    assert colour_after < 0.65 * colour  # a mean of three rows leaves 1/sqrt(3) = 0.58
    runs(chroma=0.0, output=tmp_path / "grain")
    grain_after, colour_after = parts(np.load(tmp_path / "grain" / "a.npy"))
    assert grain_after < 0.65 * grain
    assert colour_after == pytest.approx(colour, rel=0.01)


def test_detail_gives_back_what_is_fine(tmp_path: Path, runs: Runs) -> None:
    """A mean of three rows wipes out a pattern of three rows whole, and takes 3 % from one of 20."""
    rows = np.arange(120)
    waves = {"fine": np.sin(2 * np.pi * rows / 3), "coarse": np.sin(2 * np.pi * rows / 20)}
    for name, wave in waves.items():
        array = (100 + 40 * wave).astype(np.float32)[:, None].repeat(20, axis=1)
        write_npy(tmp_path / "in" / f"{name}.npy", array)
    amplitudes = {}
    for detail in (0.0, 0.5, 1.0):
        runs(detail=detail, output=tmp_path / f"{detail}")
        for name in waves:
            amplitudes[name, detail] = np.load(tmp_path / f"{detail}" / f"{name}.npy")[6:-6].std() * 2**0.5
    fine = [amplitudes["fine", detail] for detail in (0.0, 0.5, 1.0)]
    assert fine[0] < 0.1 and fine[1] == pytest.approx(fine[2] / 2, rel=0.01) and fine[2] > 35
    assert amplitudes["coarse", 1.0] == pytest.approx(amplitudes["coarse", 0.0], rel=0.01)
