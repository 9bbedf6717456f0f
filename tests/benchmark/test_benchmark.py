"""The benchmark end to end: its three ways, its figures against theory, what it does with bad input, its gate."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio

from denoiser.batch import CorruptOptions, corrupt_files
from denoiser.benchmark import BenchmarkOptions, Result, benchmark, gate, tables
from denoiser.benchmark.filters import FILTERS
from denoiser.benchmark.methods import NEEDED
from denoiser.cli.main import main
from denoiser.errors import ExitCode, NothingToDoError, UnavailableError, UsageError
from denoiser.estimate import MODELS
from denoiser.progress import Silent

ONLY = {"models": ("none",), "classical": ("none",)}
"""Measures the noisy input alone, which is quick."""


def smooth(height: int, width: int, channels: int = 3) -> NDArray[np.uint8]:
    """A picture with values far from black and white, so that little noise is clipped."""
    y, x = np.mgrid[:height, :width]
    waves = [128 + 40 * np.sin(x / (7 + c)) * np.cos(y / 9) for c in range(channels)]
    return np.rint(np.stack(waves, axis=2)).astype(np.uint8)


def write(path: Path, pixels: NDArray[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).save(path)


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    """Three pictures, one of them in a folder and one gray."""
    folder = tmp_path / "clean"
    for name, shape in {"a.png": (40, 50, 3), "sub dir/ü.png": (33, 21, 3), "g.png": (30, 30, 1)}.items():
        write(folder / name, smooth(*shape))
    return folder


def changed(source: Path, target: Path, amount: int) -> Path:
    """A copy of a folder of pictures with a chessboard of +-amount added: PSNR is 20 log10(255 / amount)."""
    for path in source.rglob("*.png"):
        pixels = np.asarray(Image.open(path)).astype(int)
        board = np.indices(pixels.shape[:2]).sum(0) % 2 * 2 - 1
        board = board if pixels.ndim == 2 else board[:, :, None]
        out = target / path.relative_to(source)
        out.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((pixels + amount * board).astype(np.uint8)).save(out)
    return target


def row(result: Result, method: str, noise: str = "") -> Any:
    return next(each for each in result.rows if each.method == method and noise in ("", each.noise))


def psnr_of_board(amount: float) -> float:
    return float(20 * np.log10(255 / amount))


# Figures


def test_noisy_input_equals_theory_before_clipping(tmp_path: Path) -> None:
    write(tmp_path / "large.png", smooth(512, 512))
    result = benchmark(BenchmarkOptions(tmp_path, protocol="literature", **ONLY))
    for sigma, theory in ((15, 24.61), (25, 20.17), (50, 14.15)):
        assert row(result, "noisy input", f"gaussian:{sigma}").psnr.mean == pytest.approx(theory, abs=0.02)


def test_file_protocol_clips_and_rounds(tmp_path: Path) -> None:
    write(tmp_path / "white.png", np.full((64, 64, 3), 255, np.uint8))
    noisy = {
        name: row(benchmark(BenchmarkOptions(tmp_path, noise=("gaussian:25",), protocol=name, **ONLY)), "noisy input")
        for name in ("file", "literature")
    }
    # Half of the noise on white is clipped away, so that half of the squared error is left.
    assert noisy["file"].psnr.mean - noisy["literature"].psnr.mean == pytest.approx(3.01, abs=0.15)


def test_the_same_noise_every_time_whatever_else_is_measured(clean: Path, tmp_path: Path) -> None:
    options = BenchmarkOptions(clean, noise=("gaussian:25", "gaussian:50"), **ONLY)
    first, second = benchmark(options), benchmark(replace(options, noise=("gaussian:50",)))
    assert row(first, "noisy input", "gaussian:50").scores == row(second, "noisy input").scores
    assert row(benchmark(replace(options, seed=1)), "noisy input").scores != row(first, "noisy input").scores


@pytest.mark.parametrize("name", [name for name in FILTERS if name not in NEEDED])
def test_classical_methods_remove_noise(name: str, tmp_path: Path) -> None:
    write(tmp_path / "a.png", smooth(64, 64))
    write(tmp_path / "g.png", smooth(64, 64, 1))
    options = BenchmarkOptions(tmp_path, noise=("gaussian:25",), models=("none",), classical=(name,))
    result = benchmark(options)
    gains = [
        after.psnr - before.psnr
        for before, after in zip(row(result, "noisy input").scores, row(result, name).scores, strict=True)
    ]
    assert min(gains) > 2
    assert row(result, name).megapixels_per_second > 0


def test_a_model_is_measured_with_its_cost(clean: Path, tiny_model: Path) -> None:
    result = benchmark(BenchmarkOptions(clean, noise=("gaussian:25",), models=(str(tiny_model),), classical=("none",)))
    found = row(result, str(tiny_model))
    assert (found.kind, len(found.scores), len(found.weights)) == ("model", 3, 64)
    assert all(5 < score.psnr < 60 for score in found.scores)
    assert "fp32" in result.protocol["device"] or "bf16" in result.protocol["device"]


# Pairs and restored pictures


def test_auto_is_measured_as_the_network_that_each_picture_gets(tmp_path: Path) -> None:
    write(tmp_path / "a.png", smooth(96, 96))
    noise = ("gaussian:15", "correlated:sigma=15,length=1")
    options = BenchmarkOptions(tmp_path, noise=noise, models=("auto", *MODELS), classical=("none",), precision="fp32")
    result = benchmark(options)
    for kind, model in zip(noise, MODELS, strict=True):
        assert row(result, "auto", kind).psnr == row(result, model, kind).psnr
    auto, unet, photo = (row(result, model) for model in ("auto", *MODELS))
    assert auto.parameters == unet.parameters + photo.parameters
    assert auto.weights == f"{unet.weights}+{photo.weights}"


def test_an_ensemble_is_named_and_costs_its_views(clean: Path, tiny_model: Path) -> None:
    options = BenchmarkOptions(clean, noise=("gaussian:25",), models=(str(tiny_model),), classical=("none",))
    plain, result = benchmark(options), benchmark(replace(options, ensemble=4))
    assert "the mean of 4 views" in result.protocol["statement"] and "views" not in plain.protocol["statement"]
    assert row(result, str(tiny_model)).macs_per_pixel == 4 * row(plain, str(tiny_model)).macs_per_pixel


@pytest.mark.parametrize("protocol", ["file", "literature"])
def test_a_model_that_needs_a_range_is_told_one(clean: Path, tmp_path: Path, protocol: str) -> None:
    from denoiser import models, weights

    module = models.build("dae", {"channels": [8, 8]})  # fresh, it gives mid-gray
    path = tmp_path / "gray.safetensors"
    weights.save(path, module, weights.Card("dae", models.config_of(module), name="gray"))
    options = BenchmarkOptions(
        clean, noise=("gaussian:25",), models=(str(path),), classical=("none",), protocol=protocol
    )
    found = row(benchmark(options), str(path))
    assert all(score.mse < 0.26 for score in found.scores), "mid-gray is never further away than half of the range"


def test_restored_pictures_by_hand(clean: Path, tmp_path: Path) -> None:
    ours, theirs = changed(clean, tmp_path / "ours", 2), changed(clean, tmp_path / "theirs", 8)
    result = benchmark(BenchmarkOptions(clean, restored=(ours, theirs)))
    assert [each.method for each in result.rows] == ["ours", "theirs"]
    for name, amount in (("ours", 2), ("theirs", 8)):
        assert row(result, name).psnr.mean == pytest.approx(psnr_of_board(amount), abs=1e-9)
        assert row(result, name).psnr_of_mean_mse == pytest.approx(psnr_of_board(amount), abs=1e-9)
    assert result.exit_code == ExitCode.OK


def test_mean_of_psnrs_and_psnr_of_mean_mse_differ(tmp_path: Path) -> None:
    for name, amount in (("a.png", 2), ("b.png", 20)):
        write(tmp_path / "clean" / name, np.full((16, 16, 3), 100, np.uint8))
        write(tmp_path / "out" / name, np.full((16, 16, 3), 100 + amount, np.uint8))
    found = row(benchmark(BenchmarkOptions(tmp_path / "clean", restored=(tmp_path / "out",))), "out")
    assert found.psnr.mean == pytest.approx((psnr_of_board(2) + psnr_of_board(20)) / 2)
    assert found.psnr_of_mean_mse == pytest.approx(psnr_of_board(((4 + 400) / 2) ** 0.5))


def test_noisy_pairs_of_another_format_and_16_bit(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(20000, 40000, (20, 24), dtype=np.uint16)
    noisy = (truth + rng.integers(-900, 900, truth.shape)).astype(np.uint16)
    for folder, name, pixels in (("clean", "x.tif", truth), ("noisy", "x.png", noisy)):
        (tmp_path / folder).mkdir()
        if name.endswith("tif"):
            tifffile.imwrite(tmp_path / folder / name, pixels)
        else:
            Image.fromarray(pixels).save(tmp_path / folder / name)
    options = BenchmarkOptions(tmp_path / "clean", noisy=tmp_path / "noisy", **ONLY)
    expected = peak_signal_noise_ratio(truth, noisy, data_range=65535)
    assert row(benchmark(options), "noisy input", "noisy").psnr.mean == pytest.approx(expected, abs=1e-6)
    narrow = benchmark(replace(options, white=40000.0))
    assert row(narrow, "noisy input").psnr.mean == pytest.approx(
        peak_signal_noise_ratio(truth, noisy, data_range=40000), abs=1e-6
    )


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_names_and_folders_may_hold_the_mark_of_a_page(tmp_path: Path, suffix: str) -> None:
    truth = smooth(20, 20, 1)
    for name in ("a#1", "b#1", "#2/c"):
        write(tmp_path / "clean" / f"{name}.png", truth)
    for name in ("b#1", "#2/c"):
        write(tmp_path / "noisy" / f"{name}.{suffix}", truth + np.uint8(4))
    for folder, more in (("clean", 0), ("noisy", 4)):
        tifffile.imwrite(tmp_path / folder / f"stack.{'tif' if more else 'tiff'}", np.stack([truth[..., 0] + more] * 2))
    result = benchmark(BenchmarkOptions(tmp_path / "clean", noisy=tmp_path / "noisy", **ONLY))
    assert {each.name for each in result.pictures} == {"b#1.png", "#2/c.png", "stack.tiff#0", "stack.tiff#1"}
    assert [failure.picture for failure in result.failures] == ["a#1.png"]


def test_float_restorations_are_in_the_units_of_the_clean_file(tmp_path: Path) -> None:
    truth = smooth(20, 20)
    write(tmp_path / "clean" / "a.png", truth)
    (tmp_path / "out").mkdir()
    tifffile.imwrite(tmp_path / "out" / "a.tif", truth.astype(np.float32) + 4, photometric="rgb")
    found = row(benchmark(BenchmarkOptions(tmp_path / "clean", restored=(tmp_path / "out",))), "out")
    assert found.psnr.mean == pytest.approx(psnr_of_board(4), abs=1e-4)


# Bad input


def test_bad_pairs_are_named_and_the_good_ones_measured(clean: Path, tmp_path: Path) -> None:
    out = changed(clean, tmp_path / "out", 2)
    for name in ("missing.png", "size.png", "colour.png", "depth.png"):
        write(clean / name, smooth(20, 20))
    write(out / "size.png", smooth(20, 21))
    write(out / "colour.png", smooth(20, 20, 1))
    tifffile.imwrite(out / "depth.tif", smooth(20, 20).astype(np.uint16), photometric="rgb")
    write(out / "extra.png", smooth(20, 20))
    (clean / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    result = benchmark(BenchmarkOptions(clean, restored=(out,)))
    assert len(row(result, "out").scores) == 3
    reasons = {failure.picture: failure.reason for failure in result.failures}
    assert set(reasons) == {"missing.png", "size.png", "colour.png", "depth.png", "out/extra.png", "broken.png"}
    assert "no partner" in reasons["missing.png"]
    assert "21 x 20 colour" in reasons["size.png"] and "20 x 20 colour" in reasons["size.png"]
    assert "20 x 20 gray" in reasons["colour.png"]
    assert "uint16" in reasons["depth.png"]
    assert result.exit_code == ExitCode.SOME_FAILED


def test_identical_constant_and_tiny_pictures(tmp_path: Path) -> None:
    for name, pixels in {
        "same.png": smooth(20, 20),
        "constant.png": np.full((20, 20, 3), 7, np.uint8),
        "tiny.png": np.full((1, 1, 3), 100, np.uint8),
    }.items():
        write(tmp_path / "clean" / name, pixels)
        write(tmp_path / "noisy" / name, pixels + 4 * (name == "tiny.png"))
    options = BenchmarkOptions(tmp_path / "clean", noisy=tmp_path / "noisy", models=("none",))
    result = benchmark(options)
    assert not result.failures
    for each in result.rows:
        assert each.ssim.count == 2, "a picture of one pixel has no SSIM"
    noisy = row(result, "noisy input")
    assert (noisy.identical, noisy.psnr.mean) == (2, pytest.approx(psnr_of_board(4)))
    text = tables.markdown(result, "both")
    assert "without 2 equal to the truth (inf)" in text
    json.loads(json.dumps(result.to_json(), allow_nan=False))


def test_all_pictures_equal_to_the_truth(clean: Path) -> None:
    result = benchmark(BenchmarkOptions(clean, restored=(clean,)))
    assert (row(result, "clean").psnr, row(result, "clean").identical) == (None, 3)
    assert [each.text(row(result, "clean")) for each in tables.columns(result, "both")[1:3]] == ["inf", "inf"]
    assert "Infinity" not in json.dumps(result.to_json())


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"noise": ("gausian:25",)}, "gaussian"),
        ({"protocol": "paper"}, "literature"),
        ({"classical": ("bm4d",)}, "bm3d"),
        ({"models": ("none", "unet")}, "stands alone"),
        ({"restored": (Path("x"),)}, "--clean or --noisy"),
        ({"noisy": Path("x"), "baseline": Path("b")}, "need the truth"),
        ({"noisy": Path("x"), "noise": ("stripes",)}, "none to add"),
        ({"noise": ("gaussian:25",), "classical": ("biharmonic",)}, "makes some"),
        ({"clean": Path("c"), "restored": (Path("x"),), "models": ("unet",)}, "--noisy"),
        ({"clean": Path("c"), "noisy": Path("x"), "noise": ("gaussian:25",)}, "none to add"),
        ({"crop": 0}, "crop"),
        ({"seed": -1}, "seed"),
        ({"max_drop": -0.1}, "max-drop"),
        ({"max_drop": float("inf")}, "max-drop"),
        ({"noise": ("stripes", "mask", "stripes")}, "stripes: named more than once"),
    ],
)
def test_options_that_make_no_sense(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        BenchmarkOptions(**wrong)


def test_what_is_not_there(clean: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(NothingToDoError, match="empty"):
        benchmark(BenchmarkOptions(tmp_path / "empty", **ONLY))
    with pytest.raises(UsageError, match="nowhere"):
        benchmark(BenchmarkOptions(tmp_path / "nowhere", **ONLY))
    with pytest.raises(UnavailableError, match="'big'"):
        benchmark(BenchmarkOptions(clean, models=("big",)))
    with pytest.raises(UsageError, match="another row's name"):
        benchmark(BenchmarkOptions(clean, restored=(clean, clean)))


def test_floats_need_a_range(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", smooth(20, 20).astype(np.float32))
    options = BenchmarkOptions(tmp_path, noise=("gaussian:25",), **ONLY)
    result = benchmark(options)
    assert "--white" in result.failures[0].reason
    found = row(benchmark(replace(options, white=255.0)), "noisy input")
    assert found.psnr.mean == pytest.approx(20.17, abs=0.4)


def test_floats_from_0_to_1_are_scored_beside_integers(tmp_path: Path) -> None:
    """As `denoiser corrupt` writes them; --white would have to mean one value for both."""
    np.save(tmp_path / "a.npy", (smooth(20, 20) / 255).astype(np.float32))
    Image.fromarray(smooth(20, 20).astype(np.uint8)).save(tmp_path / "b.png")
    options = BenchmarkOptions(tmp_path, noise=("gaussian:25",), **ONLY)
    result = benchmark(options)
    assert not result.failures and row(result, "noisy input").psnr.mean == pytest.approx(20.17, abs=0.4)
    refused = benchmark(replace(options, white=4095.0))
    assert ["beyond the values of uint8" in each.reason for each in refused.failures] == [True]


# The gate


def judged(clean: Path, restored: Path, baseline: Path, max_drop: float = 0.05) -> Result:
    return benchmark(BenchmarkOptions(clean, restored=(restored,), baseline=baseline, max_drop=max_drop))


@pytest.fixture
def baseline(clean: Path, tmp_path: Path) -> Path:
    """The document of pictures that are off by 4."""
    path = tmp_path / "old.json"
    result = benchmark(BenchmarkOptions(clean, restored=(changed(clean, tmp_path / "v1", 4),)))
    path.write_text(json.dumps(result.to_json()))
    return path


def test_gate_holds_for_the_same_and_for_better(clean: Path, tmp_path: Path, baseline: Path) -> None:
    for amount in (4, 2):
        result = judged(clean, changed(clean, tmp_path / f"off by {amount}", amount), baseline)
        assert result.exit_code == ExitCode.OK
        assert result.gate is not None and not result.gate.comparisons[0].falls


def test_gate_names_what_fell(clean: Path, tmp_path: Path, baseline: Path) -> None:
    new = changed(clean, tmp_path / "v2", 4)
    write(new / "a.png", smooth(40, 50) + np.uint8(16))
    result = judged(clean, new, baseline)
    assert result.exit_code == ExitCode.GATE
    (found,) = result.gate.comparisons if result.gate else ()
    assert [fall.picture for fall in found.falls] == ["a.png"]
    assert found.drop is not None and found.drop.mean == pytest.approx((psnr_of_board(4) - psnr_of_board(16)) / 3)
    assert "a.png (36.09 -> 24.05)" in tables.verdict(found, 0.05)
    assert judged(clean, new, baseline, max_drop=20).exit_code == ExitCode.OK


def test_gate_tells_what_it_does_not_compare(clean: Path, tmp_path: Path) -> None:
    path = tmp_path / "old.json"
    for folder, amount in (("v1", 4), ("v2", 4), ("v3", 9)):
        changed(clean, tmp_path / folder, amount)
    first = BenchmarkOptions(clean, restored=(tmp_path / "v1", tmp_path / "v2"))
    path.write_text(json.dumps(benchmark(first).to_json()))
    notes: list[str] = []

    class Notes(Silent):
        def note(self, message: str, level: str = "info") -> None:
            notes.append(f"{level}: {message}")

    second = replace(first, restored=(tmp_path / "v1", tmp_path / "v3"), baseline=path)
    assert benchmark(second, progress=Notes()).exit_code == ExitCode.OK
    assert [note for note in notes if "not compared" in note] == [
        f"warning: {path}: not compared, not in the baseline: v3 on files",
        f"warning: {path}: not compared, only in the baseline: v2 on files",
    ]


def test_gate_counts_missing_pictures(clean: Path, tmp_path: Path, baseline: Path) -> None:
    new = changed(clean, tmp_path / "v2", 4)
    (new / "g.png").unlink()
    result = judged(clean, new, baseline)
    assert result.exit_code == ExitCode.GATE
    assert result.gate is not None and result.gate.comparisons[0].falls[0] == gate.Fall(
        "g.png", pytest.approx(psnr_of_board(4)), None
    )


def test_gate_refuses_what_cannot_be_compared(clean: Path, tmp_path: Path, baseline: Path) -> None:
    with pytest.raises(UsageError, match="only equal protocols"):
        benchmark(BenchmarkOptions(clean, baseline=baseline, **ONLY))
    other = tmp_path / "other.json"
    damaged = '{"schema": "denoiser.benchmark/1", "protocol": null, "pictures": [], "rows": []}'
    for text, words in (
        *(("", "not JSON"), ("{}", "denoiser.benchmark/1"), (None, "cannot be read")),
        *(
            (damaged, "damaged baseline"),
            (damaged.replace("null", '{"name": "files"}').replace("]}", "7]}"), "damaged"),
        ),
    ):
        if text is not None:
            other.write_text(text)
        with pytest.raises(UsageError, match=words):
            gate.read(other if text is not None else tmp_path / "nothing.json")
    write(clean / "a.png", smooth(40, 50) + np.uint8(1))
    with pytest.raises(UsageError, match=r"a\.png was another picture"):
        judged(clean, tmp_path / "v1", baseline)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda clean, restored: {"restored": (), **ONLY}, "only equal protocols"),
        (
            lambda clean, restored: {"crop": 20},
            r"measured 50 x 40 pixels of a\.png, this 20 x 20; give the same --crop",
        ),
        (lambda clean, restored: {"restored": (restored, clean)}, "has no row to compare with; it has v1 on files"),
        (lambda clean, restored: {"clean": clean / "sub dir", "restored": (restored / "sub dir",)}, "other pictures"),
    ],
)
def test_gate_refuses_before_anything_is_measured(
    clean: Path, tmp_path: Path, baseline: Path, change: Any, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("denoiser.benchmark.core._measure", None)
    restored = (tmp_path / "v1").rename(tmp_path / "v2")
    options = BenchmarkOptions(clean, restored=(restored,), baseline=baseline)
    with pytest.raises(UsageError, match=words):
        benchmark(replace(options, **change(clean, restored)))


def test_damaged_weights_fail_the_gate(
    clean: Path, tiny_model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    import torch

    from denoiser import weights

    call = ["benchmark", str(clean), "--noise", "gaussian:5", "--classical", "none", "--precision", "fp32", "--json"]
    assert main([*call, "--model", str(tiny_model)]) == ExitCode.OK
    old = tmp_path / "old.json"
    old.write_text(capfd.readouterr().out)
    module, card = weights.load(tiny_model)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.05)
    weights.save(tmp_path / "damaged.safetensors", module, card)
    assert main([*call, "--model", str(tiny_model), "--baseline", str(old)]) == ExitCode.OK
    capfd.readouterr()
    assert main([*call, "--model", str(tmp_path / "damaged.safetensors"), "--baseline", str(old)]) == ExitCode.GATE
    out, err = capfd.readouterr()
    assert json.loads(out)["gate"]["failed"]
    assert "worse:" in err and "a.png (" in err


# The doors


def test_every_form_states_the_protocol(clean: Path, capfd: pytest.CaptureFixture[str]) -> None:
    call = ["benchmark", str(clean), "--noise", "gaussian:25", "--classical", "tv", "--model", "none", "--psnr", "both"]
    texts = {}
    for form in ("--json", "--csv", "--markdown", "--no-progress"):
        assert main([*call, form]) == ExitCode.OK
        texts[form], err = capfd.readouterr()
        assert "3 pictures measured" in err
        for word in ("seed 0", "clipped and rounded", "2 colour", "1 gray", "population covariance", "numpy"):
            assert word in " ".join(texts[form].split()), (form, word)
    rows = list(csv.DictReader(io.StringIO(texts["--csv"])))
    assert [each["method"] for each in rows] == ["noisy input", "tv"]
    document = json.loads(texts["--json"])
    assert document["schema"] == "denoiser.benchmark/1"
    assert float(rows[1]["psnr_mean"]) == pytest.approx(document["rows"][1]["psnr"]["mean"])
    assert "PSNR of mean MSE" in texts["--markdown"]
    assert max(map(len, texts["--no-progress"].splitlines())) <= 80


@pytest.mark.parametrize(
    "arguments",
    [("--json", "--csv"), ("x", "--clean", "y"), ("--psnr", "pooled"), ("--noise", "fog"), ("--baseline", "nothing")],
)
def test_usage_errors(arguments: tuple[str, ...], capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["benchmark", *arguments]) == ExitCode.USAGE
    assert capfd.readouterr().err


def test_failures_are_told_and_give_exit_code_1(clean: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = changed(clean, tmp_path / "out", 2)
    (out / "a.png").unlink()
    assert main(["benchmark", "--restored", str(out), "--clean", str(clean), "-q"]) == ExitCode.SOME_FAILED
    assert "a.png: has no partner" in capfd.readouterr().err


def test_the_samples_need_no_folder() -> None:
    result = benchmark(BenchmarkOptions(crop=32, noise=("gaussian:25",), **ONLY))
    assert len(result.pictures) == 6
    assert {picture.channels for picture in result.pictures} == {3}
    assert "samples of scikit-image" in result.protocol["statement"]


# What ``denoiser corrupt`` tells


def deep(folder: Path) -> Path:
    """12-bit pictures in files of 16 bit."""
    for index in range(2):
        folder.mkdir(exist_ok=True)
        tifffile.imwrite(folder / f"{index}.tif", smooth(40, 50).astype(np.uint16) * 16, photometric="rgb")
    return folder


def test_noise_and_range_of_corrupted_pictures_are_known(tmp_path: Path) -> None:
    truth = deep(tmp_path / "truth")
    corrupt_files([truth], tmp_path / "noisy", CorruptOptions(noise="gaussian:20", white=4095))
    pairs = {"clean": truth, "noisy": tmp_path / "noisy", **ONLY}
    told = benchmark(BenchmarkOptions(**pairs))
    assert told.rows == benchmark(BenchmarkOptions(**pairs, white=4095, black=0)).rows
    assert row(told, "noisy input", "gaussian:20").psnr.mean == pytest.approx(20 * np.log10(255 / 20), abs=0.2)
    assert row(benchmark(BenchmarkOptions(noisy=tmp_path / "noisy", **ONLY)), "noisy input").noise == "gaussian:20"
    other = benchmark(BenchmarkOptions(**pairs, white=65535))
    assert row(other, "noisy input").psnr.mean > 40, "what the user declares goes first"


@pytest.mark.parametrize("noise", ["stripes", "poisson:30+mask:0.4", "salt-pepper:0.2+jpeg:95"])
def test_holes_of_corrupted_pictures_are_known(tmp_path: Path, noise: str) -> None:
    write(tmp_path / "truth" / "sub" / "a.png", smooth(60, 80))
    tifffile.imwrite(tmp_path / "truth" / "b.tif", np.stack([smooth(40, 50), smooth(40, 50)[::-1]]), photometric="rgb")
    corrupt_files([tmp_path / "truth"], tmp_path / "noisy", CorruptOptions(noise=noise, seed=4))
    pairs = BenchmarkOptions(clean=tmp_path / "truth", noisy=tmp_path / "noisy", **ONLY)
    for options in (pairs, replace(pairs, crop=32)):
        result = benchmark(options)
        assert len(result.pictures) == 3 and all(score.hole_mse for score in row(result, "noisy input").scores)
        assert row(result, "noisy input").hole_psnr.mean < row(result, "noisy input").psnr.mean
    assert "PSNR in the hole" in result.protocol["statement"]
    for path in (tmp_path / "noisy" / "sub" / "a.png", tmp_path / "noisy" / "b.tif"):
        path.write_bytes((tmp_path / "truth" / path.relative_to(tmp_path / "noisy")).read_bytes())
    assert row(benchmark(pairs), "noisy input").hole_psnr is None, "other pictures than those that were made"


def test_several_kinds_of_noise_have_the_name_of_their_folder(tmp_path: Path) -> None:
    truth = deep(tmp_path / "truth")
    for name, white in (("0.tif", 4095), ("1.tif", 8191)):
        options = CorruptOptions(noise=f"gaussian:{white % 7 + 9}", white=white, include=(name,))
        corrupt_files([truth], tmp_path / "noisy", options)
    notes = Notes()
    result = benchmark(BenchmarkOptions(clean=truth, noisy=tmp_path / "noisy", **ONLY), notes)
    assert row(result, "noisy input").noise == "noisy"
    assert any("several values of white" in each for each in notes.told)


class Notes(Silent):
    """Keeps what is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def note(self, message: str, level: str = "info") -> None:
        self.told.append(message)


# Ranges that are declared


def test_white_and_black_of_other_types_than_8_bit(tmp_path: Path, tiny_model: Path) -> None:
    truth = deep(tmp_path / "truth")
    result = benchmark(BenchmarkOptions(clean=truth, white=4095, models=(str(tiny_model),), classical=("median",)))
    assert not result.failures and len(result.rows) == 9
    result = benchmark(BenchmarkOptions(clean=truth, white=250, **ONLY))
    assert all("far above the declared white" in failure.reason for failure in result.failures)
    assert len(result.failures) == 2


def test_pixels_without_data_are_refused(tmp_path: Path) -> None:
    picture = smooth(40, 50)[..., 0].astype(np.float32) / 255
    picture[5:9, 5:9] = -9999
    (tmp_path / "clean").mkdir()
    tifffile.imwrite(tmp_path / "clean" / "a.tif", picture, extratags=[(42113, "s", 0, "-9999", True)])
    (failure,) = benchmark(BenchmarkOptions(clean=tmp_path / "clean", **ONLY)).failures
    assert "no-data pixels cannot be scored" in failure.reason


def test_holes_that_are_filled_to_the_last_bit_are_told(tmp_path: Path) -> None:
    write(tmp_path / "clean" / "a.png", smooth(40, 50))
    write(tmp_path / "clean" / "black.png", np.zeros((40, 50, 3), np.uint8))
    result = benchmark(BenchmarkOptions(clean=tmp_path / "clean", noise=("stripes",), **ONLY))
    assert "without 1 equal to the truth (inf)" in tables.hole_words(row(result, "noisy input"))


def test_a_partner_is_nobody_elses(tmp_path: Path) -> None:
    for folder in ("clean", "noisy"):
        write(tmp_path / folder / "a.png", smooth(30, 30))
    write(tmp_path / "clean" / "a.bmp", smooth(30, 30)[::-1])
    result = benchmark(BenchmarkOptions(clean=tmp_path / "clean", noisy=tmp_path / "noisy", **ONLY))
    assert [each.name for each in result.pictures] == ["a.png"]
    assert [failure.picture for failure in result.failures] == ["a.bmp"]
    (tmp_path / "noisy" / "a.png").rename(tmp_path / "noisy" / "a.webp")
    result = benchmark(BenchmarkOptions(clean=tmp_path / "clean", noisy=tmp_path / "noisy", **ONLY))
    assert not result.pictures
    assert all("a.bmp, a.png, a.webp are all alike" in failure.reason for failure in result.failures)


def test_auto_chooses_by_noise_that_is_not_clipped_either(tmp_path: Path) -> None:
    write(tmp_path / "clean" / "a.png", smooth(128, 128))
    noise = ("correlated:sigma=20,length=2",)
    options = BenchmarkOptions(clean=tmp_path / "clean", noise=noise, classical=("none",), models=("auto", *MODELS))
    for protocol in ("file", "literature"):
        result = benchmark(replace(options, protocol=protocol))
        assert row(result, "auto").psnr == row(result, "unet-photo").psnr != row(result, "unet").psnr


def test_unreadable_pictures_are_told_also_beside_a_baseline(clean: Path, tmp_path: Path, baseline: Path) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    result = benchmark(BenchmarkOptions(clean=tmp_path / "broken", baseline=baseline, **ONLY))
    assert [failure.picture for failure in result.failures] == ["a.png"]
    assert result.exit_code == ExitCode.SOME_FAILED
