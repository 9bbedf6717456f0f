"""The examples of the README do what they say, with the bundled model."""

from __future__ import annotations

import hashlib
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile
from PIL import Image
from skimage import data

import denoiser

REPOSITORY = Path(__file__).resolve().parents[1]
EXAMPLES = REPOSITORY / "examples"
NOISY = EXAMPLES / "noisy"
BENCHES = ("bench_cluster", "bench_quality", "bench_scaling", "bench_speed")

posix = pytest.mark.skipif(os.name == "nt", reason="the scripts are for bash")


def call(*command: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a command with ``denoiser`` on the PATH, as if the package were installed."""
    shim = cwd / "bin" / "denoiser"
    if not shim.exists():
        shim.parent.mkdir(parents=True)
        shim.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m denoiser "$@"\n')
        shim.chmod(0o755)
    env = {**os.environ, "PATH": f"{shim.parent}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(REPOSITORY)}
    return subprocess.run(
        list(map(str, command)), cwd=cwd, env=env, capture_output=True, text=True, timeout=300, check=False
    )


def names(folder: Path) -> set[str]:
    """Pictures below a folder."""
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return {path.as_posix() for path in found if not path.parts[0].startswith(".")}


def refusal(
    script: str, *arguments: object, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> str:
    """What a script prints that ends before it does anything."""
    monkeypatch.setattr(sys, "argv", [script, *map(str, arguments)])
    try:
        with pytest.raises(SystemExit) as end:
            runpy.run_path(str(EXAMPLES / script), run_name="__main__")
    except ModuleNotFoundError as missing:  # distributed, and resource on Windows
        pytest.skip(f"{script} needs {missing.name}")
    out, err = capsys.readouterr()
    return f"{end.value.code} {out}{err}"


@pytest.mark.parametrize("script", sorted(path.name for path in EXAMPLES.glob("*.py")))
def test_help(script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    assert refusal(script, "--help", monkeypatch=monkeypatch, capsys=capsys).startswith("0 usage: ")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ("before_after.py", "2 usage: "),
        ("before_after.py empty empty sheet.png", "empty: no picture in it"),
        ("before_after.py pictures empty sheet.png", "cat.png: no such file"),
        *((f"{name}.py empty", "empty: no PNG picture in it") for name in BENCHES),
        ("bench_quality.py missing", "missing: no PNG picture in it"),
        ("fit_auto.py pictures empty", "empty: no PNG or JPEG picture in it"),
        ("fit_auto.py missing pictures", "missing: no PNG or JPEG picture in it"),
        ("fit_auto.py pictures pictures --weights empty", ".safetensors: no such file"),
        ("make_huge.py huge.tif --tile 100", "--tile 100: the sides of TIFF tiles are multiples of 16"),
        ("make_huge.py huge.tif --compression foo", "invalid choice: 'foo'"),
        ("models_table.py plain.md", "the document lacks its marks"),
        ("models_table.py missing.md", "missing.md: no such file"),
        ("stack16.py pictures/cat.png y.png", "cat.png: not the name of a TIFF file"),
        ("stack16.py a.tif b.tif", "a.tif: no such file"),
        ("stack16.py a.tif", "two names are needed"),
        ("compare_models.py missing work", "missing: no such folder"),
    ],
)
def test_what_cannot_be_done_is_said_at_the_start(
    call: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "pictures").mkdir()
    shutil.copy(NOISY / "cat.png", tmp_path / "pictures")
    (tmp_path / "plain.md").write_text("no marks")
    assert said in " ".join(refusal(*call.split(), monkeypatch=monkeypatch, capsys=capsys).split())
    assert names(tmp_path) == {"pictures/cat.png", "plain.md"}


def test_models_whose_files_have_the_same_name_stay_apart() -> None:
    for script in ("patterns.py", "photographs.py"):
        loaded = runpy.run_path(str(EXAMPLES / script))["loaded"]
        paths = []
        loaded.__globals__["denoiser"] = SimpleNamespace(load=paths.append)
        assert list(loaded(["a/model.safetensors", "unet", "b/model.safetensors", "c/deep.safetensors"])) == [
            *("a/model.safetensors", "unet", "b/model.safetensors", "deep")
        ]
        assert len(paths) == 4
    folders = runpy.run_path(str(EXAMPLES / "compare_models.py"))["folders"]
    for models, expected in (
        (["unet", "x/deep.safetensors"], ["unet", "deep"]),
        (["a/model.safetensors", "b/model.safetensors"], ["1-model", "2-model"]),
        (["unet", "noisy.safetensors"], ["1-unet", "2-noisy"]),
    ):
        assert folders(Path("work"), models) == [Path("work", name) for name in expected]


def test_the_table_of_quality_measures_networks_that_must_know_white() -> None:
    script = runpy.run_path(str(EXAMPLES / "bench_quality.py"))
    clean = data.chelsea()[80:112, 140:172]
    for protocol in ("literature", "file"):
        noisy = script["noisy_version"](clean, 25, protocol, 0)
        assert script["network"](denoiser.load("dae"), [clean], [noisy]) > 15


def test_the_noisy_pictures_are_those_of_their_script(tmp_path: Path) -> None:
    done = call(sys.executable, EXAMPLES / "make_noisy.py", tmp_path / "noisy", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert names(tmp_path / "noisy") == names(NOISY)
    for name in names(NOISY):
        if name.endswith(".png"):  # JPEG and deflate bytes depend on the version of a library
            np.testing.assert_array_equal(Image.open(tmp_path / "noisy" / name), Image.open(NOISY / name))
    assert sum(path.stat().st_size for path in NOISY.rglob("*") if path.is_file()) < 1_500_000


def test_the_pictures_of_the_controls_can_be_drawn_again(tmp_path: Path) -> None:
    done = call(sys.executable, EXAMPLES / "make_controls.py", tmp_path / "pictures", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert names(tmp_path / "pictures") <= names(REPOSITORY / "docs" / "pictures")
    rows = [line.strip("| ").split(" | ") for line in done.stdout.splitlines()[2:]]
    luminance = {row[0]: float(row[1]) for row in rows}
    colours = {row[0]: float(row[2]) for row in rows}
    plain = "plain result"
    assert colours["--luma 0"] == pytest.approx(colours[plain], abs=0.1)
    assert luminance["--luma 0"] == pytest.approx(luminance["input"], abs=0.1)
    assert luminance["--chroma 0"] == pytest.approx(luminance[plain], abs=0.1)
    assert colours["--chroma 0"] == pytest.approx(colours["input"], abs=0.1)
    assert luminance[plain] < luminance["--detail 0.3"] < luminance["--detail 0.6"] < luminance["input"]


def test_the_demo(tmp_path: Path) -> None:
    out = tmp_path / "demo-out"
    done = call("denoiser", "run", NOISY, out, "--model", "unet", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert names(out) == names(NOISY)
    for name in names(NOISY):
        if not name.endswith(".tif"):
            before, after = (np.asarray(Image.open(folder / name), float) for folder in (NOISY, out))
            assert after.shape == before.shape
            roughness = [np.abs(np.diff(pixels, axis=0)).mean() for pixels in (before, after)]
            # JPEG correlates noise, and unet, which learned white noise, leaves more of that; unet-photo does not.
            share = 0.6
            assert roughness[1] < share * roughness[0], f"{name} is hardly cleaner"
    assert Image.open(out / "evening" / "coffee.jpg").getexif()[0x0110] == "Night camera"
    assert tifffile.imread(out / "rocket 16 bit.tif").dtype == np.uint16
    done = call(sys.executable, EXAMPLES / "before_after.py", NOISY, out, out / "sheet.png", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "sheet.png" in done.stdout
    assert Image.open(out / "sheet.png").width > 800


@pytest.mark.slow
def test_architectures(tmp_path: Path) -> None:
    rows, columns = np.mgrid[:66, :70]
    for index in range(2):
        waves = [128 + 90 * np.sin((rows + index * columns) / (4 + channel)) for channel in range(3)]
        (tmp_path / "clean").mkdir(exist_ok=True)
        Image.fromarray(np.stack(waves, axis=-1).astype(np.uint8)).save(tmp_path / "clean" / f"{index}.png")
    out = tmp_path / "architectures.md"
    begin, end = "<!-- by hand: what is to be learned -->", "<!-- end of what is written by hand -->"
    out.write_text(f"old\n{begin}\nSkips pay.\n{end}\nold tables")
    models = ["--model", "convdae-unet", "--model", "convdae-long"]
    done = call(
        *(sys.executable, EXAMPLES / "architectures.py", tmp_path / "clean", "--out", out, "--crop", 40, *models),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    text = out.read_text(encoding="utf-8")
    assert "Skips pay." in text and "old" not in text.split()
    for title in ("The models", "Gaussian noise, protocol `literature`", "Stripes", "Blocks", "Pictures of 32 x 32"):
        assert f"\n## {title}\n" in text
    assert len([line for line in text.splitlines() if line.startswith("| convdae-unet |")]) == 7
    gains = text.split("| what the skips add | ")[1].splitlines()[0]
    assert all(float(gain) > 0 for gain in gains.strip(" |").split(" | "))
    assert "| biharmonic |" in text.split("## Stripes")[1] and "nan" not in text


def test_the_readme_lists_the_bundled_models(tmp_path: Path) -> None:
    shutil.copy(REPOSITORY / "README.md", tmp_path)
    done = call(sys.executable, EXAMPLES / "models_table.py", tmp_path / "README.md", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    written = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert written == (REPOSITORY / "README.md").read_text(encoding="utf-8"), "run: make models-table"


@posix
def test_nightly(tmp_path: Path) -> None:
    folder, out = tmp_path / "in coming", tmp_path / "clean"
    folder.mkdir()
    for name in ("cat.png", "camera gray.png"):
        shutil.copy(NOISY / name, folder)
        os.utime(folder / name, (1_700_000_000, 1_700_000_000))
    shutil.copy(NOISY / "cat.png", folder / "still being copied.png")
    night = ["bash", EXAMPLES / "nightly.sh", folder, f"{out}/"]
    done = call(*night, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), "all is well: no mail"
    assert names(out) == {"cat.png", "camera gray.png"}
    log = (tmp_path / "clean.log").read_text(encoding="utf-8")
    assert "2 denoised" in log
    assert call(*night, cwd=tmp_path).stdout == ""
    shutil.copy(NOISY / "cat.png", out / "camera gray.png")
    done = call(*night, cwd=tmp_path)
    assert done.returncode == 0 and "outputs that are not its own were left alone" in done.stdout
    assert "camera gray.png: was changed since it was made" in done.stdout
    broken = folder / "broken.png"
    broken.write_bytes((NOISY / "cat.png").read_bytes()[:100])
    os.utime(broken, (1_700_000_000, 1_700_000_000))
    done = call(*night, cwd=tmp_path)
    assert done.returncode == 1
    assert "some pictures could not be denoised" in done.stdout
    assert "broken.png" in done.stdout
    folder.rename(tmp_path / "-in")
    (tmp_path / "-in" / "broken.png").unlink()
    done = call("bash", EXAMPLES / "nightly.sh", "-in", "-out", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert "cat.png" in names(tmp_path / "-out")


@posix
def test_photo_tree(tmp_path: Path) -> None:
    folder, out = tmp_path / "2024", tmp_path / "2024 clean"
    shutil.copytree(NOISY, folder)
    shutil.copy(NOISY / "cat.png", folder / "cat_preview.png")
    (folder / "rejected").mkdir()
    shutil.copy(NOISY / "cat.png", folder / "rejected")
    before = {name: hashlib.sha256((folder / name).read_bytes()).digest() for name in names(folder)}
    done = call("bash", EXAMPLES / "photo_tree.sh", folder, f"{out}/", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert names(out) == names(NOISY)
    assert {Path(name).suffix for name in names(tmp_path / "2024 clean-web")} == {".jpg"}
    assert before == {name: hashlib.sha256((folder / name).read_bytes()).digest() for name in names(folder)}
    original, clean = (Image.open(root / "evening" / "coffee.jpg") for root in (folder, out))
    assert clean.getexif().get_ifd(0x8769)[0x9003] == original.getexif().get_ifd(0x8769)[0x9003]
    assert clean.info["dpi"] == original.info["dpi"]
    other = tmp_path / "-odd"
    other.mkdir()
    shutil.copy(NOISY / "cat.png", other)
    (other / "broken.png").write_bytes((NOISY / "cat.png").read_bytes()[:100])
    done = call("bash", EXAMPLES / "photo_tree.sh", "-odd", "-clean", cwd=tmp_path)
    assert done.returncode == 1 and "broken.png" in done.stderr
    assert (names(tmp_path / "-clean"), names(tmp_path / "-clean-web")) == ({"cat.png"}, {"cat.jpg"})


def test_stack16(tmp_path: Path) -> None:
    done = call(sys.executable, EXAMPLES / "stack16.py", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    with tifffile.TiffFile(tmp_path / "stack_clean.tif") as clean:
        assert len(clean.pages) == 5
        assert clean.imagej_metadata is not None
        after = clean.asarray()
    before = tifffile.imread(tmp_path / "stack.tif")
    assert after.dtype == np.uint16
    assert after[:, :8, :8].std() < 0.7 * before[:, :8, :8].std()
    assert abs(after.mean() / before.mean() - 1) < 0.02, "the brightness of the stack is kept"


def test_stack16_of_one_page(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.full((64, 64), 700, np.uint16))
    done = call(sys.executable, EXAMPLES / "stack16.py", "a.tif", "b.tif", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "b.tif: 1 pages of 64 x 64, uint16" in done.stdout


def test_bench_small(tmp_path: Path) -> None:
    done = call(sys.executable, EXAMPLES / "bench_small.py", "--pictures", 40, "--one-at-a-time", 8, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.search(r"directory to directory: \d+ pictures/s, [\d.]+ times as many as with files", done.stdout)
    assert re.search(r"largest difference [01] of 255", done.stdout), "the plain script runs another network"


def test_compare_models(tmp_path: Path) -> None:
    clean, work = tmp_path / "clean", tmp_path / "work"
    (clean / "deep").mkdir(parents=True)
    y, x = np.mgrid[:80, :96]
    for name, phase in (("a.png", 0), ("deep/b.png", 2)):
        waves = np.stack([128 + 60 * np.sin(x / 5 + phase + c) * np.cos(y / 6) for c in range(3)], axis=2)
        Image.fromarray(np.rint(waves).astype(np.uint8)).save(clean / name)
    done = call(sys.executable, EXAMPLES / "compare_models.py", clean, work, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "worse: " in done.stderr and "a.png (" in done.stderr and "deep/b.png (" in done.stderr
    assert json.loads((work / "damaged.json").read_text(encoding="utf-8"))["gate"]["failed"]
    page = (work / "page.html").read_text(encoding="utf-8")
    assert all(f"<td>{method}</td>" in page for method in ("noisy input", "unet", "dcdae"))


@pytest.mark.slow
def test_photographs(tmp_path: Path) -> None:
    (tmp_path / "clean").mkdir()
    for name, picture in (("cat", data.chelsea()), ("coffee", data.coffee())):
        Image.fromarray(picture[80:176, 140:236]).save(tmp_path / "clean" / f"{name}.png")
    page = tmp_path / "page.md"
    begin, end = "<!-- measured by examples/photographs.py -->", "<!-- end of what was measured -->"
    page.write_text(f"above\n{begin}\nold\n{end}\nbelow", encoding="utf-8")
    methods = {"noisy", "non-local means", "wavelet", "total variation", "dae", "unet"}
    script = [sys.executable, EXAMPLES / "photographs.py", tmp_path / "clean", "--model", "dae", "--model", "unet"]
    done = call(*script, "--crop", 64, "--write", page, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    text = page.read_text(encoding="utf-8")
    assert text.startswith(f"above\n{begin}\n") and text.endswith(f"\n{end}\nbelow") and "old\n" not in text
    rows = dict(line.strip("| ").split(" | ", 1) for line in text.splitlines() if line.count(" | ") == 4)
    psnr = {name: [float(figure) for figure in row.split(" | ")] for name, row in rows.items() if name in methods}
    assert set(psnr) == methods
    assert psnr["noisy"] == sorted(psnr["noisy"], reverse=True), "more sensitivity is more noise"
    best = [max(column) for column in zip(*(row for name, row in psnr.items() if name != "unet"), strict=True)]
    above = [float(figure) for figure in rows["unet above the best other"].split(" | ")]
    assert above == pytest.approx([a - b for a, b in zip(psnr["unet"], best, strict=True)], abs=0.011)
    shown = [Image.open(tmp_path / "page" / f"{motif}.webp") for motif in ("skin", "lettering")]
    assert all(picture.size == shown[0].size for picture in shown)
    assert names(tmp_path / "page") == {"skin.webp", "lettering.webp"}, "only of photographs that are there"


def test_regular_patterns_come_through_the_bundled_networks(tmp_path: Path) -> None:
    done = call(sys.executable, EXAMPLES / "patterns.py", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    head, _, *lines = (line.strip("| ").split(" | ") for line in done.stdout.splitlines())
    assert [column.split(",")[0] for column in head[1:]] == ["unet", "unet", "unet-photo", "unet-photo"]
    assert {kind for kind, *_ in lines} == {"checks", "mesh", "dots", "hexagons", "weave", "spiral"}
    for kind, *cells in lines:
        means = [float(cell.split(" (")[0]) for cell in cells]
        assert min(means[::2]) > 38, f"{kind} is taken for noise"
        assert min(means[1::2]) > 3, f"{kind} is taken away with the noise"
