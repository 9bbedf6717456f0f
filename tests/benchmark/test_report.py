"""The report: one whole page, offline, that works in a browser."""

from __future__ import annotations

import base64
import io
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from denoiser.benchmark import BenchmarkOptions, benchmark, report
from denoiser.benchmark.album import Album
from denoiser.benchmark.pictures import Picture
from denoiser.cli.main import main
from denoiser.errors import ExitCode
from denoiser.images import Header, Page
from denoiser.images.metadata import Metadata
from denoiser.images.pixels import ValueRange
from tests.pages import Tags, browser, drive

DRIVE = """
const wait = () => new Promise(done => setTimeout(done, 50));
const found = {chosen: method.value};
const first = document.querySelector(".sheet"), range = first.querySelector("input");
range.value = 20;
range.dispatchEvent(new Event("input"));
found.cut = first.querySelector(".slider").style.getPropertyValue("--cut");
const picture = first.querySelector(".after"), before = picture.src, canvas = first.querySelector("canvas");
const residual = () => canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
while (!residual().some(value => value)) await wait();
const red = residual().filter((value, i) => i % 4 === 0);
found.gray = red.reduce((sum, value) => sum + value, 0) / red.length;
const old = residual().join();
noise.value = "mask";
method.value = "biharmonic";
method.dispatchEvent(new Event("change"));
while (residual().join() === old) await wait();
found.swapped = picture.src !== before && picture.src.startsWith("data:image/webp");
found.caption = first.querySelector("figcaption").textContent;
noise.value = "gaussian:15";
noise.dispatchEvent(new Event("change"));
found.instead = method.value;
found.disabled = [...method.options].filter(each => each.disabled).map(each => each.value);
const heading = document.querySelectorAll("#table th")[2];
const order = () => [...document.querySelectorAll("#table tbody tr")].map(row => Number(row.cells[2].dataset.value));
heading.firstElementChild.click();
found.descending = order();
found.sort = heading.getAttribute("aria-sort");
heading.firstElementChild.click();
found.ascending = order();
await Promise.all([...document.images].map(image => image.decode()));
const loaded = performance.getEntriesByType("resource").map(each => each.name);
found.fetched = loaded.filter(name => !name.startsWith("data:"));
found.unlabelled = [...document.querySelectorAll("input, select, button")].filter(
  each => !(each.getAttribute("aria-label") || each.textContent || (each.labels && each.labels.length))).length;
found.wide = document.documentElement.scrollWidth - innerWidth;
return found;
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report on two pictures whose names would break a page that trusts them."""
    folder = tmp_path_factory.mktemp("report")
    y, x = np.mgrid[:70, :90]
    pixels = np.rint(128 + 50 * np.sin(x / 6) * np.cos(y / 8)).astype(np.uint8)
    (folder / "clean").mkdir()
    for name, picture in (("a&b 'x'.png", np.stack([pixels] * 3, 2)), ("gray.png", pixels)):
        Image.fromarray(picture).save(folder / "clean" / name)
    path = folder / "deep" / "page.html"
    benchmark(
        BenchmarkOptions(
            folder / "clean",
            noise=("gaussian:15", "gaussian:50", "mask"),
            models=("none",),
            classical=("median", "biharmonic", "tv"),
            report=path,
        )
    )
    return path


def test_page_is_whole_and_needs_nothing_else(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    tags = Tags()
    tags.feed(text)
    assert tags.open == []
    assert tags.sources and all(source.startswith("data:") for source in tags.sources)
    assert not re.search(r"https?://|@import|url\(", text)
    for word in ("gaussian:50", "median", "Protocol", "population covariance", "a&amp;b &#39;x&#39;.png"):
        assert word in text
    assert [path.name for path in page.parent.iterdir()] == ["page.html"], "no temporary file is left"


@browser
@pytest.mark.parametrize("width", [1400, 500])
def test_page_works_in_a_browser(page: Path, tmp_path: Path, width: int) -> None:
    found = drive(page, tmp_path, width, DRIVE)
    assert found["errors"] == [] and found["fetched"] == [] and found["unlabelled"] == 0
    assert (found["chosen"], found["cut"], found["swapped"]) == ("tv", "20%", True)
    assert found["gray"] == pytest.approx(128, abs=12), "the residual's mean is about gray"
    assert "biharmonic" in found["caption"]
    assert found["disabled"] == ["biharmonic"] and found["instead"] == "tv", "it has no result without holes"
    assert found["descending"] == sorted(found["descending"], reverse=True)
    assert found["ascending"] == sorted(found["descending"]) != found["descending"]
    assert found["sort"] == "descending"
    assert found["wide"] <= 0, "nothing is wider than the window"


def test_restored_pictures_are_compared_with_the_truth(page: Path, tmp_path: Path) -> None:
    clean = page.parents[1] / "clean"
    path = tmp_path / "page.html"
    call = ["benchmark", "--restored", str(clean), "--clean", str(clean), "--report", str(path), "--json"]
    assert main(call) == ExitCode.OK
    data = json.loads(re.search(r"const sheets = (.*);\n", path.read_text(encoding="utf-8"))[1])  # type: ignore[index]
    shot = data[0]["cases"][0]["shots"][0]
    assert (data[0]["cases"][0]["noisy"], shot["caption"]) == ("", "equal to the truth")
    assert shot["image"] == data[0]["truth"]


def test_album_keeps_to_its_budget() -> None:
    rng = np.random.default_rng(0)
    budget = 600_000
    album = Album(budget, results=1000)
    for index in range(5):
        truth = rng.random((200, 200, 3))
        header = Header(Path("a.png"), "png", (Page(200, 200, 3, truth.dtype),), False)
        album.begin(str(index), Picture(truth, ValueRange(0, 1), None, like=header))
        for noise in range(5):
            album.add_noisy(str(noise), truth, "20 dB")
            for method in range(4):
                album.add_shot(str(method), truth, "30 dB")
        album.end()
    sizes = sum(
        len(sheet.truth) + sum(len(case.noisy) + sum(len(shot.image) for shot in case.shots) for case in sheet.cases)
        for sheet in album.sheets
    )
    assert [sheet.name for sheet in album.sheets] == [str(index) for index in range(len(album.sheets))]
    assert 0.5 * budget < sizes <= budget


@pytest.mark.parametrize("metadata", [Metadata(cmyk=True), Metadata(white_is_zero=True)])
def test_pictures_show_what_values_stand_for(metadata: Metadata) -> None:
    album = Album(100_000, results=1)
    values = np.full((100, 100, 4 if metadata.cmyk else 1), 0.25)
    header = Header(Path("a.tif"), "tiff", (Page(100, 100, values.shape[2], values.dtype),), False, metadata)
    album.begin("a", Picture(values, ValueRange(0, 1), None, like=header))
    album.end()
    encoded = album.sheets[0].truth.partition(",")[2]
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(encoded))).convert("L"))
    assert np.abs(shown - 255 * (0.75**2 if metadata.cmyk else 0.75)).max() < 4


def test_labels_stay_on_the_page() -> None:
    names = ["gaussian:25", "poisson-gaussian:gain=0.01,read=4", "x" * 60]
    for noises in (names[:2], names[1::-1], names[:1], names):
        for x, label in zip(report._positions(noises), noises, strict=True):
            width, anchor = report.LETTER * len(label), report._anchor(x, label)
            left = {"start": x, "middle": x - width / 2, "end": x - width}[anchor]
            assert left >= 0 and (left + width <= report.WIDTH or len(label) > 33)


def test_one_kind_of_noise_and_equal_values_make_a_chart(tmp_path: Path) -> None:
    Image.fromarray(np.full((16, 16), 90, np.uint8)).save(tmp_path / "a.png")
    result = benchmark(BenchmarkOptions(tmp_path, noise=("gaussian:25",), models=("none",), classical=("none",)))
    assert "noisy input, gaussian:25" in "".join(report.render(result, Album(0, 0)))


def test_a_report_of_nothing_tells_why(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.full((16, 16), 90, np.float32))
    page = tmp_path / "page.html"
    options = BenchmarkOptions(tmp_path, models=("none",), classical=("none",), report=page)
    assert benchmark(options).exit_code == ExitCode.SOME_FAILED
    assert "give --white" in page.read_text()


def test_names_that_are_no_utf_8_are_shown_escaped(tmp_path: Path) -> None:
    name = tmp_path / "in" / os.fsdecode(b"lat\xe9.png")
    name.parent.mkdir()
    Image.fromarray(np.full((16, 16), 90, np.uint8)).save(name)
    page = tmp_path / "page.html"
    benchmark(BenchmarkOptions(name.parent, models=("none",), classical=("none",), report=page))
    assert "lat\\udce9.png" in page.read_text()


@pytest.mark.parametrize(("name", "code"), [("", ExitCode.USAGE), ("file/page.html", ExitCode.OUTPUT)])
def test_a_report_that_cannot_be_written_is_told_before_the_work(
    name: str, code: ExitCode, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert main(["benchmark", "nowhere", "--report", str(tmp_path / name)]) == code
    assert "error" in capfd.readouterr().err
