"""Without the truth: each figure against what is known of made-up pictures, and the mode from end to end."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

from denoiser.benchmark import BenchmarkOptions, Result, benchmark, blind, tables
from denoiser.benchmark.pictures import Picture
from denoiser.cli.main import main
from denoiser.errors import ExitCode
from denoiser.images.pixels import ValueRange

RNG = np.random.default_rng(0)


def scene(side: int = 128) -> NDArray[Any]:
    """Discs and waves: edges, and flat parts between them."""
    y, x = np.mgrid[:side, :side] / side
    gray = 0.5 + 0.2 * np.sign(np.sin(9 * x) * np.cos(7 * y)) + 0.05 * np.sin(40 * (x + y))
    return np.stack([gray, 0.9 * gray, 0.8 * gray], axis=2)


def noise(sigma: float, shape: tuple[int, ...] = (128, 128, 3)) -> NDArray[Any]:
    return RNG.standard_normal(shape) * sigma / 255


@pytest.mark.parametrize("sigma", [5, 25])
def test_noise_level(sigma: float) -> None:
    values = 0.5 + noise(sigma)
    assert blind.noise_of(values, None).sigma == pytest.approx(sigma, rel=0.05)
    assert blind.noise_of(np.rint(values * 255) / 255, 255).sigma == pytest.approx(sigma, rel=0.05)
    assert blind.noise_of(values[:6, :6], None).sigma is None


def test_autocorrelation_of_white_and_of_correlated_noise() -> None:
    bright = np.linspace(0.1, 2, 128)[:, None, None]
    white = [noise(25), bright * noise(25), noise(25) + 0.3, RNG.exponential(1, (128, 128, 3))]
    assert all((blind.autocorrelation(each) or 1) < 0.02 for each in white)
    length = 1.0
    found = blind.autocorrelation(gaussian_filter(noise(25, (512, 512, 1)), (length, length, 0), mode="wrap"))
    offsets = [(y, x) for y in range(-2, 3) for x in range(-2, 3) if (y, x) != (0, 0)]
    theory = np.mean([np.exp(-(y * y + x * x) / (4 * length**2)) ** 2 for y, x in offsets]) ** 0.5
    assert found == pytest.approx(theory, rel=0.03)
    assert blind.autocorrelation(np.full((9, 9, 1), 0.5)) is None


def test_structure_tells_removed_edges_from_noise_and_from_noise_left_there() -> None:
    clean, added = scene(), noise(15)
    noisy = clean + added
    assert abs(blind.structure(added, clean) or 1) < 0.1
    blurred = gaussian_filter(noisy, (2, 2, 0))
    assert (blind.structure(noisy - blurred, blurred) or 0) > 0.4
    edges = gaussian_filter(np.hypot(*np.gradient(clean[:, :, 0]))[:, :, None], (2, 2, 0)) > 0.02
    careful = np.where(edges, noisy, clean)
    assert (blind.structure(noisy - careful, careful) or 0) < -0.3
    assert blind.structure(np.zeros((20, 20, 3)), clean[:20, :20]) is None


def test_held_out_pixels_are_not_seen() -> None:
    stored = RNG.integers(0, 256, (21, 30, 3), dtype=np.uint8)
    holed, held = blind.hold_out(Picture(stored, ValueRange(0, 255), 255))
    assert held is not None and held.sum() == 5 * 7
    assert holed.stored.dtype == stored.dtype
    np.testing.assert_array_equal(holed.stored[~held], stored[~held])
    row, column = (int(each[3]) for each in np.nonzero(held))
    beside = [stored[row - 1, column], stored[row + 1, column], stored[row, column - 1], stored[row, column + 1]]
    np.testing.assert_array_equal(holed.stored[row, column], np.rint(np.mean(beside, axis=0)))
    other = stored.copy()
    other[held] = 0
    again, _ = blind.hold_out(Picture(other, ValueRange(0, 255), 255))
    np.testing.assert_array_equal(again.stored, holed.stored)
    assert blind.hold_out(Picture(stored[:7], ValueRange(0, 255), 255))[1] is None


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clean pictures and noisy ones, and restored ones that are perfect, blurred or as noisy as before."""
    root = tmp_path_factory.mktemp("blind")
    for index in range(3):
        clean = scene() - 0.03 * index
        noisy = clean + noise(20)
        made = {
            "clean": clean,
            "noisy": noisy,
            "perfect": clean,
            "blurred": gaussian_filter(noisy, (3, 3, 0)),
            "same": noisy,
        }
        for name, values in made.items():
            (root / name).mkdir(exist_ok=True)
            Image.fromarray(np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)).save(root / name / f"{index}.png")
    return root


@pytest.fixture(scope="module")
def result(folders: Path) -> Result:
    restored = tuple(folders / name for name in ("perfect", "blurred", "same"))
    return benchmark(
        BenchmarkOptions(noisy=folders / "noisy", restored=restored, models=("none",), classical=("median", "nlm"))
    )


def figure(result: Result, method: str, name: str) -> float:
    mean = next(row for row in result.rows if row.method == method).mean(name)
    assert mean is not None
    return mean.mean


def test_a_user_without_truth_can_choose(result: Result) -> None:
    assert figure(result, "noisy input", "noise") == pytest.approx(20, rel=0.1)
    assert figure(result, "perfect", "noise") < 5
    assert figure(result, "perfect", "autocorrelation") < 0.03 < figure(result, "blurred", "autocorrelation")
    assert abs(figure(result, "perfect", "structure")) < 0.15 < figure(result, "blurred", "structure")
    order = sorted(("noisy input", "median", "nlm"), key=lambda method: figure(result, method, "held_out"))
    assert order[0] == "nlm"
    assert figure(result, "nlm", "held_out") > 20 * 0.95, "nothing predicts noise"
    same = next(row for row in result.rows if row.method == "same")
    assert same.mean("autocorrelation") is None and same.mean("structure") is None and same.mean("held_out") is None


def test_held_out_order_is_that_of_the_truth(folders: Path, result: Result) -> None:
    options = BenchmarkOptions(folders / "clean", folders / "noisy", models=("none",), classical=("median", "nlm"))
    psnr = {row.method: row.mean("psnr") for row in benchmark(options).rows}
    held_out = {method: figure(result, method, "held_out") for method in ("median", "nlm")}
    assert min(held_out, key=lambda name: held_out[name]) == max(held_out, key=lambda name: psnr[name].mean)  # type: ignore[union-attr]


def test_every_form(folders: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.html"
    call = ["benchmark", "--noisy", str(folders / "noisy"), "--model", "none", "--classical", "median"]
    texts = {}
    for form in ("--json", "--csv", "--markdown", "--no-progress"):
        assert main([*call, form, *(["--report", str(page)] if form == "--csv" else [])]) == ExitCode.OK
        texts[form], _ = capfd.readouterr()
        for word in ("no-reference", "independent from pixel to pixel", "3 colour"):
            assert word in " ".join(texts[form].split()), (form, word)
    document = json.loads(texts["--json"])
    rows = list(csv.DictReader(io.StringIO(texts["--csv"])))
    assert [row["method"] for row in document["rows"]] == ["noisy input", "median"] == [row["method"] for row in rows]
    assert float(rows[1]["held_out_mean"]) == pytest.approx(document["rows"][1]["held_out"]["mean"])
    assert max(map(len, texts["--no-progress"].splitlines())) <= 80
    text = page.read_text(encoding="utf-8")
    assert "held out" in text and 'alt="0.png, the truth"' not in text and "PSNR" not in text


def test_bad_input(folders: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for name, shape in (("dot.png", (1, 1, 3)), ("flat.png", (30, 30, 3)), ("small.png", (9, 4, 3))):
        Image.fromarray(np.full(shape, 90, np.uint8)).save(tmp_path / name)
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    call = ["benchmark", "--noisy", str(tmp_path), "--model", "none"]
    assert main([*call, "--json"]) == ExitCode.SOME_FAILED
    out, err = capfd.readouterr()
    assert "broken.png" in err and len(json.loads(out)["pictures"]) == 3
    assert main([*call, "--baseline", "old.json"]) == ExitCode.USAGE
    (tmp_path / "old.json").write_text(out)
    clean = ["benchmark", str(folders / "clean"), "--model", "none", "--baseline", str(tmp_path / "old.json")]
    assert main(clean) == ExitCode.USAGE
    assert "without the truth" in capfd.readouterr().err


def test_correlated_noise_is_told(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for name, added in (("white.png", noise(20)), ("smooth.png", 3 * gaussian_filter(noise(20), (1, 1, 0)))):
        Image.fromarray(np.rint(np.clip(scene() + added, 0, 1) * 255).astype(np.uint8)).save(tmp_path / name)
    assert main(["benchmark", "--noisy", str(tmp_path), "--model", "none", "--classical", "median"]) == ExitCode.OK
    out, err = capfd.readouterr()
    assert "1 of 2 pictures looks correlated" in " ".join(out.split())
    assert "1 of 2 pictures looks correlated from pixel to pixel" in err


def test_tables_have_no_column_of_truth(result: Result) -> None:
    headings = [column.heading for column in tables.columns(result, "both")]
    assert headings[:5] == ["method", "noise level", "corr.", "edges", "held out"]
